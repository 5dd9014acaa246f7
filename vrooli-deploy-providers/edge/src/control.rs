//! What the edge serves, and every change to it. All of it happens on one thread.

mod drain;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::challenges::{AccountThumbprint, Answers, ChallengeAnswer, ChallengeToken};
use crate::error::Refusal;
use crate::held::{Held, unix_ms};
use crate::metrics::{Metrics, ReleaseMetrics, Sample};
use crate::names::{ListenerId, ReleaseName, SiteId};
use crate::protocol::{CertificateState, EdgeStatus};
use crate::routes::{Published, PublishedSite};
use crate::state::{Loaded, Record, RejectedEntry, StateFile};
use crate::stats::ReleaseStats;
use crate::table::{SiteState, SiteTable};
use crate::worker::{Command, Shared};

/// How often what was counted is remembered …
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// … and how many times: five minutes.
const SAMPLES: usize = 300;

type StatsOf = BTreeMap<(SiteId, ReleaseName), Arc<ReleaseStats>>;

/// The edge's own knowledge, and the way to its workers.
#[derive(Debug)]
pub(crate) struct Control {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    file: StateFile,
    sites: RefCell<BTreeMap<SiteId, Held>>,
    /// Of sites that were removed.
    fences: RefCell<BTreeMap<SiteId, u64>>,
    /// What authorities are told when they ask for a challenge.
    answers: RefCell<Arc<Answers>>,
    stats: RefCell<StatsOf>,
    listeners: RefCell<BTreeMap<ListenerId, OwnedFd>>,
    generation: Cell<u64>,
    rejected: Vec<RejectedEntry>,
    started_unix_ms: u64,
    stopping: Cell<bool>,
    revert_changed: Notify,
    /// Backends that do not answer.
    down: RefCell<Arc<BTreeSet<SocketAddr>>>,
    /// The last ones, oldest first.
    samples: RefCell<VecDeque<Sample>>,
    /// Whether a supervisor is attached.
    pub(crate) attached: Cell<bool>,
}

impl Control {
    pub(crate) fn new(
        shared: Arc<Shared>,
        workers: Vec<mpsc::UnboundedSender<Command>>,
        file: StateFile,
        loaded: Loaded,
    ) -> Rc<Self> {
        let mut rejected = loaded.rejected;
        let mut sites: BTreeMap<SiteId, Held> = BTreeMap::new();
        let mut fences = BTreeMap::new();
        let mut answers = Answers::default();
        let now = unix_ms();
        for (line, record) in loaded.records {
            match record {
                Record::Fence { site, fence } => {
                    fences.insert(site, fence);
                }
                Record::Answer { answer, until_unix_ms } => {
                    // One over the limit is no reason to say anything: its order will.
                    let _ = answers.place(vec![answer], until_unix_ms, now);
                }
                Record::Site { table, revert_at_unix_ms, reverted } => {
                    match table.check_beside(sites.values().map(|held| &held.table)) {
                        Ok(()) => {
                            let held = Held::loaded(*table, revert_at_unix_ms, reverted);
                            sites.insert(held.table.site.clone(), held);
                        }
                        Err(error) => rejected.push(RejectedEntry { line, reason: error.to_string() }),
                    }
                }
            }
        }
        for entry in &rejected {
            let RejectedEntry { line, reason } = entry;
            tracing::warn!(line, %reason, "a line of the edge's state was not loaded");
        }
        let control = Rc::new(Self {
            shared,
            workers,
            file,
            sites: RefCell::new(sites),
            fences: RefCell::new(fences),
            answers: RefCell::new(Arc::new(answers)),
            stats: RefCell::default(),
            listeners: RefCell::default(),
            generation: Cell::new(0),
            rejected,
            started_unix_ms: unix_ms(),
            stopping: Cell::new(false),
            revert_changed: Notify::new(),
            down: RefCell::default(),
            samples: RefCell::default(),
            attached: Cell::new(false),
        });
        control.publish();
        control
    }

    pub(crate) fn status(&self) -> EdgeStatus {
        EdgeStatus {
            pid: std::process::id(),
            started_unix_ms: self.started_unix_ms,
            listeners: self.listeners.borrow().len(),
            sites: self.sites.borrow().len(),
            rejected: self.rejected.clone(),
        }
    }

    pub(crate) fn folder_is_gone(&self) -> bool {
        self.file.folder_is_gone()
    }

    pub(crate) fn has_listeners(&self) -> bool {
        !self.listeners.borrow().is_empty()
    }

    /// Duplicates of all sockets.
    pub(crate) fn listeners(&self) -> std::io::Result<Vec<(ListenerId, OwnedFd)>> {
        let listeners = self.listeners.borrow();
        let copies = listeners.iter().map(|(id, socket)| Ok((id.clone(), socket.try_clone()?)));
        copies.collect()
    }

    #[cfg(feature = "tls")]
    #[expect(clippy::unnecessary_wraps, reason = "without the feature it is refused")]
    pub(crate) fn load_certificates(&self) -> Result<Vec<CertificateState>, Refusal> {
        Ok(self.shared.tls.load())
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with the feature it reads a folder")]
    pub(crate) fn load_certificates(&self) -> Result<Vec<CertificateState>, Refusal> {
        Err(Refusal::Unknown { reason: "this edge was built without the feature `tls`".to_owned() })
    }

    pub(crate) fn set_site(&self, table: SiteTable) -> Result<Option<SiteTable>, Refusal> {
        let site = table.site.clone();
        self.check_fence(&site, table.fence)?;
        self.check_table(&table)?;
        let held = Held::new(table);
        let mut sites = self.sites.borrow().clone();
        let mut fences = self.fences.borrow().clone();
        fences.remove(&site);
        let previous = sites.insert(site, held).map(|held| held.current());
        self.change(sites, fences)?;
        Ok(previous)
    }

    /// What the successor of a retired edge serves, for the connections that are left here. The
    /// state file is the successor's.
    pub(crate) fn follow(&self, table: SiteTable) -> Result<(), Refusal> {
        if !self.stopping.get() {
            return Err(Refusal::NotRetired);
        }
        self.check_table(&table)?;
        self.sites.borrow_mut().insert(table.site.clone(), Held::new(table));
        self.publish();
        self.revert_changed.notify_one();
        Ok(())
    }

    fn check_table(&self, table: &SiteTable) -> Result<(), Refusal> {
        let site = &table.site;
        let bad = |error: crate::table::TableError| Refusal::Table {
            site: site.clone(),
            reason: error.to_string(),
        };
        table.check().map_err(bad)?;
        let sites = self.sites.borrow();
        table.check_beside(sites.values().map(|held| &held.table)).map_err(bad)
    }

    pub(crate) fn remove_site(&self, site: &SiteId, fence: u64) -> Result<Option<SiteTable>, Refusal> {
        self.check_fence(site, fence)?;
        let mut sites = self.sites.borrow().clone();
        let mut fences = self.fences.borrow().clone();
        let previous = sites.remove(site).map(|held| held.current());
        fences.insert(site.clone(), fence);
        self.change(sites, fences)?;
        Ok(previous)
    }

    fn check_fence(&self, site: &SiteId, given: u64) -> Result<(), Refusal> {
        if self.stopping.get() {
            return Err(Refusal::Stopping);
        }
        let serving = self.sites.borrow().get(site).map(|held| held.table.fence);
        let removed = self.fences.borrow().get(site).copied();
        match serving.max(removed) {
            Some(held) if given < held => Err(Refusal::Fenced { site: site.clone(), given, held }),
            _ => Ok(()),
        }
    }

    pub(crate) fn place_answers(&self, placed: Vec<ChallengeAnswer>, keep_ms: u64) -> Result<(), Refusal> {
        let now = unix_ms();
        let mut answers = Answers::clone(&self.answers.borrow());
        if !answers.place(placed, now.saturating_add(keep_ms), now) {
            return Err(Refusal::Answers);
        }
        self.change_answers(answers)
    }

    pub(crate) fn remove_answers(&self, tokens: &[ChallengeToken]) -> Result<(), Refusal> {
        let mut answers = Answers::clone(&self.answers.borrow());
        answers.remove(tokens, unix_ms());
        self.change_answers(answers)
    }

    /// Kept for as long as this edge runs: who holds the link knows it and tells every edge anew.
    pub(crate) fn answer_for(&self, accounts: BTreeMap<String, AccountThumbprint>) -> Result<(), Refusal> {
        let mut answers = Answers::clone(&self.answers.borrow());
        answers.answer_for(accounts);
        if self.stopping.get() {
            return Err(Refusal::Stopping);
        }
        *self.answers.borrow_mut() = Arc::new(answers);
        self.publish();
        Ok(())
    }

    fn change_answers(&self, answers: Answers) -> Result<(), Refusal> {
        if self.stopping.get() {
            return Err(Refusal::Stopping);
        }
        save(&self.file, &self.sites.borrow(), &self.fences.borrow(), &answers)?;
        *self.answers.borrow_mut() = Arc::new(answers);
        self.publish();
        Ok(())
    }

    /// Makes a change durable, then puts it into force. If it cannot be written it is not made.
    fn change(&self, sites: BTreeMap<SiteId, Held>, fences: BTreeMap<SiteId, u64>) -> Result<(), Refusal> {
        save(&self.file, &sites, &fences, &self.answers.borrow())?;
        *self.sites.borrow_mut() = sites;
        *self.fences.borrow_mut() = fences;
        self.publish();
        self.revert_changed.notify_one();
        Ok(())
    }

    fn publish(&self) {
        let sites = self.sites.borrow();
        let mut stats = self.stats.borrow_mut();
        let workers = self.shared.totals.len();
        let published = sites.values().map(|Held { table, .. }| {
            let of_release = table.releases.iter().map(|(name, release)| {
                let key = (table.site.clone(), name.clone());
                let stats = stats
                    .entry(key)
                    .or_insert_with(|| ReleaseStats::new(table.site.clone(), name.clone(), workers));
                if release.weight > 0 {
                    stats.set_draining(false);
                }
                (name.clone(), stats.clone())
            });
            PublishedSite { stats: of_release.collect(), table: Arc::new(table.clone()) }
        });
        let published = published.collect();
        self.generation.set(self.generation.get() + 1);
        self.shared.publish(Published {
            generation: self.generation.get(),
            sites: published,
            down: self.down.borrow().clone(),
            answers: self.answers.borrow().clone(),
        });
        // A worker that chose from the older table counts first and looks second, so nothing
        // can be under way here that is not counted.
        stats.retain(|(site, release), stats| {
            let known = sites.get(site).is_some_and(|held| held.table.releases.contains_key(release));
            known || stats.in_flight() > 0
        });
    }

    pub(crate) fn sites(&self) -> Vec<SiteState> {
        let stats = self.stats.borrow();
        let sites = self.sites.borrow();
        let state = |held: &Held| SiteState {
            table: held.current(),
            reverted: held.reverted.clone(),
            in_flight: stats
                .values()
                .filter(|stats| stats.site == held.table.site)
                .map(|stats| (stats.release.clone(), stats.in_flight()))
                .collect(),
        };
        sites.values().map(state).collect()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let total = |read: fn(&crate::stats::WorkerTotals) -> &std::sync::atomic::AtomicU64| {
            let totals = self.shared.totals.iter();
            totals.map(|one| read(one).load(Ordering::Relaxed)).sum()
        };
        Metrics {
            since_unix_ms: self.started_unix_ms,
            connections: total(|one| &one.connections),
            accepted: total(|one| &one.accepted),
            refused: total(|one| &one.refused),
            expired: total(|one| &one.expired),
            down: self.down.borrow().iter().copied().collect(),
            releases: self.reports(),
        }
    }

    fn reports(&self) -> Vec<ReleaseMetrics> {
        self.stats.borrow().values().map(|one| one.report()).collect()
    }

    fn sample(&self) -> Sample {
        Sample { at_unix_ms: unix_ms(), releases: self.reports() }
    }

    /// Remembers what was counted, second by second. Never ends.
    pub(crate) async fn keep_samples(&self) {
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sample = self.sample();
            let mut samples = self.samples.borrow_mut();
            if samples.len() >= SAMPLES {
                samples.pop_front();
            }
            samples.push_back(sample);
        }
    }

    /// What was counted at the end of each second after a moment, and now.
    pub(crate) fn samples(&self, since_unix_ms: u64) -> Vec<Sample> {
        let kept = self.samples.borrow();
        let later = kept.iter().filter(|sample| sample.at_unix_ms > since_unix_ms);
        later.cloned().chain(std::iter::once(self.sample())).collect()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    pub(crate) fn tables(&self) -> Vec<SiteTable> {
        self.sites.borrow().values().map(|held| held.table.clone()).collect()
    }

    /// Says which backends do not answer; true when that is news.
    pub(crate) fn set_down(&self, down: BTreeSet<SocketAddr>) -> bool {
        if **self.down.borrow() == down {
            return false;
        }
        *self.down.borrow_mut() = Arc::new(down);
        self.publish();
        true
    }

    /// Asks all workers and gathers what they answer. One that is gone answers nothing.
    async fn ask<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<T> {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            if worker.send(command(done)).is_ok() {
                answers.push(answer);
            }
        }
        let mut all = Vec::new();
        for answer in answers {
            all.extend(answer.await);
        }
        all
    }

    pub(crate) async fn add_listener(&self, id: ListenerId, socket: OwnedFd) -> Result<(), Refusal> {
        if self.stopping.get() {
            return Err(Refusal::Stopping);
        }
        let refused = |reason: String| Refusal::Listener { listener: id.clone(), reason };
        // macOS cannot say; there only the address is checked.
        #[cfg(not(target_vendor = "apple"))]
        if !rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false) {
            return Err(refused("it is not a socket that listens".to_owned()));
        }
        let failed = |error: std::io::Error| refused(error.to_string());
        let copy = socket.try_clone().map_err(failed)?;
        let listener = std::net::TcpListener::from(copy);
        listener.local_addr().and_then(|_| listener.set_nonblocking(true)).map_err(failed)?;
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            let copy = listener.try_clone().map_err(failed)?;
            if worker.send(Command::AddListener(id.clone(), copy, done)).is_ok() {
                answers.push(answer);
            }
        }
        self.listeners.borrow_mut().insert(id.clone(), socket);
        for answer in answers {
            if let Ok(Err(error)) = answer.await {
                self.remove_listener(&id).await;
                return Err(failed(error));
            }
        }
        Ok(())
    }

    pub(crate) async fn remove_listener(&self, id: &ListenerId) {
        let removed = self.listeners.borrow_mut().remove(id);
        self.ask(|done| Command::RemoveListener(id.clone(), done)).await;
        drop(removed);
    }

    /// Goes back to earlier weights whenever a table's time is over. Never ends.
    pub(crate) async fn revert_when_due(&self) {
        loop {
            let next = {
                let sites = self.sites.borrow();
                let due = sites.values().filter_map(|held| held.revert_at);
                due.map(|at| at.here).min()
            };
            let Some(next) = next else {
                self.revert_changed.notified().await;
                continue;
            };
            tokio::select! {
                () = self.revert_changed.notified() => {}
                () = tokio::time::sleep_until(next) => self.revert_due(),
            }
        }
    }

    fn revert_due(&self) {
        let now = Instant::now();
        for held in self.sites.borrow_mut().values_mut() {
            if held.revert_at.is_some_and(|at| at.here <= now) {
                let site = &held.table.site;
                tracing::warn!(%site, "nobody confirmed the shift in time: going back");
                held.revert();
            }
        }
        // Serving right matters more than a full disk; the file is written with the next
        // change, and until then a restart reverts again.
        // Once retired the file is the successor's, which reverts by itself.
        if !self.stopping.get()
            && let Err(error) =
                save(&self.file, &self.sites.borrow(), &self.fences.borrow(), &self.answers.borrow())
        {
            tracing::error!(%error, "could not write the edge's state file");
        }
        self.publish();
    }
}

fn save(
    file: &StateFile,
    sites: &BTreeMap<SiteId, Held>,
    fences: &BTreeMap<SiteId, u64>,
    answers: &Answers,
) -> Result<(), Refusal> {
    let fences = fences.iter().map(|(site, fence)| Record::Fence { site: site.clone(), fence: *fence });
    let answers = answers
        .iter()
        .map(|(answer, until_unix_ms)| Record::Answer { answer: answer.clone(), until_unix_ms });
    let records: Vec<_> = sites.values().map(Held::record).chain(fences).chain(answers).collect();
    file.save(records.iter()).map_err(|error| Refusal::State { reason: error.to_string() })
}
