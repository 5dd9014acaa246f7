//! What all edges together counted.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{Counters, LatencyHistogram, Reading};

use crate::host::HostName;

/// What was counted on each server so far, so that one that begins anew takes nothing away.
#[derive(Debug, Default)]
pub(super) struct Counted(BTreeMap<HostName, OnHost>);

#[derive(Debug, Default)]
struct OnHost {
    /// How far its clock is behind ours.
    behind: SignedDuration,
    /// The last that it said.
    last: BTreeMap<ReleaseNumber, Counters>,
    /// All of it since we look.
    sum: BTreeMap<ReleaseNumber, Counters>,
}

impl Counted {
    /// A moment of ours by the clock of a server.
    pub(super) fn there(&self, host: &HostName, at: Timestamp) -> Timestamp {
        let behind = self.0.get(host).map(|host| host.behind).unwrap_or_default();
        at.checked_sub(behind).unwrap_or(at)
    }

    /// Adds what servers said, whose last reading each is of now. The readings of all, by our clock:
    /// each holds what had been counted everywhere at that moment.
    pub(super) fn add(&mut self, now: Timestamp, said: Vec<(HostName, Vec<Reading>)>) -> Vec<Reading> {
        let mut moments = Vec::new();
        for (host, readings) in said {
            let known = self.0.entry(host.clone()).or_default();
            if let Some(last) = readings.last() {
                known.behind = now.duration_since(last.at);
            }
            let behind = known.behind;
            moments.extend(readings.into_iter().map(|reading| {
                (reading.at.checked_add(behind).unwrap_or(now).min(now), host.clone(), reading.releases)
            }));
        }
        moments.sort_by_key(|(at, ..)| *at);
        let mut readings: Vec<Reading> = Vec::new();
        for (at, host, counters) in moments {
            self.0.entry(host).or_default().count(counters);
            let reading = Reading { at, releases: self.sum() };
            // Of one moment the last, which has all of it.
            match readings.last_mut() {
                Some(last) if last.at == at => *last = reading,
                _ => readings.push(reading),
            }
        }
        readings
    }

    fn sum(&self) -> BTreeMap<ReleaseNumber, Counters> {
        let mut all: BTreeMap<ReleaseNumber, Counters> = BTreeMap::new();
        for (number, counted) in self.0.values().flat_map(|host| &host.sum) {
            let sum = all.entry(*number).or_default();
            let memory = match (sum.memory, counted.memory) {
                (Some(one), Some(other)) => Some(one.saturating_add(other)),
                (one, other) => one.or(other),
            };
            sum.add(counted);
            sum.memory = memory;
        }
        all
    }
}

impl OnHost {
    fn count(&mut self, counters: BTreeMap<ReleaseNumber, Counters>) {
        for (number, now) in counters {
            let more = match self.last.get(&number) {
                Some(before) => now.since(before),
                None => now.clone(),
            };
            let sum = self
                .sum
                .entry(number)
                .or_insert_with(|| Counters { latency: LatencyHistogram::default(), ..Counters::default() });
            sum.add(&more);
            sum.memory = now.memory;
            self.last.insert(number, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(second: i64, requests: u64, memory: Option<u64>) -> Reading {
        let counters = Counters { requests, errors: requests / 10, memory, ..Counters::default() };
        Reading {
            at: Timestamp::from_second(second).unwrap(),
            releases: BTreeMap::from([(ReleaseNumber(2), counters)]),
        }
    }

    fn seen(readings: &[Reading]) -> Vec<(i64, u64)> {
        readings.iter().map(|r| (r.at.as_second(), r.releases[&ReleaseNumber(2)].requests)).collect()
    }

    #[test]
    fn edges_are_added_up_whatever_their_clocks_say_and_none_that_begins_anew_takes_anything_away() {
        let (one, two) = (HostName::new("web1").unwrap(), HostName::new("web2").unwrap());
        let mut counted = Counted::default();
        let now = |second| Timestamp::from_second(second).unwrap();
        // The clock of the second is 500 s ahead.
        let first = counted.add(
            now(100),
            vec![
                (one.clone(), vec![reading(95, 10, None), reading(100, 20, Some(5))]),
                (two.clone(), vec![reading(600, 100, Some(7))]),
            ],
        );
        assert_eq!(seen(&first), [(95, 10), (100, 120)]);
        assert_eq!(first[1].releases[&ReleaseNumber(2)].memory, Some(12));
        assert_eq!(counted.there(&two, now(100)), now(600));
        // Its edge was started anew: 4 are on top of 100.
        let later = counted.add(
            now(110),
            vec![
                (one, vec![reading(110, 30, None)]),
                (two, vec![reading(605, 4, None), reading(610, 6, None)]),
            ],
        );
        assert_eq!(seen(&later), [(105, 124), (110, 136)]);
        assert_eq!(later[1].releases[&ReleaseNumber(2)].errors, 13);
    }
}
