//! What came of the requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One request after the other on one connection.
    KeepAlive,
    /// A connection for each request.
    OneShot,
    /// A POST with an id of its own, which the app writes down.
    Post,
    /// The same, half a second long.
    Upload,
    /// An answer that takes a second.
    Download,
    /// A WebSocket that is sent back what it sends.
    WebSocket,
    /// Server-sent events.
    Events,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::KeepAlive,
        Self::OneShot,
        Self::Post,
        Self::Upload,
        Self::Download,
        Self::WebSocket,
        Self::Events,
    ];
}

/// A request that failed.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Whose.
    pub kind: Kind,
    /// When it began.
    pub begun: Instant,
    /// When it failed.
    pub ended: Instant,
    /// How.
    pub why: String,
}

/// Counts of everything that clients did.
#[derive(Debug, Default)]
pub struct Tally {
    stopped: AtomicBool,
    done: [AtomicU64; Kind::ALL.len()],
    said_goodbye: [AtomicU64; Kind::ALL.len()],
    echoes: AtomicU64,
    failed: Mutex<Vec<Failed>>,
    versions: Mutex<BTreeSet<String>>,
    posted: Mutex<Vec<String>>,
}

/// What the app wrote down, held against what it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// POSTs that were answered with 200.
    pub answered: usize,
    /// Ids of these that the app does not have.
    pub lost: Vec<String>,
    /// Ids that it has more than once, answered or not.
    pub doubled: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn count(&self, kind: Kind) {
        self.done[kind as usize].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn goodbye(&self, kind: Kind) {
        self.said_goodbye[kind as usize].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn echo(&self) {
        self.echoes.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn fail(&self, kind: Kind, begun: Instant, why: String) {
        lock(&self.failed).push(Failed { kind, begun, ended: Instant::now(), why });
    }

    pub(super) fn saw(&self, version: String) {
        lock(&self.versions).insert(version);
    }

    pub(super) fn posted(&self, id: String) {
        lock(&self.posted).push(id);
    }

    /// Requests of a kind that ended well. A WebSocket or event stream counts once it has begun.
    #[must_use]
    pub fn done(&self, kind: Kind) -> u64 {
        self.done[kind as usize].load(Ordering::SeqCst)
    }

    /// Requests of all kinds that ended well.
    #[must_use]
    pub fn all_done(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.done(*kind)).sum()
    }

    /// WebSockets that were closed with 1001 or 1012, event streams whose body was ended.
    #[must_use]
    pub fn said_goodbye(&self, kind: Kind) -> u64 {
        self.said_goodbye[kind as usize].load(Ordering::SeqCst)
    }

    /// Frames that came back over WebSockets.
    #[must_use]
    pub fn echoes(&self) -> u64 {
        self.echoes.load(Ordering::SeqCst)
    }

    /// What failed.
    #[must_use]
    pub fn failed(&self) -> Vec<Failed> {
        lock(&self.failed).clone()
    }

    /// Whose answers were seen.
    #[must_use]
    pub fn versions(&self) -> BTreeSet<String> {
        lock(&self.versions).clone()
    }

    /// Holds the app's notes against the POSTs that it answered.
    #[must_use]
    pub fn notes(&self, written: &str) -> Notes {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for line in written.lines() {
            // A note begins with the version that wrote it.
            if let Some(id) = line.split(' ').nth(1) {
                *times.entry(id).or_default() += 1;
            }
        }
        let posted = lock(&self.posted);
        let lost = posted.iter().filter(|id| !times.contains_key(id.as_str())).cloned().collect();
        let doubled = times.iter().filter(|(_, n)| **n > 1).map(|(id, _)| (*id).to_owned()).collect();
        Notes { answered: posted.len(), lost, doubled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_note_and_a_doubled_one_are_seen() {
        let tally = Tally::default();
        for id in ["a", "b", "c"] {
            tally.posted(id.to_owned());
        }
        let notes = tally.notes("1 a\n2 c\n2 c\n2 d\n");
        assert_eq!(notes, Notes { answered: 3, lost: vec!["b".into()], doubled: vec!["c".into()] });
    }
}
