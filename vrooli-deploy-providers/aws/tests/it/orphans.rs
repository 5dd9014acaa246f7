//! What bears our marks and is in no stack: found, priced, taken over, adopted and deleted.

use std::sync::Arc;

use libtest_mimic::Failed;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{OperationError, Orphan, OrphanChoices, OrphanOwner, Run};
use vrooli_deploy_tests::moto::census::Census;

use crate::desk::{Desk, said};
use crate::fixture::AwsFixture;

fn kinds(orphans: &[Orphan], kind: &str) -> usize {
    orphans.iter().filter(|one| one.kind.as_ref().is_some_and(|known| known.as_str() == kind)).count()
}

fn choices(data: Option<&str>, take_over: Option<&str>) -> OrphanChoices {
    let mut choices = OrphanChoices::default();
    choices.data = data.map(str::to_owned);
    choices.take_over = take_over.map(str::to_owned);
    choices
}

/// A stack whose state is lost, without its manifest: listed with what it costs, never deleted while it
/// may be another state's, and deleted in an order that AWS takes.
pub(crate) async fn of_a_lost_state(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let take = || Census::take(fixture.emulator.address()).map_err(said);
    let fresh = take()?;
    let lost = Desk::new(&place.proxy.url(), "orphaned", "quick.yaml").await;
    lost.deploy().await.map_err(said)?;
    let own = lost.workspace.orphans(&Desk::everywhere()).await.map_err(said)?;
    if !own.orphans.is_empty() {
        return Err(format!("what a state has is no orphan: {:?}", own.orphans).into());
    }
    let desk = Desk::new(&place.proxy.url(), "orphaned", "quick.yaml").await;
    let report = desk.workspace.orphans(&Desk::everywhere()).await.map_err(said)?;
    let all = &report.orphans;
    if all.iter().any(|one| one.whose != OrphanOwner::Another || one.stack_known || !one.readable) {
        return Err(format!("{all:#?}").into());
    }
    // Of what costs by the hour the price is known; it is the list's (730 hours of 0.045 USD).
    let nat: Vec<_> =
        all.iter().filter(|one| one.key.as_ref().is_some_and(|key| key.as_str().contains("nat"))).collect();
    let gateway =
        nat.iter().find(|one| one.kind.as_ref().is_some_and(|kind| kind.as_str() == "aws.nat-gateway"));
    let price = gateway.and_then(|one| one.monthly).map(|money| money.to_string());
    if price.as_deref() != Some("32.85") || kinds(all, "aws.vpc") != 1 || kinds(all, "aws.bucket") != 4 {
        return Err(format!("{price:?}: {all:#?}").into());
    }
    let (stack, everywhere, run) = (desk.stack(), Desk::everywhere(), Run::new());
    let refused = desk.workspace.delete_orphans(stack, &everywhere, &choices(None, None), &run).await;
    match refused.err() {
        Some(OperationError::OtherState { .. }) => {}
        other => return Err(format!("another state's are not refused: {other:?}").into()),
    }
    let before = take()?;
    let named = choices(None, Some("orphaned/production"));
    let change = desk.workspace.delete_orphans(stack, &everywhere, &named, &run).await.map_err(said)?;
    if !change.needs_confirmation() || take()? != before {
        return Err("planning changed something, or nobody is asked".into());
    }
    let outcome = change.apply().await.map_err(said)?.outcome;
    let left = desk.workspace.orphans(&Desk::everywhere()).await.map_err(said)?.orphans;
    if outcome.kind != OutcomeKind::Applied || left.len() != 4 || kinds(&left, "aws.bucket") != 4 {
        return Err(format!("{outcome:?}: {left:#?}").into());
    }
    if left.iter().any(|one| one.whose != OrphanOwner::This) {
        return Err("what was taken over is this state's".into());
    }
    let wrong = desk.workspace.delete_orphans(stack, &everywhere, &choices(Some("other"), None), &run).await;
    if !matches!(wrong.err(), Some(OperationError::Gate { .. })) {
        return Err("data went by another name".into());
    }
    let data = choices(Some("orphaned"), None);
    let change = desk.workspace.delete_orphans(stack, &everywhere, &data, &run).await.map_err(said)?;
    change.apply().await.map_err(said)?;
    let left = desk.workspace.orphans(&Desk::everywhere()).await.map_err(said)?.orphans;
    if !left.is_empty() || !desk.workspace.list().await.map_err(said)?.is_empty() {
        return Err(format!("{left:#?}").into());
    }
    // The emulator does not list tags of repositories: who made it still has it.
    lost.destroy().await?;
    let difference = take()?.against(&fresh);
    if difference.is_none() { Ok(()) } else { Err(format!("{difference:?}").into()) }
}
