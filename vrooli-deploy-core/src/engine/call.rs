use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::event::Event;
use super::events::EventSink;
use super::failure::{StepError, failure, step_error};
use super::{Engine, StepFailure};
use crate::names::StackId;
use crate::plan::{Plan, StepId};
use crate::provider::{
    Cancellation, ErrorKind, OpCtx, OpToken, OutputSink, Provider, ProviderError, Result, Retryability,
    Routing,
};

/// What a provider gets beyond its deadline to say by itself that it was too long.
const GRACE: Duration = Duration::from_secs(5);

/// Successes in a row after which one more step may run at a time.
const RECOVERED: usize = 8;

/// The one way out to the provider: deadline, hooks, retries, the pace that it takes.
pub(super) struct Calls<'a> {
    pub(super) engine: &'a Engine,
    pub(super) stack: StackId,
    incarnation: Uuid,
    pub(super) fence: u64,
    pub(super) cancellation: Cancellation,
    pub(super) events: &'a EventSink,
    /// Steps that may run at one time, now.
    limit: AtomicUsize,
    successes: AtomicUsize,
    /// Traffic that goes back by itself unless it is renewed. Held while the fleet is told.
    pub(super) shifted: tokio::sync::Mutex<Option<(StepId, Routing)>>,
}

/// One call: for which step, what it is called, how long it may take.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) step: &'a StepId,
    pub(super) name: &'static str,
    pub(super) within: Duration,
    pub(super) token: Option<OpToken>,
    /// Made twice it has the effect of once: an ambiguous answer may simply be asked again.
    pub(super) repeatable: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(step: &'a StepId, name: &'static str, within: Duration) -> Self {
        Self { step, name, within, token: None, repeatable: false }
    }

    pub(super) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub(super) fn token(mut self, token: Option<OpToken>) -> Self {
        self.token = token;
        self
    }
}

impl<'a> Calls<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        plan: &Plan,
        fence: u64,
        cancellation: Cancellation,
        events: &'a EventSink,
    ) -> Self {
        let limit = AtomicUsize::new(engine.concurrency());
        Self {
            engine,
            stack: plan.stack.clone(),
            incarnation: plan.incarnation,
            fence,
            cancellation,
            events,
            limit,
            successes: AtomicUsize::new(0),
            shifted: tokio::sync::Mutex::new(None),
        }
    }

    pub(super) fn provider(&self) -> &dyn Provider {
        &*self.engine.provider
    }

    /// How many steps may run at one time, as fast as the provider takes them.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn failure(&self, error: &ProviderError) -> StepFailure {
        failure(error, &self.engine.options.redact)
    }

    pub(super) fn step_error(&self, step: &StepId, error: &ProviderError) -> StepError {
        step_error(step, error, &self.engine.options.redact, &self.cancellation)
    }

    fn context(&self, call: &Call<'_>) -> OpCtx {
        let deadline = (Instant::now() + call.within).into_std();
        let (events, redact, step) =
            (self.events.clone(), self.engine.options.redact.clone(), call.step.clone());
        OpCtx::new(
            self.stack.clone(),
            self.engine.options.owner,
            self.fence,
            deadline,
            self.cancellation.clone(),
        )
        .with_incarnation(self.incarnation)
        .with_token(call.token)
        .with_output(OutputSink::new(move |line| {
            events.send(&Event::StepOutput { step: step.clone(), line: redact.apply(line) });
        }))
    }

    /// Makes a call once.
    async fn once<T, F>(&self, call: &Call<'_>, make: &(impl Fn(OpCtx) -> F + Sync)) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        if self.cancellation.is_cancelled() {
            return Err(ProviderError::new(ErrorKind::Cancelled, "cancelled before it was sent"));
        }
        if let Some(hook) = self.engine.options.hooks.get() {
            hook.before_call(call.step, call.name).await;
        }
        let answer = match timeout_at(Instant::now() + call.within + GRACE, make(self.context(call))).await {
            Ok(answer) => answer,
            Err(_) => Err(ProviderError::new(
                ErrorKind::Ambiguous,
                format!("`{}` gave no answer within {}", call.name, crate::duration::format(call.within)),
            )),
        };
        if let Some(hook) = self.engine.options.hooks.get() {
            hook.after_call(call.step, call.name, answer.is_ok()).await;
        }
        answer
    }

    /// Makes a call, and makes it again while the provider says that it certainly did not
    /// happen and may be tried. What may have happened is given back, unless the call is repeatable.
    pub(super) async fn make<T, F>(&self, call: Call<'_>, make: impl Fn(OpCtx) -> F + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let retry = self.engine.options.retry;
        let (mut tried, mut throttled) = (0, 0);
        loop {
            let error = match self.once(&call, &make).await {
                Ok(answer) => {
                    self.faster();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let may_repeat = match error.retry() {
                Retryability::Safe => true,
                Retryability::LookUpFirst => call.repeatable,
                Retryability::Never | Retryability::Exhausted => false,
            };
            if error.kind() == ErrorKind::RateLimited {
                self.slower();
                throttled += 1;
            } else {
                tried += 1;
            }
            if !may_repeat {
                return Err(error);
            }
            if tried >= retry.attempts || throttled >= retry.throttled {
                let left = if error.retry() == Retryability::LookUpFirst {
                    error.retry()
                } else {
                    Retryability::Exhausted
                };
                return Err(error.with_retry(left).with_context("attempts", (tried + throttled).to_string()));
            }
            self.events.send(&Event::StepRetried {
                step: call.step.clone(),
                reason: self.engine.options.redact.apply(&error.to_string()),
            });
            sleep(self.pause(call.step, tried + throttled)).await;
        }
    }

    /// Twice as long each time, give or take a quarter: steps that were refused together
    /// should not come back together. The same for the same step, so that runs repeat.
    pub(super) fn pause(&self, step: &StepId, attempt: u32) -> Duration {
        let retry = self.engine.options.retry;
        let plain = retry.first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(retry.longest);
        let spread = crc32fast::hash(format!("{step}{attempt}").as_bytes()) % 500;
        plain.saturating_mul(750 + spread) / 1000
    }

    fn slower(&self) {
        self.successes.store(0, Ordering::Relaxed);
        let now = self.limit.load(Ordering::Relaxed);
        self.limit.store((now / 2).max(1), Ordering::Relaxed);
    }

    fn faster(&self) {
        if self.successes.fetch_add(1, Ordering::Relaxed) + 1 >= RECOVERED {
            self.successes.store(0, Ordering::Relaxed);
            let now = self.limit.load(Ordering::Relaxed);
            self.limit.store((now + 1).min(self.engine.concurrency()), Ordering::Relaxed);
        }
    }
}
