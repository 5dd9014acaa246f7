//! One line of the table.

use std::collections::BTreeMap;
use std::time::Instant;

use vrooli_deploy_tests::load::{Failed, Kind, Notes, Tally};

/// From when an edge was killed until its process was gone.
pub(crate) type Kill = (Instant, Instant);

pub(crate) struct Row {
    name: String,
    /// How the redeploys ended, and how often.
    ended: BTreeMap<String, u64>,
    requests: u64,
    failed: u64,
    open_at_kill: u64,
    notes: Notes,
    sockets: (u64, u64),
    streams: (u64, u64),
    seconds: f64,
    pub(crate) failures: Vec<String>,
}

impl Row {
    pub(crate) fn new(
        name: &str,
        ended: BTreeMap<String, u64>,
        (tally, written): (&Tally, &str),
        kills: &[Kill],
        begun: Instant,
    ) -> Self {
        let was_open = |failed: &&Failed| {
            kills.iter().any(|(sent, gone)| failed.begun <= *gone && failed.ended >= *sent)
        };
        let all = tally.failed();
        let (open, failed): (Vec<&Failed>, Vec<&Failed>) = all.iter().partition(was_open);
        let of = |kind: Kind| failed.iter().filter(|one| one.kind == kind).count() as u64;
        let cut = of(Kind::WebSocket) + of(Kind::Events);
        Self {
            name: name.to_owned(),
            ended,
            requests: tally.all_done() + failed.len() as u64,
            failed: failed.len() as u64 - cut,
            open_at_kill: open.len() as u64,
            notes: tally.notes(written),
            sockets: (tally.said_goodbye(Kind::WebSocket), of(Kind::WebSocket)),
            streams: (tally.said_goodbye(Kind::Events), of(Kind::Events)),
            seconds: begun.elapsed().as_secs_f64(),
            failures: failed.iter().map(|one| format!("{:?}: {}", one.kind, one.why)).collect(),
        }
    }

    /// Nobody noticed anything.
    pub(crate) fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.notes.lost.is_empty() && self.notes.doubled.is_empty()
    }

    pub(crate) fn print_head() {
        println!(
            "| | redeploys | requests | failed | open at a kill | POSTs answered | lost | doubled | \
             WebSockets closed / cut | event streams ended / cut | s |"
        );
        println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    }

    pub(crate) fn print(&self) {
        let ended: Vec<String> = self.ended.iter().map(|(how, count)| format!("{count} {how}")).collect();
        println!(
            "| {} | {} | {} | **{}** | {} | {} | {} | {} | {} / {} | {} / {} | {:.0} |",
            self.name,
            ended.join(", "),
            self.requests,
            self.failed,
            self.open_at_kill,
            self.notes.answered,
            self.notes.lost.len(),
            self.notes.doubled.len(),
            self.sockets.0,
            self.sockets.1,
            self.streams.0,
            self.streams.1,
            self.seconds,
        );
    }
}
