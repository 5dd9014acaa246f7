//! The messages between a supervisor and an edge: one JSON object a line, the greeting first.
//!
//! `listeners` and `stop` keep their form in every version, so that a newer supervisor can
//! always take the sockets from an older edge and end it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::challenges::{AccountThumbprint, ChallengeAnswer, ChallengeToken};
use crate::error::Refusal;
use crate::metrics::{Metrics, Sample};
use crate::names::{ListenerId, ReleaseName, SiteId};
use crate::state::RejectedEntry;
use crate::table::{SiteState, SiteTable};

/// The name in every greeting.
pub(crate) const PROTOCOL: &str = "vrooli-edge";
/// The version of everything but `listeners` and `stop`.
pub(crate) const VERSION: u32 = 1;
/// Longest line in bytes, its newline not counted.
pub(crate) const MAX_LINE: usize = 8 << 20;

/// The first line in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) protocol: String,
    pub(crate) version: u32,
    /// The edge's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) edge: Option<EdgeStatus>,
    /// The edge's only: another supervisor is attached.
    #[serde(default)]
    pub(crate) busy: bool,
}

impl Greeting {
    pub(crate) fn new(edge: Option<EdgeStatus>, busy: bool) -> Self {
        Self { protocol: PROTOCOL.to_owned(), version: VERSION, edge, busy }
    }
}

/// What an edge says about itself when it is spawned or reattached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Its process id.
    pub pid: u32,
    /// When it started, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How many sockets it serves.
    pub listeners: usize,
    /// How many sites it has routes for.
    pub sites: usize,
    /// Lines of its state file that it could not load; the others serve. The lines are kept
    /// beside the state file under the same name with `.rejected`.
    #[serde(default)]
    pub rejected: Vec<RejectedEntry>,
}

/// A line to the edge.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) call: Call,
}

/// What is asked of the edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Ping,
    /// Answered by one line with a socket for each listener, then `done`.
    Listeners,
    Stop {
        grace_ms: u64,
        /// Longest time idle client connections are kept for one more request.
        linger_ms: u64,
    },
    /// The line carries the socket.
    AddListener {
        listener: ListenerId,
    },
    RemoveListener {
        listener: ListenerId,
    },
    SetSite {
        table: Box<SiteTable>,
    },
    Follow {
        table: Box<SiteTable>,
    },
    RemoveSite {
        site: SiteId,
        fence: u64,
    },
    Sites,
    Metrics,
    /// What was counted, second by second.
    Samples {
        since_unix_ms: u64,
    },
    /// Reads the folder of certificates anew.
    LoadCertificates,
    /// What an authority is to be told when it asks.
    PlaceAnswers {
        answers: Vec<ChallengeAnswer>,
        keep_ms: u64,
    },
    RemoveAnswers {
        tokens: Vec<ChallengeToken>,
    },
    /// Whose challenges are answered, by host name.
    AnswerFor {
        accounts: BTreeMap<String, AccountThumbprint>,
    },
    Drain {
        site: SiteId,
        release: ReleaseName,
        /// Only these backends of it; none named: all of it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        backends: BTreeSet<SocketAddr>,
        deadline_ms: u64,
    },
}

impl Call {
    /// Whether it only reads: the only calls on the reading socket.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self, Self::Ping | Self::Sites | Self::Metrics | Self::Samples { .. })
    }
}

/// A line from the edge.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) body: ResponseBody,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResponseBody {
    /// The line carries this listener's socket; more lines follow.
    Listener(ListenerId),
    Answer(Answer),
    Refused(Refusal),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    /// The table that was replaced or removed.
    Previous(Option<Box<SiteTable>>),
    Sites(Vec<SiteState>),
    Metrics(Box<Metrics>),
    Samples(Vec<Sample>),
    Certificates(Vec<CertificateState>),
    Drained(DrainReport),
}

/// A file of the folder of certificates, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateState {
    /// Its name without `.pem`.
    pub file: String,
    /// The host names it is good for.
    #[serde(default)]
    pub names: Vec<String>,
    /// Why it is not used, if it is not. Says no part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// Requests and tunnels that were in flight when the drain began.
    pub in_flight: u64,
    /// Those that were cut because the deadline came first.
    pub cut: u64,
    /// How long it took.
    #[serde(rename = "took_ms", with = "crate::millis")]
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_form() {
        let stop = Request { id: 3, call: Call::Stop { grace_ms: 5, linger_ms: 0 } };
        let cases = [
            (
                serde_json::to_string(&stop).unwrap(),
                r#"{"id":3,"call":{"stop":{"grace_ms":5,"linger_ms":0}}}"#,
            ),
            (
                serde_json::to_string(&Request { id: 1, call: Call::Listeners }).unwrap(),
                r#"{"id":1,"call":"listeners"}"#,
            ),
            (
                serde_json::to_string(&Response {
                    id: 1,
                    body: ResponseBody::Listener(ListenerId::new("a/b").unwrap()),
                })
                .unwrap(),
                r#"{"id":1,"listener":"a/b"}"#,
            ),
            (
                serde_json::to_string(&Response { id: 1, body: ResponseBody::Answer(Answer::Done) }).unwrap(),
                r#"{"id":1,"answer":"done"}"#,
            ),
        ];
        for (have, want) in cases {
            assert_eq!(have, want);
        }
        let back: Response = serde_json::from_str(r#"{"id":9,"refused":{"code":"stopping"}}"#).unwrap();
        assert!(matches!(back.body, ResponseBody::Refused(Refusal::Stopping)));
    }
}
