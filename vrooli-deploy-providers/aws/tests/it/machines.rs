//! What machines of EC2 have of their own: what takes time, what fails late, what is gone and still seen.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use uuid::Uuid;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::names::ResourceKind;
use vrooli_deploy_core::plan::{Step, StepAction};
use vrooli_deploy_core::provider::{Change, ErrorKind, Found, OpToken, ProviderError};
use vrooli_deploy_core::workspace::{RebuiltHow, Run};
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::fault_proxy::{Fault, Passing};
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::wire::{action, refused};

use crate::desk::{self, Desk};
use crate::fixture::{AwsFixture, AwsPlace, Made};
use crate::rig::ec2;
use crate::samples::samples;

fn said(error: ProviderError) -> String {
    error.to_string()
}

fn is_machine(kind: &str) -> bool {
    ["aws.elastic-ip", "aws.instance", "aws.launch-template", "aws.auto-scaling-group", "aws.volume"]
        .contains(&kind)
}

fn made_of<'a>(made: &'a [Made], kind: &str) -> &'a Made {
    made.iter().find(|(sample, ..)| sample.kind.as_str() == kind).unwrap()
}

fn plain(id: &str) -> &str {
    id.rsplit('/').next().unwrap()
}

async fn seen(place: &AwsPlace, (sample, id, _): &Made) -> Result<Found<Value>, String> {
    let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(id)).await;
    found.map_err(said)?.pop().ok_or_else(|| format!("{} is gone", sample.kind))
}

/// Nothing differs from what was wanted, and everything goes.
async fn as_wanted(place: &AwsPlace, made: &[Made]) -> Result<(), Failed> {
    for one in made {
        let found = seen(place, one).await?;
        let differs = place.provider.kind(&one.0.kind).unwrap().diff(&one.2, &found.observed).unwrap();
        if differs != Change::None {
            return Err(format!("{}: {differs:?}", one.0.kind).into());
        }
    }
    place.empty().await.map_err(Failed::from)
}

/// AWS knows what was made just now a little later, and says so in more than one way.
pub(crate) async fn not_known_yet(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let profile =
        "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name";
    let cases = [
        ("RunInstances", "InvalidParameterValue", profile),
        ("RunInstances", "InvalidSubnetID.NotFound", "the words of AWS"),
        ("CreateAutoScalingGroup", "ValidationError", profile),
        ("AttachVolume", "InvalidVolume.NotFound", "the words of AWS"),
        ("AssociateAddress", "InvalidInstanceID.NotFound", "the words of AWS"),
    ];
    for (what, code, words) in cases {
        let mut left = 2;
        place.proxy.break_when(move |request| {
            let refuse = left > 0 && action(request) == what;
            left -= u32::from(refuse);
            refuse.then(|| Fault::Refused(refused(request, code, words, 400)))
        });
    }
    let made = place.make_those(is_machine).await.map_err(said)?;
    if place.proxy.broken() != 2 * cases.len() as u64 {
        return Err(format!("{} calls were refused", place.proxy.broken()).into());
    }
    as_wanted(&place, &made).await
}

/// Everything takes its time, coming and going: it is waited for, and nothing is asked of it meanwhile.
pub(crate) async fn in_time(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let (machines, disks, groups) = (AtomicU32::new(3), AtomicU32::new(3), AtomicU32::new(0));
    let (machines, disks, groups) = (Arc::new(machines), Arc::new(disks), Arc::new(groups));
    let (left, going) = ((Arc::clone(&machines), Arc::clone(&disks)), Arc::clone(&groups));
    let count = |left: &AtomicU32| {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    };
    let deleted = Arc::new(Mutex::new(None::<Bytes>));
    place.proxy.set_play(move |request, body| {
        let text = String::from_utf8_lossy(&body).into_owned();
        match action(request).as_str() {
            // Looks at one, not listings.
            "DescribeInstances" if is_one(request, "InstanceId") && count(&left.0) => {
                let (now, then) =
                    ("<code>16</code><name>running</name>", "<code>0</code><name>pending</name>");
                text.replace(now, then).replace("<name>running</name>", "<name>pending</name>").into()
            }
            "DescribeVolumes" if is_one(request, "VolumeId") && count(&left.1) => {
                text.replace("<status>available</status>", "<status>creating</status>").into()
            }
            // A group that was deleted is told for a while.
            "DescribeAutoScalingGroups" => {
                let mut last = deleted.lock().unwrap();
                if text.contains("<AutoScalingGroupARN>") {
                    *last = Some(body.clone());
                    return body;
                }
                match &*last {
                    Some(last) if count(&going) => {
                        let end = "</AutoScalingGroupName>";
                        let status = format!("{end}<Status>Delete in progress</Status>");
                        String::from_utf8_lossy(last).replacen(end, &status, 1).into()
                    }
                    _ => body,
                }
            }
            _ => body,
        }
    });
    let made = place.make_those(is_machine).await.map_err(said)?;
    let left = (machines.load(Ordering::SeqCst), disks.load(Ordering::SeqCst));
    if left != (0, 0) {
        return Err(format!("not waited for: {left:?}").into());
    }
    let (sample, id, _) = made_of(&made, "aws.auto-scaling-group");
    groups.store(3, Ordering::SeqCst);
    place.provider.delete(&place.cx(), &sample.kind, &sample.key, id).await.map_err(said)?;
    if groups.load(Ordering::SeqCst) != 0 {
        return Err("a group that goes away was not waited for".into());
    }
    place.empty().await.map_err(Failed::from)
}

/// Is it asked by its id?
fn is_one(request: &Passing, by: &str) -> bool {
    String::from_utf8_lossy(&request.body).contains(&format!("{by}.1="))
}

/// Writes down the tokens that machines are made with, until the proxy is mended.
fn keep_tokens(place: &AwsPlace, tokens: &Arc<Mutex<Vec<String>>>) {
    let tokens = Arc::clone(tokens);
    place.proxy.break_when(move |request| {
        if action(request) == "RunInstances" {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let token = body.split('&').find_map(|field| field.strip_prefix("ClientToken="))?;
            tokens.lock().unwrap().push(token.to_owned());
        }
        None
    });
}

/// One that ended by itself is none: AWS's reason is told. It is seen for an hour and has used its token,
/// so the next try has another.
pub(crate) async fn ended(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let mut sample = of_kind("aws.instance");
    sample.spec["elastic_ip"] = Value::Null;
    let tokens = Arc::<Mutex<Vec<String>>>::default();
    keep_tokens(&place, &tokens);
    place.proxy.set_play(|request, body| {
        if action(request) != "DescribeInstances" {
            return body;
        }
        let said = String::from_utf8_lossy(&body).replace("<name>running</name>", "<name>terminated</name>");
        let reason = "<stateReason><code>Client.VolumeLimitExceeded</code><message>no more room for disks</message></stateReason>";
        said.replace("<stateReason><code/><message/></stateReason>", reason).into()
    });
    // Not the token of other trials: the emulator shows for ever what they ended.
    let own = OpToken::new(Uuid::from_u128(9), &sample.key, 1);
    let cx = place.cx().with_token(Some(own));
    let made = place.provider.create(&cx, &sample.kind, &sample.key, &sample.spec).await;
    let error = made.err().ok_or("it was made although it ended")?;
    if error.code() != Some("Client.VolumeLimitExceeded") || !error.message().contains("no more room") {
        return Err(format!("{:?}: {error}", error.code()).into());
    }
    if !place.provider.find(&cx, &sample.kind, &sample.key, None).await.map_err(said)?.is_empty() {
        return Err("one that ended is seen".into());
    }
    place.proxy.set_play(|_, body| body);
    // The emulator's runs in truth.
    place.empty().await?;
    keep_tokens(&place, &tokens);
    place.provider.create(&cx, &sample.kind, &sample.key, &sample.spec).await.map_err(said)?;
    let tokens = tokens.lock().unwrap().clone();
    if tokens != [format!("{}-0", own.0), format!("{}-1", own.0)] {
        return Err(format!("{tokens:?}").into());
    }
    place.empty().await.map_err(Failed::from)
}

fn of_kind(kind: &str) -> Sample {
    samples().into_iter().find(|sample| sample.kind.as_str() == kind).unwrap()
}

/// A run that ended while a machine was switched off for another size left it so: that is a change.
pub(crate) async fn left_switched_off(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_those(is_machine).await.map_err(said)?;
    let one = made_of(&made, "aws.instance");
    let (sample, id, spec) = one;
    let mut want = spec.clone();
    want["instance_type"] = "t3.medium".into();
    place.proxy.break_when(|request| (action(request) == "StartInstances").then_some(Fault::NeverArrives));
    let have = seen(&place, one).await?.observed;
    let changed = place.provider.update(&place.cx(), &sample.kind, &sample.key, id, &have, &want).await;
    if changed.is_ok() {
        return Err("it was never switched on".into());
    }
    place.proxy.mend();
    let pure = place.provider.kind(&sample.kind).unwrap();
    let have = seen(&place, one).await?.observed;
    if pure.diff(&want, &have).unwrap() != Change::InPlace(vec!["stopped".to_owned()]) {
        return Err(format!("{:?}", pure.diff(&want, &have)).into());
    }
    let changed = place.provider.update(&place.cx(), &sample.kind, &sample.key, id, &have, &want).await;
    changed.map_err(said)?;
    let have = seen(&place, one).await?.observed;
    if pure.diff(&want, &have).unwrap() != Change::None {
        return Err(format!("{have:?}").into());
    }
    place.empty().await.map_err(Failed::from)
}

/// A version that a killed run made is used: the same change makes no second one.
pub(crate) async fn version_left(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_those(|kind| kind == "aws.launch-template").await.map_err(said)?;
    let one = made_of(&made, "aws.launch-template");
    let (sample, id, spec) = one;
    let mut want = spec.clone();
    want["disk_gib"] = json!(30);
    let have = seen(&place, one).await?.observed;
    place
        .proxy
        .break_when(|request| (action(request) == "ModifyLaunchTemplate").then_some(Fault::NeverArrives));
    let changed = place.provider.update(&place.cx(), &sample.kind, &sample.key, id, &have, &want).await;
    if changed.is_ok() || seen(&place, one).await?.observed != have {
        return Err("machines are made of a version that nobody said they should be made of".into());
    }
    place.proxy.mend();
    let changed = place.provider.update(&place.cx(), &sample.kind, &sample.key, id, &have, &want).await;
    changed.map_err(said)?;
    let form = format!("Action=DescribeLaunchTemplateVersions&LaunchTemplateId={}", plain(&id.0));
    let versions = crate::rig::ids(&ec2(fixture.emulator.address(), &form), "versionNumber");
    let now = seen(&place, one).await?.observed;
    if versions.len() != 2 || now["disk_gib"] != json!(30) {
        return Err(format!("{versions:?}: {now}").into());
    }
    place.empty().await.map_err(Failed::from)
}

/// A disk that a machine does not let go of is told as that, and stays.
pub(crate) async fn not_let_go(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_those(is_machine).await.map_err(said)?;
    let (sample, id, _) = made_of(&made, "aws.volume");
    place.proxy.set_play(|request, body| {
        if action(request) != "DescribeVolumes" {
            return body;
        }
        let said = String::from_utf8_lossy(&body).into_owned();
        said.replace("<status>attached</status>", "<status>busy</status>").into()
    });
    let mut cx = place.cx();
    cx.deadline = std::time::Instant::now() + std::time::Duration::from_secs(2);
    let gone = place.provider.delete(&cx, &sample.kind, &sample.key, id).await;
    let error = gone.err().ok_or("it was taken from a machine that uses it")?;
    place.proxy.set_play(|_, body| body);
    if !matches!(error.kind(), ErrorKind::Ambiguous | ErrorKind::Timeout | ErrorKind::Conflict) {
        return Err(format!("{:?}: {error}", error.kind()).into());
    }
    as_wanted(&place, &made).await
}

/// What `--infra-only` makes of compute `ec2`, and that nothing is left of it.
pub(crate) async fn infra_only(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let take = || Census::take(fixture.emulator.address()).map_err(desk::said);
    let fresh = take()?;
    let forms = [
        ("machines", "machines.yaml", ["aws.launch-template", "aws.load-balancer"]),
        ("machine", "machine.yaml", ["aws.elastic-ip", "aws.instance"]),
    ];
    for (app, values, kinds) in forms {
        let desk = Desk::new(&place.proxy.url(), app, values).await;
        let plan = desk.workspace.plan(&desk.target, &desk.deploy).await.map_err(desk::said)?.plan;
        let kind = |step: &Step| match &step.action {
            StepAction::Create { kind, .. } => Some(kind.clone()),
            _ => None,
        };
        let planned: Vec<ResourceKind> = plan.steps.iter().filter_map(kind).collect();
        if kinds.iter().any(|kind| !planned.iter().any(|one| one.as_str() == *kind)) {
            return Err(format!("{app}: {planned:?}").into());
        }
        let made = desk.deploy().await.map_err(desk::said)?.outcome;
        if made.kind != OutcomeKind::Applied {
            return Err(format!("{app}: {made:?}").into());
        }
        let drift = desk.workspace.drift(desk.stack()).await.map_err(desk::said)?;
        if desk.steps().await.map_err(desk::said)? != 0 || !drift.differences.is_empty() {
            return Err(format!("{app}: {:?}", drift.differences).into());
        }
        let desk = rebuilt(&place, (app, values), kinds[1]).await?;
        desk.destroy().await?;
        let difference = take()?.against(&fresh);
        if !difference.is_none() {
            return Err(format!("{app}: {difference:?}").into());
        }
    }
    Ok(())
}

/// The same stack, whose state was lost: its machines are orphans that can be read, and ours again when the
/// state is built anew.
async fn rebuilt(place: &AwsPlace, (app, values): (&str, &str), kind: &str) -> Result<Desk, Failed> {
    let desk = Desk::new(&place.proxy.url(), app, values).await;
    let orphans = desk.workspace.orphans(&Desk::everywhere()).await.map_err(desk::said)?.orphans;
    let told = orphans.iter().find(|one| one.kind.as_ref().is_some_and(|known| known.as_str() == kind));
    if orphans.iter().any(|one| !one.readable) || told.is_none() {
        return Err(format!("{app}: {orphans:#?}").into());
    }
    let options = Desk::rebuild_options(Some(&format!("{app}/production")));
    let rebuilt = desk.workspace.rebuild(&desk.target, &options, &Run::new()).await.map_err(desk::said)?;
    let known = |how: &RebuiltHow| matches!(how, RebuiltHow::Found | RebuiltHow::TakenOver);
    let lost: Vec<_> = rebuilt.things.iter().filter(|thing| !known(&thing.how)).collect();
    if !lost.is_empty() || desk.steps().await.map_err(desk::said)? != 0 {
        return Err(format!("{app}: {lost:?}").into());
    }
    Ok(desk)
}

/// Nothing carries releases to one machine: a deployment that is to run the app there says so, and what to
/// do, before it makes anything.
pub(crate) async fn no_releases(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let fresh = Census::take(fixture.emulator.address()).map_err(desk::said)?;
    let mut desk = Desk::new(&place.proxy.url(), "machine", "machine.yaml").await;
    desk.deploy.infra_only = false;
    let error = desk.deploy().await.err().ok_or("it was deployed")?;
    let words = error.to_string();
    if error.exit_code() != 1 || !words.contains("one machine") || !words.contains("load_balancer: true") {
        return Err(format!("{}: {words}", error.exit_code()).into());
    }
    let difference = Census::take(fixture.emulator.address()).map_err(desk::said)?.against(&fresh);
    if difference.is_none() { Ok(()) } else { Err(format!("{difference:?}").into()) }
}
