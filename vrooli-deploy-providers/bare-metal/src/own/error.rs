use std::path::PathBuf;

use vrooli_deploy_core::diagnostics::{Code, rules};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError};

use crate::artefact::{ArtefactError, Misfit};
use crate::host::HostName;
use crate::remote::RemoteError;
use crate::store::DeliveryError;

/// Why this program does not run on a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnError {
    /// What became of a phase.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// It could not be sent.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// None of those that are here runs there. Nothing was sent.
    #[error("no program of ours here runs on {host}: {}", all(.tried))]
    NoProgram {
        /// Which host.
        host: HostName,
        /// The host's machine, as `uname -m` says.
        architecture: String,
        /// Those that were looked at, and why not.
        tried: Vec<(PathBuf, Misfit)>,
    },
    /// One that was named cannot be read, or is none.
    #[error("{} cannot be used as a program of ours: {words}", .path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        words: String,
    },
    /// The host uses a newer program, which cannot be used from here. Nothing was changed.
    #[error("{host} uses vrooli-deploy {theirs}, and this is {own}: {words}")]
    Newer {
        /// Which host.
        host: HostName,
        /// The version of the program there.
        theirs: String,
        /// The version of this one.
        own: String,
        /// Why it cannot be used.
        words: String,
    },
    /// systemd does not take the unit, or it does not come up.
    #[error("the supervisor does not start on {host}")]
    DoesNotStart {
        /// Which host.
        host: HostName,
        /// What was said.
        words: String,
    },
    /// Apps still have artefacts there. Nothing was changed.
    #[error("{host} still serves {}", .stacks.join(", "))]
    StillUsed {
        /// Which host.
        host: HostName,
        /// Whose, `app/environment`.
        stacks: Vec<String>,
    },
}

fn all(tried: &[(PathBuf, Misfit)]) -> String {
    let one = |(path, misfit): &(PathBuf, Misfit)| format!("{}: {misfit}", path.display());
    tried.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl From<ArtefactError> for OwnError {
    fn from(error: ArtefactError) -> Self {
        Self::Unusable { path: error.file, words: error.words }
    }
}

impl OwnError {
    /// The message's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Remote(error) => error.code(),
            Self::Delivery(error) => error.code(),
            Self::NoProgram { .. } | Self::Unusable { .. } => rules::PROGRAM_MISFIT,
            Self::DoesNotStart { .. } => rules::SUPERVISOR_UNIT,
            Self::Newer { .. } => rules::HOST_NEWER,
            Self::StillUsed { .. } => rules::HOST_IN_USE,
        }
    }

    /// What was said on the host; empty where nobody said anything.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Remote(error) => error.words(),
            Self::Delivery(error) => error.words(),
            Self::DoesNotStart { words, .. } => words,
            Self::NoProgram { .. } | Self::Unusable { .. } | Self::Newer { .. } | Self::StillUsed { .. } => {
                ""
            }
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Remote(error) => error.help(),
            Self::Delivery(error) => error.help(),
            Self::NoProgram { architecture, tried, .. } => {
                let why = tried.last().map_or_else(String::new, |(_, misfit)| misfit.help() + "; ");
                format!(
                    "{why}put it beside `vrooli-deploy` as `vrooli-deploy-{architecture}`, or name it: `{}=PATH`",
                    super::program::variable(architecture)
                )
            }
            Self::Unusable { .. } => "name the program that `cargo build` made, or leave the variable out".to_owned(),
            Self::DoesNotStart { .. } => {
                "`journalctl -u vrooli-deploy-supervisor` on the server says more; mend it and run the command again".to_owned()
            }
            Self::Newer { theirs, .. } => {
                format!("run this command with vrooli-deploy {theirs} or newer: other apps of the server may rely on it")
            }
            Self::StillUsed { .. } => "destroy these apps first, or leave the server as it is".to_owned(),
        }
    }
}

impl From<OwnError> for ProviderError {
    fn from(error: OwnError) -> Self {
        let kind = match error {
            OwnError::Remote(error) => return error.into(),
            OwnError::Delivery(error) => return error.into(),
            OwnError::NoProgram { .. } | OwnError::Unusable { .. } | OwnError::Newer { .. } => {
                ErrorKind::Config
            }
            OwnError::DoesNotStart { .. } => ErrorKind::Unexpected,
            OwnError::StillUsed { .. } => ErrorKind::Conflict,
        };
        let mut provider =
            Self::new(kind, error.to_string()).with_code(error.code().to_string()).with_help(error.help());
        if !error.words().is_empty() {
            provider = provider.with_context("said", error.words());
        }
        provider
    }
}
