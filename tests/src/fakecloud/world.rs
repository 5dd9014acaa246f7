use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, ResourceKey, StackId, UnitId};
use vrooli_deploy_core::provider::{
    Counters, ErrorKind, OpCtx, OpToken, PhysicalId, ProviderError, Reading, Result, Routing, UnitObserved,
    UnitState,
};
use vrooli_deploy_core::release::Release;

/// What ties an object to its stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// The stack.
    pub stack: StackId,
    /// The state that made it.
    pub owner: Uuid,
    /// Its key.
    pub key: ResourceKey,
    /// The token it was made with.
    pub token: Option<OpToken>,
}

/// An object of the cloud.
#[derive(Debug, Clone)]
pub struct Object {
    /// What the cloud calls it.
    pub id: PhysicalId,
    /// Its kind.
    pub kind: &'static str,
    /// Whose it is.
    pub marks: Marks,
    /// A name that no other of its kind has.
    pub name: Option<String>,
    /// Its settings, as observed.
    pub fields: Value,
    /// Objects that it stands on.
    pub stands_on: Vec<PhysicalId>,
    /// From here on listings show it.
    pub visible: Instant,
    /// From here on it can be used.
    pub ready: Instant,
    /// Counts up with each object: which one is older.
    pub made: u64,
}

/// What a create asks for.
#[derive(Debug, Clone)]
pub(super) struct NewObject {
    pub(super) kind: &'static str,
    pub(super) marks: Marks,
    pub(super) name: Option<String>,
    pub(super) fields: Value,
    pub(super) stands_on: Vec<String>,
    pub(super) ready_after: Duration,
    /// Does the cloud itself take the token?
    pub(super) native: bool,
}

/// What is remembered of a token.
#[derive(Debug, Clone)]
struct Remembered {
    parameters: Digest,
    id: PhysicalId,
}

type Landing = Box<dyn FnOnce(&mut World) + Send>;

/// The cloud's inside. Public so that tests can look, and do what another hand would.
#[derive(Default)]
pub struct World {
    /// Objects by id.
    pub objects: BTreeMap<PhysicalId, Object>,
    /// How often an object was really made, by kind and token.
    pub creations: BTreeMap<(&'static str, OpToken), u32>,
    /// How often such an object was deleted again.
    pub deletions: BTreeMap<(&'static str, OpToken), u32>,
    /// Fleets by stack.
    pub fleets: BTreeMap<StackId, FleetWorld>,
    /// What must never be and was: traffic to what does not run, a worker that runs twice.
    pub violations: Vec<String>,
    /// How many objects of a kind there may be.
    pub quotas: BTreeMap<&'static str, usize>,
    tokens: BTreeMap<(&'static str, OpToken), Remembered>,
    landings: Vec<(Instant, Landing)>,
    /// The time of the call that is landing.
    now: Option<Instant>,
    counter: u64,
}

/// A fleet's inside.
#[derive(Debug, Clone, Default)]
pub struct FleetWorld {
    /// Units that run.
    pub units: BTreeMap<(ReleaseNumber, UnitId), UnitObserved>,
    /// Releases that are staged.
    pub staged: BTreeMap<ReleaseNumber, Release>,
    /// Traffic.
    pub routing: Routing,
    /// How often each SQL file was applied to the database that is there.
    pub ledger: BTreeMap<String, u32>,
    /// The highest lease number seen.
    pub fence: u64,
    /// How often each unit was started.
    pub starts: u32,
    /// What was counted of each release.
    pub counted: BTreeMap<ReleaseNumber, Counters>,
    /// Units of a service that must serve at any time, once a release was routed.
    pub floor: Option<u32>,
    /// Until when it was counted, with the time that readings say then.
    clock: Option<(Instant, Timestamp)>,
    /// When traffic goes back by itself.
    revert: Option<Instant>,
}

/// Requests a second, over all releases that get traffic.
const RATE: f64 = 2_000.0;

impl FleetWorld {
    /// Lets clients work until now, at the weights that were in force, and lets traffic go back
    /// if its time has come.
    fn pass(&mut self, now: Instant) {
        if let Some(due) = self.revert.filter(|due| *due <= now) {
            self.count(due);
            self.revert = None;
            let weights = std::mem::take(&mut self.routing.revert_to);
            self.routing = Routing { weights, ..Routing::default() };
        }
        self.count(now);
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn count(&mut self, now: Instant) {
        let (since, at) = *self.clock.get_or_insert_with(|| (now, Timestamp::now()));
        let passed = now.saturating_duration_since(since);
        let total: u32 = self.routing.weights.values().sum();
        // Whole seconds: what is left counts the next time.
        let seconds = passed.as_secs();
        if seconds == 0 {
            return;
        }
        for (release, weight) in &self.routing.weights {
            let Some(staged) = self.staged.get(release) else { continue };
            let version = &staged.bundle.version;
            let counted = self.counted.entry(*release).or_default();
            let requests = if version.contains("quiet") {
                0
            } else {
                (RATE * seconds as f64 * f64::from(*weight) / f64::from(total.max(1))) as u64
            };
            counted.requests += requests;
            counted.errors += if version.contains("erring") { requests * 3 / 10 } else { 0 };
            *counted
                .latency
                .steps
                .entry(if version.contains("slow") { 9_000 } else { 1_000 })
                .or_default() += requests;
        }
        let later = Duration::from_secs(seconds);
        self.clock = Some((since + later, at.saturating_add(later).unwrap_or(at)));
    }

    pub(super) fn route(&mut self, routing: Routing, now: Instant) -> Routing {
        self.pass(now);
        self.revert = routing
            .revert_at
            .filter(|_| !routing.revert_to.is_empty())
            .map(|at| now + Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
        std::mem::replace(&mut self.routing, routing)
    }

    pub(super) fn reading(&mut self, now: Instant) -> Reading {
        self.pass(now);
        let mut releases = self.counted.clone();
        for (release, _) in self.units.keys() {
            let counted = releases.entry(*release).or_default();
            let leaks = self.staged.get(release).is_some_and(|r| r.bundle.version.contains("leaking"));
            let requests = if leaks { counted.requests } else { 0 };
            counted.memory = Some((50 << 20) + (requests << 16));
        }
        let at = self.clock.map_or_else(Timestamp::now, |(_, at)| at);
        Reading { at, releases }
    }

    /// Units of a service that get requests.
    fn serving(&self, service: &str) -> u32 {
        let serving = self.units.iter().filter(|((release, unit), seen)| {
            unit.service.as_str() == service
                && seen.state == UnitState::Running
                && self.routing.weights.get(release).is_some_and(|weight| *weight > 0)
                && !self.routing.resting.get(release).is_some_and(|resting| resting.contains(unit))
        });
        u32::try_from(serving.count()).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("objects", &self.objects.len()).finish_non_exhaustive()
    }
}

impl World {
    /// Lets calls land whose time has come.
    pub(super) fn pass(&mut self, now: Instant) {
        for fleet in self.fleets.values_mut() {
            fleet.pass(now);
        }
        loop {
            let Some(at) = self.landings.iter().position(|(when, _)| *when <= now) else { return };
            let (when, landing) = self.landings.remove(at);
            // It lands when its time comes, not when somebody looks.
            self.now = Some(when);
            landing(self);
            self.now = None;
        }
    }

    pub(super) fn land_at(&mut self, when: Instant, landing: Landing) {
        self.landings.push((when, landing));
    }

    pub(super) fn create(&mut self, new: NewObject, lag: Duration) -> Result<Object> {
        let parameters = Digest::of_json(&(&new.fields, &new.name, &new.stands_on))
            .map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))?;
        if let Some(token) = new.marks.token
            && new.native
            && let Some(known) = self.tokens.get(&(new.kind, token))
        {
            if known.parameters != parameters {
                return Err(ProviderError::new(
                    ErrorKind::Config,
                    "this token was used with other parameters",
                )
                .with_code("IdempotentParameterMismatch"));
            }
            return self.objects.get(&known.id).cloned().ok_or_else(|| {
                ProviderError::new(ErrorKind::Conflict, "what this token made was deleted")
                    .with_code("IdempotentInstanceTerminated")
            });
        }
        if let Some(name) = &new.name
            && self.objects.values().any(|o| o.kind == new.kind && o.name.as_ref() == Some(name))
        {
            return Err(ProviderError::new(ErrorKind::AlreadyExists, format!("`{name}` is taken"))
                .with_code("AlreadyExists"));
        }
        if let Some(quota) = self.quotas.get(new.kind)
            && self.objects.values().filter(|o| o.kind == new.kind).count() >= *quota
        {
            return Err(ProviderError::new(
                ErrorKind::Quota,
                format!("no more than {quota} of {}", new.kind),
            )
            .with_code("LimitExceeded"));
        }
        let mut stands_on = Vec::new();
        for id in new.stands_on {
            let id = PhysicalId(id);
            if !self.objects.contains_key(&id) {
                return Err(ProviderError::new(ErrorKind::NotFound, format!("there is no {id}"))
                    .with_code("NotFound"));
            }
            stands_on.push(id);
        }
        self.counter += 1;
        let short = new.kind.rsplit('.').next().unwrap_or(new.kind);
        let id = PhysicalId(format!("{short}-{:04}", self.counter));
        let now = self.now.unwrap_or_else(Instant::now);
        let object = Object {
            id: id.clone(),
            kind: new.kind,
            marks: new.marks,
            name: new.name,
            fields: new.fields,
            stands_on,
            visible: now + lag,
            ready: now + new.ready_after,
            made: self.counter,
        };
        if let Some(token) = object.marks.token {
            *self.creations.entry((new.kind, token)).or_default() += 1;
            if new.native {
                self.tokens.insert((new.kind, token), Remembered { parameters, id: id.clone() });
            }
        }
        self.objects.insert(id, object.clone());
        Ok(object)
    }

    pub(super) fn update(&mut self, id: &PhysicalId, fields: Value) -> Result<Object> {
        let object = self.objects.get_mut(id).ok_or_else(|| {
            ProviderError::new(ErrorKind::NotFound, format!("there is no {id}")).with_code("NotFound")
        })?;
        object.fields = fields;
        Ok(object.clone())
    }

    /// Deletes an object. What is not there is fine; what something stands on is not.
    ///
    /// # Errors
    /// `Conflict` while another object stands on it.
    pub fn delete(&mut self, id: &PhysicalId) -> Result<()> {
        if let Some(user) = self.objects.values().find(|o| o.stands_on.contains(id)) {
            return Err(ProviderError::new(ErrorKind::Conflict, format!("{} stands on {id}", user.id))
                .with_code("DependencyViolation"));
        }
        let Some(gone) = self.objects.remove(id) else { return Ok(()) };
        if let Some(token) = gone.marks.token {
            *self.deletions.entry((gone.kind, token)).or_default() += 1;
        }
        if gone.kind == super::kinds::DATABASE {
            // Its tables go with it.
            if let Some(fleet) = self.fleets.get_mut(&gone.marks.stack) {
                fleet.ledger.clear();
            }
        }
        Ok(())
    }

    /// Objects of a stack, oldest first.
    pub fn of(&self, stack: &StackId) -> impl Iterator<Item = &Object> {
        self.such(move |o| o.marks.stack == *stack)
    }

    /// Objects of which something is so, oldest first.
    pub(super) fn such(&self, which: impl Fn(&Object) -> bool) -> std::vec::IntoIter<&Object> {
        let mut all: Vec<&Object> = self.objects.values().filter(|o| which(o)).collect();
        all.sort_by_key(|o| o.made);
        all.into_iter()
    }

    /// The fleet of a call's stack; a call of an older lease holder is refused.
    pub(super) fn fleet(&mut self, cx: &OpCtx) -> Result<&mut FleetWorld> {
        let fleet = self.fleets.entry(cx.stack.clone()).or_default();
        if cx.fence < fleet.fence {
            return Err(ProviderError::new(
                ErrorKind::Fenced,
                format!("lease {} was passed by {}", cx.fence, fleet.fence),
            ));
        }
        fleet.fence = cx.fence;
        Ok(fleet)
    }

    /// The fleet of a call's stack, for reading: nobody is refused, a new lease holder is noticed.
    pub(super) fn fleet_seen(&mut self, cx: &OpCtx) -> &mut FleetWorld {
        let fleet = self.fleets.entry(cx.stack.clone()).or_default();
        fleet.fence = fleet.fence.max(cx.fence);
        fleet
    }

    /// Notes what must never be.
    pub(super) fn watch(&mut self, stack: &StackId, after: &str) {
        let Some(fleet) = self.fleets.get(stack) else { return };
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for release in fleet.routing.weights.iter().filter(|(_, weight)| **weight > 0).map(|(r, _)| *r) {
            let runs = fleet.units.values().any(|u| u.release == release && u.state == UnitState::Running);
            if !runs {
                seen.insert(format!("after {after}: traffic goes to {release}, which does not run"));
            }
        }
        if let Some(floor) = fleet.floor
            && !fleet.routing.weights.is_empty()
            && fleet.serving("api") < floor
        {
            seen.insert(format!("after {after}: {} units of api serve, not {floor}", fleet.serving("api")));
        }
        let mut exclusive: BTreeMap<&UnitId, Vec<ReleaseNumber>> = BTreeMap::new();
        for (release, unit) in fleet.units.keys() {
            if unit.service.as_str().starts_with("worker") {
                exclusive.entry(unit).or_default().push(*release);
            }
        }
        for (unit, releases) in exclusive.into_iter().filter(|(_, releases)| releases.len() > 1) {
            seen.insert(format!("after {after}: {unit} runs in {releases:?} at once"));
        }
        self.violations.extend(seen);
    }
}
