use std::time::Duration;

use vrooli_deploy_core::diagnostics::{Code, rules};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError};

use super::Fingerprint;
use crate::host::{HostName, roles};

/// Why a phase did not do what it should. `Display` names the host; what `ssh` or the script
/// said is in [`words`](Self::words).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// Nobody has said yet that this is the host's key.
    #[error("the key of {name} is not known{}", shown(.offered.as_ref()))]
    UnknownKey {
        /// Whose: the host, or one on the way to it.
        name: String,
        /// The key that it shows, where it could be asked.
        offered: Option<Fingerprint>,
    },
    /// The host shows another key than it had.
    #[error("the key of {name} has changed: known is {}, it shows {}", or_unknown(.known.as_ref()), or_unknown(.offered.as_ref()))]
    ChangedKey {
        /// Whose: the host, or one on the way to it.
        name: String,
        /// The key that is known.
        known: Option<Fingerprint>,
        /// The key that it shows.
        offered: Option<Fingerprint>,
        /// Where the known one is written: file and line.
        place: Option<String>,
    },
    /// The host shows another key than the one that was given.
    #[error("{host} shows the key {offered}, not {expected}")]
    OtherKey {
        /// Which host.
        host: HostName,
        /// What was given.
        expected: Fingerprint,
        /// What it shows.
        offered: Fingerprint,
    },
    /// The host does not let us in.
    #[error("{host} does not accept our key")]
    Refused {
        /// Which host.
        host: HostName,
        /// What `ssh` said.
        words: String,
    },
    /// There is no way to the host. Nothing happened.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// Which host.
        host: HostName,
        /// What `ssh` said.
        words: String,
    },
    /// The host did not answer in time. Nothing happened.
    #[error("{host} did not answer within {} s", .after.as_secs())]
    NoAnswer {
        /// Which host.
        host: HostName,
        /// After how long.
        after: Duration,
        /// What `ssh` said.
        words: String,
    },
    /// The phase took longer than it may; the host has ended it, or ends it by itself.
    #[error("{phase} took longer than {} s on {host}", .limit.as_secs())]
    TooLong {
        /// Which host.
        host: HostName,
        /// Which phase.
        phase: &'static str,
        /// Its limit.
        limit: Duration,
    },
    /// The connection was lost while the phase ran: nobody knows what came of it.
    #[error("the connection to {host} was lost during {phase}")]
    Lost {
        /// Which host.
        host: HostName,
        /// Which phase.
        phase: &'static str,
        /// After so long the host has ended what was left of it.
        settles: Duration,
        /// What was said.
        words: String,
    },
    /// We are not root there and cannot become it.
    #[error("root is needed on {host}, and `sudo` does not give it without a password")]
    NoRoot {
        /// Which host.
        host: HostName,
        /// What `sudo` said.
        words: String,
    },
    /// What is to be sent does not fit. Nothing was sent.
    #[error("{host} has {} MiB free, and {} MiB are needed", .free / 1_048_576, .needed / 1_048_576)]
    NoRoom {
        /// Which host.
        host: HostName,
        /// What is needed, in bytes, with what is left free.
        needed: u64,
        /// What is free, in bytes.
        free: u64,
    },
    /// The script ended with another status than 0.
    #[error("{phase} failed on {host} with status {status}")]
    Failed {
        /// Which host.
        host: HostName,
        /// Which phase.
        phase: &'static str,
        /// Its status.
        status: i32,
        /// The last that it wrote.
        words: String,
    },
    /// The host printed something else than the script does.
    #[error("what {host} answered to {phase} cannot be read: {words}")]
    Unreadable {
        /// Which host.
        host: HostName,
        /// Which phase.
        phase: &'static str,
        /// What.
        words: String,
    },
    /// `ssh` itself cannot be used here: absent, or its configuration is wrong.
    #[error("`ssh` cannot be used on this machine")]
    Ssh {
        /// What it, or the system, said.
        words: String,
    },
    /// A file of ours about hosts cannot be used.
    #[error("cannot use {file}")]
    File {
        /// Which.
        file: String,
        /// Why.
        words: String,
    },
    /// A server is named or described in a way that means nothing.
    #[error("{words}")]
    Name {
        /// What is wrong with which.
        words: String,
    },
    /// The caller asked to stop. A script that ran is ended by the host within its limit.
    #[error("stopped")]
    Cancelled {
        /// Had a script been sent?
        sent: bool,
    },
}

fn shown(offered: Option<&Fingerprint>) -> String {
    offered.map_or_else(String::new, |key| format!("; it shows {key}"))
}

fn or_unknown(key: Option<&Fingerprint>) -> String {
    key.map_or_else(|| "another".to_owned(), ToString::to_string)
}

impl RemoteError {
    /// May it have happened? Then it is looked up before anything is tried again.
    #[must_use]
    pub const fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::TooLong { .. } | Self::Cancelled { sent: true })
    }

    /// The message's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::UnknownKey { .. } => rules::HOST_KEY_UNKNOWN,
            Self::ChangedKey { .. } => rules::HOST_KEY_CHANGED,
            Self::OtherKey { .. } => rules::HOST_KEY_OTHER,
            Self::Refused { .. } => rules::HOST_REFUSES,
            Self::Unreachable { .. } => rules::HOST_UNREACHABLE,
            Self::NoAnswer { .. } => rules::HOST_NO_ANSWER,
            Self::TooLong { .. } => rules::PHASE_TOO_LONG,
            Self::Lost { .. } => rules::CONNECTION_LOST,
            Self::NoRoot { .. } => rules::HOST_NO_ROOT,
            Self::NoRoom { .. } => rules::HOST_NO_ROOM,
            Self::Failed { .. } => rules::PHASE_FAILED,
            Self::Unreadable { .. } => rules::HOST_ANSWER,
            Self::Ssh { .. } => rules::SSH_UNUSABLE,
            Self::File { .. } => rules::HOSTS_FILE,
            Self::Name { .. } => rules::HOST_NAME,
            Self::Cancelled { .. } => rules::PHASE_CANCELLED,
        }
    }

    /// What `ssh`, `sudo` or the script said; empty where nobody said anything.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Refused { words, .. }
            | Self::Unreachable { words, .. }
            | Self::NoAnswer { words, .. }
            | Self::Lost { words, .. }
            | Self::NoRoot { words, .. }
            | Self::Failed { words, .. }
            | Self::Ssh { words }
            | Self::File { words, .. } => words,
            Self::UnknownKey { .. }
            | Self::ChangedKey { .. }
            | Self::OtherKey { .. }
            | Self::TooLong { .. }
            | Self::NoRoom { .. }
            | Self::Unreadable { .. }
            | Self::Name { .. }
            | Self::Cancelled { .. } => "",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        const SHOW: &str =
            "on the server's own console, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows its key";
        match self {
            Self::UnknownKey { name, .. } => format!(
                "{SHOW}; if it is this one: `vrooli-deploy hosts add {name} --fingerprint SHA256:…`, or without `--fingerprint` to be asked"
            ),
            Self::ChangedKey { name, place, .. } => format!(
                "a server that was set up anew has a new key: {SHOW}, then `vrooli-deploy hosts add {name} --fingerprint SHA256:…`; if it was not, somebody may stand between{}",
                place.as_ref().map_or_else(String::new, |place| format!(" (the known key is in {place})"))
            ),
            Self::OtherKey { .. } => format!("{SHOW}; look whether the fingerprint was copied whole, and whether the name leads to the right server"),
            Self::Refused { host, .. } => format!(
                "put your public key into ~/.ssh/authorized_keys there, load the key (`ssh-add -l`), and say who you log in as in ~/.ssh/config: `ssh {host} true` must work without a question"
            ),
            Self::Unreachable { host, .. } => {
                format!("look whether the server runs, its name is right and its firewall lets SSH in: `ssh -v {host} true`")
            }
            Self::NoAnswer { host, .. } => {
                format!("it may be overloaded, stopped or behind a firewall that drops: `ssh -v {host} true`")
            }
            Self::TooLong { .. } => "look at what the server is busy with, and run the command again".to_owned(),
            Self::Lost { settles, .. } => format!(
                "nobody knows how far it came; the server ends it within {} s. Run the command again: it looks first",
                settles.as_secs()
            ),
            Self::NoRoot { .. } => {
                "log in as root, or let the account use sudo without a password: `NAME ALL=(ALL) NOPASSWD: ALL` in a file under /etc/sudoers.d".to_owned()
            }
            Self::NoRoom { .. } => {
                "make room (`apt-get clean`, `journalctl --vacuum-size=100M`), or give the server a larger disk".to_owned()
            }
            Self::Failed { .. } | Self::Unreadable { .. } => {
                "what it said is above; mend it on the server and run the command again".to_owned()
            }
            Self::Ssh { .. } => "install the OpenSSH client (`apt-get install openssh-client`), or mend what it says about its configuration".to_owned(),
            Self::File { .. } => "mend or remove the file; hosts can be added again".to_owned(),
            Self::Name { .. } => format!(
                "a host is a name, an address, or a `Host` of ~/.ssh/config, where user and port stand; roles are {}",
                roles().collect::<Vec<_>>().join(", ")
            ),
            Self::Cancelled { .. } => "run the command again".to_owned(),
        }
    }
}

impl From<RemoteError> for ProviderError {
    fn from(error: RemoteError) -> Self {
        let kind = match &error {
            RemoteError::UnknownKey { .. }
            | RemoteError::ChangedKey { .. }
            | RemoteError::OtherKey { .. }
            | RemoteError::Refused { .. } => ErrorKind::Auth,
            RemoteError::Unreachable { .. } => ErrorKind::Unavailable,
            RemoteError::NoAnswer { .. } => ErrorKind::Timeout,
            RemoteError::TooLong { .. } | RemoteError::Lost { .. } => ErrorKind::Ambiguous,
            RemoteError::NoRoot { .. } => ErrorKind::Permission,
            RemoteError::NoRoom { .. } => ErrorKind::Quota,
            RemoteError::Ssh { .. } => ErrorKind::Missing,
            RemoteError::File { .. } | RemoteError::Name { .. } => ErrorKind::Config,
            RemoteError::Cancelled { .. } => ErrorKind::Cancelled,
            RemoteError::Failed { .. } | RemoteError::Unreadable { .. } => ErrorKind::Unexpected,
        };
        let mut provider =
            Self::new(kind, error.to_string()).with_code(error.code().to_string()).with_help(error.help());
        if !error.words().is_empty() {
            provider = provider.with_context("said", error.words());
        }
        provider
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_have_happened_is_ambiguous() {
        let host = HostName::new("a").unwrap();
        let lost = RemoteError::Lost {
            host: host.clone(),
            phase: "x",
            settles: Duration::from_secs(65),
            words: "reset".to_owned(),
        };
        assert!(lost.is_ambiguous());
        assert!(lost.help().contains("65 s"));
        let provider = ProviderError::from(lost);
        assert_eq!(provider.kind(), ErrorKind::Ambiguous);
        assert_eq!(provider.context(), [("said", "reset".to_owned())]);
        let away = RemoteError::Unreachable { host, words: String::new() };
        assert!(!away.is_ambiguous());
        assert_eq!(ProviderError::from(away).kind(), ErrorKind::Unavailable);
    }
}
