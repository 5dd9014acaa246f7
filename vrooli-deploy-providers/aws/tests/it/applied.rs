//! The engine on the emulator: planned, applied, interrupted, resumed and taken away, with every
//! call going through the proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use uuid::Uuid;
use vrooli_deploy_core::engine::{
    ApplyOptions, Engine, EngineOptions, EventSink, OutcomeKind, RecoverOptions, observe,
};
use vrooli_deploy_core::plan::{self, AssembleInput, ResourceInput, ResourceOptions};
use vrooli_deploy_core::provider::{Cancellation, OpCtx};
use vrooli_deploy_core::stack::{Resource, Stack};
use vrooli_deploy_core::state::{Holder, MemoryStore, StateStore as _};
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::fakecloud::MemorySecrets;
use vrooli_deploy_tests::fault_proxy::Fault;
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::wire::{action, changes, refused};

use crate::desk::Desk;
use crate::faults::{exactly_once, lose_first_answers};
use crate::fixture::{AwsFixture, AwsPlace, OWNER, stack};
use crate::samples::samples;

/// No run of the engine takes so long.
const PATIENCE: Duration = Duration::from_secs(240);

pub(crate) fn wanted(samples: &[Sample], changed: bool) -> Stack {
    let resources: BTreeMap<_, _> = samples
        .iter()
        .map(|sample| {
            let spec = sample.changed.clone().filter(|_| changed).unwrap_or_else(|| sample.spec.clone());
            let whole = serde_json::json!({ "kind": sample.kind, "spec": spec });
            (sample.key.clone(), serde_json::from_value::<Resource>(whole).unwrap())
        })
        .collect();
    Stack { id: stack("conformance"), resources }
}

/// What a command does: takes the lease, resolves what the last one left, looks, plans, applies.
/// Gives how many steps that took.
pub(crate) async fn converge(place: &AwsPlace, store: &MemoryStore, wanted: &Stack) -> Result<usize, String> {
    fn said(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let mut options = EngineOptions::default();
    options.owner = OWNER;
    let engine = Engine::new(Arc::clone(&place.provider), Arc::new(MemorySecrets::default()), options);
    let holder = Holder { id: Uuid::new_v4(), name: "test".into(), host: "here".into(), run_url: None };
    let lease = store.acquire(&wanted.id, &holder).await.map_err(said)?;
    let mut state = store.load(&wanted.id).await.map_err(said)?;
    let events = EventSink::new(|_| {});
    engine.recover(&*lease, &mut state, &RecoverOptions::default(), &events).await.map_err(said)?;
    let cx = OpCtx::new(
        wanted.id.clone(),
        OWNER,
        lease.info().fence,
        Instant::now() + PATIENCE,
        Cancellation::new(),
    );
    let inventory = observe(&*place.provider, &cx, &wanted.id, &state).await.map_err(said)?;
    let incarnation = if state.incarnation.is_nil() { Uuid::new_v4() } else { state.incarnation };
    let input = ResourceInput {
        stack: wanted,
        state: &state,
        inventory: &inventory,
        incarnation,
        provider: &*place.provider,
        options: &ResourceOptions::default(),
    };
    let planned = plan::resources(&input).map_err(said)?;
    let assembled = AssembleInput {
        stack: wanted.id.clone(),
        provider: place.provider.name().clone(),
        incarnation,
        command: "deploy".to_owned(),
        resource_steps: planned.steps,
        specs: planned.specs,
        release_steps: Vec::new(),
        release: None,
        current: None,
        notes: planned.notes,
        inventory: &inventory,
    };
    let plan = plan::assemble(assembled).map_err(said)?;
    let steps = plan.steps.len();
    let outcome = engine.apply(&*lease, &mut state, plan, ApplyOptions::default(), &events).await;
    let outcome = outcome.map_err(said)?;
    lease.release().await.map_err(said)?;
    match outcome.kind {
        OutcomeKind::Applied | OutcomeKind::NoChange => Ok(steps),
        _ => Err(format!("{outcome:?}")),
    }
}

async fn expect(
    place: &AwsPlace,
    store: &MemoryStore,
    wanted: &Stack,
    what: &str,
    steps: usize,
) -> Result<(), Failed> {
    let took = converge(place, store, wanted).await.map_err(|error| format!("{what}: {error}"))?;
    if took == steps { Ok(()) } else { Err(format!("{what}: {took} steps, not {steps}").into()) }
}

/// From nothing to everything with every create's first answer lost, through every change, to
/// nothing again; each time there is nothing left to do afterwards.
pub(crate) async fn there_and_back(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let (store, all) = (MemoryStore::new(OWNER), samples());
    lose_first_answers(&place.proxy);
    let stack = wanted(&all, false);
    expect(&place, &store, &stack, "make all", all.len()).await?;
    if place.proxy.broken() < all.len() as u64 {
        return Err(format!("only {} answers were lost", place.proxy.broken()).into());
    }
    place.proxy.mend();
    exactly_once(&place).await?;
    expect(&place, &store, &stack, "make all again", 0).await?;
    let changed = all.iter().filter(|sample| sample.changed.is_some()).count();
    let stack = wanted(&all, true);
    expect(&place, &store, &stack, "change all", changed).await?;
    expect(&place, &store, &stack, "change all again", 0).await?;
    exactly_once(&place).await?;
    expect(&place, &store, &wanted(&[], false), "remove all", all.len()).await?;
    let left = place.all().await.map_err(|error| error.to_string())?;
    if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}").into()) }
}

/// A run that ends anywhere, with calls on their way, and the same again and again until it is done:
/// nothing is there twice, and nothing is left in the end.
pub(crate) async fn ended_anywhere(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    place.proxy.set_latency(Duration::from_millis(10));
    let (store, all) = (MemoryStore::new(OWNER), samples());
    let mut ended = 0;
    for stack in [wanted(&all, false), wanted(&[], false)] {
        // Each run gets a little longer than the one before, so that one comes to its end.
        let mut time = Duration::from_millis(120);
        loop {
            match tokio::time::timeout(time, converge(&place, &store, &stack)).await {
                Ok(done) => {
                    done?;
                    break;
                }
                Err(_) => {
                    ended += 1;
                    time = time.mul_f64(1.3);
                }
            }
        }
        expect(&place, &store, &stack, "the same again", 0).await?;
        if !stack.resources.is_empty() {
            exactly_once(&place).await?;
        }
    }
    let left = place.all().await.map_err(|error| error.to_string())?;
    match (left.is_empty(), ended) {
        (true, 4..) => Ok(()),
        (true, _) => Err(format!("only {ended} runs were ended").into()),
        (false, _) => Err(format!("left: {left:?}").into()),
    }
}

/// After how many changes a run is ended: after the first in one, after that many in another.
const ENDS: i32 = 6;

/// What an app stands on, made by runs that end after the next few changes, the last of them under way, each by another
/// process: the last one is whole, there is nothing twice, and nothing is left in the end.
pub(crate) async fn killed_anywhere(fixture: Arc<AwsFixture>, values: String) -> Result<(), Failed> {
    let place = fixture.place().await;
    let census = || Census::take(fixture.emulator.address()).map_err(|error| error.to_string());
    let before = census()?;
    let url = place.proxy.url();
    let mut desk = Desk::new(&url, "killed", &values).await;
    let mut ended = 0;
    loop {
        let over = Arc::new(tokio::sync::Notify::new());
        let (tells, mut left) = (Arc::clone(&over), 1 + ended % ENDS);
        place.proxy.break_when(move |request| {
            if !changes(request) {
                return None;
            }
            left -= 1;
            match left {
                // Done, and nobody hears of it.
                0 => {
                    tells.notify_one();
                    Some(Fault::LostReply)
                }
                ..0 => Some(Fault::NeverArrives),
                _ => None,
            }
        });
        let done = tokio::select! {
            done = desk.deploy() => Some(done),
            () = over.notified() => None,
        };
        place.proxy.mend();
        match done {
            None => ended += 1,
            Some(Ok(report))
                if matches!(report.outcome.kind, OutcomeKind::Applied | OutcomeKind::NoChange) =>
            {
                break;
            }
            Some(other) => return Err(format!("after {ended} runs: {other:?}").into()),
        }
        desk = desk.again(&url, "killed", &values).await;
    }
    let twice = census()?.against(&before).twice;
    let steps = desk.steps().await.map_err(|error| error.to_string())?;
    let drift = desk.workspace.drift(desk.stack()).await.map_err(|error| error.to_string())?.differences;
    // How many runs it takes depends on what was under way when each ended: what it made unheard is not made again.
    if !twice.is_empty() || steps != 0 || !drift.is_empty() || ended < ENDS {
        return Err(format!("{ended} runs; {twice:?}, {steps} steps, {drift:?}").into());
    }
    desk.destroy().await?;
    let left = census()?.against(&before);
    if left.is_none() { Ok(()) } else { Err(format!("{left:?}").into()) }
}

/// A first run of which any one call is refused: all that it made is taken back, also the half of an
/// object of which only the first call was let through.
pub(crate) async fn refused_anywhere(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    /// What takes back must be let through.
    const BACK: [&str; 12] = [
        "DELETE",
        "Delete",
        "Deregister",
        "Detach",
        "Disassociate",
        "Release",
        "Remove",
        "Revoke",
        "Terminate",
        "Untag",
        "ModifyDBInstance",
        "ModifyLoadBalancerAttributes",
    ];
    let place = fixture.place().await;
    let all = wanted(&samples(), false);
    // What bears no tags is in no listing of ours.
    let census = || Census::take(fixture.emulator.address()).map_err(|error| error.to_string());
    let before = census()?;
    for at in 0.. {
        let mut count = 0;
        let name = Arc::new(Mutex::new(None));
        let refused_one = Arc::clone(&name);
        place.proxy.break_when(move |request| {
            let what = action(request);
            if !changes(request) || BACK.iter().any(|start| what.starts_with(start)) {
                return None;
            }
            count += 1;
            (count == at + 1).then(|| {
                *refused_one.lock().unwrap() = Some(what);
                Fault::Refused(refused(request, "AccessDenied", "not allowed", 403))
            })
        });
        let ended = converge(&place, &MemoryStore::new(OWNER), &all).await;
        place.proxy.mend();
        let Some(name) = name.lock().unwrap().take() else {
            // There was no such call: all have had their turn.
            ended.map_err(|error| format!("nothing was refused: {error}"))?;
            place.empty().await?;
            let left = census()?.against(&before).too_many;
            if !left.is_empty() {
                return Err(format!("left behind: {left:?}").into());
            }
            return if at > samples().len() { Ok(()) } else { Err(format!("only {at} calls").into()) };
        };
        let Err(why) = ended else { return Err(format!("{name} was refused, and nobody said so").into()) };
        let left = place.all().await.map_err(|error| error.to_string())?;
        if !left.is_empty() {
            return Err(format!("{name} was refused ({why}); left: {left:?}").into());
        }
    }
    Ok(())
}
