//! A role: who takes it on, policies of AWS that are attached, and one inline policy of ours. All
//! roles of an account are listed with everything that belongs to them in one call a page.

use aws_sdk_iam::types::{EntityType, RoleDetail};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, Result};

use super::{IamRole, IamRoleObserved, IamRoleSpec, Statement};
use crate::native::{Calls, Look, Marks, Native, Seen, accept};

/// The name of the inline policy that holds the statements.
const POLICY: &str = "vrooli-deploy";

fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

fn trust(service: &str) -> String {
    let statement = json!({
        "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole"
    });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

fn policy(statements: &[Statement<Known>]) -> String {
    let statements: Vec<Value> = statements
        .iter()
        .map(|one| json!({ "Effect": "Allow", "Action": one.actions, "Resource": one.resources }))
        .collect();
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// A document as IAM gives it: JSON, percent-encoded.
fn document(text: &str) -> Value {
    let text = percent_decode_str(text).decode_utf8_lossy();
    serde_json::from_str(&text).unwrap_or_default()
}

/// One or several, as policies have it.
fn several(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

fn texts(value: &Value) -> Vec<String> {
    several(value).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn service(document: &Value) -> String {
    let statements = several(&document["Statement"]);
    let first = statements.first().map(|one| texts(&one["Principal"]["Service"]));
    first.unwrap_or_default().join(",")
}

fn statements(document: &Value) -> Vec<Statement<Known>> {
    let of = |one: &Value| Statement { actions: texts(&one["Action"]), resources: texts(&one["Resource"]) };
    several(&document["Statement"]).iter().map(of).collect()
}

/// A role as it is listed.
fn listed(role: &RoleDetail) -> Option<Seen<IamRoleObserved>> {
    let attached = role.attached_managed_policies().iter();
    let mut policies: Vec<String> = attached.filter_map(|one| one.policy_arn().map(str::to_owned)).collect();
    policies.sort();
    let own = role.role_policy_list().iter().find(|one| one.policy_name() == Some(POLICY));
    let own = own.and_then(|one| one.policy_document());
    Some(Seen {
        id: PhysicalId(role.arn()?.to_owned()),
        marks: Marks::of(role.tags())?,
        observed: IamRoleObserved {
            name: role.role_name()?.to_owned(),
            service: service(&document(role.assume_role_policy_document().unwrap_or_default())),
            policies,
            statements: own.map(|text| statements(&document(text))).unwrap_or_default(),
            instance_profile: !role.instance_profile_list().is_empty(),
        },
    })
}

/// The role of that name, if it has marks.
async fn named(on: &Calls<'_>, name: &str) -> Result<Option<Seen<IamRoleObserved>>> {
    let iam = &on.region.iam;
    let answer = on.find("iam:GetRole", iam.get_role().role_name(name).send()).await?;
    let Some(role) = answer.and_then(|answer| answer.role) else { return Ok(None) };
    let Some(marks) = Marks::of(role.tags()) else { return Ok(None) };
    let ask = iam.get_role_policy().role_name(name).policy_name(POLICY).send();
    let own = on.find("iam:GetRolePolicy", ask).await?;
    let ask = iam.list_instance_profiles_for_role().role_name(name).send();
    let profiles = on.read("iam:ListInstanceProfilesForRole", ask).await?;
    Ok(Some(Seen {
        id: PhysicalId(role.arn().to_owned()),
        marks,
        observed: IamRoleObserved {
            name: name.to_owned(),
            service: service(&document(role.assume_role_policy_document().unwrap_or_default())),
            policies: attached(on, name).await?,
            statements: own.map(|one| statements(&document(one.policy_document()))).unwrap_or_default(),
            instance_profile: !profiles.instance_profiles().is_empty(),
        },
    }))
}

async fn attached(on: &Calls<'_>, name: &str) -> Result<Vec<String>> {
    let ask = |next| on.region.iam.list_attached_role_policies().role_name(name).set_marker(next).send();
    let pages = on.pages("iam:ListAttachedRolePolicies", ask, |page| page.marker.clone()).await?;
    let policies = pages.iter().flat_map(|page| page.attached_policies());
    let mut all: Vec<String> = policies.filter_map(|one| one.policy_arn().map(str::to_owned)).collect();
    all.sort();
    Ok(all)
}

async fn detach(on: &Calls<'_>, name: &str, policy: &str) -> Result<()> {
    let put = || on.region.iam.detach_role_policy().role_name(name).policy_arn(policy).send();
    on.take("iam:DetachRolePolicy", put).await
}

async fn delete_own_policy(on: &Calls<'_>, name: &str) -> Result<()> {
    let put = || on.region.iam.delete_role_policy().role_name(name).policy_name(POLICY).send();
    on.take("iam:DeleteRolePolicy", put).await
}

/// Makes policies what is wanted; says it again however often.
async fn settle(on: &Calls<'_>, have: &IamRoleObserved, want: &IamRoleSpec<Known>) -> Result<()> {
    let (iam, name) = (&on.region.iam, want.name.as_str());
    for policy in want.policies.iter().filter(|policy| !have.policies.contains(policy)) {
        let put = || iam.attach_role_policy().role_name(name).policy_arn(policy).send();
        on.put("iam:AttachRolePolicy", put).await?;
    }
    for policy in have.policies.iter().filter(|policy| !want.policies.contains(policy)) {
        detach(on, name, policy).await?;
    }
    if have.statements == want.statements {
        return Ok(());
    }
    if want.statements.is_empty() {
        return delete_own_policy(on, name).await;
    }
    let document = policy(&want.statements);
    let put = || {
        let put = iam.put_role_policy().role_name(name).policy_name(POLICY);
        put.policy_document(&document).send()
    };
    on.put("iam:PutRolePolicy", put).await.map(drop)
}

async fn profile(on: &Calls<'_>, key: &ResourceKey, name: &str) -> Result<()> {
    let (iam, tags) = (&on.region.iam, Marks::as_tags(on.cx, key)?);
    let put = || {
        let make = iam.create_instance_profile().instance_profile_name(name);
        make.set_tags(Some(tags.clone())).send()
    };
    accept(on.put("iam:CreateInstanceProfile", put).await, ErrorKind::AlreadyExists)?;
    let put = || iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name).send();
    // A profile holds one role: a second is a quota.
    accept(on.put("iam:AddRoleToInstanceProfile", put).await, ErrorKind::Quota).map(drop)
}

impl Native for IamRole {
    const TOKEN: CreateToken = CreateToken::Name;
    const GLOBAL: bool = true;

    async fn see(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<IamRoleObserved>>> {
        named(on, name_of(&id.0)).await
    }

    async fn list(&self, on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<IamRoleObserved>>> {
        let ask = |next| {
            let ask = on.region.iam.get_account_authorization_details().filter(EntityType::Role);
            ask.set_marker(next).send()
        };
        let pages = on.pages("iam:GetAccountAuthorizationDetails", ask, |page| page.marker.clone()).await?;
        let roles = pages.iter().flat_map(|page| page.role_detail_list());
        let mut all: Vec<_> = roles.filter_map(listed).collect();
        for name in on.name_asked(self, look) {
            if !all.iter().any(|one| one.observed.name == name) {
                all.extend(named(on, &name).await?);
            }
        }
        Ok(all)
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &IamRoleSpec<Known>) -> Result<PhysicalId> {
        let make = on.region.iam.create_role().role_name(&want.name);
        let make = make.assume_role_policy_document(trust(&want.service));
        let make = make.set_tags(Some(Marks::as_tags(on.cx, key)?)).send();
        let made = on.create("iam:CreateRole", make).await?;
        let there = on.made(made, || named(on, &want.name)).await?;
        let there = on.own(there, key, ("role", &want.name))?;
        settle(on, &there.observed, want).await?;
        if want.instance_profile && !there.observed.instance_profile {
            profile(on, key, &want.name).await?;
        }
        Ok(there.id)
    }

    async fn change(
        &self,
        on: &Calls<'_>,
        _: &PhysicalId,
        have: &IamRoleObserved,
        want: &IamRoleSpec<Known>,
    ) -> Result<()> {
        if have.service != want.service {
            let (iam, trust) = (&on.region.iam, trust(&want.service));
            let put = || {
                let put = iam.update_assume_role_policy().role_name(&want.name);
                put.policy_document(&trust).send()
            };
            on.put("iam:UpdateAssumeRolePolicy", put).await?;
        }
        settle(on, have, want).await?;
        if !want.instance_profile || have.instance_profile {
            return Ok(());
        }
        match named(on, &want.name).await? {
            Some(there) => profile(on, &there.marks.key, &want.name).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let (iam, name) = (&on.region.iam, name_of(&id.0));
        let Some(there) = named(on, name).await? else { return Ok(()) };
        if there.observed.instance_profile {
            let put = || {
                let put = iam.remove_role_from_instance_profile().role_name(name);
                put.instance_profile_name(name).send()
            };
            on.take("iam:RemoveRoleFromInstanceProfile", put).await?;
            let put = || iam.delete_instance_profile().instance_profile_name(name).send();
            on.take("iam:DeleteInstanceProfile", put).await?;
        }
        for policy in &there.observed.policies {
            detach(on, name, policy).await?;
        }
        delete_own_policy(on, name).await?;
        on.remove("iam:DeleteRole", iam.delete_role().role_name(name).send()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_as_they_are_written() {
        let want = vec![Statement::<Known> {
            actions: vec!["s3:GetObject".to_owned(), "s3:PutObject".to_owned()],
            resources: vec!["arn:aws:s3:::b/*".to_owned()],
        }];
        assert_eq!(statements(&document(&policy(&want))), want);
        assert_eq!(service(&document(&trust("ecs-tasks.amazonaws.com"))), "ecs-tasks.amazonaws.com");
        let encoded = "%7B%22Statement%22%3A%7B%22Action%22%3A%22a%3Ab%22%2C%22Resource%22%3A%22%2A%22%7D%7D";
        let one = statements(&document(encoded));
        assert_eq!(
            (one[0].actions.as_slice(), one[0].resources.as_slice()),
            (&["a:b".to_owned()][..], &["*".to_owned()][..])
        );
    }
}
