//! A lost state, built again from what the places of a stack keep themselves, and the manifest.

mod history;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::history::History;
use super::deploy::{absolute, keep};
use super::session::Session;
use super::source::Source;
use super::{OperationError, Run, Target, Workspace, WorkspaceOptions};
use crate::diagnostics::rules;
use crate::engine::{Entry, ReleaseRecord, ReleaseStatus, ResourceState, StackState, Survey, survey};
use crate::manifest::Tier;
use crate::names::{ReleaseNumber, ResourceKey, StackId};
use crate::plan::Inventory;
use crate::provider::{
    ErrorKind, Fleet, Ledger, LowerOptions, PlaceRecord, Provider, ProviderError, Routing,
};
use crate::release::Release;
use crate::requirements::{self, DeriveOptions};
use crate::stack::{Resource, Stack};
use crate::state::{Holder, SqliteStore, StateError};

/// The setting that says that a rebuild was begun.
const REBUILDING: &str = "rebuilding";

/// How a lost state is built again.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RebuildOptions {
    /// Makes this state the owner of what another one owns. It names the stack: the app, or
    /// `APP/ENVIRONMENT`.
    pub take_over: Option<String>,
    /// Another provider than the manifest's.
    pub provider: Option<crate::names::ProviderName>,
    /// The region that it was deployed to, where that is not the manifest's.
    pub region: Option<String>,
    /// Dependencies that it was deployed without.
    pub drop: Vec<crate::names::DependencyName>,
    /// Resources that it was deployed with in the place of others.
    pub swaps: Vec<crate::manifest::SwapConfig>,
    /// It was deployed with optional dependencies.
    pub include_optional: bool,
}

/// What a rebuild came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// The stack.
    pub stack: StackId,
    /// The release that serves.
    pub release: Option<ReleaseNumber>,
    /// What was found, had back, ended and lost, in that order.
    pub things: Vec<RebuiltThing>,
}

/// One thing of a rebuilt state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuiltThing {
    /// A place, a resource's key, a release, or the path of a secret.
    pub what: String,
    /// What became of it.
    pub how: RebuiltHow,
    /// For people.
    pub detail: String,
}

/// What became of a thing of a lost state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuiltHow {
    /// This state is its owner from now on.
    TakenOver,
    /// It is there and known again.
    Found,
    /// Its value was had back.
    HadBack,
    /// It was made anew in the place of one that nobody can have back.
    MadeAnew,
    /// It was left open by a run that nobody knows any more, and is taken back.
    Ended,
    /// It cannot be had back.
    Lost,
}

impl Workspace {
    /// Puts what is left of a state that cannot be opened any more aside, so that
    /// [`open`](Self::open) makes a new one. The answer is where it lies now; `None` when the state
    /// can be opened: then nothing is moved.
    ///
    /// # Errors
    /// When it is whole and cannot be opened for another reason, or cannot be moved.
    pub fn set_aside(options: &WorkspaceOptions) -> Result<Option<std::path::PathBuf>, OperationError> {
        match SqliteStore::open(&options.dir) {
            Ok(_) => Ok(None),
            Err(StateError::Damaged { .. }) => Ok(SqliteStore::set_aside(&options.dir)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Builds the state of a stack again from what its places keep, and the manifest that it was
    /// deployed from. What another state owns is refused unless `take_over` names it; then this state
    /// is the owner from now on, and the other is refused. What a run left open that nobody knows any
    /// more is taken back, as every next command would. Interrupted, it is run again: the state is
    /// written by one entry at the end.
    ///
    /// # Errors
    /// When nothing keeps records of it, nothing is there, another state owns it, an interrupted run
    /// of a state that is not lost is open, or a place cannot be reached.
    pub async fn rebuild(
        &self,
        target: &Target,
        options: &RebuildOptions,
        run: &Run,
    ) -> Result<Rebuilt, OperationError> {
        let stack = &target.stack;
        let (wanted, source) = self.wanted(target, options)?;
        let provider = self.provider(stack, &source.provider, Some(&wanted)).await?;
        let ledger = provider.ledger().ok_or_else(|| no_records(&*provider))?;
        let looking = self.observe_context(stack, 0, run.cancellation.clone());
        let records = ledger.records(&looking).await?;
        let owner = self.0.store.id();
        let others: Vec<&PlaceRecord> = records.iter().filter(|record| record.owner != owner).collect();
        let places = others.iter().map(|record| (record.place.clone(), record.owner)).collect();
        may_take_over(stack, options.take_over.as_deref(), places)?;
        let known = self.0.store.load(stack).await?;
        if known.open.is_some() && others.is_empty() {
            return Err(OperationError::Nothing {
                message: format!("the state of `{stack}` is not lost: a run of it is open"),
                help: format!("`vrooli-deploy resume {}` resolves that", stack.app),
            });
        }
        // Leases of the lost state were seen; ours must be newer.
        let seen = records.iter().map(|record| record.fence).max().unwrap_or(0);
        self.0.store.raise_fence(stack, seen).await?;
        let mut session = self.rebuilding(stack, provider, known, run).await?;
        // From here on it is ours and not known yet: nobody may take that for an app that is not there.
        self.0.store.set_setting(stack, REBUILDING, Some(&Value::Bool(true))).await?;
        ledger.take_over(&session.context()).await?;
        let mut rebuilding = Rebuilding::new(stack);
        for record in others {
            rebuilding.say(RebuiltHow::TakenOver, &record.place, format!("from the state {}", record.owner));
        }
        let Survey { inventory, units, routing, staged } =
            survey(&*session.provider, &session.context(), &StackState::default()).await?;
        if records.is_empty() && inventory.keys().next().is_none() && staged.is_empty() && units.is_empty() {
            self.0.store.set_setting(stack, REBUILDING, None).await?;
            return Err(OperationError::Nothing {
                message: format!("nothing of `{stack}` is there, so there is nothing to build a state from"),
                help: "`vrooli-deploy deploy` makes it".to_owned(),
            });
        }
        let history = history::read(&staged, &units, &routing);
        rebuilding.values(&session, &*ledger, &staged).await?;
        if let Some(fleet) = session.provider.fleet() {
            rebuilding.settle(&session, &*fleet, &history, &staged, &units).await?;
        }
        let specs: BTreeMap<ResourceKey, Value> =
            records.into_iter().flat_map(|record| record.specs).collect();
        let resources =
            rebuilding.resources(&session, &*ledger, &wanted, &inventory, &specs, &staged).await?;
        let state = rebuilding.state(&session.state, &history, staged, resources);
        let source = Source { stopped: history.stopped && history.current.is_some(), ..source };
        self.set_source(stack, &source).await?;
        let entry = Entry::Rebuilt { state: Box::new(state) };
        for record in session.lease.append(session.state.seq, &[entry]).await? {
            // The store refuses what cannot follow; folding our own copy cannot fail after that.
            let _ = session.state.apply(&record);
        }
        self.0.store.set_setting(stack, REBUILDING, None).await?;
        session.end(false).await?;
        Ok(rebuilding.report(history.current))
    }

    /// Was a rebuild begun and not finished?
    pub(super) async fn is_being_rebuilt(&self, stack: &StackId) -> Result<bool, OperationError> {
        Ok(self.0.store.setting(stack, REBUILDING).await?.is_some())
    }

    /// What the manifest wants, and what is remembered of where it came from. Needs no secret: those
    /// may be what is to be had back.
    fn wanted(&self, target: &Target, options: &RebuildOptions) -> Result<(Stack, Source), OperationError> {
        let loaded = super::fitness::usable(target)?;
        let mut diagnostics = target.diagnostics.clone();
        let mut manifest = loaded.manifest.clone();
        manifest.app.name = target.stack.app.clone();
        manifest.drop.extend(options.drop.iter().cloned());
        manifest.swaps.extend(options.swaps.iter().cloned());
        let provider = options.provider.clone().unwrap_or_else(|| manifest.provider.clone());
        let factory = self.registry().get(&provider)?;
        let derive = DeriveOptions {
            include_optional: options.include_optional || target.include_optional(),
            // See `prepare` of a deployment.
            tier: (manifest.target == Tier::Local && provider.as_str() != "local").then_some(Tier::Saas),
            ..DeriveOptions::default()
        };
        let derived = requirements::derive_at(&manifest, &derive, &loaded.spans);
        let requirements = keep(derived, &mut diagnostics)?;
        let chosen = target.profile.as_ref().and_then(|version| version.profile.as_ref());
        let settings = chosen.map(|profile| profile.settings.clone()).unwrap_or_default();
        if options.region.is_some() {
            manifest.infrastructure.region.clone_from(&options.region);
        }
        let lower = LowerOptions {
            port: settings.port,
            listen: settings.listen,
            ..LowerOptions::of(loaded, &manifest)
        };
        let stack = keep(factory.lower(&target.stack, &requirements, &lower), &mut diagnostics)?;
        let source = Source {
            root: loaded.root.clone(),
            file: absolute(&loaded.file)?,
            provider,
            region: options.region.clone(),
            port: settings.port,
            listen: settings.listen,
            pass_env: Vec::new(),
            base_images: std::collections::BTreeMap::new(),
            profile: target.profile.as_ref().map(|version| version.reference()),
            values: target.values.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?,
            stopped: false,
        };
        Ok((stack, source))
    }

    async fn rebuilding(
        &self,
        stack: &StackId,
        provider: std::sync::Arc<dyn Provider>,
        state: StackState,
        run: &Run,
    ) -> Result<Session, OperationError> {
        let holder = run.holder.clone().unwrap_or_else(|| Holder {
            id: Uuid::now_v7(),
            name: format!("state rebuild (pid {})", std::process::id()),
            host: self.0.host.clone(),
            run_url: run.run_url.clone(),
        });
        let lease = self.acquire(stack, &holder).await?;
        let (workspace, stack, run) = (self.clone(), stack.clone(), run.clone());
        Ok(Session { workspace, stack, provider, lease, state, run })
    }
}

pub(super) fn no_records(provider: &dyn Provider) -> OperationError {
    OperationError::Provider(
        ProviderError::new(
            ErrorKind::Unsupported,
            format!("provider `{}` keeps no records that a state could be built from", provider.name()),
        )
        .with_code(rules::NO_LEDGER.to_string())
        .with_help("restore the state folder from a backup"),
    )
}

/// What another state owns is only taken over by name.
pub(super) fn may_take_over(
    stack: &StackId,
    take_over: Option<&str>,
    others: Vec<(String, Uuid)>,
) -> Result<(), OperationError> {
    let whole = named(stack);
    match take_over {
        Some(name) if *name == whole || *name == stack.to_string() => Ok(()),
        Some(name) => Err(OperationError::Gate {
            message: format!("`--take-over={name}` does not name `{whole}`: nothing was taken over"),
            help: format!("to make this state its owner: `--take-over={whole}`"),
        }),
        None if others.is_empty() => Ok(()),
        None => Err(OperationError::OtherState { stack: stack.clone(), places: others, name: whole }),
    }
}

/// A stack as it is named to take it over: its app alone where it is in the usual environment.
pub(super) fn named(stack: &StackId) -> String {
    match stack.environment.as_str() {
        "default" => stack.app.to_string(),
        _ => stack.to_string(),
    }
}

/// A rebuild on its way.
struct Rebuilding {
    stack: StackId,
    things: Vec<RebuiltThing>,
}

impl Rebuilding {
    fn new(stack: &StackId) -> Self {
        Self { stack: stack.clone(), things: Vec::new() }
    }

    fn say(&mut self, how: RebuiltHow, what: &str, detail: impl Into<String>) {
        self.things.push(RebuiltThing { what: what.to_owned(), how, detail: detail.into() });
    }

    /// What a run left open is taken back, as every next command would: its journal is lost, so
    /// nobody knows that it was to stay.
    async fn settle(
        &mut self,
        session: &Session,
        fleet: &dyn Fleet,
        history: &History,
        staged: &[Release],
        units: &[crate::provider::UnitObserved],
    ) -> Result<(), OperationError> {
        let current = history.current.and_then(|n| staged.iter().find(|release| release.number == n));
        if let Some(current) = current.filter(|_| history.astray) {
            let running = crate::provider::UnitObserved::running(units, current.number);
            for (name, config) in &current.bundle.services {
                for unit in crate::release::strategy::units(name, config) {
                    if !running.contains(&unit) {
                        fleet.start(&session.context(), current, &unit).await?;
                    }
                }
            }
            fleet.route(&session.context(), &Routing::all_to(current.number)).await?;
        }
        for (release, unit) in &history.left {
            fleet.stop(&session.context(), *release, unit).await?;
        }
        for release in &history.unfinished {
            fleet.remove(&session.context(), *release).await?;
            self.say(
                RebuiltHow::Ended,
                &release.to_string(),
                "its deployment was not finished, and what came of it is in the lost state: it is taken back",
            );
        }
        Ok(())
    }

    /// Resources that are there, as a state knows them.
    async fn resources(
        &mut self,
        session: &Session,
        ledger: &dyn Ledger,
        wanted: &Stack,
        inventory: &Inventory,
        specs: &BTreeMap<ResourceKey, Value>,
        staged: &[Release],
    ) -> Result<BTreeMap<ResourceKey, ResourceState>, OperationError> {
        let mut resources = BTreeMap::new();
        for key in inventory.keys() {
            let want = wanted.resources.get(key);
            let objects = inventory.objects(key);
            let like = |(kind, _): &&(crate::names::ResourceKind, _)| want.is_some_and(|w| w.kind == *kind);
            let Some((kind, found)) = objects.iter().find(like).or_else(|| objects.first()) else { continue };
            let pure = session.provider.kind(kind)?;
            let mut outputs = pure.outputs(&found.id, &found.observed)?;
            let want = want.filter(|want| want.kind == *kind);
            let applied = specs.get(key);
            outputs.extend(self.secrets(session, ledger, (key, kind), found, applied, staged).await?);
            self.say(RebuiltHow::Found, key.as_str(), found.id.to_string());
            resources.insert(
                key.clone(),
                ResourceState {
                    kind: kind.clone(),
                    id: found.id.clone(),
                    generation: 1,
                    // What differs from it is a difference of the next plan.
                    spec: want.map(|w| w.spec.clone()).or_else(|| applied.cloned()).unwrap_or_default(),
                    observed: found.observed.clone(),
                    outputs,
                    holds_data: holds_data(wanted, want, kind),
                    needs: want.map(needs).unwrap_or_default(),
                    adopted: false,
                },
            );
        }
        Ok(resources)
    }

    fn state(
        &mut self,
        known: &StackState,
        history: &History,
        staged: Vec<Release>,
        resources: BTreeMap<ResourceKey, ResourceState>,
    ) -> StackState {
        let now = Timestamp::now();
        // What is history already stays history.
        let mut releases = known.releases.clone();
        for release in staged {
            let number = release.number;
            let status = history.releases.get(&number).copied().unwrap_or(ReleaseStatus::Good);
            let good = status == ReleaseStatus::Good;
            if good {
                let detail = if history.current == Some(number) { "it serves" } else { "it is kept" };
                self.say(RebuiltHow::Found, &number.to_string(), detail);
            }
            let before = releases.get(&number).filter(|before| before.release == release);
            let record = ReleaseRecord {
                created: before.map_or(now, |before| before.created),
                committed: before.and_then(|before| before.committed).or_else(|| good.then_some(now)),
                failure: (!good).then(|| "the state was lost before it was committed".to_owned()),
                status,
                release,
            };
            releases.insert(number, record);
        }
        for (number, record) in &mut releases {
            if !history.releases.contains_key(number) && record.status == ReleaseStatus::Good {
                record.status = ReleaseStatus::Removed;
            }
        }
        let last = releases.keys().map(|number| number.0).max().unwrap_or(0);
        StackState {
            incarnation: Uuid::new_v4(),
            generations: resources.keys().map(|key| (key.clone(), 1)).collect(),
            resources,
            releases,
            current: history.current,
            last_release: known.last_release.max(last),
            ..StackState::default()
        }
    }

    fn report(mut self, release: Option<ReleaseNumber>) -> Rebuilt {
        self.things.sort_by(|a, b| (a.how, &a.what).cmp(&(b.how, &b.what)));
        Rebuilt { stack: self.stack, release, things: self.things }
    }
}

/// Nobody says what an object holds that the manifest does not want: data, unless its kind never does.
fn holds_data(wanted: &Stack, want: Option<&Resource>, kind: &crate::names::ResourceKind) -> bool {
    match want {
        Some(want) => want.holds_data,
        None => {
            let mut alike = wanted.resources.values().filter(|resource| resource.kind == *kind).peekable();
            alike.peek().is_none() || alike.any(|resource| resource.holds_data)
        }
    }
}

/// What must outlive it.
fn needs(want: &Resource) -> BTreeSet<ResourceKey> {
    let mut needs = want.after.clone();
    needs.extend(crate::plan::reference::references(&want.spec).into_iter().map(|reference| reference.key));
    needs
}
