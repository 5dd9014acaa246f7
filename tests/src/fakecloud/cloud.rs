use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use vrooli_deploy_core::names::ProviderName;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, Provider, ProviderError, ProviderSet, Result};

use super::fault::{CallRecord, Fault, When};
use super::fleet::FakeFleet;
use super::kinds::{Bucket, Database, Instance as FakeInstance, Network, Record, Subnet};
use super::world::World;

/// How a fake cloud behaves. All times are on tokio's clock, so a paused one makes them free.
#[derive(Debug, Clone)]
pub struct FakeCloudOptions {
    /// How long a call takes.
    pub latency: Duration,
    /// How long a new object is not listed.
    pub lag: Duration,
    /// How long a database takes to come up, and an instance at most.
    pub slow: Duration,
    /// Calls that may be made at once, and how many come back each second.
    pub throttle: Option<(u32, u32)>,
    /// Objects on a page of a listing.
    pub page: usize,
}

impl Default for FakeCloudOptions {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20),
            lag: Duration::from_secs(2),
            slow: Duration::from_secs(300),
            throttle: None,
            page: 50,
        }
    }
}

/// A cloud in memory: objects with marks, tokens, names, dependencies, slow states, lag,
/// quotas, throttles, and faults on demand. Cheap to clone; clones are the same cloud.
#[derive(Debug, Clone)]
pub struct FakeCloud(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: FakeCloudOptions,
    world: Mutex<World>,
    wire: Mutex<Wire>,
    killed: Notify,
}

#[derive(Debug, Default)]
struct Wire {
    calls: Vec<CallRecord>,
    faults: Vec<(When, Fault)>,
    bucket: Option<(f64, Instant)>,
}

impl Default for FakeCloud {
    fn default() -> Self {
        Self::new(FakeCloudOptions::default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeCloud {
    /// An empty cloud.
    #[must_use]
    pub fn new(options: FakeCloudOptions) -> Self {
        Self(Arc::new(Inner {
            options,
            world: Mutex::default(),
            wire: Mutex::default(),
            killed: Notify::new(),
        }))
    }

    /// How it behaves.
    #[must_use]
    pub fn options(&self) -> &FakeCloudOptions {
        &self.0.options
    }

    /// The provider: six kinds and a fleet.
    ///
    /// # Panics
    /// Never: the name is valid.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a literal that a test reads")]
    pub fn provider(&self) -> Arc<dyn Provider> {
        let client = Arc::new(self.clone());
        Arc::new(
            ProviderSet::new(ProviderName::new("fake").expect("a valid name"))
                .with(Network, &client)
                .with(Subnet, &client)
                .with(Database, &client)
                .with(FakeInstance, &client)
                .with(Bucket, &client)
                .with(Record, &client)
                .with_census(Arc::new(self.clone()))
                .with_quotas(Arc::new(self.clone()))
                .with_ledger(Arc::new(self.clone()))
                .with_fleet(Arc::new(FakeFleet::new(self.clone()))),
        )
    }

    /// Its inside, as of now.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.0.world);
        world.pass(Instant::now());
        world
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        lock(&self.0.wire).calls.clone()
    }

    /// Number of calls so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        lock(&self.0.wire).calls.len() as u64
    }

    /// Something goes wrong with the call of that number (counted from 0).
    pub fn fail_call(&self, number: u64, fault: Fault) {
        lock(&self.0.wire).faults.push((When::Number(number), fault));
    }

    /// Something goes wrong with the next call of that name, about that kind if one is given.
    pub fn fail_next(&self, name: &'static str, kind: Option<&str>, fault: Fault) {
        lock(&self.0.wire).faults.push((When::Call { name, kind: kind.map(ToOwned::to_owned) }, fault));
    }

    /// Something goes wrong with every call of that name about a subject that contains the text.
    pub fn fail_always(&self, name: &'static str, about: &str, fault: Fault) {
        lock(&self.0.wire).faults.push((When::Always { name, about: about.to_owned() }, fault));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        lock(&self.0.wire).faults.clear();
    }

    /// Resolves when a fault has killed the client.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Kills the client from outside.
    pub fn kill(&self) {
        self.0.killed.notify_one();
    }

    /// The client is dead: nothing it waits for will ever come.
    async fn die<T>(&self) -> T {
        self.kill();
        std::future::pending().await
    }

    fn sent(&self, record: CallRecord) -> Result<Option<Fault>> {
        let mut wire = lock(&self.0.wire);
        let number = wire.calls.len() as u64;
        let hit = wire.faults.iter().position(|(when, _)| match when {
            When::Number(n) => *n == number,
            When::Call { name, kind } => {
                *name == record.name && kind.as_ref().is_none_or(|kind| *kind == record.kind)
            }
            When::Always { name, about } => *name == record.name && record.about.contains(about.as_str()),
        });
        wire.calls.push(record);
        let fault = hit.map(|at| match &wire.faults[at] {
            (When::Always { .. }, fault) => fault.clone(),
            _ => wire.faults.remove(at).1,
        });
        if let Some((burst, refill)) = self.0.options.throttle {
            let now = Instant::now();
            let (left, then) = wire.bucket.unwrap_or((f64::from(burst), now));
            let left =
                (left + now.duration_since(then).as_secs_f64() * f64::from(refill)).min(f64::from(burst));
            wire.bucket = Some((left, now));
            if left < 1.0 {
                return Err(
                    ProviderError::new(ErrorKind::RateLimited, "too many calls").with_code("Throttling")
                );
            }
            wire.bucket = Some((left - 1.0, now));
        }
        Ok(fault)
    }

    /// One call over the wire: deadline, cancellation, faults, and its effect on the world.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        cx: &OpCtx,
        record: CallRecord,
        effect: impl FnOnce(&mut World) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let changes = record.changes;
        if cx.cancellation.is_cancelled() {
            return Err(ProviderError::new(ErrorKind::Cancelled, "cancelled before it was sent"));
        }
        let deadline = Instant::from_std(cx.deadline);
        if Instant::now() >= deadline {
            return Err(ProviderError::new(ErrorKind::Timeout, "the deadline passed before it was sent"));
        }
        let fault = self.sent(record);
        if matches!(fault, Ok(Some(Fault::BeforeSend))) {
            return self.die().await;
        }
        self.travel(cx, deadline, false).await?;
        let fault = fault?;
        let answer = match fault {
            Some(Fault::Refuse(kind, message)) => return Err(ProviderError::new(kind, message)),
            Some(Fault::RefuseHalfway(kind, message)) => {
                drop(effect(&mut self.world()));
                return Err(ProviderError::new(kind, message));
            }
            Some(Fault::Forwarded(later)) => {
                self.world().land_at(Instant::now() + later, Box::new(move |world| drop(effect(world))));
                return self.die().await;
            }
            Some(Fault::AfterSend) => {
                drop(effect(&mut self.world()));
                return self.die().await;
            }
            Some(Fault::LostReply) => {
                drop(effect(&mut self.world()));
                return Err(ProviderError::new(
                    ErrorKind::Ambiguous,
                    "the connection was lost before the answer came",
                ));
            }
            Some(Fault::BeforeSend) | None => effect(&mut self.world()),
        };
        self.travel(cx, deadline, changes).await?;
        answer
    }

    /// Half of the way. What was given up on the way back may have happened.
    async fn travel(&self, cx: &OpCtx, deadline: Instant, happened: bool) -> Result<()> {
        let given_up = |why: &str, plain: ErrorKind| {
            ProviderError::new(if happened { ErrorKind::Ambiguous } else { plain }, why)
        };
        tokio::select! {
            biased;
            () = cx.cancellation.cancelled() => Err(given_up("cancelled on the way", ErrorKind::Cancelled)),
            () = tokio::time::sleep_until(deadline) => Err(given_up("the deadline passed on the way", ErrorKind::Timeout)),
            () = sleep(self.0.options.latency / 2) => Ok(()),
        }
    }
}
