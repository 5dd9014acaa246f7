use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use event_listener::Event;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::names::{ResourceKey, StackId};

/// The idempotency token of one create: UUIDv5(incarnation, key, generation). Minted when
/// the plan is made, the same after a crash.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
#[schemars(with = "String")]
pub struct OpToken(pub Uuid);

impl OpToken {
    /// The token of a key in a generation of an incarnation of a stack.
    #[must_use]
    pub fn new(incarnation: Uuid, key: &ResourceKey, generation: u32) -> Self {
        Self(Uuid::new_v5(&incarnation, format!("{key}#{generation}").as_bytes()))
    }
}

/// Tells running calls to stop. Cheap to clone; cancelling is final.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<(AtomicBool, Event)>);

impl Cancellation {
    /// Not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to stop.
    pub fn cancel(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify(usize::MAX);
    }

    /// Was it asked?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Resolves once it was asked.
    pub async fn cancelled(&self) {
        loop {
            if self.is_cancelled() {
                return;
            }
            let listener = self.0.1.listen();
            if self.is_cancelled() {
                return;
            }
            listener.await;
        }
    }
}

/// What every call gets: whose stack, which token, until when, and on whose authority.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpCtx {
    /// The stack.
    pub stack: StackId,
    /// Token of a create; other calls have none.
    pub token: Option<OpToken>,
    /// The call gives up at this instant (P4).
    pub deadline: Instant,
    /// The call gives up when this is cancelled (P4).
    pub cancellation: Cancellation,
    /// Number of the lease: edge, supervisor and hosts refuse a lower one than they have seen.
    pub fence: u64,
    /// Who owns what is made: the id of the state that made it.
    pub owner: Uuid,
    /// The stack's incarnation, which its tokens are minted from; nil where there is none yet. What
    /// keeps a record of its own writes it down, so that a lost state can be built again.
    pub incarnation: Uuid,
    /// Where to look, by the provider's name of a region, beside where the stack's resources are said to
    /// be.
    pub regions: BTreeSet<String>,
    /// Lines of output of a long call (a build) go here, for people to watch.
    pub output: OutputSink,
}

impl OpCtx {
    /// A context; see the fields.
    #[must_use]
    pub fn new(
        stack: StackId,
        owner: Uuid,
        fence: u64,
        deadline: Instant,
        cancellation: Cancellation,
    ) -> Self {
        Self {
            stack,
            token: None,
            deadline,
            cancellation,
            fence,
            owner,
            incarnation: Uuid::nil(),
            regions: BTreeSet::new(),
            output: OutputSink::default(),
        }
    }

    /// The same in an incarnation of the stack.
    #[must_use]
    pub fn with_incarnation(mut self, incarnation: Uuid) -> Self {
        self.incarnation = incarnation;
        self
    }

    /// The same for objects of another owner. What changes anything is done by their owner only.
    #[must_use]
    pub fn with_owner(mut self, owner: Uuid) -> Self {
        self.owner = owner;
        self
    }

    /// The same, looking in these regions, too.
    #[must_use]
    pub fn with_regions(mut self, regions: BTreeSet<String>) -> Self {
        self.regions = regions;
        self
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(mut self, token: Option<OpToken>) -> Self {
        self.token = token;
        self
    }

    /// The same with somewhere to send lines of output.
    #[must_use]
    pub fn with_output(mut self, output: OutputSink) -> Self {
        self.output = output;
        self
    }
}

type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// Where a long call sends its lines. The default drops them.
#[derive(Clone, Default)]
pub struct OutputSink(Option<Sink>);

impl OutputSink {
    /// Calls the function with each line.
    #[must_use]
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Sends one line.
    pub fn line(&self, line: &str) {
        if let Some(sink) = &self.0 {
            sink(line);
        }
    }
}

impl std::fmt::Debug for OutputSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "OutputSink(on)" } else { "OutputSink(off)" })
    }
}
