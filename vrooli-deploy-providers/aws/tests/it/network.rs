//! What networks of EC2 have of their own: what is not known yet, what is still used, what takes time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libtest_mimic::Failed;
use serde_json::json;
use uuid::Uuid;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{Change, ErrorKind, OpToken, ProviderError};
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::fault_proxy::{Correction, Fault, Passing};
use vrooli_deploy_tests::moto::corrections::as_aws_takes_it;
use vrooli_deploy_tests::moto::wire::{action, refused};

use crate::fixture::{AwsFixture, AwsPlace, Made};
use crate::rig::{ec2, network};
use crate::samples::samples;

fn said(error: ProviderError) -> String {
    error.to_string()
}

/// The first calls of an action are refused.
fn refuse(place: &AwsPlace, what: &'static str, code: &'static str, times: u32) {
    let mut left = times;
    place.proxy.break_when(move |request| {
        let refuse = left > 0 && action(request) == what;
        left -= u32::from(refuse);
        refuse.then(|| Fault::Refused(refused(request, code, "the words of AWS", 400)))
    });
}

fn made_of<'a>(made: &'a [Made], kind: &str) -> &'a Made {
    made.iter().find(|(sample, ..)| sample.kind.as_str() == kind).unwrap()
}

/// AWS knows what was made just now a little later.
pub(crate) async fn not_known_yet(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let cases = [
        ("CreateSubnet", "InvalidVpcID.NotFound"),
        ("ModifyVpcAttribute", "InvalidVpcID.NotFound"),
        ("AttachInternetGateway", "InvalidInternetGatewayID.NotFound"),
        ("CreateNatGateway", "InvalidSubnetID.NotFound"),
        ("AssociateRouteTable", "InvalidRouteTableID.NotFound"),
        ("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound"),
    ];
    for (what, code) in cases {
        refuse(&place, what, code, 2);
    }
    let made = place.make_those(is_network).await.map_err(said)?;
    if place.proxy.broken() != 2 * cases.len() as u64 {
        return Err(format!("{} calls were refused", place.proxy.broken()).into());
    }
    let all = place.all().await.map_err(said)?;
    for (sample, id, spec) in &made {
        let (_, found) = all.iter().find(|(_, found)| found.id == *id).ok_or("it is not seen")?;
        let differs = place.provider.kind(&sample.kind).unwrap().diff(spec, &found.observed).unwrap();
        if differs != Change::None {
            return Err(format!("{}: {differs:?}", sample.kind).into());
        }
    }
    place.empty().await.map_err(Failed::from)
}

fn is_network(kind: &str) -> bool {
    let network = ["vpc", "subnet", "internet-gateway", "elastic-ip", "nat-gateway", "route-table"];
    let kind = kind.trim_start_matches("aws.");
    network.contains(&kind) || kind == "security-group"
}

/// What uses something may still be going away. What never goes is told in AWS's own words.
pub(crate) async fn still_used(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_those(is_network).await.map_err(said)?;
    let (vpc, id, _) = made_of(&made, "aws.vpc");
    let mut cx = place.cx();
    cx.deadline = Instant::now() + Duration::from_secs(1);
    let gone = place.provider.delete(&cx, &vpc.kind, &vpc.key, id).await;
    let error = gone.err().ok_or("a network that is used was deleted")?;
    if (error.kind(), error.code()) != (ErrorKind::Conflict, Some("DependencyViolation")) {
        return Err(format!("{:?}: {error}", error.kind()).into());
    }
    let cases = [
        ("DeleteSubnet", "DependencyViolation"),
        ("DeleteSecurityGroup", "DependencyViolation"),
        ("DetachInternetGateway", "DependencyViolation"),
        ("ReleaseAddress", "InvalidIPAddress.InUse"),
    ];
    let all = place.all().await.map_err(said)?;
    for (what, code) in cases {
        refuse(&place, what, code, 2);
    }
    for kind in [
        "aws.nat-gateway",
        "aws.route-table",
        "aws.security-group",
        "aws.internet-gateway",
        "aws.elastic-ip",
        "aws.subnet",
        "aws.vpc",
    ] {
        let (kind, found) = all.iter().find(|(other, _)| other.as_str() == kind).unwrap();
        let gone = place.provider.delete(&place.cx(), kind, &found.key, &found.id).await;
        gone.map_err(|error| format!("{kind}: {error}"))?;
    }
    if place.proxy.broken() != 2 * cases.len() as u64 {
        return Err(format!("{} calls were refused", place.proxy.broken()).into());
    }
    place.empty().await.map_err(Failed::from)
}

static PENDING: AtomicU32 = AtomicU32::new(0);

fn gateways_as(request: &Passing, body: Bytes, state: &str) -> Bytes {
    if !matches!(action(request).as_str(), "CreateNatGateway" | "DescribeNatGateways") {
        return body;
    }
    String::from_utf8_lossy(&body).replace("<state>available</state>", state).into_bytes().into()
}

fn three_times_pending(request: &Passing, body: Bytes) -> Bytes {
    let there = action(request) == "DescribeNatGateways" && String::from_utf8_lossy(&body).contains("nat-");
    if there && PENDING.fetch_add(1, Ordering::SeqCst) < 3 {
        return gateways_as(request, body, "<state>pending</state>");
    }
    body
}

/// It is waited for until it is there.
pub(crate) async fn nat_in_time(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    PENDING.store(0, Ordering::SeqCst);
    place.proxy.set_correction(Correction { request: as_aws_takes_it, answer: three_times_pending });
    let before = place.account.calls();
    place.make_those(is_network).await.map_err(said)?;
    let asked = place.account.calls()["ec2:DescribeNatGateways"];
    if PENDING.load(Ordering::SeqCst) < 4 || !before.is_empty() {
        return Err(format!("it was asked {asked} times only").into());
    }
    place.empty().await.map_err(Failed::from)
}

fn failed(request: &Passing, body: Bytes) -> Bytes {
    let failed = "<state>failed</state><failureCode>InsufficientFreeAddressesInSubnet</failureCode>\
                  <failureMessage>the subnet is full</failureMessage>";
    gateways_as(request, body, failed)
}

/// AWS shows it for an hour, and gives it back for the same token: the next try has another.
pub(crate) async fn nat_failed(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    place
        .make_those(|kind| is_network(kind) && !["aws.nat-gateway", "aws.route-table"].contains(&kind))
        .await
        .map_err(said)?;
    place.proxy.set_correction(Correction { request: as_aws_takes_it, answer: failed });
    let tokens = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&tokens);
    place.proxy.break_when(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let given = body.split('&').find_map(|field| field.strip_prefix("ClientToken="))?;
        seen.lock().unwrap().push(given.to_owned());
        None
    });
    let all = place.all().await.map_err(said)?;
    let outputs = place.outputs(all.iter().map(|(kind, found)| (kind, found))).map_err(said)?;
    let sample = samples().into_iter().find(|sample| sample.kind.as_str() == "aws.nat-gateway").unwrap();
    let spec = AwsPlace::known(&sample, &outputs);
    // Not the token of other trials: the emulator never forgets what they deleted.
    let own = OpToken::new(Uuid::from_u128(8), &sample.key, 1);
    let cx = place.cx().with_token(Some(own));
    let made = place.provider.create(&cx, &sample.kind, &sample.key, &spec).await;
    let error = made.err().ok_or("it was made although it failed")?;
    if error.code() != Some("InsufficientFreeAddressesInSubnet") || !error.message().contains("is full") {
        return Err(format!("{:?}: {error}", error.code()).into());
    }
    if !place.provider.find(&cx, &sample.kind, &sample.key, None).await.map_err(said)?.is_empty() {
        return Err("one that failed is seen".into());
    }
    // The emulator's has the address still.
    let again = place.provider.create(&cx, &sample.kind, &sample.key, &spec).await;
    let tokens = tokens.lock().unwrap().clone();
    if tokens != [format!("{}-0", own.0), format!("{}-1", own.0)] || again.is_ok() {
        return Err(format!("{tokens:?}, then {again:?}").into());
    }
    place.proxy.set_correction(Correction { request: as_aws_takes_it, answer: |_, body| body });
    place.empty().await.map_err(Failed::from)
}

/// A subnet that follows a table of the stack is given to another, without a moment in between.
pub(crate) async fn another_table(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_those(is_network).await.map_err(said)?;
    let (first, id, spec) = made_of(&made, "aws.route-table");
    let key = ResourceKey::new("network/routes-other").unwrap();
    let second = Sample { key, spec: spec.clone(), ..first.clone() };
    let other = place.make(&second, spec).await.map_err(said)?;
    let subnets = async |sample: &Sample, id| {
        let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(id)).await;
        let found = found.map_err(said)?.pop().ok_or("it is gone")?;
        Ok::<_, String>(found.observed.get("subnets").cloned())
    };
    let (before, after) = (subnets(first, id).await?, subnets(&second, &other).await?);
    if before.is_some() || after != Some(spec["subnets"].clone()) {
        return Err(format!("{before:?} and {after:?}").into());
    }
    let calls = place.account.calls();
    if calls.get("ec2:ReplaceRouteTableAssociation") != Some(&1) || calls["ec2:AssociateRouteTable"] != 1 {
        return Err(format!("{calls:?}").into());
    }
    // Both ways out at once are refused before any call.
    let (mut both, before) = (spec.clone(), place.proxy.requests());
    both["nat_gateway"] = json!("nat-1");
    let refused = place.make(&second, &both).await.err().ok_or("it has two ways out")?;
    if refused.kind() != ErrorKind::Unsupported || place.proxy.requests() != before {
        return Err(format!("{:?}: {refused}", refused.kind()).into());
    }
    place.empty().await.map_err(Failed::from)
}

/// Another hand detached it: that is a change, and no reason to make another.
pub(crate) async fn detached(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_those(is_network).await.map_err(said)?;
    let (sample, id, spec) = made_of(&made, "aws.internet-gateway");
    let (plain, vpc) = (id.0.rsplit('/').next().unwrap(), spec["vpc"].as_str().unwrap());
    ec2(
        fixture.emulator.address(),
        &format!("Action=DetachInternetGateway&InternetGatewayId={plain}&VpcId={vpc}"),
    );
    let seen = async || {
        let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(id)).await;
        Ok::<_, String>(found.map_err(said)?.pop().ok_or("it is gone")?.observed)
    };
    let pure = place.provider.kind(&sample.kind).unwrap();
    let have = seen().await?;
    let differs = pure.diff(spec, &have).unwrap();
    if differs != Change::InPlace(vec!["vpc".to_owned()]) {
        return Err(format!("{differs:?}").into());
    }
    let changed = place.provider.update(&place.cx(), &sample.kind, &sample.key, id, &have, spec).await;
    changed.map_err(said)?;
    let left = pure.diff(spec, &seen().await?).unwrap();
    if left != Change::None {
        return Err(format!("{left:?}").into());
    }
    place.empty().await.map_err(Failed::from)
}

/// A range of addresses that another has is refused in AWS's own words, and nothing is taken over.
pub(crate) async fn taken_range(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let sample = samples().into_iter().find(|sample| sample.kind.as_str() == "aws.subnet").unwrap();
    let mut spec = sample.spec.clone();
    spec["vpc"] = network().vpc.as_str().into();
    spec["cidr"] = network().range.as_str().into();
    let error = place.make(&sample, &spec).await.err().ok_or("a range was taken over")?;
    if (error.kind(), error.code()) != (ErrorKind::Conflict, Some("InvalidSubnet.Conflict")) {
        return Err(format!("{:?}: {error}", error.kind()).into());
    }
    if !place.all().await.map_err(said)?.is_empty() {
        return Err("what another made is seen".into());
    }
    place.empty().await.map_err(Failed::from)
}
