//! A site as the edge holds it: its table, and the time until it goes back by itself.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::state::Record;
use crate::table::{Reverted, SiteTable};

/// A site as it is held.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) table: SiteTable,
    pub(crate) revert_at: Option<RevertAt>,
    pub(crate) reverted: Option<Reverted>,
}

/// When a table reverts: by the clock that never jumps while we live, and by the machine's
/// for the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RevertAt {
    pub(crate) here: Instant,
    unix_ms: u64,
}

impl Held {
    pub(crate) fn new(table: SiteTable) -> Self {
        let revert_at = table.revert.as_ref().map(|revert| RevertAt {
            here: Instant::now() + revert.after,
            unix_ms: unix_ms().saturating_add(crate::millis::of(revert.after)),
        });
        Self { table, revert_at, reverted: None }
    }

    /// From the file. A clock that jumped back cannot make the wait longer than it was.
    pub(crate) fn loaded(table: SiteTable, revert_at: Option<u64>, reverted: Option<Reverted>) -> Self {
        let revert_at = table.revert.as_ref().map(|revert| {
            let unix_ms = revert_at.unwrap_or_default();
            let left = Duration::from_millis(unix_ms.saturating_sub(self::unix_ms()));
            RevertAt { here: Instant::now() + left.min(revert.after), unix_ms }
        });
        Self { table, revert_at, reverted }
    }

    pub(crate) fn record(&self) -> Record {
        Record::Site {
            table: Box::new(self.table.clone()),
            revert_at_unix_ms: self.revert_at.map(|at| at.unix_ms),
            reverted: self.reverted.clone(),
        }
    }

    /// The table with what is left of its time.
    pub(crate) fn current(&self) -> SiteTable {
        let mut table = self.table.clone();
        if let (Some(revert), Some(at)) = (&mut table.revert, self.revert_at) {
            revert.after = at.here.saturating_duration_since(Instant::now());
        }
        table
    }

    /// Goes back to the weights of `revert`.
    pub(crate) fn revert(&mut self) {
        self.revert_at = None;
        if let Some(revert) = self.table.revert.take() {
            self.reverted = Some(Reverted { at_unix_ms: unix_ms(), from: self.table.weights() });
            self.table.set_weights(&revert.weights);
        }
    }
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    crate::millis::of(since.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::names::{ReleaseName, SiteId};
    use crate::table::{ReleaseRoute, Revert};

    fn shifted(after: Duration) -> SiteTable {
        let (old, new) = ("r1", "r2");
        let mut table = SiteTable::new(SiteId::new("s").unwrap(), 1);
        for (name, weight) in [(old, 0), (new, 100)] {
            let route = ReleaseRoute { weight, backends: BTreeMap::new() };
            table.releases.insert(ReleaseName::new(name).unwrap(), route);
        }
        table.revert =
            Some(Revert { after, weights: BTreeMap::from([(ReleaseName::new(old).unwrap(), 100)]) });
        table
    }

    fn left(held: &Held) -> Duration {
        held.current().revert.unwrap().after
    }

    #[test]
    fn a_clock_that_jumped_moves_a_revert_only_nearer() {
        let hour = Duration::from_secs(3_600);
        let now = unix_ms();
        // Back by a day: the file names a time that is a day and an hour away.
        let held = Held::loaded(shifted(hour), Some(now + 25 * 3_600_000), None);
        assert!(left(&held) <= hour);
        // On by a day: it is over.
        let held = Held::loaded(shifted(hour), Some(now - 23 * 3_600_000), None);
        assert_eq!(left(&held), Duration::ZERO);
        // Not at all: what is left is kept.
        let held = Held::loaded(shifted(hour), Some(now + 60_000), None);
        assert!(left(&held) <= Duration::from_secs(60));
        assert!(left(&held) > Duration::from_secs(30));
    }

    #[test]
    fn going_back_happens_once_and_says_where_it_came_from() {
        let mut held = Held::new(shifted(Duration::ZERO));
        held.revert();
        held.revert();
        let weights: Vec<_> = held.table.weights().into_values().collect();
        assert_eq!(weights, [100, 0]);
        let from: Vec<_> = held.reverted.unwrap().from.into_values().collect();
        assert_eq!(from, [0, 100]);
        assert!(held.revert_at.is_none());
    }
}
