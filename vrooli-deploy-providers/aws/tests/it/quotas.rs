//! Limits of an account, held against a plan before anything is made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libtest_mimic::Failed;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::names::{Digest, ImageRef};
use vrooli_deploy_core::provider::{Added, QuotaReading, QuotaSeen};
use vrooli_deploy_core::workspace::Run;
use vrooli_deploy_provider_aws::quotas::quotas;
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::fault_proxy::{Fault, Passing};
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::wire::{changes, refused};
use vrooli_deploy_tests::moto::{ec2, elements, query};

use crate::desk::{Desk, said};
use crate::fixture::{AwsFixture, AwsPlace};
use crate::samples::samples;

/// Does a request ask for a limit?
fn asks(request: &Passing) -> bool {
    let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    target.is_some_and(|target| target.starts_with("ServiceQuotas"))
}

fn census(fixture: &AwsFixture) -> Result<Census, String> {
    Census::take(fixture.emulator.address()).map_err(said)
}

/// Another hand makes some more; their ids.
fn others(fixture: &AwsFixture, form: &str, id: &str, count: usize) -> Vec<String> {
    let make = |_| elements(&ec2(fixture.emulator.address(), form).unwrap(), id).remove(0);
    (0..count).map(make).collect()
}

/// What others have in the account leaves too little room: nothing is made. With one network and one address
/// less it just fits.
pub(crate) async fn too_much(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    // Beside the network that every account has, and one address of the rig's.
    let networks = others(&fixture, "Action=CreateVpc&CidrBlock=10.99.0.0/16", "vpcId", 4);
    let there =
        elements(&ec2(fixture.emulator.address(), "Action=DescribeAddresses").map_err(said)?, "publicIp");
    let addresses = others(
        &fixture,
        "Action=AllocateAddress&Domain=vpc",
        "allocationId",
        3_usize.saturating_sub(there.len()),
    );
    let before = census(&fixture)?;
    let desk = Desk::new(&place.proxy.url(), "quota", "reference.yaml").await;
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    place.proxy.break_when(move |request| {
        if changes(request) && !asks(request) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        None
    });
    for error in [desk.steps().await.err(), desk.deploy().await.err()] {
        let error = error.ok_or("too much was not refused")?;
        let (words, help) = (error.to_string(), error.help().unwrap_or_default());
        let named = [
            "\"VPCs per Region\" of us-east-1 is 5: 5 in use, 1 more wanted (network/vpc)",
            "\"EC2-VPC Elastic IPs\" of us-east-1 is 5: 3 in use, 3 more wanted (network/nat-address-1,",
        ];
        let commands = [
            "--service-code vpc --quota-code L-F678F1CE --desired-value 6 --region us-east-1",
            "--service-code ec2 --quota-code L-0263D0A3 --desired-value 6 --region us-east-1",
        ];
        let all_said =
            named.iter().all(|one| words.contains(one)) && commands.iter().all(|one| help.contains(one));
        if !all_said
            || error.code().to_string() != "VD0510"
            || error.exit_code() != 1
            || words.contains("Roles")
        {
            return Err(format!("{} {words}: {help}", error.code()).into());
        }
    }
    place.proxy.mend();
    let left = census(&fixture)?.against(&before);
    if !left.is_none() || made.load(Ordering::SeqCst) != 0 {
        return Err(format!("{left:?}, {made:?} changes").into());
    }
    let address = fixture.emulator.address();
    ec2(address, &format!("Action=DeleteVpc&VpcId={}", networks[0])).map_err(said)?;
    ec2(address, &format!("Action=ReleaseAddress&AllocationId={}", addresses[0])).map_err(said)?;
    let outcome = desk.deploy().await.map_err(said)?.outcome;
    if outcome.kind != OutcomeKind::Applied {
        return Err(format!("it fits: {outcome:?}").into());
    }
    // Nothing is made: nothing is asked.
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    place.proxy.break_when(move |request| {
        counted.fetch_add(u64::from(asks(request)), Ordering::SeqCst);
        None
    });
    if desk.steps().await.map_err(said)? != 0 || asked.load(Ordering::SeqCst) != 0 {
        return Err(format!("{} questions of an unchanged plan", asked.load(Ordering::SeqCst)).into());
    }
    Ok(desk.destroy().await?)
}

/// Machines that an account may have none of, as most may of those with graphics: a group of them would be made, and
/// AWS would try for ever to start one.
pub(crate) async fn machines(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let before = census(&fixture)?;
    let desk = Desk::new(&place.proxy.url(), "quota", "graphics.yaml").await;
    let mut options = desk.deploy.clone();
    options.infra_only = false;
    options.image = Some(ImageRef::new(format!("example.com/quota@{}", Digest::of(b"quota"))).unwrap());
    let plan = desk.workspace.plan(&desk.target, &options).await;
    let deploy = desk.workspace.deploy(&desk.target, &options, &Run::new()).await;
    for error in [plan.err(), deploy.err()] {
        let error = error.ok_or("too much was not refused")?;
        let (words, help) = (error.to_string(), error.help().unwrap_or_default());
        let named = "\"Running On-Demand G and VT instances\" of us-east-1 is 0: 0 in use, 8 more wanted (compute/app";
        let command = "--service-code ec2 --quota-code L-DB2E81BA --desired-value 8 --region us-east-1";
        if error.code().to_string() != "VD0510" || !words.contains(named) || !help.contains(command) {
            return Err(format!("{} {words}: {help}", error.code()).into());
        }
    }
    let left = census(&fixture)?.against(&before);
    if left.is_none() { Ok(()) } else { Err(format!("{left:?}").into()) }
}

/// Who may not look at limits is told so once, and goes on.
pub(crate) async fn no_right(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let desk = Desk::new(&place.proxy.url(), "no-right", "quick.yaml").await;
    place.proxy.break_when(|request| {
        let words = "User: somebody is not authorized to perform: servicequotas:GetServiceQuota";
        asks(request).then(|| Fault::Refused(refused(request, "AccessDeniedException", words, 400)))
    });
    let plan = desk.workspace.plan(&desk.target, &desk.deploy).await.map_err(said)?.plan;
    let notes: Vec<_> = plan.notes.iter().filter(|note| note.contains("quota")).collect();
    let [note] = &notes[..] else { return Err(format!("{notes:?}").into()) };
    let all =
        ["servicequotas:GetServiceQuota", "\"VPCs per Region\" of us-east-1 is not known (as a rule 5)"];
    if !all.iter().all(|one| note.contains(one)) {
        return Err((*note).clone().into());
    }
    let outcome = desk.deploy().await.map_err(said)?.outcome;
    if outcome.kind != OutcomeKind::Applied {
        return Err(format!("{outcome:?}").into());
    }
    Ok(desk.destroy().await?)
}

async fn readings(place: &AwsPlace, of: &[Sample]) -> Result<Vec<QuotaReading>, Failed> {
    let added: Vec<_> =
        of.iter().map(|one| Added { key: &one.key, kind: &one.kind, spec: &one.spec }).collect();
    let quotas = place.provider.quotas().ok_or("it tells no limits")?;
    Ok(quotas.readings(&place.cx(), &added).await.map_err(said)?)
}

/// What could not be asked.
pub(crate) async fn unknown(place: &AwsPlace, of: &[Sample]) -> Result<Vec<QuotaReading>, Failed> {
    let mut all = readings(place, of).await?;
    all.retain(|one| !matches!(one.seen, QuotaSeen::Known { .. }));
    Ok(all)
}

/// Each limit is asked once and what counts for it listed by the calls that `permissions` prints; processors
/// are what AWS measured last.
pub(crate) async fn once_a_kind(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let datum = |service: &str, value: &str| {
        let mut form = format!(
            "Action=PutMetricData&Version=2010-08-01&Namespace=AWS/Usage&MetricData.member.1.MetricName=ResourceCount&MetricData.member.1.Value={value}"
        );
        let dimensions = [
            ("Class", "Standard/OnDemand"),
            ("Resource", "vCPU"),
            ("Service", service),
            ("Type", "Resource"),
        ];
        for (at, (name, value)) in dimensions.iter().enumerate() {
            let member = format!("&MetricData.member.1.Dimensions.member.{}", at + 1);
            form.push_str(&format!("{member}.Name={name}{member}.Value={value}"));
        }
        form
    };
    for measured in [datum("Fargate", "4.5"), datum("EC2", "6")] {
        query(fixture.emulator.address(), "monitoring", &measured).map_err(said)?;
    }
    let before = place.account.calls();
    let all = readings(&place, &samples()).await?;
    let is_unknown = |one: &QuotaReading| matches!(one.seen, QuotaSeen::Unknown { .. });
    // Of machines with graphics there is no sample.
    if all.len() != quotas().quotas.len() - 1 || all.iter().any(is_unknown) {
        return Err(format!("{} limits: {all:?}", all.len()).into());
    }
    let tasks = all.iter().find(|one| one.name.starts_with("Fargate")).ok_or("no limit of tasks")?;
    if (tasks.needed, &tasks.seen) != (0.25, &QuotaSeen::Known { limit: 6.0, in_use: 4.5 }) {
        return Err(format!("{tasks:?}").into());
    }
    let machines = all.iter().find(|one| one.name.starts_with("Running")).ok_or("no limit of machines")?;
    let room = QuotaSeen::Known { limit: 64.0, in_use: 6.0 };
    if machines.seen != room || machines.needed < 2.0 || machines.keys.len() < 2 {
        return Err(format!("{machines:?}").into());
    }
    let mut calls = place.account.calls();
    calls.retain(|action, count| before.get(action) != Some(count));
    let mut expected: BTreeSet<&str> =
        quotas().quotas.iter().flat_map(|quota| &quota.counted_by).map(String::as_str).collect();
    expected.extend(["servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota"]);
    // No NAT gateway is there whose zone were to be found out.
    expected.remove("ec2:DescribeSubnets");
    let made: BTreeSet<&str> = calls.keys().copied().collect();
    let each_once = calls.iter().all(|(action, count)| match *action {
        // Of tasks and of machines.
        "cloudwatch:GetMetricStatistics" => *count == 2,
        action => *count == 1 || action.starts_with("servicequotas:"),
    });
    if made != expected || !each_once {
        return Err(format!("{calls:?}").into());
    }
    Ok(())
}
