//! A deployment to the fake cloud from start to end, as a workspace does it: lease, recovery,
//! observation, plan, apply.

mod verify;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use vrooli_deploy_core::engine::{
    ApplyError, ApplyOptions, Engine, EngineHooks, EngineOptions, Event, EventSink, Outcome, OutcomeKind,
    RecoverOptions, ReleaseStatus, StackState, Survey,
};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::plan::{
    self, AssembleInput, DestroyInput, Plan, PlanError, PlannedRelease, ReleaseAction, ReleaseSource,
    ResourceInput, ResourceOptions, Stage, Step, StepAction, StepId, Undo,
};
use vrooli_deploy_core::provider::{Cancellation, OpCtx, Provider, ProviderError, Routing, UnitState};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::release::strategy::{Situation, Strategies, StrategyError, units};
use vrooli_deploy_core::state::{Holder, Lease, MemoryStore, StateError, StateStore as _};

use crate::fakecloud::{FakeCloud, MemorySecrets};

pub use verify::{untouched, verify};
pub use wish::{ReleaseWish, Wish, key, resource, stack_id};

/// One stack on one cloud, with a state that outlives every run.
#[derive(Debug)]
pub struct Session {
    /// The cloud.
    pub cloud: FakeCloud,
    /// The state.
    pub store: MemoryStore,
    /// The secrets.
    pub secrets: Arc<MemorySecrets>,
    /// Knobs of planning.
    pub options: ResourceOptions,
    /// Cancels the run that is under way.
    pub cancellation: Cancellation,
    /// Hooks of the engine.
    pub hooks: EngineHooks,
    /// Steps at one time.
    pub concurrency: usize,
    /// Watches are begun and not waited for.
    pub detach: bool,
    events: Arc<std::sync::Mutex<Vec<Event>>>,
}

/// Why a run did not come to an outcome.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The engine.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The planner.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The strategy.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// A look at the world.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

impl Session {
    /// A new stack on a cloud.
    #[must_use]
    pub fn new(cloud: FakeCloud) -> Self {
        Self {
            cloud,
            store: MemoryStore::new(Uuid::from_u128(1)),
            secrets: Arc::default(),
            options: ResourceOptions::default(),
            cancellation: Cancellation::new(),
            hooks: EngineHooks::default(),
            concurrency: 8,
            detach: false,
            events: Arc::default(),
        }
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().map(|events| events.clone()).unwrap_or_default()
    }

    fn sink(&self) -> EventSink {
        let events = Arc::clone(&self.events);
        EventSink::new(move |event| {
            if let Ok(mut events) = events.lock() {
                events.push(event.clone());
            }
        })
    }

    /// An engine for the cloud.
    #[must_use]
    pub fn engine(&self) -> Engine {
        let mut options = EngineOptions::default();
        options.owner = self.store.id();
        options.hooks = self.hooks.clone();
        options.concurrency = Some(self.concurrency);
        Engine::new(self.cloud.provider(), Arc::clone(&self.secrets) as _, options)
    }

    /// The lease of the stack.
    ///
    /// # Errors
    /// When someone holds it.
    pub async fn lease(&self) -> Result<Box<dyn Lease>, StateError> {
        let holder =
            Holder { id: Uuid::nil(), name: "test".to_owned(), host: "here".to_owned(), run_url: None };
        self.store.acquire(&stack_id(), &holder).await
    }

    /// The state as the store has it.
    ///
    /// # Errors
    /// Never, in memory.
    pub async fn state(&self) -> Result<StackState, StateError> {
        self.store.load(&stack_id()).await
    }

    fn context(&self, fence: u64) -> OpCtx {
        let deadline = (Instant::now() + Duration::from_secs(60)).into_std();
        OpCtx::new(stack_id(), self.store.id(), fence, deadline, self.cancellation.clone())
    }

    /// Plans and applies what is wanted, after whatever was left is resolved.
    ///
    /// # Errors
    /// When no outcome was reached.
    pub async fn run(&self, wish: &Wish) -> Result<Outcome, SessionError> {
        let lease = self.lease().await?;
        let mut state = self.state().await?;
        let (engine, events) = (self.engine(), self.sink());
        let apply = || ApplyOptions { cancellation: self.cancellation.clone(), detach: self.detach };
        if let Some(decision) = wish.decide
            && state.open.as_ref().is_some_and(|open| open.waiting().is_some())
        {
            let outcome = engine.proceed(&*lease, &mut state, decision, apply(), &events).await?;
            assert_eq!(state, self.state().await?);
            return Ok(outcome);
        }
        let recover = RecoverOptions { cancellation: self.cancellation.clone(), ..RecoverOptions::default() };
        let report = engine.recover(&*lease, &mut state, &recover, &events).await?;
        if state.open.is_some()
            && let Some(outcome) = report.outcome
        {
            return Ok(outcome);
        }
        if wish.decide.is_some() {
            // Decided already, or taken back: nothing new begins.
            return Ok(Outcome {
                kind: OutcomeKind::NoChange,
                release: state.current,
                cause: None,
                left_behind: Vec::new(),
            });
        }
        let survey = engine.survey(&self.context(lease.info().fence), &state).await?;
        let plan = self.plan_from(wish, &state, &survey)?;
        let findings = plan::check(&plan, &state);
        assert!(findings.is_empty(), "the planner made a plan with findings: {findings:#?}");
        let outcome = engine.apply(&*lease, &mut state, plan, apply(), &events).await?;
        // The state in hand is the one in the store.
        assert_eq!(state, self.state().await?);
        Ok(outcome)
    }

    /// The plan that a run would apply now.
    ///
    /// # Errors
    /// When none can be made.
    pub async fn plan(&self, wish: &Wish) -> Result<Plan, SessionError> {
        let state = self.state().await?;
        let survey = self.engine().survey(&self.context(0), &state).await?;
        self.plan_from(wish, &state, &survey)
    }

    fn plan_from(&self, wish: &Wish, state: &StackState, seen: &Survey) -> Result<Plan, SessionError> {
        let provider = self.cloud.provider();
        let incarnation = if state.incarnation.is_nil() { Uuid::from_u128(7) } else { state.incarnation };
        if wish.gone {
            return Ok(destroy(state, seen, &*provider, incarnation, self.options.delete_data)?);
        }
        let current = state.current.and_then(|n| state.releases.get(&n)).map(|record| &record.release);
        let stack = wish.stack();
        let mut options = self.options.clone();
        options.first_release = wish.release.is_some() && current.is_none();
        let resources = plan::resources(&ResourceInput {
            stack: &stack,
            state,
            inventory: &seen.inventory,
            incarnation,
            provider: &*provider,
            options: &options,
        })?;
        let fresh: BTreeSet<_> = resources.steps.iter().filter_map(plan::changed_key).collect();
        let (mut release, mut release_steps) = (None, Vec::new());
        if let Some(wanted) = &wish.release {
            let serves = current.is_some_and(|c| serves(c, seen));
            let same = current.is_some_and(|c| wanted.is(&c.bundle, state, &fresh));
            if !(serves && same) {
                let next = if same && let Some(current) = current {
                    PlannedRelease {
                        number: current.number,
                        source: ReleaseSource::Staged { release: Box::new(current.clone()) },
                    }
                } else {
                    PlannedRelease { number: ReleaseNumber(state.last_release + 1), source: wanted.source() }
                };
                let mut fleet = provider.capabilities().fleet.unwrap_or_default();
                fleet.whole = wanted.whole;
                let draft = wanted.draft();
                // Releases that are staged and were never good, or are no longer kept.
                let expired: Vec<ReleaseNumber> = seen
                    .staged
                    .iter()
                    .map(|r| r.number)
                    .filter(|n| Some(*n) != state.current && *n != next.number)
                    .filter(|n| state.releases.get(n).is_none_or(|r| r.status != ReleaseStatus::Good))
                    .collect();
                let strategies = Strategies::default();
                release_steps = strategies.get(draft.strategy.kind.name())?.steps(&Situation {
                    next: &next,
                    current,
                    routing: &seen.routing,
                    units: &seen.units,
                    fleet: &fleet,
                    config: &draft.strategy,
                    because: "its source changed",
                    expired: &expired,
                })?;
                release = Some(next);
            }
        }
        Ok(plan::assemble(AssembleInput {
            stack: stack_id(),
            provider: provider.name().clone(),
            incarnation,
            command: "deploy".to_owned(),
            resource_steps: resources.steps,
            specs: resources.specs,
            release_steps,
            release,
            current: state.current,
            notes: resources.notes,
            inventory: &seen.inventory,
        })?)
    }
}

/// Does the release serve, and nothing else?
fn serves(release: &Release, seen: &Survey) -> bool {
    let wanted: BTreeSet<_> =
        release.bundle.services.iter().flat_map(|(name, config)| units(name, config)).collect();
    let running: BTreeSet<_> = seen
        .units
        .iter()
        .filter(|u| u.release == release.number && u.state == UnitState::Running)
        .map(|u| u.unit.clone())
        .collect();
    wanted == running
        && seen.units.iter().all(|u| u.release == release.number)
        && seen.routing.weights == Routing::all_to(release.number).weights
}

fn destroy(
    state: &StackState,
    seen: &Survey,
    provider: &dyn Provider,
    incarnation: Uuid,
    delete_data: bool,
) -> Result<Plan, PlanError> {
    let step = |id: String, action: ReleaseAction, after: BTreeSet<StepId>| Step {
        id: StepId(id),
        stage: Stage::Contract,
        action: StepAction::Release { release: state.current.unwrap_or(ReleaseNumber(0)), action },
        undo: Undo::Nothing,
        after,
        reason: String::new(),
        token: None,
    };
    let mut release_steps = Vec::new();
    let mut after = BTreeSet::new();
    if !seen.routing.weights.is_empty() {
        let shift = step(
            "shift:none".to_owned(),
            ReleaseAction::Shift { routing: Routing::default() },
            BTreeSet::new(),
        );
        after.insert(shift.id.clone());
        release_steps.push(shift);
    }
    for unit in &seen.units {
        let action = ReleaseAction::Stop { old: unit.release, unit: unit.unit.clone() };
        release_steps.push(step(format!("stop:{}/{}", unit.release, unit.unit), action, after.clone()));
    }
    let stopped: BTreeSet<StepId> = release_steps.iter().map(|s| s.id.clone()).collect();
    for release in &seen.staged {
        let action = ReleaseAction::Remove { old: release.number };
        release_steps.push(step(format!("remove:{}", release.number), action, stopped.clone()));
    }
    let destroy = plan::destroy(&DestroyInput {
        stack: &stack_id(),
        state,
        inventory: &seen.inventory,
        provider,
        delete_data,
    })?;
    plan::assemble(AssembleInput {
        stack: stack_id(),
        provider: provider.name().clone(),
        incarnation,
        command: "destroy".to_owned(),
        resource_steps: destroy.steps,
        specs: BTreeMap::new(),
        release_steps,
        release: None,
        current: state.current,
        notes: destroy.notes,
        inventory: &seen.inventory,
    })
}

/// Is it an end that a user may see after a crash and a second run?
#[must_use]
pub fn is_settled(outcome: &Outcome) -> bool {
    matches!(
        outcome.kind,
        OutcomeKind::Applied | OutcomeKind::NoChange | OutcomeKind::RolledBack | OutcomeKind::OnHold
    )
}
