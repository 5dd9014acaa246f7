use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;
use vrooli_deploy_core::engine::{
    ApplyError, ApplyOptions, Decision, Engine, EngineHooks, EngineOptions, Entry, EventSink, Hook,
    JournalRecord, Outcome, OutcomeKind, RecoverOptions, StackState, Survey,
};
use vrooli_deploy_core::manifest::{ServiceConfig, StrategyConfig};
use vrooli_deploy_core::names::{Digest, ProviderName, ReleaseNumber};
use vrooli_deploy_core::plan::{
    self, AssembleInput, Draft, Inventory, Plan, PlanError, PlannedRelease, ReleaseSource,
};
use vrooli_deploy_core::provider::{
    BuildRequest, Cancellation, Fleet as _, OpCtx, ProviderError, ProviderSet, Routing, UnitState,
};
use vrooli_deploy_core::release::strategy::{Situation, Strategies, StrategyError, units};
use vrooli_deploy_core::state::{Holder, MemoryStore, StateError, StateStore as _};

use super::fleet::SimFleet;
use crate::fakecloud::MemorySecrets;
use crate::session::stack_id;

/// What a run is to bring about.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The version; see [`SimFleet`] for what it can say.
    pub version: String,
    /// Instances of `api`, which has a port.
    pub count: u32,
    /// Is there a `worker`, which must not run twice?
    pub worker: bool,
    /// How it takes over, as manifests say it.
    pub strategy: StrategyConfig,
}

/// One stack on a simulated fleet.
#[derive(Debug)]
pub struct SimSession {
    /// The hosts.
    pub fleet: SimFleet,
    /// The state.
    pub store: MemoryStore,
}

/// Why a run came to no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The state: somebody else is at work.
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
    /// A host that cannot be reached.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// Tells the world what is committed.
struct Committed(SimFleet);

#[async_trait]
impl Hook for Committed {
    async fn after_append(&self, record: &JournalRecord) {
        if let Entry::Committed { release } = &record.entry {
            self.0.world().committed = Some(*release);
        }
    }
}

impl SimSession {
    /// A new stack.
    #[must_use]
    pub fn new(fleet: SimFleet) -> Self {
        Self { fleet, store: MemoryStore::new(Uuid::from_u128(1)) }
    }

    /// The state as the store has it.
    ///
    /// # Errors
    /// Never, in memory.
    pub async fn state(&self) -> Result<StackState, StateError> {
        self.store.load(&stack_id()).await
    }

    #[expect(clippy::expect_used, reason = "a literal")]
    fn engine(&self) -> Engine {
        let name = ProviderName::new("sim").expect("a valid name");
        let provider = Arc::new(ProviderSet::new(name).with_fleet(Arc::new(self.fleet.clone())));
        let mut options = EngineOptions::default();
        options.owner = self.store.id();
        options.concurrency = Some(64);
        options.hooks = EngineHooks::new(Committed(self.fleet.clone()));
        Engine::new(provider, Arc::new(MemorySecrets::default()), options)
    }

    /// Deploys, after whatever was left is resolved.
    ///
    /// # Errors
    /// When no outcome was reached.
    pub async fn run(&self, wanted: &Wanted) -> Result<Outcome, SimError> {
        let holder =
            Holder { id: Uuid::nil(), name: "test".to_owned(), host: "here".to_owned(), run_url: None };
        let lease = self.store.acquire(&stack_id(), &holder).await?;
        let mut state = self.state().await?;
        let (engine, events) = (self.engine(), EventSink::default());
        let report = engine.recover(&*lease, &mut state, &RecoverOptions::default(), &events).await?;
        if state.open.is_some()
            && let Some(outcome) = report.outcome
        {
            return Ok(outcome);
        }
        let deadline = (Instant::now() + Duration::from_secs(60)).into_std();
        let fence = lease.info().fence;
        let cx = OpCtx::new(stack_id(), self.store.id(), fence, deadline, Cancellation::new());
        let survey = engine.survey(&cx, &state).await?;
        let plan = self.plan(wanted, &state, &survey)?;
        let findings = plan::check(&plan, &state);
        assert!(findings.is_empty(), "the planner made a plan with findings: {findings:#?}");
        Ok(engine.apply(&*lease, &mut state, plan, ApplyOptions::default(), &events).await?)
    }

    /// Decides about what waits.
    ///
    /// # Errors
    /// When nothing waits, or no outcome was reached.
    pub async fn decide(&self, decision: Decision) -> Result<Outcome, SimError> {
        let holder =
            Holder { id: Uuid::nil(), name: "test".to_owned(), host: "here".to_owned(), run_url: None };
        let lease = self.store.acquire(&stack_id(), &holder).await?;
        let mut state = self.state().await?;
        let (options, events) = (ApplyOptions::default(), EventSink::default());
        Ok(self.engine().proceed(&*lease, &mut state, decision, options, &events).await?)
    }

    fn plan(&self, wanted: &Wanted, state: &StackState, seen: &Survey) -> Result<Plan, SimError> {
        let current = state.current.and_then(|n| state.releases.get(&n)).map(|record| &record.release);
        let draft = wanted.draft();
        let same =
            current.is_some_and(|c| c.bundle.version == draft.version && c.bundle.services == draft.services);
        let (mut release, mut release_steps) = (None, Vec::new());
        let serves = current.is_some_and(|current| {
            let all: BTreeSet<_> = current
                .bundle
                .services
                .iter()
                .flat_map(|(name, config)| units(name, config).map(|unit| (current.number, unit)))
                .collect();
            let there: BTreeSet<_> = seen
                .units
                .iter()
                .filter(|u| u.state == UnitState::Running)
                .map(|u| (u.release, u.unit.clone()))
                .collect();
            all == there && seen.routing.weights == Routing::all_to(current.number).weights
        });
        if !(same && serves) {
            let next = match current.filter(|_| same) {
                Some(current) => PlannedRelease {
                    number: current.number,
                    source: ReleaseSource::Staged { release: Box::new(current.clone()) },
                },
                None => PlannedRelease {
                    number: ReleaseNumber(state.last_release + 1),
                    source: wanted.source(draft.clone()),
                },
            };
            let strategies = Strategies::default();
            let fleet = self.fleet.capabilities();
            release_steps = strategies.get(draft.strategy.kind.name())?.steps(&Situation {
                next: &next,
                current,
                routing: &seen.routing,
                units: &seen.units,
                fleet: &fleet,
                config: &draft.strategy,
                because: "its source changed",
                expired: &[],
            })?;
            release = Some(next);
        }
        Ok(plan::assemble(AssembleInput {
            stack: stack_id(),
            provider: ProviderName::new("sim").map_err(|e| PlanError::Unsound { message: e.to_string() })?,
            incarnation: Uuid::from_u128(7),
            command: "deploy".to_owned(),
            resource_steps: Vec::new(),
            specs: BTreeMap::new(),
            release_steps,
            release,
            current: state.current,
            notes: Vec::new(),
            inventory: &Inventory::seen([]),
        })?)
    }

    /// Everything that the outcome of the last run promises, with every host reachable.
    ///
    /// # Panics
    /// When a promise is broken.
    #[expect(clippy::unwrap_used, reason = "memory does not fail")]
    pub async fn verify(&self, outcome: &Outcome) {
        let state = self.state().await.unwrap();
        let world = self.fleet.world();
        assert_eq!(world.violations, BTreeSet::new(), "what must never be");
        if outcome.kind == OutcomeKind::OnHold {
            return;
        }
        assert!(state.open.is_none(), "a plan is still open: {outcome:?}");
        let current = state.current.unwrap();
        let release = &state.releases[&current].release;
        let all: BTreeSet<_> = release
            .bundle
            .services
            .iter()
            .flat_map(|(name, config)| units(name, config).map(|unit| (current, unit)))
            .collect();
        assert_eq!(world.running(), all, "the units of {current} run, and no others");
        for (at, host) in world.hosts.iter().enumerate() {
            let weights = Routing::all_to(current).weights;
            assert_eq!(host.routing.weights, weights, "host {at} sends everything to {current}");
            assert!(host.routing.resting.is_empty() && host.routing.revert_at.is_none(), "host {at}");
        }
    }
}

impl Wanted {
    #[expect(clippy::unwrap_used, reason = "literals")]
    fn draft(&self) -> Draft {
        let mut services = json!({"api": {"run": "./api", "ports": {"http": {}}, "scaling": {"min": self.count, "max": self.count}}});
        if self.worker {
            let worker: ServiceConfig = serde_json::from_value(json!({"run": "./worker"})).unwrap();
            services["worker"] = serde_json::to_value(worker).unwrap();
        }
        serde_json::from_value(json!({
            "app": "shop", "environment": "default", "version": self.version, "services": services, "env": {},
            "smoke": [{"service": "api", "path": "/"}], "strategy": self.strategy,
            "resources": [], "migrations": [],
        }))
        .unwrap()
    }

    fn source(&self, draft: Draft) -> ReleaseSource {
        let request = BuildRequest {
            root: "/src".into(),
            context: "/src".into(),
            exclude: vec![self.version.clone()],
            include: Vec::new(),
            steps: Vec::new(),
            pass_env: Vec::new(),
            env: std::collections::BTreeMap::new(),
            image: None,
            runs: Vec::new(),
            base_images: std::collections::BTreeMap::new(),
            containers: None,
        };
        ReleaseSource::Build {
            request: Box::new(request),
            source: Digest::of(self.version.as_bytes()),
            draft: Box::new(draft),
        }
    }
}
