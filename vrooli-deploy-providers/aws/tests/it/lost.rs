//! States that are lost, and built again from tags and the manifest alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::Failed;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{OperationError, RebuiltHow, Run};
use vrooli_deploy_tests::fault_proxy::Fault;
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::wire::action;
use vrooli_deploy_tests::moto::{elements, get};

use crate::desk::{Desk, said};
use crate::fixture::AwsFixture;

fn census(fixture: &AwsFixture) -> Result<Census, String> {
    Census::take(fixture.emulator.address()).map_err(said)
}

fn same(before: &Census, now: &Census) -> Result<(), String> {
    let difference = now.against(before);
    if difference.is_none() { Ok(()) } else { Err(format!("{difference:?}")) }
}

/// Buckets of the stack that is lost half way.
fn buckets(fixture: &AwsFixture) -> Result<BTreeSet<String>, String> {
    let said = get(fixture.emulator.address(), "s3", "/").map_err(said)?;
    Ok(elements(&said, "Name").into_iter().filter(|name| name.starts_with("lost-half")).collect())
}

/// The whole reference stack: refused while another state owns it, taken over by name, and from then on
/// as if nothing had happened.
pub(crate) async fn whole(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let fresh = census(&fixture)?;
    let lost = Desk::new(&place.proxy.url(), "lost-whole", "reference.yaml").await;
    let made = lost.deploy().await.map_err(said)?.outcome;
    if made.kind != OutcomeKind::Applied {
        return Err(format!("{made:?}").into());
    }
    let there = census(&fixture)?;
    let desk = Desk::new(&place.proxy.url(), "lost-whole", "reference.yaml").await;
    // Deployed without its state it would stand there twice.
    match desk.deploy().await.err() {
        Some(OperationError::OtherState { .. }) => same(&there, &census(&fixture)?)?,
        other => return Err(format!("another state's was deployed: {other:?}").into()),
    }
    let refused = desk.workspace.rebuild(&desk.target, &Desk::rebuild_options(None), &Run::new()).await;
    match refused.err() {
        Some(error @ OperationError::OtherState { .. }) if error.exit_code() == 7 => {}
        other => return Err(format!("another state's was not refused: {other:?}").into()),
    }
    let wrong = Desk::rebuild_options(Some("lost"));
    if desk.workspace.rebuild(&desk.target, &wrong, &Run::new()).await.is_ok() {
        return Err("it was taken over by another name".into());
    }
    let options = Desk::rebuild_options(Some("lost-whole/production"));
    let rebuilt = desk.workspace.rebuild(&desk.target, &options, &Run::new()).await.map_err(said)?;
    let lost_things: Vec<_> = rebuilt
        .things
        .iter()
        .filter(|thing| !matches!(thing.how, RebuiltHow::Found | RebuiltHow::TakenOver))
        .collect();
    if !lost_things.is_empty() {
        return Err(format!("{lost_things:?}").into());
    }
    // Nothing was made or removed on the way, and nothing is to be done.
    same(&there, &census(&fixture)?)?;
    let steps = desk.steps().await.map_err(said)?;
    let drift = desk.workspace.drift(desk.stack()).await.map_err(said)?;
    if steps != 0 || !drift.differences.is_empty() {
        return Err(format!("{steps} steps, {:?}", drift.differences).into());
    }
    let orphans = desk.workspace.orphans(&Desk::everywhere()).await.map_err(said)?.orphans;
    if !orphans.is_empty() {
        return Err(format!("{orphans:?}").into());
    }
    // Whoever had it has nothing any more.
    let gone = lost.workspace.drift(lost.stack()).await.map_err(said)?;
    if gone.differences.len() < gone.resources {
        return Err(format!("the earlier owner still sees {:?}", gone.differences).into());
    }
    desk.destroy().await?;
    Ok(same(&fresh, &census(&fixture)?)?)
}

/// A run that was killed before the loss left half of a stack, and a bucket without its tags: the next
/// deployment makes the rest, and nothing twice.
pub(crate) async fn half(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let fresh = census(&fixture)?;
    let lost = Desk::new(&place.proxy.url(), "lost-half", "quick.yaml").await;
    // Its tags never arrive, and nobody can take it back.
    place.proxy.break_when(|request| {
        let action = action(request);
        let bucket =
            action.ends_with("?tagging") || (request.method == "DELETE" && !request.path.contains('?'));
        bucket.then_some(Fault::NeverArrives)
    });
    let stopped = lost.deploy_until(30).await;
    if let Ok(report) = &stopped
        && matches!(report.outcome.kind, OutcomeKind::Applied | OutcomeKind::RolledBack)
    {
        return Err(format!("it was not stopped: {:?}", report.outcome).into());
    }
    place.proxy.mend();
    let half = census(&fixture)?;
    let untagged = buckets(&fixture)?;
    if half.count() <= fresh.count() || untagged.is_empty() {
        return Err(format!("nothing was made, or no bucket: {untagged:?}").into());
    }
    let desk = Desk::new(&place.proxy.url(), "lost-half", "quick.yaml").await;
    let options = Desk::rebuild_options(Some("lost-half/production"));
    desk.workspace.rebuild(&desk.target, &options, &Run::new()).await.map_err(said)?;
    let made = desk.deploy().await.map_err(said)?.outcome;
    if made.kind != OutcomeKind::Applied {
        return Err(format!("{made:?}").into());
    }
    if desk.steps().await.map_err(said)? != 0 {
        return Err("there is still something to do".into());
    }
    // No tag of a bucket ever arrived: each was known by its name, and is used.
    let all = buckets(&fixture)?;
    if all.len() != 4 || !untagged.is_subset(&all) {
        return Err(format!("{untagged:?} became {all:?}").into());
    }
    let now = census(&fixture)?;
    let twice = now.against(&now).twice;
    if !twice.is_empty() {
        return Err(format!("{twice:?}").into());
    }
    desk.destroy().await?;
    Ok(same(&fresh, &census(&fixture)?)?)
}
