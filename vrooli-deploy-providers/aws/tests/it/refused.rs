//! What is refused, and that it is named as what it is.

use std::sync::Arc;

use libtest_mimic::Failed;
use serde_json::json;
use uuid::Uuid;
use vrooli_deploy_core::engine::StackState;
use vrooli_deploy_core::names::ResourceKind;
use vrooli_deploy_core::plan::{Inventory, PlanError, ResourceInput, ResourceOptions, resources};
use vrooli_deploy_core::provider::{ErrorKind, Retryability, Scope};
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::fault_proxy::Fault;
use vrooli_deploy_tests::moto::wire::{changes, refused};

use crate::fixture::{AwsFixture, OWNER, account, context, stack, token};
use crate::rig::network;
use crate::samples::{lone, samples};

const NAMED: &[&str] = &[
    "aws.alarm",
    "aws.auto-scaling-group",
    "aws.budget",
    "aws.cache",
    "aws.cache-subnet-group",
    "aws.dashboard",
    "aws.db-instance",
    "aws.db-parameter-group",
    "aws.db-subnet-group",
    "aws.ecr-repository",
    "aws.ecs-cluster",
    "aws.ecs-service",
    "aws.iam-role",
    "aws.kms-key",
    "aws.launch-template",
    "aws.load-balancer",
    "aws.log-group",
    "aws.secret",
    "aws.security-group",
    "aws.target-group",
    "aws.task-definition",
];

/// Samples of kinds with names of their own. AWS keeps the names of deleted secrets: each trial has
/// another.
fn named(trial: &'static str) -> impl Iterator<Item = Sample> {
    samples().into_iter().filter(|sample| NAMED.contains(&sample.kind.as_str())).map(move |mut sample| {
        match sample.kind.as_str() {
            "aws.secret" => sample.spec["name"] = format!("{trial}/password").into(),
            "aws.ecs-service" => {
                sample.spec["cluster"] = network().elsewhere.into();
                sample.spec["idle"] = network().elsewhere.into();
            }
            "aws.auto-scaling-group" => sample.spec["launch_template"] = network().template.as_str().into(),
            "aws.security-group" => sample.spec["vpc"] = network().vpc.as_str().into(),
            _ => {}
        }
        // What it stands on is nobody's here.
        if sample.spec.get("kms_key").is_some() {
            sample.spec["kms_key"] = network().key.as_str().into();
        }
        if sample.kind.as_str() == "aws.db-instance" {
            let network = network();
            sample.spec["subnet_group"] = network.elsewhere.into();
            sample.spec["parameter_group"] = network.elsewhere.into();
            sample.spec["password"] = network.secret.as_str().into();
        }
        if sample.kind.as_str() == "aws.cache" {
            sample.spec["subnet_group"] = network().elsewhere.into();
            sample.spec["password"] = network().secret.as_str().into();
        }
        sample
    })
}

/// What another stack of the same account made is not taken over.
pub(crate) async fn taken_names(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let other = context("another", OWNER);
    for sample in named("taken") {
        let cx = other.clone().with_token(Some(token(&sample.key)));
        let theirs = place.provider.create(&cx, &sample.kind, &sample.key, &sample.spec).await;
        theirs.map_err(|error| format!("{}: {error}", sample.kind))?;
        let Err(error) = place.make(&sample, &sample.spec).await else {
            return Err(format!("{} was taken over", sample.kind).into());
        };
        if (error.kind(), error.code()) != (ErrorKind::AlreadyExists, Some("VD1005")) {
            return Err(format!("{}: {:?} {error}", sample.kind, error.kind()).into());
        }
    }
    if !place.all().await.map_err(|error| error.to_string())?.is_empty() {
        return Err("what another stack made is seen".into());
    }
    take_away(&place, &other).await
}

/// A port of a load balancer, or a priority of a listener, that this stack has is not another's.
pub(crate) async fn taken_places(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_all().await.map_err(|error| error.to_string())?;
    let other = context("another", OWNER);
    for kind in ["aws.listener", "aws.listener-rule"] {
        let (sample, _, spec) = made.iter().find(|(sample, ..)| sample.kind.as_str() == kind).unwrap();
        let cx = other.clone().with_token(Some(token(&sample.key)));
        match place.provider.create(&cx, &sample.kind, &sample.key, spec).await {
            Err(error) if error.code() == Some("VD1005") => {}
            other => return Err(format!("{kind}: {other:?}").into()),
        }
    }
    place.empty().await.map_err(Failed::from)
}

/// The same stack of another state is not us.
pub(crate) async fn another_state(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let other = context("conformance", Uuid::from_u128(2));
    for sample in named("another-state") {
        let cx = other.clone().with_token(Some(token(&sample.key)));
        let theirs = place.provider.create(&cx, &sample.kind, &sample.key, &sample.spec).await;
        theirs.map_err(|error| format!("{}: {error}", sample.kind))?;
        let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, None).await;
        if !found.map_err(|error| error.to_string())?.is_empty() {
            return Err(format!("{} of another state is found", sample.kind).into());
        }
        if place.make(&sample, &sample.spec).await.is_ok() {
            return Err(format!("{} of another state was taken over", sample.kind).into());
        }
    }
    take_away(&place, &other).await
}

async fn take_away(
    place: &crate::fixture::AwsPlace,
    cx: &vrooli_deploy_core::provider::OpCtx,
) -> Result<(), Failed> {
    let scope = Scope { stack: cx.stack.clone(), page: None };
    let all = place.provider.inventory(cx, &scope).await.map_err(|error| error.to_string())?;
    for (kind, found) in &all {
        let gone = place.provider.delete(cx, kind, &found.key, &found.id).await;
        gone.map_err(|error| error.to_string())?;
    }
    let left = place.provider.inventory(cx, &scope).await.map_err(|error| error.to_string())?;
    if all.len() == NAMED.len() && left.is_empty() {
        return Ok(());
    }
    Err(format!("{} were seen, {} are left", all.len(), left.len()).into())
}

/// AWS's own code, words and request id, and what kind of failure that is.
pub(crate) async fn named_as_what_they_are(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    const CASES: &[(&str, u16, ErrorKind, Retryability)] = &[
        ("UnrecognizedClientException", 400, ErrorKind::Auth, Retryability::Never),
        ("ExpiredTokenException", 400, ErrorKind::Auth, Retryability::Never),
        ("AccessDeniedException", 400, ErrorKind::Permission, Retryability::Never),
        ("LimitExceededException", 400, ErrorKind::Quota, Retryability::Never),
        ("ThrottlingException", 400, ErrorKind::RateLimited, Retryability::Safe),
        ("InternalFailure", 500, ErrorKind::Ambiguous, Retryability::LookUpFirst),
        ("OperationAborted", 409, ErrorKind::Conflict, Retryability::Safe),
    ];
    let place = fixture.place().await;
    // One of each protocol.
    let kinds = [
        "aws.bucket",
        "aws.cache-subnet-group",
        "aws.db-subnet-group",
        "aws.distribution",
        "aws.hosted-zone",
        "aws.iam-role",
        "aws.log-group",
        "aws.vpc",
    ];
    for kind in kinds {
        let mut sample = lone(kind);
        if kind == "aws.distribution" {
            sample.spec["origin"] = "a.example.com".into();
        }
        for (code, status, expected, retry) in CASES.iter().copied() {
            place.proxy.break_when(move |request| {
                let words = format!("the words of {code}");
                changes(request).then(|| Fault::Refused(refused(request, code, &words, status)))
            });
            let cx = place.cx().with_token(Some(token(&sample.key)));
            let made = place.provider.create(&cx, &sample.kind, &sample.key, &sample.spec).await;
            let error = made.err().ok_or(format!("{kind}: {code} was passed over"))?;
            place.proxy.mend();
            let holds = (error.kind(), error.retry()) == (expected, retry)
                && error.code() == Some(code)
                && error.message().contains("the words of")
                && error.request_id() == Some("broken-on-the-way");
            if !holds {
                return Err(format!(
                    "{kind}: {code} is {:?}, {:?}, {:?}: {error}",
                    error.kind(),
                    error.retry(),
                    error.request_id()
                )
                .into());
            }
        }
    }
    // Nothing listens: it certainly did not happen, whatever it was.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let provider =
        vrooli_deploy_provider_aws::native::provider(&Arc::new(account(&format!("http://{nowhere}"))));
    let sample = lone("aws.log-group");
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let made = provider.create(&cx, &sample.kind, &sample.key, &sample.spec).await;
    let error = made.err().ok_or("it was made nowhere")?;
    if (error.kind(), error.retry()) != (ErrorKind::Unavailable, Retryability::Safe) {
        return Err(format!("{:?}: {error}", error.kind()).into());
    }
    place.empty().await.map_err(Failed::from)
}

/// A stack is refused as a whole, and every kind that is in the way is named.
pub(crate) async fn kinds(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let resource = |kind: &str| json!({ "kind": kind, "spec": {} });
    let wanted: Stack = serde_json::from_value(json!({
        "id": stack("conformance"),
        "resources": {
            "volume/copies": resource("aws.snapshot-policy"), "orders/stream": resource("aws.stream"),
            "compute/cluster": resource("aws.ecs-cluster")
        }
    }))
    .unwrap();
    let input = ResourceInput {
        stack: &wanted,
        state: &StackState::default(),
        inventory: &Inventory::seen([]),
        incarnation: Uuid::nil(),
        provider: &*place.provider,
        options: &ResourceOptions::default(),
    };
    let Err(PlanError::Kinds { kinds, source }) = resources(&input) else {
        return Err("it is planned".into());
    };
    let kinds: Vec<&str> = kinds.iter().map(ResourceKind::as_str).collect();
    if kinds != ["aws.snapshot-policy", "aws.stream"]
        || source.code() != Some("VD1000")
        || place.proxy.requests() > 0
    {
        return Err(format!("{kinds:?}: {source}").into());
    }
    Ok(())
}
