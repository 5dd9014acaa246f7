//! What looking costs, and that it sees what a killed run left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use vrooli_deploy_core::provider::{Change, PhysicalId, Retryability, Scope};
use vrooli_deploy_provider_aws::native::provider;
use vrooli_deploy_tests::fault_proxy::Fault;
use vrooli_deploy_tests::moto::wire::action;
use vrooli_deploy_tests::moto::{elements, get};

use crate::fixture::{AwsFixture, AwsPlace, account_that_knows};
use crate::keys;
use crate::samples::lone;

/// Calls that AWS has for one object only, of kinds that a stack has one or two of.
const ONE_AT_A_TIME: &[&str] = &[
    "application-autoscaling:DescribeScalingPolicies",
    "acm:DescribeCertificate",
    "budgets:ListTagsForResource",
    "budgets:ViewBudget",
    "cloudwatch:GetDashboard",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeVpcAttribute",
    "ecs:DescribeTaskDefinition",
    "ecr:GetLifecyclePolicy",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "rds:DescribeDBParameters",
    "route53:GetHostedZone",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketVersioning",
    "s3:GetLifecycleConfiguration",
];

pub(crate) async fn one_call_a_kind(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_all().await.map_err(|error| error.to_string())?;
    let before = place.account.calls();
    // As far away as AWS may be: kinds that begin later share what was looked up first.
    place.proxy.set_latency(Duration::from_millis(900));
    let all = place.all().await.map_err(|error| error.to_string())?;
    place.proxy.set_latency(Duration::ZERO);
    let calls: BTreeMap<&str, u64> = place
        .account
        .calls()
        .into_iter()
        .map(|(action, count)| (action, count - before.get(action).copied().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    if all.len() != made.len() {
        return Err(format!("{} of {} are seen", all.len(), made.len()).into());
    }
    for (sample, id, spec) in &made {
        let (_, found) = all.iter().find(|(_, found)| found.id == *id).unwrap();
        let differs = place.provider.kind(&sample.kind).unwrap().diff(spec, &found.observed).unwrap();
        if differs != Change::None {
            return Err(format!("{} differs: {differs:?}", sample.kind).into());
        }
    }
    let waiting = keys::waiting(&fixture);
    for (call, count) in &calls {
        let most = match *call {
            // Listeners and rules are asked whose they are, each kind for itself.
            "elasticloadbalancing:DescribeTags" => 2,
            // The budget, its alerts, and of each of three whom it tells: one right for all.
            "budgets:ViewBudget" => 5,
            // Those that trials before this one deleted.
            "kms:DescribeKey" | "kms:GetKeyRotationStatus" => 1 + waiting,
            _ => 1,
        };
        if *count > most {
            return Err(format!("{count} × {call}: {calls:?}").into());
        }
    }
    let own: Vec<_> = calls.keys().filter(|call| ONE_AT_A_TIME.contains(call)).collect();
    if own.len() != ONE_AT_A_TIME.len() || calls.get("tag:GetResources") != Some(&1) {
        return Err(format!("{calls:?}").into());
    }
    place.empty().await.map_err(Failed::from)
}

/// What the state calls its resources is asked at once, and believed in nothing: ids that are right save no call
/// and cost none, and with others all is seen that there is.
pub(crate) async fn hints(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let said = |error: vrooli_deploy_core::provider::ProviderError| error.to_string();
    let made = place.make_all().await.map_err(said)?;
    // Which account it is every command asks once, and the first of these has asked already.
    let counted = |calls: BTreeMap<&str, u64>| {
        calls
            .iter()
            .filter(|(call, _)| **call != "sts:GetCallerIdentity")
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    let before = counted(place.account.calls());
    let plain = place.all().await.map_err(said)?;
    let plainly = counted(place.account.calls()) - before;
    let right: BTreeMap<_, _> = made.iter().map(|(one, id, _)| (one.key.clone(), id.clone())).collect();
    // An object of the same sort that is not there.
    let gone = |id: &PhysicalId| PhysicalId(format!("{}0", id.0));
    let wrong = right.iter().map(|(key, id)| (key.clone(), gone(id))).collect();
    for (ids, most) in [(right, plainly), (wrong, plainly * 2)] {
        let account = Arc::new(account_that_knows(&place.proxy.url(), ids));
        let scope = Scope { stack: place.cx().stack, page: None };
        let all = provider(&account).inventory(&place.cx(), &scope).await.map_err(said)?;
        if all != plain {
            return Err(format!("{all:?} is not {plain:?}").into());
        }
        if counted(account.calls()) > most {
            return Err(format!(
                "{} calls instead of {plainly}: {:?}",
                counted(account.calls()),
                account.calls()
            )
            .into());
        }
    }
    place.empty().await.map_err(Failed::from)
}

/// A run that dies between a create and its tags leaves an object that only its name tells.
pub(crate) async fn unmarked(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    for kind in ["aws.bucket", "aws.hosted-zone"] {
        let sample = lone(kind);
        place.proxy.break_when(|request| {
            let action = action(request);
            (action.ends_with("?tagging") || action.starts_with("POST /2013-04-01/tags/hostedzone/"))
                .then_some(Fault::NeverArrives)
        });
        let cx = place.cx().with_token(Some(crate::fixture::token(&sample.key)));
        let made = place.provider.create(&cx, &sample.kind, &sample.key, &sample.spec).await;
        let error = made.err().ok_or(format!("{kind} was made without its tags"))?;
        if error.retry() != Retryability::LookUpFirst {
            return Err(format!("{kind}: {error}: {:?}", error.retry()).into());
        }
        // Reading tags is no change of them.
        place.proxy.mend();
        let all = place.all().await.map_err(|error| error.to_string())?;
        let Some((_, found)) = all.iter().find(|(_, found)| found.key == sample.key) else {
            return Err(format!("{kind} is not seen").into());
        };
        let id = place.make(&sample, &sample.spec).await.map_err(|error| error.to_string())?;
        if id != found.id {
            return Err(format!("{kind}: {} and {id}", found.id).into());
        }
    }
    let all = place.all().await.map_err(|error| error.to_string())?;
    if all.len() != 2 {
        return Err(format!("{} objects", all.len()).into());
    }
    place.empty().await.map_err(Failed::from)
}

/// A run that dies between a certificate and its proof leaves one that is never issued: whoever goes
/// on completes it, and a plan from the inventory does, too.
pub(crate) async fn unproved(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let said = |error: vrooli_deploy_core::provider::ProviderError| error.to_string();
    place.make_those(|kind| kind == "aws.hosted-zone").await.map_err(said)?;
    let all = place.all().await.map_err(said)?;
    let outputs = place.outputs(all.iter().map(|(kind, found)| (kind, found))).map_err(said)?;
    let sample = lone("aws.certificate");
    let spec = AwsPlace::known(&sample, &outputs);
    let zone = spec["zone"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let proofs = || {
        let path = format!("/2013-04-01/hostedzone/{zone}/rrset");
        let said = get(fixture.emulator.address(), "route53", &path).unwrap();
        elements(&said, "Type").iter().filter(|kind| *kind == "CNAME").count()
    };
    place.proxy.break_when(|request| {
        let is_proof = request.method == "POST" && request.path.contains("/rrset");
        is_proof.then_some(Fault::NeverArrives)
    });
    let cx = place.cx().with_token(Some(crate::fixture::token(&sample.key)));
    let made = place.provider.create(&cx, &sample.kind, &sample.key, &spec).await;
    let error = made.err().ok_or("it was made without its proof")?;
    place.proxy.mend();
    if error.retry() != Retryability::LookUpFirst || proofs() != 0 {
        return Err(format!("{error}: {:?}, {} proofs", error.retry(), proofs()).into());
    }
    let found = place.provider.find(&cx, &sample.kind, &sample.key, None).await.map_err(said)?;
    let all = place.all().await.map_err(said)?;
    let listed = all.into_iter().find(|(kind, _)| *kind == sample.kind).map(|(_, half)| half);
    let (Some(half), Some(listed)) = (found.into_iter().next(), listed) else {
        return Err("half a certificate is not seen".into());
    };
    if half != listed {
        return Err(format!("{half:?} is not {listed:?}").into());
    }
    let pure = place.provider.kind(&sample.kind).unwrap();
    if pure.diff(&spec, &half.observed).unwrap() != Change::InPlace(vec!["proof".to_owned()]) {
        return Err(format!("{:?}", pure.diff(&spec, &half.observed)).into());
    }
    let update = place.provider.update(&cx, &sample.kind, &sample.key, &half.id, &half.observed, &spec);
    update.await.map_err(said)?;
    let id = place.make(&sample, &spec).await.map_err(said)?;
    // A name and another one: each has a proof of its own.
    if id != half.id || proofs() != 2 {
        return Err(format!("{id} is not {}, or has {} proofs", half.id, proofs()).into());
    }
    place.empty().await.map_err(Failed::from)
}

/// AWS keeps a deleted secret and its name for days.
pub(crate) async fn brought_back(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let sample = lone("aws.secret");
    let said = |error: vrooli_deploy_core::provider::ProviderError| error.to_string();
    let id = place.make(&sample, &sample.spec).await.map_err(said)?;
    place.empty().await?;
    let again = place.make(&sample, &sample.spec).await.map_err(said)?;
    if id != again || place.all().await.map_err(said)?.len() != 1 {
        return Err(format!("{id} and {again}").into());
    }
    place.empty().await.map_err(Failed::from)
}
