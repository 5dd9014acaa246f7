use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Situation, overlap, units};
use crate::manifest::Overlap;
use crate::names::{ReleaseNumber, ServiceName, UnitId};
use crate::plan::{ReleaseAction, ReleaseSource, Stage, Step, StepAction, StepId, Undo};
use crate::provider::{Routing, UnitState};

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
}

impl<'a> StepGraph<'a> {
    /// No steps yet.
    #[must_use]
    pub fn new(situation: &'a Situation<'a>) -> Self {
        Self { situation, steps: Vec::new(), frontier: BTreeSet::new(), stage: Stage::Release }
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
            self.next(&format!("build:{number}"), ReleaseAction::Build, Undo::Nothing, "its source changed");
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
    pub fn start(mut self, which: Overlap) -> Self {
        let number = self.number();
        let situation = self.situation;
        let base = self.frontier.clone();
        let mut probes: BTreeMap<ServiceName, BTreeSet<StepId>> = BTreeMap::new();
        let mut ends = BTreeSet::new();
        for service in in_order_of_needs(situation) {
            let Some(config) = situation.services().get(&service) else { continue };
            if overlap(config) != which {
                continue;
            }
            let mut after = base.clone();
            for need in &config.needs {
                after.extend(probes.get(need).into_iter().flatten().cloned());
            }
            for unit in units(&service, config) {
                let started = self.add(
                    &format!("start:{number}/{unit}"),
                    ReleaseAction::Start { unit: unit.clone() },
                    Undo::Stop,
                    after.clone(),
                    String::new(),
                );
                let probed = self.add(
                    &format!("probe:{number}/{unit}"),
                    ReleaseAction::Probe { unit },
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

    /// Moves traffic.
    #[must_use]
    pub fn shift(mut self, routing: Routing) -> Self {
        let number = self.number();
        let share: Vec<String> = routing.weights.iter().map(|(r, w)| format!("{r}={w}")).collect();
        self.next(
            &format!("shift:{number}/{}", share.join(",")),
            ReleaseAction::Shift { routing },
            Undo::Unshift,
            "traffic",
        );
        self
    }

    /// Watches new against old, if the manifest says how long.
    #[must_use]
    pub fn watch(mut self) -> Self {
        if let Some(window) = self.situation.config.watch {
            let number = self.number();
            self.next(
                &format!("watch:{number}"),
                ReleaseAction::Watch { window },
                Undo::Nothing,
                "the old release stays warm meanwhile",
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
        for seen in situation.units.iter().filter(|u| u.state != UnitState::Stopped) {
            others.entry(seen.release).or_default().insert(seen.unit.clone());
        }
        others.remove(&number);
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
                ReleaseAction::Drain { old, deadline },
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
