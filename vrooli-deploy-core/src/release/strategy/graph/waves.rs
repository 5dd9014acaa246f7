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
    /// Instances of a release start and end together: all new ones start first, and old ones run until the
    /// commit.
    Whole {
        /// The traffic of how many at a time.
        batch: u32,
        /// How many there are.
        of: u32,
    },
    /// Old instances end wave by wave.
    InPlace {
        /// How many of a service at a time.
        batch: u32,
        /// How many more than its number a service may have.
        surge: u32,
        /// How many may be missing.
        missing: u32,
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
/// smaller of both releases has, less those that may be missing, and no more are there than the
/// larger one has and the surge. A release serves with all of its services or not at all, so
/// the new one has one of each from the first wave on, and the old one until the last: a
/// service that needs fewer waves than others has one instance more meanwhile, whatever the
/// surge.
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
    let most = both.values().map(|(new, old)| of_service(new, old, exchange, false).0.len()).max();
    // Where nothing new starts, the old ones end all the same.
    let mut all = vec![Wave::default(); most.unwrap_or(0).max(usize::from(!both.is_empty()))];
    for (new, old) in both.into_values() {
        let (mut own, mut rest) = of_service(&new, &old, exchange, false);
        if own.len() < all.len() {
            (own, rest) = of_service(&new, &old, exchange, true);
        }
        // One that has to keep an instance may need more waves for it: they are its own.
        if own.len() > all.len() {
            all.resize(own.len(), Wave::default());
        }
        for (wave, own) in all.iter_mut().zip(own) {
            wave.start.extend(own.start);
            wave.before.extend(own.before);
            wave.after.extend(own.after);
        }
        if let Some(last) = all.last_mut() {
            last.after.extend(rest);
        }
    }
    all
}

/// The waves of one service, and old instances that end after all waves of all services.
fn of_service(
    new: &[UnitId],
    old: &[UnitId],
    exchange: Exchange,
    keep_one: bool,
) -> (Vec<Wave>, BTreeSet<UnitId>) {
    let (batch, surge, missing) = match exchange {
        Exchange::Warm { batch } | Exchange::Whole { batch, .. } => (batch as usize, usize::MAX / 2, 0),
        Exchange::InPlace { batch, surge, missing } => (batch as usize, surge as usize, missing as usize),
    };
    let (least, most) = (new.len().min(old.len()), new.len().max(old.len()));
    let (mut started, mut ended) = (0, 0);
    let mut waves = Vec::new();
    while started < new.len() {
        let left = old.len() - ended;
        let room = (most + surge).saturating_sub(started + left);
        let wanted = batch.max(1).min(new.len() - started);
        let spare = (started + left).saturating_sub(least.saturating_sub(missing));
        let may_end = if keep_one || surge > 0 { left.saturating_sub(1) } else { left };
        let first = wanted.saturating_sub(room).min(spare).min(may_end);
        let start = wanted.min(room + first).max(1);
        let mut wave = Wave {
            start: new[started..started + start].iter().cloned().collect(),
            before: old[ended..ended + first].iter().cloned().collect(),
            after: BTreeSet::new(),
        };
        (started, ended) = (started + start, ended + first);
        // The last one ends when all services are exchanged.
        let left = old.len() - ended;
        let over = (started + left).saturating_sub(least).min(left.saturating_sub(1));
        wave.after.extend(old[ended..ended + over].iter().cloned());
        ended += over;
        waves.push(wave);
    }
    (waves, old[ended..].iter().cloned().collect())
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
        if let Exchange::Whole { batch, of } = exchange {
            return self.start(Overlap::Allowed).smoke(false).follow(old, batch, of);
        }
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

    /// Traffic goes over to what runs already, in the proportion of so many instances at a time. What has a part of it
    /// is proved again before it gets more.
    fn follow(mut self, old: ReleaseNumber, batch: u32, of: u32) -> Self {
        let next = self.number();
        let last = of.div_ceil(batch.max(1)).max(1);
        for number in 1..=last {
            let name = format!("shift:{next}/wave{number}");
            let share = u64::from(number) * u64::from(batch) * 100 / u64::from(of.max(1));
            // Neither nothing nor all of it before the last one.
            let share = u32::try_from(share).unwrap_or(u32::MAX).clamp(1, 99);
            if number == last {
                return self.shift_as(&name, Routing::all_to(next), "traffic follows the instances");
            }
            let weights = BTreeMap::from([(next, share), (old, 100 - share)]);
            let routing = Routing { weights, ..Routing::default() };
            self = self.shift_as(&name, routing, "traffic follows the instances");
            self = self.prove_again(&format!("{next}/wave{number}"));
        }
        self
    }

    /// Probes what listens and runs already.
    fn prove_again(mut self, tag: &str) -> Self {
        let base = std::mem::take(&mut self.frontier);
        let situation = self.situation;
        for (service, config) in situation.services() {
            for unit in units(service, config).filter(|_| overlap(config) == Overlap::Allowed) {
                let name = format!("probe:{tag}/{unit}");
                let action = ReleaseAction::Probe { unit };
                let reason = "it gets more only if it is well with what it has".to_owned();
                let probed = self.add(&name, action, Undo::Nothing, base.clone(), reason);
                self.frontier.insert(probed);
            }
        }
        if self.frontier.is_empty() {
            self.frontier = base;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instances(count: usize) -> Vec<UnitId> {
        (0..count).map(|n| format!("api.{n}").parse().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn the_floor_and_the_ceiling_hold_at_every_moment(
            new in 1_usize..20, old in 1_usize..20, batch in 1_u32..6, surge in 0_u32..4, missing in 0_u32..4,
        ) {
            let missing = if surge == 0 { missing.max(1) } else { missing };
            let batch = batch.min(surge + missing);
            let exchange = Exchange::InPlace { batch, surge, missing };
            let (waves, rest) = of_service(&instances(new), &instances(old), exchange, false);
            let floor = new.min(old).saturating_sub(missing as usize);
            let ceiling = new.max(old) + surge as usize;
            let (mut started, mut left) = (0, old);
            for wave in &waves {
                left -= wave.before.len();
                prop_assert!(started + left >= floor, "{waves:?}");
                prop_assert!(started + left + wave.start.len() <= ceiling, "{waves:?}");
                prop_assert!(!wave.start.is_empty());
                started += wave.start.len();
                left -= wave.after.len();
                prop_assert!(started + left >= new.min(old), "{waves:?}");
            }
            prop_assert_eq!((started, left), (new, rest.len()));
        }
    }
}
