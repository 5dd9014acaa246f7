use vrooli_deploy_core::diagnostics::{Code, rules};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError};

use super::AccountName;
use crate::host::HostName;
use crate::remote::RemoteError;

/// Why an artefact is not on a host as it should be. The same call again goes on from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// What became of the phase; no room is [`RemoteError::NoRoom`].
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The host has no Docker that answers. Nothing was sent.
    #[error("an image cannot be sent to {host}: Docker does not answer there")]
    NoDocker {
        /// Which host.
        host: HostName,
        /// What was said.
        words: String,
    },
    /// The account that the release is to belong to is not there. Nothing was sent.
    #[error("{host} has no account {account}")]
    NoAccount {
        /// Which host.
        host: HostName,
        /// Which account.
        account: AccountName,
    },
    /// The release's folder holds something else, and something runs from it.
    #[error("{folder} on {host} holds something else, and it runs")]
    InUse {
        /// Which host.
        host: HostName,
        /// The folder.
        folder: String,
    },
    /// Something that was sent is not there afterwards, again and again.
    #[error("{pieces} pieces that were sent to {host} are not there, or are damaged")]
    NotThere {
        /// Which host.
        host: HostName,
        /// How many.
        pieces: usize,
    },
}

impl DeliveryError {
    /// The message's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Remote(error) => error.code(),
            Self::NoDocker { .. } => rules::HOST_NO_DOCKER,
            Self::NoAccount { .. } => rules::HOST_NO_ACCOUNT,
            Self::InUse { .. } => rules::RELEASE_IN_USE,
            Self::NotThere { .. } => rules::STORE_DAMAGED,
        }
    }

    /// What was said on the host; empty where nobody said anything.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Remote(error) => error.words(),
            Self::NoDocker { words, .. } => words,
            Self::NoAccount { .. } | Self::InUse { .. } | Self::NotThere { .. } => "",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Remote(error) => error.help(),
            Self::NoDocker { .. } => {
                "install it there (`apt-get install docker.io`) or look why it does not answer (`systemctl status docker`), or deploy what was built as a folder".to_owned()
            }
            Self::NoAccount { account, .. } => {
                format!("the server was not prepared for this app, or `{account}` was removed: deploy again")
            }
            Self::InUse { folder, .. } => format!(
                "deploy again: the release gets a new number; what runs there shows `ps -fp $(find /proc/[0-9]*/cwd -maxdepth 0 -lname '{folder}/*' | cut -d/ -f3)`"
            ),
            Self::NotThere { .. } => {
                "look at the disk of the server (`dmesg`), and that nothing else writes to /var/lib/vrooli-deploy/store; then run the command again".to_owned()
            }
        }
    }
}

impl From<DeliveryError> for ProviderError {
    fn from(error: DeliveryError) -> Self {
        let kind = match &error {
            DeliveryError::Remote(error) => return error.clone().into(),
            DeliveryError::NoDocker { .. } | DeliveryError::NoAccount { .. } => ErrorKind::Missing,
            DeliveryError::InUse { .. } => ErrorKind::Conflict,
            DeliveryError::NotThere { .. } => ErrorKind::Unexpected,
        };
        let mut provider =
            Self::new(kind, error.to_string()).with_code(error.code().to_string()).with_help(error.help());
        if !error.words().is_empty() {
            provider = provider.with_context("said", error.words());
        }
        provider
    }
}
