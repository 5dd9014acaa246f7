//! A role: who takes it on, policies of AWS that are attached, and one inline policy of ours. All
//! roles of an account are listed with everything that belongs to them in one call a page.

use aws_sdk_iam::types::{EntityType, Tag};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, OpCtx, PhysicalId, Result};

use super::{IamRole, IamRoleObserved, IamRoleSpec, Statement};
use crate::native::{Account, Look, Marks, Native, Regional, Seen, accept, name_taken, unexpected};

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

fn marks(tags: &[Tag]) -> Option<Marks> {
    Marks::read(tags.iter().map(|tag| (tag.key(), tag.value())))
}

async fn listed(account: &Account, cx: &OpCtx) -> Result<Vec<Seen<IamRoleObserved>>> {
    let global = account.global().await;
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = global.iam.get_account_authorization_details().filter(EntityType::Role);
        let ask = ask.set_marker(next.take()).send();
        let page = account.read(cx, "iam:GetAccountAuthorizationDetails", ask).await?;
        for role in page.role_detail_list() {
            let (Some(name), Some(arn), Some(marks)) = (role.role_name(), role.arn(), marks(role.tags()))
            else {
                continue;
            };
            let own = role.role_policy_list().iter().find(|one| one.policy_name() == Some(POLICY));
            let mut policies: Vec<String> = role
                .attached_managed_policies()
                .iter()
                .filter_map(|one| one.policy_arn().map(str::to_owned))
                .collect();
            policies.sort();
            all.push(Seen {
                id: PhysicalId(arn.to_owned()),
                marks,
                observed: IamRoleObserved {
                    name: name.to_owned(),
                    service: service(&document(role.assume_role_policy_document().unwrap_or_default())),
                    policies,
                    statements: own
                        .and_then(|one| one.policy_document())
                        .map(|text| statements(&document(text)))
                        .unwrap_or_default(),
                    instance_profile: !role.instance_profile_list().is_empty(),
                },
            });
        }
        next = page.marker().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}

/// The role of that name, if it has marks.
async fn named(account: &Account, cx: &OpCtx, name: &str) -> Result<Option<Seen<IamRoleObserved>>> {
    let global = account.global().await;
    let answer = account.read(cx, "iam:GetRole", global.iam.get_role().role_name(name).send()).await;
    let Some(role) = accept(answer, ErrorKind::NotFound)?.and_then(|answer| answer.role) else {
        return Ok(None);
    };
    let Some(marks) = marks(role.tags()) else { return Ok(None) };
    let ask = global.iam.get_role_policy().role_name(name).policy_name(POLICY).send();
    let own = accept(account.read(cx, "iam:GetRolePolicy", ask).await, ErrorKind::NotFound)?;
    let ask = global.iam.list_instance_profiles_for_role().role_name(name).send();
    let profiles = account.read(cx, "iam:ListInstanceProfilesForRole", ask).await?;
    Ok(Some(Seen {
        id: PhysicalId(role.arn().to_owned()),
        marks,
        observed: IamRoleObserved {
            name: name.to_owned(),
            service: service(&document(role.assume_role_policy_document().unwrap_or_default())),
            policies: attached(account, cx, &global, name).await?,
            statements: own.map(|one| statements(&document(one.policy_document()))).unwrap_or_default(),
            instance_profile: !profiles.instance_profiles().is_empty(),
        },
    }))
}

async fn attached(account: &Account, cx: &OpCtx, global: &Regional, name: &str) -> Result<Vec<String>> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = global.iam.list_attached_role_policies().role_name(name).set_marker(next.take()).send();
        let page = account.read(cx, "iam:ListAttachedRolePolicies", ask).await?;
        all.extend(page.attached_policies().iter().filter_map(|one| one.policy_arn().map(str::to_owned)));
        next = page.marker().map(str::to_owned);
        if next.is_none() {
            all.sort();
            return Ok(all);
        }
    }
}

/// Makes policies what is wanted; says it again however often.
async fn settle(
    account: &Account,
    cx: &OpCtx,
    have: &IamRoleObserved,
    want: &IamRoleSpec<Known>,
) -> Result<()> {
    let (global, name) = (account.global().await, want.name.as_str());
    for policy in want.policies.iter().filter(|policy| !have.policies.contains(policy)) {
        let put = || global.iam.attach_role_policy().role_name(name).policy_arn(policy).send();
        account.put(cx, "iam:AttachRolePolicy", put).await?;
    }
    for policy in have.policies.iter().filter(|policy| !want.policies.contains(policy)) {
        let put = || global.iam.detach_role_policy().role_name(name).policy_arn(policy).send();
        accept(account.put(cx, "iam:DetachRolePolicy", put).await, ErrorKind::NotFound)?;
    }
    if have.statements == want.statements {
        return Ok(());
    }
    if want.statements.is_empty() {
        let put = || global.iam.delete_role_policy().role_name(name).policy_name(POLICY).send();
        return accept(account.put(cx, "iam:DeleteRolePolicy", put).await, ErrorKind::NotFound).map(drop);
    }
    let document = policy(&want.statements);
    let put = || {
        let put = global.iam.put_role_policy().role_name(name).policy_name(POLICY);
        put.policy_document(&document).send()
    };
    account.put(cx, "iam:PutRolePolicy", put).await.map(drop)
}

async fn profile(account: &Account, cx: &OpCtx, key: &ResourceKey, name: &str) -> Result<()> {
    let global = account.global().await;
    let tags: Vec<Tag> = iam_tags(cx, key)?;
    let put = || {
        let make = global.iam.create_instance_profile().instance_profile_name(name);
        make.set_tags(Some(tags.clone())).send()
    };
    accept(account.put(cx, "iam:CreateInstanceProfile", put).await, ErrorKind::AlreadyExists)?;
    let put = || global.iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name).send();
    // A profile holds one role: a second is a quota.
    accept(account.put(cx, "iam:AddRoleToInstanceProfile", put).await, ErrorKind::Quota).map(drop)
}

fn iam_tags(cx: &OpCtx, key: &ResourceKey) -> Result<Vec<Tag>> {
    let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
    let tags: std::result::Result<_, _> = Marks::tags(cx, key).into_iter().map(tag).collect();
    tags.map_err(|_| unexpected("iam:CreateRole", "tag"))
}

impl Native for IamRole {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Seen<IamRoleObserved>>> {
        match look {
            Look::Id(id) => Ok(named(account, cx, name_of(&id.0)).await?.into_iter().collect()),
            Look::Stack | Look::Key(_) => {
                let mut all = listed(account, cx).await?;
                let names =
                    if matches!(look, Look::Key(_)) { account.names(self, look) } else { Default::default() };
                for name in names {
                    if !all.iter().any(|one| one.observed.name == name) {
                        all.extend(named(account, cx, &name).await?);
                    }
                }
                Ok(all)
            }
        }
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &IamRoleSpec<Known>,
    ) -> Result<PhysicalId> {
        let global = account.global().await;
        let make = global
            .iam
            .create_role()
            .role_name(&want.name)
            .assume_role_policy_document(trust(&want.service))
            .set_tags(Some(iam_tags(cx, key)?))
            .send();
        let made = accept(account.change(cx, "iam:CreateRole", make).await, ErrorKind::AlreadyExists)?;
        let there = account.made(cx, made.is_some(), || named(account, cx, &want.name)).await?;
        let there = there.filter(|one| one.marks.are(cx, key));
        let there = there.ok_or_else(|| name_taken("role", &want.name))?;
        settle(account, cx, &there.observed, want).await?;
        if want.instance_profile && !there.observed.instance_profile {
            profile(account, cx, key, &want.name).await?;
        }
        Ok(there.id)
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &PhysicalId,
        have: &IamRoleObserved,
        want: &IamRoleSpec<Known>,
    ) -> Result<()> {
        if have.service != want.service {
            let (global, trust) = (account.global().await, trust(&want.service));
            let put = || {
                global.iam.update_assume_role_policy().role_name(&want.name).policy_document(&trust).send()
            };
            account.put(cx, "iam:UpdateAssumeRolePolicy", put).await?;
        }
        settle(account, cx, have, want).await
    }

    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let (global, name) = (account.global().await, name_of(&id.0));
        let Some(there) = named(account, cx, name).await? else { return Ok(()) };
        if there.observed.instance_profile {
            let put = || {
                let put = global.iam.remove_role_from_instance_profile().role_name(name);
                put.instance_profile_name(name).send()
            };
            accept(account.put(cx, "iam:RemoveRoleFromInstanceProfile", put).await, ErrorKind::NotFound)?;
            let put = || global.iam.delete_instance_profile().instance_profile_name(name).send();
            accept(account.put(cx, "iam:DeleteInstanceProfile", put).await, ErrorKind::NotFound)?;
        }
        for policy in &there.observed.policies {
            let put = || global.iam.detach_role_policy().role_name(name).policy_arn(policy).send();
            accept(account.put(cx, "iam:DetachRolePolicy", put).await, ErrorKind::NotFound)?;
        }
        let put = || global.iam.delete_role_policy().role_name(name).policy_name(POLICY).send();
        accept(account.put(cx, "iam:DeleteRolePolicy", put).await, ErrorKind::NotFound)?;
        let gone = global.iam.delete_role().role_name(name).send();
        accept(account.change(cx, "iam:DeleteRole", gone).await, ErrorKind::NotFound).map(drop)
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
