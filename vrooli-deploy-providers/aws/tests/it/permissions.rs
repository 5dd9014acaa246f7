//! The life of each kind under exactly the policies that `permissions` prints, with the emulator's IAM
//! enforced. It knows actions only, so a policy's resources are widened here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use libtest_mimic::Failed;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use vrooli_deploy_core::provider::{Op, Permission, ProviderFactory as _};
use vrooli_deploy_core::state::MemoryStore;
use vrooli_deploy_provider_aws::AwsFactory;
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::moto::{asked, elements, query};

use crate::applied::{converge, wanted};
use crate::fixture::{AwsFixture, OWNER, those};
use crate::quotas;
use crate::samples::samples;

/// What the emulator calls services by: their endpoint, where IAM has another name.
fn as_the_emulator_reads_it(policy: &Value) -> Value {
    let mut policy = policy.clone();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Resource"] = "*".into();
        let actions = statement["Action"].as_array_mut().unwrap();
        if actions.iter().any(|action| action == "s3:GetBucketTagging") {
            // It takes some settings of a bucket for a listing of what is in it.
            actions.push("s3:ListBucket".into());
        }
        for action in actions {
            let said = action.as_str().unwrap();
            for (name, endpoint) in [("cloudwatch:", "monitoring:"), ("tag:", "tagging:")] {
                if let Some(rest) = said.strip_prefix(name) {
                    *action = format!("{endpoint}{rest}").into();
                    break;
                }
            }
        }
    }
    policy
}

/// All that these take in their lives.
fn rights(of: &[Sample]) -> BTreeSet<Permission> {
    let kinds = AwsFactory::new().kinds();
    let mut all = BTreeSet::new();
    for sample in of {
        let kind = kinds.iter().find(|kind| kind.kind() == sample.kind).unwrap();
        for spec in std::iter::once(&sample.spec).chain(&sample.changed) {
            for op in [Op::Find, Op::List, Op::Create, Op::Update, Op::Delete] {
                all.extend(kind.permissions(op, spec).unwrap());
            }
        }
    }
    let kinds = of.iter().map(|sample| sample.kind.clone()).collect();
    all.extend(AwsFactory::new().quota_permissions(&kinds));
    all
}

/// A user who may do what the policies say, and nothing else; its keys.
pub(crate) fn user(address: SocketAddr, name: &str, policies: &[Value]) -> (String, String) {
    let iam = |form: &str| query(address, "iam", &format!("{form}&Version=2010-05-08")).unwrap();
    iam(&format!("Action=CreateUser&UserName={name}"));
    for (number, policy) in policies.iter().enumerate() {
        // As it is printed it is a policy at all.
        for (suffix, policy) in [("printed", policy), ("", &as_the_emulator_reads_it(policy))] {
            let document = policy.to_string();
            let document = utf8_percent_encode(&document, NON_ALPHANUMERIC);
            let make =
                format!("Action=CreatePolicy&PolicyName={name}{number}{suffix}&PolicyDocument={document}");
            let said = iam(&make);
            let arn = elements(&said, "Arn").pop().unwrap_or_else(|| panic!("{said}"));
            if suffix.is_empty() {
                let arn = utf8_percent_encode(&arn, NON_ALPHANUMERIC);
                iam(&format!("Action=AttachUserPolicy&UserName={name}&PolicyArn={arn}"));
            }
        }
    }
    let said = iam(&format!("Action=CreateAccessKey&UserName={name}"));
    let one = |element| elements(&said, element).pop().unwrap();
    (one("AccessKeyId"), one("SecretAccessKey"))
}

/// While this is there every call needs a right.
pub(crate) struct Enforced(SocketAddr);

impl Enforced {
    pub(crate) fn on(address: SocketAddr) -> Self {
        Self::after(address, "0");
        Self(address)
    }

    fn after(address: SocketAddr, calls: &str) {
        asked(address, "POST", "/moto-api/reset-auth", "content-type: text/plain\r\n", calls).unwrap();
    }
}

impl Drop for Enforced {
    fn drop(&mut self) {
        Self::after(self.0, "inf");
    }
}

pub(crate) async fn enough(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let address = fixture.emulator.address();
    let all = samples();
    let (id, secret) = user(address, "all", &AwsFactory::new().policies(&rights(&all)));
    let place = fixture.place_as((&id, &secret), all.clone()).await;
    {
        let _enforced = Enforced::on(address);
        let store = MemoryStore::new(OWNER);
        for stack in [wanted(&all, false), wanted(&all, true), wanted(&[], false)] {
            converge(&place, &store, &stack).await?;
        }
        let unknown = quotas::unknown(&place, &all).await?;
        if !unknown.is_empty() {
            return Err(format!("quotas that may not be asked: {unknown:?}").into());
        }
    }
    drop(place);

    // Those of one kind are enough for a stack of that kind: to look at the others is no part of them.
    let logs: Vec<_> = all.into_iter().filter(|sample| sample.kind.as_str() == "aws.log-group").collect();
    let (id, secret) = user(address, "logs", &AwsFactory::new().policies(&rights(&logs)));
    let place = fixture.place_as((&id, &secret), logs.clone()).await;
    {
        let _enforced = Enforced::on(address);
        let store = MemoryStore::new(OWNER);
        for stack in [wanted(&logs, false), wanted(&[], false)] {
            converge(&place, &store, &stack).await?;
        }
    }
    drop(place);

    // One less, and it is refused.
    let without = "logs:CreateLogGroup";
    let fewer: BTreeSet<_> = rights(&logs).into_iter().filter(|right| right.action != without).collect();
    let (id, secret) = user(address, "fewer", &AwsFactory::new().policies(&fewer));
    let place = fixture.place_as((&id, &secret), logs.clone()).await;
    let _enforced = Enforced::on(address);
    match converge(&place, &MemoryStore::new(OWNER), &wanted(&logs, false)).await {
        Err(why) if why.contains(without) && why.contains("Permission") => Ok(()),
        other => Err(format!("{without}: {other:?}").into()),
    }
}

/// The same for a database whose password RDS makes and keeps: other rights than one that is stored.
pub(crate) async fn enough_where_rds_keeps(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let address = fixture.emulator.address();
    let is_server = |kind: &str| kind == "aws.db-instance";
    let mut all = samples();
    let server = all.iter_mut().find(|sample| is_server(sample.kind.as_str())).unwrap();
    server.spec.as_object_mut().unwrap().remove("password");
    server.changed = None;
    let all = those(all, is_server);
    let rights = rights(&all);
    let whole = async |name: &str, rights: &BTreeSet<Permission>| {
        let (id, secret) = user(address, name, &AwsFactory::new().policies(rights));
        let place = fixture.place_as((&id, &secret), all.clone()).await;
        let made = {
            let _enforced = Enforced::on(address);
            let store = MemoryStore::new(OWNER);
            match converge(&place, &store, &wanted(&all, false)).await {
                Ok(_) => converge(&place, &store, &wanted(&[], false)).await.map(drop),
                Err(why) => Err(why),
            }
        };
        place.empty().await?;
        Ok::<_, Failed>(made)
    };
    whole("kept", &rights).await??;
    // The emulator knows no end of a rotation: such a call comes to it as a look at the secret.
    let needed = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"];
    for (name, without) in ["blind", "mute"].into_iter().zip(needed) {
        let fewer: BTreeSet<_> = rights.iter().filter(|right| right.action != without).cloned().collect();
        if fewer.len() == rights.len() {
            return Err(format!("{without} is not printed").into());
        }
        match whole(name, &fewer).await? {
            Err(why) if why.contains(without) && why.contains("Permission") => {}
            other => return Err(format!("{without}: {other:?}").into()),
        }
    }
    Ok(())
}
