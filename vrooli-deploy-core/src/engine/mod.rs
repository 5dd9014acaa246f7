//! The journalled executor: what is done, how it is written down first, how an
//! interrupted run is resolved, and what came of it. The types are pure; the executor needs
//! feature `engine`.

pub mod codes;
mod entry;
mod event;
mod events;
mod outcome;
mod stack_state;

#[cfg(feature = "engine")]
mod apply;
#[cfg(feature = "engine")]
mod call;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
mod failure;
#[cfg(feature = "engine")]
mod hooks;
#[cfg(feature = "engine")]
mod journal;
#[cfg(feature = "engine")]
mod observe;
#[cfg(feature = "engine")]
mod options;
#[cfg(feature = "engine")]
mod proceed;
#[cfg(feature = "engine")]
mod recover;
#[cfg(feature = "engine")]
mod release_steps;
#[cfg(feature = "engine")]
mod resolve;
#[cfg(feature = "engine")]
mod resources;
#[cfg(feature = "engine")]
mod run;
#[cfg(feature = "engine")]
mod schedule;
#[cfg(feature = "engine")]
mod undo;
#[cfg(feature = "engine")]
mod watch;

pub use codes::provider_code;
pub use entry::{Entry, JournalRecord, StepFailure, StepOutput};
pub use event::Event;
pub use events::EventSink;
pub use outcome::{Decision, LeftBehind, Outcome, OutcomeKind};
pub use stack_state::{
    Held, IllegalTransition, LastRun, OpenPlan, ReleaseRecord, ReleaseStatus, ResourceState, StackState,
    StepState,
};

#[cfg(feature = "engine")]
pub(crate) use self::observe::patiently;
#[cfg(feature = "engine")]
pub use self::{
    error::ApplyError,
    events::EventStream,
    hooks::{EngineHooks, Hook},
    observe::{Survey, observe, survey},
    options::{ApplyOptions, Deadlines, EngineOptions, RecoverOptions, Redact, RetryOptions},
    recover::{RecoveryReport, Resolution},
};

/// Runs plans and resolves interrupted ones.
#[cfg(feature = "engine")]
#[derive(Debug)]
pub struct Engine {
    provider: std::sync::Arc<dyn crate::provider::Provider>,
    secrets: std::sync::Arc<dyn crate::secrets::SecretStore>,
    capabilities: crate::provider::Capabilities,
    options: EngineOptions,
}

#[cfg(feature = "engine")]
impl Engine {
    /// An engine for one provider. Secret outputs of resources go to `secrets`.
    #[must_use]
    pub fn new(
        provider: std::sync::Arc<dyn crate::provider::Provider>,
        secrets: std::sync::Arc<dyn crate::secrets::SecretStore>,
        options: EngineOptions,
    ) -> Self {
        let capabilities = provider.capabilities();
        Self { provider, secrets, capabilities, options }
    }

    /// Steps that run at one time, at most.
    fn concurrency(&self) -> usize {
        self.options.concurrency.unwrap_or_else(|| self.provider.at_once()).max(1)
    }
}
