mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Situation, overlap, units};
use crate::manifest::Overlap;
use crate::names::{ReleaseNumber, ServiceName, UnitId};
use crate::plan::{ReleaseAction, ReleaseSource, Stage, Step, StepAction, StepId, Undo};
use crate::provider::{Routing, UnitObserved, UnitState};

pub(super) use waves::Exchange;

/// How long requests in flight may take after the switch when the manifest does not say.
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// Puts release steps together. Each call adds steps that wait for all that were added
/// before it, unless it says otherwise.
#[derive(Debug)]
pub struct StepGraph<'a> {
    situation: &'a Situation<'a>,
    steps: Vec<Step>,
    frontier: BTreeSet<StepId>,
    stage: Stage,
    /// Traffic as the last shift left it.
    routed: Option<Routing>,
    /// Old units that have ended before the commit.
    ended: BTreeSet<(ReleaseNumber, UnitId)>,
}

impl<'a> StepGraph<'a> {
    /// No steps yet.
    #[must_use]
    pub fn new(situation: &'a Situation<'a>) -> Self {
        Self {
            situation,
            steps: Vec::new(),
            frontier: BTreeSet::new(),
            stage: Stage::Release,
            routed: None,
            ended: BTreeSet::new(),
        }
    }

    fn number(&self) -> ReleaseNumber {
        self.situation.next.number
    }

    fn add(
        &mut self,
        name: &str,
        action: ReleaseAction,
        undo: Undo,
        after: BTreeSet<StepId>,
        reason: String,
    ) -> StepId {
        let id = StepId(name.to_owned());
        self.steps.push(Step {
            id: id.clone(),
            stage: self.stage,
            action: StepAction::Release { release: self.number(), action },
            undo,
            after,
            reason,
            token: None,
        });
        id
    }

    fn next(&mut self, name: &str, action: ReleaseAction, undo: Undo, reason: impl Into<String>) {
        let after = std::mem::take(&mut self.frontier);
        let id = self.add(name, action, undo, after, reason.into());
        self.frontier.insert(id);
    }

    /// Builds, stages and migrates; for a release that is staged already only what is needed.
    #[must_use]
    pub fn prepare(mut self) -> Self {
        let number = self.number();
        let built = matches!(self.situation.next.source, ReleaseSource::Build { .. });
        if built {
            self.next(
                &format!("build:{number}"),
                ReleaseAction::Build,
                Undo::Nothing,
                self.situation.because,
            );
        }
        let undo = if built {
            Undo::Release { release: number, action: ReleaseAction::Remove { old: number } }
        } else {
            Undo::Nothing
        };
        self.next(
            &format!("stage:{number}"),
            ReleaseAction::Stage,
            undo,
            "puts the release where it will run",
        );
        if self.situation.has_migrations() {
            self.next(
                &format!("migrate:{number}"),
                ReleaseAction::Migrate,
                Undo::Keep { reason: "SQL that ran cannot be taken back in general".to_owned() },
                "each file is applied once",
            );
        }
        self
    }

    /// Starts and probes all units of services with that overlap, in the order of `needs`.
    #[must_use]
    pub fn start(self, which: Overlap) -> Self {
        let situation = self.situation;
        let units = situation
            .services()
            .iter()
            .filter(|(_, config)| overlap(config) == which)
            .flat_map(|(service, config)| units(service, config))
            .collect();
        self.start_units(&units)
    }

    /// Starts and probes these units, in the order of their services' `needs`.
    pub(super) fn start_units(mut self, which: &BTreeSet<UnitId>) -> Self {
        let number = self.number();
        let situation = self.situation;
        let base = self.frontier.clone();
        let ran = |unit: &UnitId| {
            let runs = |seen: &&UnitObserved| seen.release == number && seen.state == UnitState::Running;
            situation.units.iter().filter(runs).any(|seen| seen.unit == *unit)
        };
        let mut probes: BTreeMap<ServiceName, BTreeSet<StepId>> = BTreeMap::new();
        let mut ends = BTreeSet::new();
        for service in in_order_of_needs(situation) {
            let Some(config) = situation.services().get(&service) else { continue };
            let mut after = base.clone();
            for need in &config.needs {
                after.extend(probes.get(need).into_iter().flatten().cloned());
            }
            for unit in which.iter().filter(|unit| unit.service == service) {
                let started = self.add(
                    &format!("start:{number}/{unit}"),
                    ReleaseAction::Start { unit: unit.clone() },
                    if ran(unit) {
                        // It may be what serves, on this host or on others: a repair that
                        // fails must not end it.
                        Undo::Keep { reason: "it ran before".to_owned() }
                    } else {
                        Undo::Stop
                    },
                    after.clone(),
                    String::new(),
                );
                let probed = self.add(
                    &format!("probe:{number}/{unit}"),
                    ReleaseAction::Probe { unit: unit.clone() },
                    Undo::Nothing,
                    BTreeSet::from([started]),
                    "traffic moves only to what is well".to_owned(),
                );
                probes.entry(service.clone()).or_default().insert(probed.clone());
                ends.insert(probed);
            }
        }
        if !ends.is_empty() {
            self.frontier = ends;
        }
        self
    }

    /// Runs the smoke tests, if there are any.
    #[must_use]
    pub fn smoke(mut self, through_edge: bool) -> Self {
        if self.situation.has_smoke() {
            let number = self.number();
            let place = if through_edge { "edge" } else { "units" };
            self.next(
                &format!("smoke:{number}/{place}"),
                ReleaseAction::Smoke { through_edge },
                Undo::Nothing,
                "health alone proves little",
            );
        }
        self
    }

    /// Moves traffic. Where the fleet can, it goes back by itself to the release that serves
    /// now if nobody goes on: for as long as all units of that one run.
    #[must_use]
    pub fn shift(self, routing: Routing) -> Self {
        let number = self.number();
        let share: Vec<String> = routing.weights.iter().map(|(r, w)| format!("{r}={w}")).collect();
        self.shift_as(&format!("shift:{number}/{}", share.join(",")), routing, "traffic")
    }

    pub(super) fn shift_as(mut self, name: &str, mut routing: Routing, reason: &str) -> Self {
        if let Some(old) = self.situation.serving()
            && self.situation.fleet.reverts
            && self.ended.is_empty()
            && routing.revert_to.is_empty()
        {
            routing.revert_to = Routing::all_to(old.number).weights;
        }
        self.routed = Some(routing.clone());
        self.next(name, ReleaseAction::Shift { routing }, Undo::Unshift, reason);
        self
    }

    /// Watches new against old, if the manifest says how long.
    #[must_use]
    pub fn watch(self) -> Self {
        let number = self.number();
        self.watch_as(&format!("watch:{number}"))
    }

    pub(super) fn watch_as(mut self, name: &str) -> Self {
        let config = self.situation.config;
        if let Some(window) = config.watch_window() {
            let old = self.situation.serving().map(|release| release.number);
            self.next(
                name,
                ReleaseAction::Watch { window, old, rules: config.watch_rules(window) },
                Undo::Nothing,
                if self.ended.is_empty() {
                    "the old release stays warm meanwhile"
                } else {
                    "to go back, the old release has to be started again"
                },
            );
        }
        self
    }

    /// Holds until a person decides, if the manifest says so and there is something to go back to.
    #[must_use]
    pub fn hold(mut self) -> Self {
        if self.situation.config.hold && self.situation.serving().is_some() {
            let number = self.number();
            self.next(
                &format!("hold:{number}"),
                ReleaseAction::Hold,
                Undo::Nothing,
                "`promote` goes on, `abort` goes back",
            );
        }
        self
    }

    /// Hands over services that cannot run twice: old ones stop, then new ones start.
    #[must_use]
    pub fn hand_over(mut self) -> Self {
        let number = self.number();
        let situation = self.situation;
        let base = self.frontier.clone();
        let mut ends = BTreeSet::new();
        for (old, unit) in situation.old_units() {
            let exclusive = situation
                .current
                .and_then(|r| r.bundle.services.get(&unit.service))
                .is_some_and(|config| overlap(config) == Overlap::Exclusive);
            if exclusive && old != number {
                ends.insert(self.add(
                    &format!("yield:{old}/{unit}"),
                    ReleaseAction::Yield { old, unit: unit.clone() },
                    Undo::Release { release: old, action: ReleaseAction::Start { unit } },
                    base.clone(),
                    "it must not run twice; it pauses until the new one has started".to_owned(),
                ));
            }
        }
        if !ends.is_empty() {
            self.frontier = ends;
        }
        self.start(Overlap::Exclusive)
    }

    /// The release is the current one from here on.
    #[must_use]
    pub fn commit(mut self) -> Self {
        let number = self.number();
        self.next(
            &format!("commit:{number}"),
            ReleaseAction::Commit,
            Undo::Nothing,
            "from here on nobody reverts",
        );
        self.stage = Stage::Contract;
        // What would go back by itself is told that nobody goes back any more.
        if let Some(routing) = self.routed.take().filter(|routing| !routing.revert_to.is_empty()) {
            let routing = Routing { weights: routing.weights, ..Routing::default() };
            self.next(
                &format!("settle:{number}"),
                ReleaseAction::Shift { routing },
                Undo::Nothing,
                "it does not go back by itself any more",
            );
        }
        self
    }

    /// Drains and stops every unit of other releases, and removes releases that nothing needs.
    #[must_use]
    pub fn retire(mut self) -> Self {
        let number = self.number();
        let situation = self.situation;
        let mut others: BTreeMap<ReleaseNumber, BTreeSet<UnitId>> = BTreeMap::new();
        for (old, unit) in situation.old_units() {
            others.entry(old).or_default().insert(unit);
        }
        for (old, unit) in UnitObserved::left(situation.units) {
            others.entry(old).or_default().insert(unit);
        }
        others.remove(&number);
        for (old, unit) in &self.ended {
            if let Some(units) = others.get_mut(old) {
                units.remove(unit);
            }
        }
        others.retain(|_, units| !units.is_empty());
        // Those that were handed over have ended already.
        if let Some(current) = situation.current
            && let Some(units) = others.get_mut(&current.number)
        {
            units.retain(|unit| {
                current.bundle.services.get(&unit.service).is_none_or(|c| overlap(c) == Overlap::Allowed)
            });
        }
        let committed = self.frontier.clone();
        let deadline = situation.config.drain.unwrap_or(DEFAULT_DRAIN);
        let mut stops: BTreeMap<ReleaseNumber, BTreeSet<StepId>> = BTreeMap::new();
        for (old, units) in others {
            let drained = self.add(
                &format!("drain:{old}"),
                ReleaseAction::Drain { old, units: BTreeSet::new(), deadline },
                Undo::Nothing,
                committed.clone(),
                "requests in flight finish first".to_owned(),
            );
            for unit in units {
                let stopped = self.add(
                    &format!("stop:{old}/{unit}"),
                    ReleaseAction::Stop { old, unit },
                    Undo::Nothing,
                    BTreeSet::from([drained.clone()]),
                    String::new(),
                );
                stops.entry(old).or_default().insert(stopped);
            }
        }
        for &old in situation.expired {
            if old == number {
                continue;
            }
            let after = stops.get(&old).cloned().unwrap_or_else(|| committed.clone());
            self.add(
                &format!("remove:{old}"),
                ReleaseAction::Remove { old },
                Undo::Nothing,
                after,
                "older than what is kept for rollback".to_owned(),
            );
        }
        self
    }

    /// The steps.
    #[must_use]
    pub fn done(self) -> Vec<Step> {
        self.steps
    }
}

/// Services so that what a service needs comes before it. A cycle was refused on load.
fn in_order_of_needs(situation: &Situation<'_>) -> Vec<ServiceName> {
    fn visit(
        name: &ServiceName,
        situation: &Situation<'_>,
        seen: &mut BTreeSet<ServiceName>,
        order: &mut Vec<ServiceName>,
    ) {
        if !seen.insert(name.clone()) {
            return;
        }
        if let Some(config) = situation.services().get(name) {
            for need in &config.needs {
                visit(need, situation, seen, order);
            }
            order.push(name.clone());
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in situation.services().keys() {
        visit(name, situation, &mut seen, &mut order);
    }
    order
}
