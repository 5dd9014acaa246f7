use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::ReleaseNumber;
use crate::provider::{Counters, Reading};

/// What one release did between two readings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// What was counted in between; memory is that at the end.
    pub counted: Counters,
}

/// What one release did since a watch began, slice by slice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Everything counted of it before the watch began, if it was there.
    pub before: Option<Counters>,
    /// What came since, oldest first. Releases of the same readings have the same slices.
    pub slices: Vec<Sample>,
}

impl Samples {
    /// The samples of a release in readings, oldest first. What was read up to `begun` came
    /// before the watch; where nothing was read before it, the first reading is what the others
    /// are counted from.
    #[must_use]
    pub fn of(readings: &[Reading], release: ReleaseNumber, begun: Timestamp) -> Self {
        let nothing = Counters::default();
        let mut samples = Self::default();
        let mut last: Option<&Reading> = None;
        let begun = readings.first().map_or(begun, |first| first.at.max(begun));
        for reading in readings {
            let now = reading.releases.get(&release);
            if reading.at <= begun {
                samples.before = now.cloned();
            } else {
                let earlier = last.and_then(|r| r.releases.get(&release)).unwrap_or(&nothing);
                samples.slices.push(Sample {
                    from: last.map_or(begun, |r| r.at),
                    to: reading.at,
                    counted: now.map_or_else(Counters::default, |now| now.since(earlier)),
                });
            }
            last = Some(reading);
        }
        samples
    }

    /// All slices together.
    #[must_use]
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        for slice in &self.slices {
            total.add(&slice.counted);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn reading(second: i64, old: u64, new: Option<u64>) -> Reading {
        let counters = |requests| Counters { requests, ..Counters::default() };
        let mut releases = BTreeMap::from([(ReleaseNumber(1), counters(old))]);
        releases.extend(new.map(|new| (ReleaseNumber(2), counters(new))));
        Reading { at: Timestamp::from_second(second).unwrap(), releases }
    }

    #[test]
    fn both_have_the_same_slices_and_what_came_before_is_apart() {
        let readings = [
            reading(10, 90, None),
            reading(20, 100, None),
            reading(21, 105, Some(2)),
            // Whoever counts was started anew.
            reading(22, 3, Some(1)),
        ];
        let begun = Timestamp::from_second(20).unwrap();
        let old = Samples::of(&readings, ReleaseNumber(1), begun);
        let new = Samples::of(&readings, ReleaseNumber(2), begun);
        let requests = |s: &Samples| s.slices.iter().map(|s| s.counted.requests).collect::<Vec<_>>();
        assert_eq!((requests(&old), requests(&new)), (vec![5, 3], vec![2, 1]));
        assert_eq!(old.slices[0].from, begun);
        let late = Samples::of(&readings[2..], ReleaseNumber(1), begun);
        assert_eq!((late.before.clone().map(|c| c.requests), requests(&late)), (Some(105), vec![3]));
        assert_eq!(new.total().requests, 3);
        assert_eq!((old.before.map(|c| c.requests), new.before), (Some(100), None));
    }
}
