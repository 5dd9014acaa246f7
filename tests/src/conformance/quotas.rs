//! Trials of what a provider says of its limits.

use libtest_mimic::Failed;
use vrooli_deploy_core::provider::{Added, Op, QuotaReading, QuotaSeen, Quotas};

use super::ground::{Ground, told};
use super::{Break, Sample, ensure, skip};

async fn ask(ground: &Ground, quotas: &dyn Quotas, of: &Sample) -> Result<Vec<QuotaReading>, Failed> {
    let added = [Added { key: &of.key, kind: &of.kind, spec: &of.spec }];
    quotas.readings(&ground.cx(), &added).await.map_err(told)
}

fn in_use(reading: &QuotaReading) -> Result<f64, Failed> {
    match &reading.seen {
        QuotaSeen::Known { in_use, .. } => Ok(*in_use),
        QuotaSeen::Unknown { why, .. } => Err(format!("{}: it was not asked: {why}", reading.name).into()),
    }
}

/// What is made is in use from then on, and what nothing limits costs no call.
pub(super) async fn counted(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let Some(quotas) = ground.provider().quotas() else { return skip("nothing here tells limits") };
    let calls = ground.place.calls();
    let nothing = quotas.readings(&ground.cx(), &[]).await.map_err(told)?;
    ensure(nothing.is_empty() && ground.place.calls() == calls, || {
        format!("asked for nothing: {nothing:?}")
    })?;
    // What it stands on may bring some of the same with it (a network a security group).
    ground.prepare(sample).await?;
    let calls = ground.place.calls();
    let before = ask(ground, &*quotas, sample).await?;
    if before.is_empty() {
        return ensure(ground.place.calls() == calls, || "asked, and nothing limits it".to_owned());
    }
    for reading in &before {
        let names_it = reading.keys.iter().eq([&sample.key]) && reading.needed > 0.0;
        ensure(names_it, || format!("{} is added by {:?}", reading.needed, reading.keys))?;
        in_use(reading)?;
    }
    ground.make(sample).await?;
    let after = ask(ground, &*quotas, sample).await?;
    ensure(before.len() == after.len(), || format!("{before:?}, then {after:?}"))?;
    for (before, after) in before.iter().zip(&after) {
        let grown = in_use(after)? - in_use(before)?;
        let expected = if ground.place.counts_later(&sample.kind) { 0.0 } else { before.needed };
        ensure((grown - expected).abs() < 1e-9, || format!("{before} became {after}"))?;
    }
    Ok(())
}

/// A limit that cannot be asked fails nothing.
pub(super) async fn not_asked(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let Some(quotas) = ground.provider().quotas() else { return skip("nothing here tells limits") };
    if ask(ground, &*quotas, sample).await?.is_empty() {
        return skip("nothing limits it");
    }
    if !ground.place.break_next(Op::List, Break::Unreachable) {
        return skip("this place is always reachable");
    }
    let readings = ask(ground, &*quotas, sample).await?;
    let unknown = |one: &QuotaReading| matches!(one.seen, QuotaSeen::Unknown { .. }) && !one.is_over();
    ensure(readings.iter().any(unknown), || format!("nobody was told: {readings:?}"))
}
