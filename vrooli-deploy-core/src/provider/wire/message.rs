use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use super::exec::Exited;
use crate::names::{ReleaseNumber, StackId, UnitId};
use crate::provider::{
    Cancellation, CertificateRequest, CertificateSeen, DrainReport, ErrorKind, FleetCapabilities, LogPage,
    LogQuery, MigrationReport, OpCtx, ProbeReport, ProviderError, Reading, Retryability, Routing,
    SmokeReport, UnitObserved,
};
use crate::release::{Claim, Release};
use crate::secrets::{Secret, SecretRef};

/// The version of what is said. Raised when an older side would misunderstand.
pub const PROTOCOL: u32 = 1;
/// The longest line, in bytes: all releases of a stack fit in one.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;

/// How often a server hears of who asks, if nothing is asked.
pub(super) const BEAT: Duration = Duration::from_secs(5);
/// So long it hears nothing before it takes who asked for gone.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// What a server is told of itself before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// Where all apps of the server are reached together, told apart by their host names.
    pub listen: SocketAddr,
    /// The same by TLS, for apps that have a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<SocketAddr>,
}

/// What is there of a stack on a server: all that a plan is made from, in one line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetSeen {
    /// See [`Fleet::list`](crate::provider::Fleet::list).
    pub units: Vec<UnitObserved>,
    /// See [`Fleet::routing`](crate::provider::Fleet::routing).
    pub routing: Routing,
    /// See [`Fleet::staged`](crate::provider::Fleet::staged).
    pub staged: Vec<Release>,
    /// Does what watches over units run?
    pub supervised: bool,
    /// The certificate that it is reached with, if it is to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateSeen>,
    /// The highest lease that was seen.
    #[serde(default)]
    pub fence: u64,
    /// What the values of secrets are known by that a release which gets traffic is started with
    /// ([`values_digest`](super::values_digest)); `none` where there are none, `damaged` where they cannot be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<ReleaseNumber, String>,
    /// How containers of a release that gets traffic do not run from its images.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ReleaseNumber, Vec<String>>,
    /// The requests that other stacks get there, by the stack.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, BTreeSet<Claim>>,
    /// Which program says so; none: one that is older than this question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramSeen>,
}

/// A program of ours, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSeen {
    /// Its version, as `--version` says.
    pub version: String,
    /// The version of what it speaks: [`PROTOCOL`].
    pub protocol: u32,
}

impl ProgramSeen {
    /// The one that runs.
    #[must_use]
    pub fn own() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL }
    }

    /// Is it of a later version? What follows a `-` (a pre-release) comes before the version itself
    /// (Semantic Versioning 2.0.0, 11). A version that is none is no later one.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        match (parts(&self.version), parts(&other.version)) {
            (Some(one), Some(other)) => one > other,
            _ => false,
        }
    }
}

/// The numbers of a version, whether it is released, and the parts of its pre-release.
fn parts(version: &str) -> Option<(Vec<u64>, bool, Vec<Part<'_>>)> {
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let (numbers, pre) = version.split_once('-').map_or((version, None), |(n, pre)| (n, Some(pre)));
    let numbers: Vec<u64> = numbers.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let part = |text| u64::from_str(text).map_or(Part::Word(text), Part::Number);
    Some((numbers, pre.is_none(), pre.into_iter().flat_map(|pre| pre.split('.')).map(part).collect()))
}

/// Numbers come before words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Number(u64),
    Word(&'a str),
}

/// To the server. (None of these has its tag among its fields: numbers as keys would not be read.)
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// First of all.
    Hello { protocol: u32, settings: HostSettings },
    /// Make a call of the fleet.
    Call { id: u64, context: CallContext, call: Box<Call> },
    /// Keep values for a release, whose bytes follow the line one after the other.
    Values { id: u64, context: CallContext, release: ReleaseNumber, values: Vec<(SecretRef, usize)> },
    /// About the certificate of the stack.
    Certificate { id: u64, context: CallContext, ask: CertificateAsk },
    /// Run a program of ours, which reads what comes as its input.
    Exec { id: u64, context: CallContext, words: Vec<String> },
    /// What a program reads, whose bytes follow the line; none: there is no more.
    Input { id: u64, length: usize },
    /// Give the values that are kept for a release.
    Kept { id: u64, context: CallContext, release: ReleaseNumber },
    /// Nobody waits for a call any more.
    Cancel { id: u64 },
    /// We are still there.
    Alive,
}

/// What is asked about the certificate of a stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CertificateAsk {
    /// Serve by TLS so, or not any more.
    Serve { request: Option<CertificateRequest> },
    /// What is there?
    Look,
    /// Order one now if one is due.
    Order,
    /// Give what another server needs that shares it.
    Give,
    /// Take what another gave, whose bytes follow the line.
    Take { length: usize },
}

/// From the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tell {
    /// It is ready.
    Welcome { capabilities: FleetCapabilities },
    /// It is not, and ends.
    Refused { failure: Failure },
    /// What came of a call.
    Answer { id: u64, answer: Box<Answer> },
    /// Values that were asked for, whose bytes follow the line one after the other.
    Values { id: u64, values: Vec<(SecretRef, usize)> },
    /// What went wrong with one.
    Failed { id: u64, failure: Failure },
    /// What came of a call is bytes, which follow the line.
    Bytes { id: u64, length: usize },
    /// What a program has printed, whose bytes follow the line.
    Output { id: u64, length: usize },
    /// A line of output of a call.
    Line { id: u64, line: String },
}

/// A call of [`Fleet`](crate::provider::Fleet), with its arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Stage {
        release: Release,
    },
    Migrate {
        release: Release,
    },
    Start {
        release: Release,
        unit: UnitId,
    },
    Probe {
        release: Release,
        unit: UnitId,
    },
    Smoke {
        release: Release,
        through_edge: bool,
    },
    Route {
        routing: Routing,
        /// When it goes back by itself, from now: the clocks of the two may differ. None is also what
        /// an older program says, by whose clock it is then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revert_after_ms: Option<u64>,
    },
    Routing,
    Drain {
        release: ReleaseNumber,
        units: BTreeSet<UnitId>,
        deadline_ms: u64,
    },
    Samples {
        since: Option<Timestamp>,
    },
    KeepWatch,
    Stop {
        release: ReleaseNumber,
        unit: UnitId,
    },
    Remove {
        release: ReleaseNumber,
    },
    Revive,
    List,
    Staged,
    Forget {
        data: bool,
    },
    Urls,
    Logs {
        query: LogQuery,
    },
}

/// What a call gives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done,
    Migrated(MigrationReport),
    Unit(UnitObserved),
    Probed(ProbeReport),
    Smoked(SmokeReport),
    Routing(Routing),
    Drained(DrainReport),
    Samples(Vec<Reading>),
    Units(Vec<UnitObserved>),
    Staged(Vec<Release>),
    Urls(Vec<String>),
    Logs(LogPage),
    Certificate(Option<CertificateSeen>),
    Exited(Exited),
}

/// An [`OpCtx`] on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CallContext {
    stack: StackId,
    fence: u64,
    owner: Uuid,
    incarnation: Uuid,
    /// What is left of its time.
    left_ms: u64,
}

impl CallContext {
    pub(super) fn of(cx: &OpCtx) -> Self {
        let left = cx.deadline.saturating_duration_since(Instant::now());
        Self {
            stack: cx.stack.clone(),
            fence: cx.fence,
            owner: cx.owner,
            incarnation: cx.incarnation,
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn here(self, cancellation: Cancellation) -> OpCtx {
        // What is far away needs no clock that could hold it.
        let left = Duration::from_millis(self.left_ms).min(Duration::from_secs(7 * 24 * 3600));
        OpCtx::new(self.stack, self.owner, self.fence, Instant::now() + left, cancellation)
            .with_incarnation(self.incarnation)
    }
}

/// A [`ProviderError`] on its way, without what caused it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Failure {
    kind: ErrorKind,
    retry: Retryability,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    context: Vec<(String, String)>,
}

impl From<&ProviderError> for Failure {
    fn from(error: &ProviderError) -> Self {
        let context = error.context().iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self {
            kind: error.kind(),
            retry: error.retry(),
            message: error.message().to_owned(),
            help: error.help().map(str::to_owned),
            code: error.code().map(str::to_owned),
            context: context.collect(),
        }
    }
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        let mut error = Self::new(failure.kind, failure.message).with_retry(failure.retry);
        if let Some(help) = failure.help {
            error = error.with_help(help);
        }
        if let Some(code) = failure.code {
            error = error.with_code(code);
        }
        for (name, value) in failure.context {
            error = error.with_context(known(&name), value);
        }
        error
    }
}

/// Names of facts are words of the program's own.
fn known(name: &str) -> &'static str {
    const NAMES: [&str; 7] = ["said", "log", "status", "body", "command", "test", "host"];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("detail")
}

/// Reads one line; `None` at the end. A longer one than [`LONGEST`] is never held in memory whole.
pub(super) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            return if line.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |at| at + 1);
        if line.len() + taken > LONGEST {
            return Err(invalid(&format!("a line is longer than {LONGEST} bytes")));
        }
        line.extend_from_slice(available.get(..taken).unwrap_or_default());
        from.consume(taken);
        if end.is_some() {
            return serde_json::from_slice(&line)
                .map(Some)
                .map_err(|error| invalid(&format!("a line is not understood: {error}")));
        }
    }
}

/// Writes one line.
pub(super) async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), line: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    to.write_all(&text).await?;
    to.flush().await
}

/// References with the lengths of their values, and the values as they are.
pub(super) fn lengths_and_bytes(
    values: &[(SecretRef, Secret<String>)],
) -> (Vec<(SecretRef, usize)>, Secret<Vec<u8>>) {
    let lengths = values.iter().map(|(reference, value)| (reference.clone(), value.expose().len()));
    let bytes = values.iter().flat_map(|(_, value)| value.expose().bytes()).collect();
    (lengths.collect(), Secret::new(bytes))
}

/// Reads the bytes that follow a line.
pub(super) async fn read_bytes(
    reader: &mut (impl AsyncBufRead + Unpin),
    length: usize,
) -> io::Result<Secret<Vec<u8>>> {
    if length > LONGEST {
        return Err(invalid("what follows is too long"));
    }
    let mut bytes = zeroize::Zeroizing::new(vec![0; length]);
    reader.read_exact(&mut bytes).await?;
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

/// Reads the values that follow a line.
pub(super) async fn read_values(
    reader: &mut (impl AsyncBufRead + Unpin),
    asked: Vec<(SecretRef, usize)>,
) -> io::Result<Vec<(SecretRef, Secret<String>)>> {
    let mut values = Vec::new();
    let mut left = LONGEST;
    for (reference, length) in asked {
        left = left.checked_sub(length).ok_or_else(|| invalid("values are too long"))?;
        let mut bytes = zeroize::Zeroizing::new(vec![0; length]);
        reader.read_exact(&mut bytes).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid("a value is no text"))?;
        values.push((reference, Secret::new(text.to_owned())));
    }
    Ok(values)
}

pub(super) fn invalid(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}
