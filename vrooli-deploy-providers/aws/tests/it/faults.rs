//! Nothing is made twice and nothing is lost, whatever becomes of an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use vrooli_deploy_core::provider::Change;
use vrooli_deploy_tests::fault_proxy::{Answer, Fault, FaultProxy};
use vrooli_deploy_tests::moto::wire::{action, changes, creates, refused};

use crate::fixture::{AwsFixture, AwsPlace};
use crate::samples::samples;

/// One of each kind, and nothing else that only the emulator itself sees.
pub(crate) async fn exactly_once(place: &AwsPlace) -> Result<(), Failed> {
    let all = place.all().await.map_err(|error| error.to_string())?;
    let wanted: BTreeSet<_> = samples().into_iter().map(|sample| sample.key).collect();
    let keys: Vec<_> = all.iter().map(|(_, found)| found.key.clone()).collect();
    if keys.len() != wanted.len() || keys.iter().cloned().collect::<BTreeSet<_>>() != wanted {
        return Err(format!("there are {keys:?}").into());
    }
    Ok(())
}

/// What differs from what was wanted is put right, as the next plan does.
async fn put_right(place: &AwsPlace) -> Result<(), Failed> {
    let all = place.all().await.map_err(|error| error.to_string())?;
    let outputs = place.outputs(all.iter().map(|(kind, found)| (kind, found)));
    let outputs = outputs.map_err(|error| error.to_string())?;
    for sample in samples() {
        let spec = AwsPlace::known(&sample, &outputs);
        let pure = place.provider.kind(&sample.kind).unwrap();
        for round in 0.. {
            let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, None).await;
            let found =
                found.map_err(|error| error.to_string())?.pop().ok_or(format!("{} is gone", sample.kind))?;
            match pure.diff(&spec, &found.observed).unwrap() {
                Change::None => break,
                Change::InPlace(_) if round < 2 => {
                    let answer = place
                        .provider
                        .update(&place.cx(), &sample.kind, &sample.key, &found.id, &found.observed, &spec)
                        .await;
                    answer.map_err(|error| format!("{}: {error}", sample.kind))?;
                }
                other => return Err(format!("{}: {other:?}", sample.kind).into()),
            }
        }
    }
    Ok(())
}

/// Every sort of create loses its first answer.
pub(crate) fn lose_first_answers(proxy: &FaultProxy) {
    let mut lost = BTreeSet::new();
    proxy.break_when(move |request| {
        (creates(request) && lost.insert(action(request))).then_some(Fault::LostReply)
    });
}

pub(crate) async fn lost_once(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    lose_first_answers(&place.proxy);
    place.make_all().await.map_err(|error| error.to_string())?;
    if place.proxy.broken() < samples().len() as u64 {
        return Err(format!("only {} answers were lost", place.proxy.broken()).into());
    }
    place.proxy.mend();
    exactly_once(&place).await?;
    put_right(&place).await?;
    place.empty().await.map_err(Failed::from)
}

/// Each changing call, one after the other, is broken once in each way; then everything is there
/// once, as it was wanted, and goes again.
pub(crate) async fn broken_at_every_change(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    for fault in [Fault::LostReply, Fault::NeverArrives] {
        let mut counts = BTreeMap::new();
        place.proxy.break_when(move |request| {
            if !changes(request) {
                return None;
            }
            // Every other one of each action: a repetition is let through.
            let count = counts.entry(action(request)).or_insert(0);
            *count += 1;
            (*count % 2 == 1).then(|| fault.clone())
        });
        place.make_all().await.map_err(|error| error.to_string())?;
        place.proxy.mend();
        exactly_once(&place).await?;
        put_right(&place).await?;
        place.empty().await?;
    }
    Ok(())
}

/// A storm of refusals, then errors after success, with time between question and answer.
pub(crate) async fn storms(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    place.proxy.set_latency(Duration::from_millis(5));
    let (mut count, mut struck) = (0, String::new());
    place.proxy.break_when(move |request| {
        count += 1;
        if !changes(request) || !matches!(count % 5, 0 | 2) {
            return None;
        }
        // What is repeated is let through: repetitions that are five requests apart, as many as there may be
        // of a kind where earlier trials left keys to look at, would be struck every time.
        let action = action(request);
        if std::mem::replace(&mut struck, action.clone()) == action {
            struck.clear();
            return None;
        }
        let after = || Answer {
            status: 500,
            content_type: "text/html",
            body: "<html>Internal Server Error</html>".to_owned(),
        };
        Some(match count % 5 {
            0 => Fault::ErrorAfter(after()),
            _ => Fault::Refused(refused(request, "ThrottlingException", "Rate exceeded", 400)),
        })
    });
    place.make_all().await.map_err(|error| error.to_string())?;
    if place.proxy.broken() < 8 {
        return Err(format!("only {} requests were broken", place.proxy.broken()).into());
    }
    place.proxy.mend();
    exactly_once(&place).await?;
    put_right(&place).await?;
    place.empty().await.map_err(Failed::from)
}
