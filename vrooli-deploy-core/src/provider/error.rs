use std::error::Error as StdError;
use std::fmt;

use crate::diagnostics::Code;

/// What a provider call returns.
pub type Result<T> = std::result::Result<T, ProviderError>;

/// What kind of failure it was (contract P6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is wrong.
    Config,
    /// Who we are was not accepted.
    Auth,
    /// We may not do this.
    Permission,
    /// It is not there.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Its state does not allow it now.
    Conflict,
    /// A quota is used up (disk included).
    Quota,
    /// Too many calls.
    RateLimited,
    /// Not supported; refused before any call (P8).
    Unsupported,
    /// A tool or program that is needed is not installed.
    Missing,
    /// The user's own build, program or SQL failed.
    App,
    /// It took too long, and certainly did not happen.
    Timeout,
    /// Not reachable; certainly did not happen.
    Unavailable,
    /// It may have happened. Never plainly retried: looked up first.
    Ambiguous,
    /// The caller asked to stop (P4).
    Cancelled,
    /// A newer lease holder is at work.
    Fenced,
    /// Anything else.
    Unexpected,
}

/// May the same call be made again?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retryability {
    /// Yes, it did not happen.
    Safe,
    /// Only after looking whether it happened.
    LookUpFirst,
    /// It would fail again.
    Never,
    /// It was retried as often as allowed.
    Exhausted,
}

/// A provider call failed. `Display` never repeats its source.
#[derive(Debug)]
pub struct ProviderError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    retry: Retryability,
    message: String,
    help: Option<String>,
    code: Option<String>,
    request_id: Option<String>,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ProviderError {
    /// A failure with a phrase for people (the provider's own words where it has any).
    /// Retryability follows the kind; see [`with_retry`](Self::with_retry).
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Timeout => Retryability::Safe,
            ErrorKind::Ambiguous => Retryability::LookUpFirst,
            _ => Retryability::Never,
        };
        Self(Box::new(Inner {
            kind,
            retry,
            message: message.into(),
            help: None,
            code: None,
            request_id: None,
            context: Vec::new(),
            source: None,
        }))
    }

    /// Sets whether it may be retried.
    #[must_use]
    pub fn with_retry(mut self, retry: Retryability) -> Self {
        self.0.retry = retry;
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Keeps the provider's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// Keeps the provider's request id.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = Some(id.into());
        self
    }

    /// Adds a named fact: `("log", "last lines…")`.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.context.push((name, value.into()));
        self
    }

    /// Keeps what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// May the same call be made again?
    #[must_use]
    pub fn retry(&self) -> Retryability {
        self.0.retry
    }

    /// The phrase for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The provider's own code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Its code, where that is one of the catalogue's: it says more than the kind's.
    #[must_use]
    pub fn catalogued(&self) -> Option<Code> {
        let code = self.code().filter(|code| code.starts_with("VD"))?;
        code.parse().ok().filter(|code: &Code| code.rule().is_some())
    }

    /// The provider's request id.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Named facts about it.
    #[must_use]
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(code) = &self.0.code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

impl StdError for ProviderError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| &**s as &(dyn StdError + 'static))
    }
}
