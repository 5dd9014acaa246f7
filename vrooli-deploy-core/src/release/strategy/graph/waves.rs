//! The exchange of instances in waves, and what of the two releases serves between them.

use std::collections::{BTreeMap, BTreeSet};

use super::{DEFAULT_DRAIN, StepGraph};
use crate::manifest::Overlap;
use crate::names::{ReleaseNumber, ServiceName, UnitId};
use crate::plan::{ReleaseAction, Undo};
use crate::provider::Routing;
use crate::release::strategy::{Situation, overlap, units};

/// How an exchange goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::release::strategy) enum Exchange {
    /// Old instances rest until the commit.
    Warm {
        /// How many of a service at a time.
        batch: u32,
    },
    /// Old instances end wave by wave.
    InPlace {
        /// How many of a service at a time.
        batch: u32,
        /// How many more than its number a service may have.
        surge: u32,
    },
}

/// One wave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wave {
    /// New instances that start.
    start: BTreeSet<UnitId>,
    /// Old ones that make room for them first.
    before: BTreeSet<UnitId>,
    /// Old ones that are not needed once the new ones are well.
    after: BTreeSet<UnitId>,
}

/// Splits instances of both releases into waves. At any time so many of a service serve as the
/// smaller of both releases has, less what a wave may take away first. The new release has one
/// of each of its services from the first wave on and the old one until the last: a service
/// with fewer instances than there are waves has one more meanwhile, whatever the surge.
fn waves(situation: &Situation<'_>, exchange: Exchange) -> Vec<Wave> {
    let mut both: BTreeMap<ServiceName, (Vec<UnitId>, Vec<UnitId>)> = BTreeMap::new();
    for (service, config) in situation.services() {
        if overlap(config) == Overlap::Allowed {
            both.entry(service.clone()).or_default().0.extend(units(service, config));
        }
    }
    for (service, config) in situation.serving().iter().flat_map(|r| &r.bundle.services) {
        if overlap(config) == Overlap::Allowed {
            both.entry(service.clone()).or_default().1.extend(units(service, config));
        }
    }
    let (batch, surge) = match exchange {
        Exchange::Warm { batch } => (batch, u32::MAX),
        Exchange::InPlace { batch, surge } => (batch, surge),
    };
    let batch = batch.max(1) as usize;
    let count = both.values().map(|(new, old)| new.len().max(old.len()).div_ceil(batch)).max().unwrap_or(0);
    let mut all = vec![Wave::default(); count];
    for (new, old) in both.into_values() {
        let (mut started, mut ended) = (0, 0);
        for (at, wave) in (1..).zip(&mut all) {
            // New ones rounded up, old ones down: what is there never falls below the smaller number.
            let (start, end) = ((new.len() * at).div_ceil(count), old.len() * at / count);
            let first = (start - started).saturating_sub(surge as usize).min(end - ended);
            wave.start.extend(new[started..start].iter().cloned());
            wave.before.extend(old[ended..ended + first].iter().cloned());
            wave.after.extend(old[ended + first..end].iter().cloned());
            (started, ended) = (start, end);
        }
    }
    all
}

/// What serves between two waves.
struct Serving {
    next: ReleaseNumber,
    old: ReleaseNumber,
    /// New instances that are well.
    ready: usize,
    /// Old instances that serve, by service.
    left: BTreeMap<ServiceName, usize>,
    resting: BTreeSet<UnitId>,
}

impl Serving {
    fn rest(&mut self, units: &BTreeSet<UnitId>) {
        for unit in units {
            if let Some(left) = self.left.get_mut(&unit.service) {
                *left = left.saturating_sub(1);
            }
        }
        self.resting.extend(units.iter().cloned());
    }

    /// Traffic in proportion to the instances that serve.
    fn routing(&self) -> Routing {
        let weight = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let old = weight(self.left.values().sum());
        // A release serves with all of its services, or not at all.
        let complete = self.left.values().all(|left| *left > 0);
        let weights = match (self.ready, complete) {
            (0, _) => Routing::all_to(self.old).weights,
            (_, false) => Routing::all_to(self.next).weights,
            (ready, true) => BTreeMap::from([(self.next, weight(ready)), (self.old, old)]),
        };
        let mut resting = BTreeMap::new();
        if weights.contains_key(&self.old) && !self.resting.is_empty() {
            resting.insert(self.old, self.resting.clone());
        }
        Routing { weights, resting, ..Routing::default() }
    }
}

impl StepGraph<'_> {
    /// Exchanges the instances of services that may overlap, wave by wave: new ones start, are
    /// proved and get their part of the traffic, old ones rest or end.
    pub(in crate::release::strategy) fn exchange(mut self, exchange: Exchange) -> Self {
        let next = self.number();
        let Some(old) = self.situation.serving().map(|release| release.number) else {
            return self.start(Overlap::Allowed).smoke(false).shift(Routing::all_to(next));
        };
        let in_place = matches!(exchange, Exchange::InPlace { .. });
        let all = waves(self.situation, exchange);
        let mut left = BTreeMap::new();
        for unit in all.iter().flat_map(|wave| wave.before.iter().chain(&wave.after)) {
            *left.entry(unit.service.clone()).or_default() += 1;
        }
        let mut serving = Serving { next, old, ready: 0, left, resting: BTreeSet::new() };
        let last = all.len();
        for (number, wave) in (1..).zip(all) {
            let tag = |what: &str| format!("{next}/wave{number}{what}");
            if !wave.before.is_empty() {
                serving.rest(&wave.before);
                let name = format!("shift:{}", tag("/room"));
                let reason = "no new requests to what makes room";
                self = self.shift_in_place(&name, serving.routing(), reason);
                self = self.end_old(&tag("/room"), old, &wave.before);
            }
            self = self.start_units(&wave.start);
            if number == 1 {
                self = self.smoke(false);
            }
            serving.ready += wave.start.len();
            serving.rest(&wave.after);
            let routing = if number == last { Routing::all_to(next) } else { serving.routing() };
            let (name, reason) = (format!("shift:{}", tag("")), "traffic follows the instances");
            if in_place {
                self = self.shift_in_place(&name, routing, reason);
                self = self.end_old(&tag(""), old, &wave.after);
            } else {
                self = self.shift_as(&name, routing, reason);
            }
        }
        if last == 0 {
            self = self.smoke(false).shift(Routing::all_to(next));
        }
        self
    }

    /// A shift that does not go back by itself: what would serve then has ended.
    fn shift_in_place(mut self, name: &str, routing: Routing, reason: &str) -> Self {
        self.routed = Some(routing.clone());
        self.next(name, ReleaseAction::Shift { routing }, Undo::Unshift, reason);
        self
    }

    /// Ends old units before the commit: their requests first. The routing names them as resting
    /// already. Taken back, they start again.
    fn end_old(mut self, tag: &str, old: ReleaseNumber, units: &BTreeSet<UnitId>) -> Self {
        if units.is_empty() {
            return self;
        }
        let deadline = self.situation.config.drain.unwrap_or(DEFAULT_DRAIN);
        self.next(
            &format!("drain:{tag}/{old}"),
            ReleaseAction::Drain { old, units: units.clone(), deadline },
            Undo::Nothing,
            "requests in flight finish first",
        );
        let base = std::mem::take(&mut self.frontier);
        for unit in units {
            let ended = self.add(
                &format!("yield:{old}/{unit}"),
                ReleaseAction::Yield { old, unit: unit.clone() },
                Undo::Release { release: old, action: ReleaseAction::Start { unit: unit.clone() } },
                base.clone(),
                "its successor takes its place".to_owned(),
            );
            self.frontier.insert(ended);
            self.ended.insert((old, unit.clone()));
        }
        self
    }
}
