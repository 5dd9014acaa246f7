//! One host: changes that are waiting at the same time are made in one round trip.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, oneshot};
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::{Cancellation, ErrorKind, OpCtx, ProviderError, Result, TakenOver};

use super::change::{Answer, Asker, Change, Refused, Verb, answers, refused};
use super::{HostSurvey, Place, hold};
use crate::facts::Lines;
use crate::host::HostName;
use crate::remote::{Conversation, Held, Phase, RemoteError, RemoteExec as _, SshHost};

/// So long a survey answers for what was asked right after it, unless something was changed. It answers
/// for the operation that it was made in however long that takes.
const FRESH: Duration = Duration::from_secs(1);
/// Changes that come together come one after the other: the engine notes each on disk before it asks.
/// So long after the last one it is waited for another. A round trip more costs several times that.
const TOGETHER: Duration = Duration::from_millis(60);
/// And so long at most, for those that are being got ready as well.
const MOST_WAIT: Duration = Duration::from_secs(2);
/// How long a change may wait for another one's script to end, and take itself.
const LIMIT: Duration = Duration::from_secs(12 * 60);
/// The same where packages are installed, or data are saved and restored.
const LONG_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What a change came to: the host as it is after it.
type Outcome = Result<Arc<HostSurvey>>;

#[derive(Debug)]
struct Waiting {
    cx: OpCtx,
    change: Change,
    begun: Arc<AtomicBool>,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Is somebody at it?
    working: bool,
}

/// Who holds the host for this run, as long as it lives.
#[derive(Debug)]
enum Holder {
    /// A script that does nothing else.
    Script(Held),
    /// Our program there, as long as it is talked with.
    Program(Weak<AtomicBool>),
}

impl Holder {
    fn is_alive(&self) -> bool {
        match self {
            Self::Script(held) => held.is_alive(),
            Self::Program(alive) => alive.upgrade().is_some_and(|alive| alive.load(Ordering::SeqCst)),
        }
    }
}

/// The last look at a host.
#[derive(Debug)]
struct Seen {
    at: Instant,
    stack: StackId,
    /// That of the operation which it was made for: no two have the same.
    deadline: Instant,
    survey: Arc<HostSurvey>,
}

impl Seen {
    fn now(cx: &OpCtx, stack: &StackId, survey: &Arc<HostSurvey>) -> Self {
        let (stack, survey) = (stack.clone(), Arc::clone(survey));
        Self { at: Instant::now(), stack, deadline: cx.deadline, survey }
    }

    fn answers(&self, cx: &OpCtx, stack: &StackId) -> bool {
        self.stack == *stack && (self.at.elapsed() < FRESH || self.deadline == cx.deadline)
    }
}

/// A host and the changes that wait for it.
#[derive(Debug)]
pub(crate) struct HostQueue {
    host: Arc<SshHost>,
    queue: Mutex<Queue>,
    seen: AsyncMutex<Option<Seen>>,
    /// In which this run looked last. It goes on to hold the host when that is wanted.
    session: AsyncMutex<Option<Conversation>>,
    lease: AsyncMutex<Option<(StackId, u64, Holder)>>,
    /// Changes that are being got ready.
    coming: Arc<AtomicUsize>,
}

/// Says that a change is being got ready, until it is dropped: what is ready waits for it a moment.
#[derive(Debug)]
pub(super) struct Coming(Arc<AtomicUsize>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl HostQueue {
    pub(super) fn new(host: Arc<SshHost>) -> Self {
        Self {
            host,
            queue: Mutex::default(),
            seen: AsyncMutex::default(),
            session: AsyncMutex::default(),
            lease: AsyncMutex::default(),
            coming: Arc::default(),
        }
    }

    /// Says that a change will come.
    pub(super) fn coming(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::SeqCst);
        Coming(Arc::clone(&self.coming))
    }

    /// The host itself.
    pub(crate) fn host(&self) -> &Arc<SshHost> {
        &self.host
    }

    /// What was seen is not so any more.
    pub(crate) async fn forget_seen(&self) {
        *self.seen.lock().await = None;
    }

    pub(crate) fn name(&self) -> &HostName {
        self.host.host()
    }

    /// How the stack is there: one round trip for all that ask at the same time.
    pub(crate) async fn survey(&self, cx: &OpCtx, stack: &StackId) -> Result<Arc<HostSurvey>> {
        let mut seen = self.seen.lock().await;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.answers(cx, stack)) {
            return Ok(Arc::clone(&seen.survey));
        }
        let said = match tokio::time::timeout_at(cx.deadline.into(), self.look(cx, stack)).await {
            Ok(said) => said.map_err(looking)?,
            Err(_) => {
                return Err(ProviderError::new(
                    ErrorKind::Timeout,
                    format!("{} did not answer in time", self.name()),
                ));
            }
        };
        let survey = Arc::new(self.read(stack, &Lines::new(&said))?);
        *seen = Some(Seen::now(cx, stack, &survey));
        Ok(survey)
    }

    /// Looks. A run that holds the stack keeps the session in which it did, for it may go on.
    async fn look(&self, cx: &OpCtx, stack: &StackId) -> std::result::Result<String, RemoteError> {
        let Place { name, user, .. } = Place::of(stack);
        let input = format!("{name}\n{user}\n");
        if cx.fence > 0 {
            let mut kept = self.session.lock().await;
            // One that was left in the middle of an answer is not asked again.
            let session = kept.take();
            let looked = tokio::select! {
                looked = hold::look(&self.host, session, &input) => looked?,
                () = cx.cancellation.cancelled() => return Err(RemoteError::Cancelled { sent: true }),
            };
            if let Some((said, session)) = looked {
                *kept = Some(session);
                return Ok(said);
            }
        }
        let script = concat!(
            include_str!("../scripts/host.sh"),
            include_str!("../scripts/roles.sh"),
            include_str!("../scripts/host_survey.sh")
        );
        let phase = Phase::new("survey", script).as_root().with_input(input);
        Ok(self.host.run(&phase, &cx.cancellation).await?.stdout)
    }

    /// What was last seen, whenever that was; a survey if nothing was. What only we change is in it.
    pub(crate) async fn last_seen(&self, cx: &OpCtx) -> Result<Arc<HostSurvey>> {
        if let Some(seen) = self.seen.lock().await.as_ref().filter(|seen| seen.stack == cx.stack) {
            return Ok(Arc::clone(&seen.survey));
        }
        self.survey(cx, &cx.stack).await
    }

    fn read(&self, stack: &StackId, lines: &Lines<'_>) -> Result<HostSurvey> {
        HostSurvey::read(lines).map_err(|words| {
            ProviderError::new(
                ErrorKind::Conflict,
                format!("the record of `{stack}` on {} cannot be read: {words}", self.name()),
            )
            .with_code(rules::HOST_RECORD.to_string())
            .with_help("restore /var/lib/vrooli-deploy/host-record there from a backup, or use the newer version of this program; nothing was changed")
        })
    }

    /// Makes a change, with all others that wait at the same time.
    pub(super) async fn change(
        self: &Arc<Self>,
        cx: &OpCtx,
        change: Change,
        coming: Option<Coming>,
    ) -> Outcome {
        let (answer, mut told) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let start = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = Waiting { cx: cx.clone(), change, begun: Arc::clone(&begun), answer };
            queue.waiting.push(waiting);
            !std::mem::replace(&mut queue.working, true)
        };
        drop(coming);
        if start {
            tokio::spawn(Arc::clone(self).work());
        }
        let late = |kind, words: &str| Err(ProviderError::new(kind, format!("{} {words}", self.name())));
        tokio::select! {
            outcome = &mut told => match outcome {
                Ok(outcome) => outcome,
                Err(_) => late(ErrorKind::Ambiguous, "was left in the middle of a change"),
            },
            () = cx.cancellation.cancelled() => late(ErrorKind::Cancelled, "was left alone: stopped"),
            () = tokio::time::sleep_until(cx.deadline.into()) => {
                let kind = if begun.load(Ordering::SeqCst) { ErrorKind::Ambiguous } else { ErrorKind::Timeout };
                late(kind, "did not finish a change in time")
            }
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            self.all_have_come().await;
            let first = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.waiting.retain(|waiting| !waiting.answer.is_closed());
                match queue.waiting.first() {
                    Some(waiting) => waiting.cx.clone(),
                    None => {
                        queue.working = false;
                        return;
                    }
                }
            };
            // Others come while it is waited for.
            let held = self.held(&first).await;
            let mut batch: Vec<Waiting> = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                let alike = |waiting: &mut Waiting| {
                    waiting.cx.stack == first.stack
                        && (waiting.cx.owner, waiting.cx.fence) == (first.owner, first.fence)
                };
                queue.waiting.extract_if(.., alike).collect()
            };
            batch.retain(|waiting| !waiting.answer.is_closed());
            batch.sort_by_key(|waiting| waiting.change.rank);
            let outcomes = match held {
                Ok(()) => self.make(&first, &batch).await,
                Err(error) => batch.iter().map(|_| Err(again(&error))).collect(),
            };
            for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                // Nobody waits any more: the next run looks.
                let _ = waiting.answer.send(outcome);
            }
        }
    }

    /// Waits until no further change comes.
    async fn all_have_come(&self) {
        let count = || self.queue.lock().unwrap_or_else(PoisonError::into_inner).waiting.len();
        let until = Instant::now() + MOST_WAIT;
        let mut before = count();
        while Instant::now() < until {
            tokio::time::sleep(TOGETHER).await;
            let now = count();
            if now == before && self.coming.load(Ordering::SeqCst) == 0 {
                return;
            }
            before = now;
        }
    }

    /// Sees to it that this run holds the host.
    pub(crate) async fn held(&self, cx: &OpCtx) -> Result<()> {
        let mut lease = self.lease.lock().await;
        if !holds(lease.as_ref(), cx) {
            *lease = None;
            let held = hold::hold(&self.host, cx, false, self.session.lock().await.take()).await?;
            *lease = Some((cx.stack.clone(), cx.fence, Holder::Script(held)));
        }
        Ok(())
    }

    /// Holds the host for this run as the owner of the stack, whoever was that.
    pub(super) async fn take_over(&self, cx: &OpCtx) -> Result<()> {
        let mut lease = self.lease.lock().await;
        // Who held it until now holds it no more: the lock is taken anew.
        *lease = None;
        let held = hold::hold(&self.host, cx, true, self.session.lock().await.take()).await?;
        *lease = Some((cx.stack.clone(), cx.fence, Holder::Script(held)));
        drop(lease);
        self.forget_seen().await;
        Ok(())
    }

    /// Talks with our program there, which holds the host for this run if nobody does yet. The flag
    /// says how long that goes on: whoever talks keeps it, and takes it down at the end.
    pub(crate) async fn serve(&self, cx: &OpCtx) -> Result<(Conversation, Arc<AtomicBool>)> {
        let mut lease = self.lease.lock().await;
        // Who only looks has no lease, and needs none.
        let held = cx.fence == 0 || holds(lease.as_ref(), cx);
        if !held {
            *lease = None;
        }
        let talk = hold::serve(&self.host, cx, held, self.session.lock().await.take()).await?;
        let alive = Arc::new(AtomicBool::new(true));
        if !held {
            *lease = Some((cx.stack.clone(), cx.fence, Holder::Program(Arc::downgrade(&alive))));
        }
        Ok((talk, alive))
    }

    /// One round trip.
    async fn make(&self, cx: &OpCtx, batch: &[Waiting]) -> Vec<Outcome> {
        if batch.is_empty() {
            return Vec::new();
        }
        let changes: Vec<&Change> = batch.iter().map(|waiting| &waiting.change).collect();
        for waiting in batch {
            waiting.begun.store(true, Ordering::SeqCst);
        }
        let mut seen = self.seen.lock().await;
        *seen = None;
        let script = concat!(
            include_str!("../scripts/host.sh"),
            include_str!("../scripts/roles.sh"),
            include_str!("../scripts/roles_change.sh"),
            include_str!("../scripts/host_change.sh")
        );
        // Data are as many as they are.
        let long = |change: &&Change| {
            change.kind == "packages"
                || (matches!(change.verb, Verb::Save | Verb::Restore | Verb::Delete)
                    && matches!(change.kind, "postgres" | "backup"))
        };
        let limit = if changes.iter().any(long) { LONG_LIMIT } else { LIMIT };
        let phase =
            Phase::new("change", script).as_root().within(limit).with_input(Asker::new(cx).input(&changes));
        let output = match self.host.run(&phase, &Cancellation::new()).await {
            Ok(output) => output,
            Err(error) => return batch.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let lines = Lines::new(&output.stdout);
        if let Some(refused) = refused(&lines) {
            return batch.iter().map(|_| Err(refusal(self.name(), cx, &refused))).collect();
        }
        let answers = answers(&lines, batch.len());
        let survey = self.read(&cx.stack, &lines).map(Arc::new);
        if let Ok(survey) = &survey {
            *seen = Some(Seen::now(cx, &cx.stack, survey));
        }
        answers
            .into_iter()
            .zip(&changes)
            .map(|(answer, change)| match (answer, &survey) {
                (Answer::Done, Ok(survey)) => Ok(Arc::clone(survey)),
                (Answer::Done, Err(error)) => Err(again(error)),
                (Answer::Failed { status, words }, _) => Err(self.failed(change, status, &words)),
                (Answer::Missing, _) => Err(ProviderError::new(
                    ErrorKind::Ambiguous,
                    format!("{} did not say what came of `{}`", self.name(), change.key),
                )
                .with_context("said", output.stderr.clone())),
            })
            .collect()
    }

    fn failed(&self, change: &Change, status: i32, words: &str) -> ProviderError {
        /// By which the script says that something was there before.
        const TAKEN: i32 = 17;
        /// By which it says that there is no such backup.
        const NO_BACKUP: i32 = 18;
        let full = words.contains("No space left") || words.contains("Disk quota");
        let (kind, code, help) = match status {
            TAKEN => (
                ErrorKind::AlreadyExists,
                rules::HOST_TAKEN,
                "rename or remove it there, or deploy the app under another name (`--name`)",
            ),
            NO_BACKUP => (ErrorKind::NotFound, rules::NO_BACKUP, "choose one that is there"),
            _ if full => (
                ErrorKind::Quota,
                rules::HOST_NO_ROOM,
                "make room (`apt-get clean`, `journalctl --vacuum-size=100M`), or give the server a larger disk",
            ),
            _ => (
                ErrorKind::Unexpected,
                rules::HOST_STEP,
                "mend what its words name on the server, and run the command again",
            ),
        };
        let message = format!("`{}` could not be brought about on {}", change.key, self.name());
        let error = ProviderError::new(kind, message).with_code(code.to_string()).with_help(help);
        if words.is_empty() { error } else { error.with_context("said", words) }
    }
}

/// Does this run hold the host?
fn holds(lease: Option<&(StackId, u64, Holder)>, cx: &OpCtx) -> bool {
    lease.is_some_and(|(stack, fence, holder)| *stack == cx.stack && *fence >= cx.fence && holder.is_alive())
}

/// The host did none of it.
pub(super) fn refusal(host: &HostName, cx: &OpCtx, refused: &Refused) -> ProviderError {
    match refused {
        Refused::Owner(owner, taken) => anothers(host, cx, owner, taken.as_ref()),
        Refused::Fence(seen) => ProviderError::new(
            ErrorKind::Fenced,
            format!("a newer run of `{}` is at work on {host} ({seen}, this one is {})", cx.stack, cx.fence),
        )
        .with_code(rules::HOST_FENCED.to_string())
        .with_help("run the command again: it goes on from what is there then"),
    }
}

/// Nothing that another state made is seen as ours.
pub(super) fn owned(host: &HostName, cx: &OpCtx, survey: &HostSurvey) -> Result<()> {
    match &survey.record {
        Some(record) if record.owner != cx.owner => {
            Err(anothers(host, cx, &record.owner.to_string(), survey.taken.as_ref()))
        }
        _ => Ok(()),
    }
}

/// What another state made is not touched.
fn anothers(host: &HostName, cx: &OpCtx, owner: &str, taken: Option<&TakenOver>) -> ProviderError {
    let StackId { app, environment } = &cx.stack;
    let name = match environment.as_str() {
        "default" => app.to_string(),
        _ => cx.stack.to_string(),
    };
    let how = match taken.filter(|taken| taken.from == cx.owner) {
        Some(TakenOver { at, by, .. }) => {
            format!(", which took it over from this one on {}: {by}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
        }
        None => String::new(),
    };
    ProviderError::new(ErrorKind::Conflict, format!("`{}` on {host} belongs to another state ({owner}){how}", cx.stack))
        .with_code(rules::HOST_OTHER_STATE.to_string())
        .with_help(format!("use the state folder that it belongs to, or another name (`--name`) or environment (`--env`); if that folder is lost: `vrooli-deploy state rebuild <manifest> --take-over={name}`. Nothing was changed"))
}

/// Looking changes nothing: that its answer was lost leaves nothing open.
fn looking(error: RemoteError) -> ProviderError {
    let ambiguous = error.is_ambiguous();
    let error = ProviderError::from(error);
    if ambiguous && error.kind() == ErrorKind::Ambiguous {
        return told(ErrorKind::Unavailable, &error);
    }
    error
}

/// The same error for one more.
fn again(error: &ProviderError) -> ProviderError {
    told(error.kind(), error).with_retry(error.retry())
}

fn told(kind: ErrorKind, error: &ProviderError) -> ProviderError {
    let mut copy = ProviderError::new(kind, error.message());
    if let Some(code) = error.code() {
        copy = copy.with_code(code);
    }
    if let Some(help) = error.help() {
        copy = copy.with_help(help);
    }
    for (name, value) in error.context() {
        copy = copy.with_context(name, value.clone());
    }
    copy
}
