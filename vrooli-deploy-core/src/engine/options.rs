use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::hooks::EngineHooks;
use crate::provider::Cancellation;
use crate::release::verdict::{Judge, Sequential};

/// The knobs of an engine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Who owns what is made: the id of the state.
    pub owner: Uuid,
    /// See [`EngineHooks`].
    pub hooks: EngineHooks,
    /// Hides secrets in what providers and apps say.
    pub redact: Redact,
    /// Steps that run at one time, at most; less while the provider says that it is too much. Default:
    /// as many as it takes ([`Provider::at_once`](crate::provider::Provider::at_once)).
    pub concurrency: Option<usize>,
    /// How long calls may take.
    pub deadlines: Deadlines,
    /// How often a call that certainly did not happen is made again.
    pub retry: RetryOptions,
    /// How a new release is judged while it is watched.
    pub judge: Arc<dyn Judge>,
    /// After how long without a sign of life traffic goes back by itself, where the fleet can.
    /// It is renewed four times as often. Default 30 s.
    pub revert_after: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            owner: Uuid::nil(),
            hooks: EngineHooks::default(),
            redact: Redact::default(),
            concurrency: None,
            deadlines: Deadlines::default(),
            retry: RetryOptions::default(),
            judge: Arc::new(Sequential::default()),
            revert_after: Duration::from_secs(30),
        }
    }
}

/// How long a call of each sort may take before it counts as unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// Looking something up. Default 1 min.
    pub find: Duration,
    /// Making, changing or deleting a resource. Default 45 min: some databases take so long.
    pub change: Duration,
    /// A build. Default 60 min.
    pub build: Duration,
    /// Probing a unit: above its startup grace. Default 15 min.
    pub probe: Duration,
    /// Applying SQL files. Default 60 min.
    pub migrate: Duration,
    /// Everything else that a fleet does. Default 5 min.
    pub fleet: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            find: Duration::from_secs(MINUTE),
            change: Duration::from_secs(45 * MINUTE),
            build: Duration::from_secs(60 * MINUTE),
            probe: Duration::from_secs(15 * MINUTE),
            migrate: Duration::from_secs(60 * MINUTE),
            fleet: Duration::from_secs(5 * MINUTE),
        }
    }
}

/// How often a call that certainly did not happen is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// How often at most, the first time included. Default 6.
    pub attempts: u32,
    /// How often at most when the provider says that there are too many calls. Default 30.
    pub throttled: u32,
    /// The first pause; each further one is twice as long. Default 200 ms.
    pub first: Duration,
    /// The longest pause. Default 15 s.
    pub longest: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 6,
            throttled: 30,
            first: Duration::from_millis(200),
            longest: Duration::from_secs(15),
        }
    }
}

/// Hides secrets in text. The default changes nothing.
#[derive(Clone)]
pub struct Redact(Arc<dyn Fn(&str) -> String + Send + Sync>);

impl Redact {
    /// Uses this function.
    #[must_use]
    pub fn new(redact: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(redact))
    }

    /// The text without secrets.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        (self.0)(text)
    }
}

impl Default for Redact {
    fn default() -> Self {
        Self::new(str::to_owned)
    }
}

impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redact")
    }
}

/// The knobs of one run.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Cancel it to stop: nothing more is begun and the call returns at once.
    pub cancellation: Cancellation,
    /// Do not wait for a watch: it is begun, and left to whoever goes on with it.
    pub detach: bool,
}

/// The knobs of one recovery.
#[derive(Debug, Clone, Default)]
pub struct RecoverOptions {
    /// The new plan goes on with the interrupted release: leave it staged and its units
    /// running. Traffic goes back to the last committed release all the same.
    pub keep_candidate: bool,
    /// Close the plan even if something could not be undone or is not known; it is listed.
    pub abandon: bool,
    /// Cancel it to stop.
    pub cancellation: Cancellation,
}
