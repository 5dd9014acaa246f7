//! What is said between a client and the supervisor: lines of JSON, a version first, and
//! never a command, a path or a variable. Requests name what is already in the state folder.

use std::collections::BTreeSet;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;
use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{
    CertificateSeen, DrainReport, ErrorKind, ProviderError, Routing, UnitObserved,
};

/// The version of the protocol. Raised when an older side would misunderstand.
pub(crate) const PROTOCOL: u32 = 1;
/// Longest request, in bytes.
pub(crate) const MAX_REQUEST: usize = 64 * 1024;
/// Longest answer, in bytes.
pub(crate) const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// What a client asks. The first request of a connection is `Hello`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    Hello {
        protocol: u32,
        version: String,
    },
    Start {
        stack: StackId,
        release: ReleaseNumber,
        unit: UnitId,
        fence: u64,
    },
    Stop {
        stack: StackId,
        release: ReleaseNumber,
        unit: UnitId,
        fence: u64,
    },
    List {
        stack: StackId,
    },
    Route {
        stack: StackId,
        routing: Routing,
        fence: u64,
    },
    Routing {
        stack: StackId,
    },
    Drain {
        stack: StackId,
        release: ReleaseNumber,
        /// None named: all.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        units: BTreeSet<UnitId>,
        deadline_ms: u64,
    },
    /// Go on with the open watch of a stack.
    KeepWatch {
        stack: StackId,
    },
    OpenPort {
        stack: StackId,
        fence: u64,
    },
    ClosePort {
        stack: StackId,
        fence: u64,
    },
    Urls {
        stack: StackId,
    },
    Metrics {
        stack: StackId,
    },
    /// Serve by TLS as the files of the stack say; and order a certificate if one is due.
    Certificate {
        stack: StackId,
        fence: u64,
        order: bool,
    },
    /// Everything of one release.
    Remove {
        stack: StackId,
        release: ReleaseNumber,
        fence: u64,
    },
    /// Everything of a stack.
    Forget {
        stack: StackId,
        fence: u64,
    },
    /// Holds a key of the secret store; its bytes follow the line.
    Keep {
        length: usize,
    },
    /// Hand the key over. Only a supervisor may ask, who is about to be the successor.
    Inherit,
    /// Go and leave everything running: a successor is about to start.
    StepDown,
    /// Go if nothing is left to do.
    Shutdown,
}

impl Request {
    /// Does it leave everything as it is?
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::Hello { .. }
            | Self::List { .. }
            | Self::Routing { .. }
            | Self::Urls { .. }
            | Self::Metrics { .. } => true,
            Self::Start { .. }
            | Self::Stop { .. }
            | Self::Route { .. }
            | Self::Drain { .. }
            | Self::KeepWatch { .. }
            | Self::OpenPort { .. }
            | Self::ClosePort { .. }
            | Self::Certificate { .. }
            | Self::Remove { .. }
            | Self::Forget { .. }
            | Self::Keep { .. }
            | Self::Inherit
            | Self::StepDown
            | Self::Shutdown => false,
        }
    }
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "snake_case")]
pub(crate) enum Answer {
    Hello(Greeting),
    Done,
    Unit(UnitObserved),
    Units(Vec<UnitObserved>),
    Routing(Routing),
    Drained(DrainReport),
    Urls(Vec<String>),
    Metrics(serde_json::Value),
    Certificate(Option<CertificateSeen>),
    /// The key of the secret store, of so many bytes, which follow the line; 0: there is none.
    Key(usize),
    Failed(Failure),
}

/// Who the supervisor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) protocol: u32,
    pub(crate) version: String,
    pub(crate) workspace: Uuid,
    /// The program it runs, as it was called when it was started.
    pub(crate) program: String,
    /// Was the file of that program replaced since?
    pub(crate) replaced: bool,
    /// Its process; 0 from one that does not say.
    #[serde(default)]
    pub(crate) process: u32,
    /// Which key of the secret store it holds, without saying anything about it; `None`: it
    /// was given none.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Does it run in a program that is not its own, and end with it?
    #[serde(default)]
    pub(crate) in_process: bool,
}

/// A [`ProviderError`] on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

impl From<&ProviderError> for Failure {
    fn from(error: &ProviderError) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            help: error.help().map(str::to_owned),
            code: error.code().map(str::to_owned),
        }
    }
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        let mut error = Self::new(failure.kind, failure.message);
        if let Some(code) = failure.code {
            error = error.with_code(code);
        }
        match failure.help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

/// Reads one line; `None` at the end. A longer one than `limit` is an error, and never held
/// in memory whole.
pub(crate) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            return if line.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let end = available.iter().position(|b| *b == b'\n');
        let taken = end.map_or(available.len(), |at| at + 1);
        if line.len() + taken > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a message is longer than {limit} bytes"),
            ));
        }
        line.extend_from_slice(&available[..taken]);
        from.consume(taken);
        if end.is_some() {
            return serde_json::from_slice(&line).map(Some).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("a message is not understood: {e}"))
            });
        }
    }
}

/// Writes one line.
pub(crate) async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn messages_come_back_as_they_were_sent() {
        now(async {
            let request = Request::Route {
                stack: StackId { app: "demo".parse().unwrap(), environment: "default".parse().unwrap() },
                routing: Routing::all_to(ReleaseNumber(2)),
                fence: 7,
            };
            let mut bytes = Vec::new();
            send(&mut bytes, &request).await.unwrap();
            send(&mut bytes, &Request::Shutdown).await.unwrap();
            let mut from = &bytes[..];
            assert_eq!(receive(&mut from, MAX_REQUEST).await.unwrap(), Some(request));
            assert_eq!(receive(&mut from, MAX_REQUEST).await.unwrap(), Some(Request::Shutdown));
            assert_eq!(receive::<Request>(&mut from, MAX_REQUEST).await.unwrap(), None);
        });
    }

    #[test]
    fn what_is_too_long_cut_or_unknown_is_refused() {
        now(async {
            let long = [b'x'; 100];
            assert!(receive::<Request>(&mut &long[..], 50).await.unwrap_err().to_string().contains("longer"));
            assert!(receive::<Request>(&mut &b"{\"request\":"[..], 50).await.is_err());
            assert!(
                receive::<Request>(&mut &b"{\"request\":\"run\",\"command\":\"x\"}\n"[..], 50).await.is_err()
            );
        });
    }
}
