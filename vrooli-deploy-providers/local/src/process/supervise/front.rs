//! The listening sockets, and the edge that they are lent to. The sockets are ours: an edge
//! that dies is replaced within a second, and meanwhile the kernel keeps connections waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};
use vrooli_deploy_core::names::{ReleaseNumber, StackId};
use vrooli_deploy_core::provider::{DrainReport, ErrorKind, ProviderError, Result};
use vrooli_deploy_edge as edge;
use vrooli_deploy_edge::EdgeLink;

use super::super::files::create_dir;
use super::super::ports::{self, Public};
use super::super::{socket, sockets};
use super::Supervisor;
use super::route::site;
use crate::account::Account;
use crate::failure::at;
use crate::layout::Layout;

/// Between tries to bring a dead edge back.
const RESPAWN: Duration = Duration::from_millis(200);

/// How long an edge that was replaced may finish what it is busy with.
const REPLACED_GRACE: Duration = Duration::from_secs(30);

/// The sockets and the edge.
#[derive(Debug, Default)]
pub(super) struct Front {
    state: Mutex<State>,
    /// The edge was spawned, lost or let go.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Arc<EdgeLink>>,
    /// Edges that were replaced and may still be busy.
    retired: Vec<Arc<EdgeLink>>,
    listeners: BTreeMap<edge::ListenerId, TcpListener>,
    /// Who is served on the socket that all share.
    sharing: BTreeSet<edge::SiteId>,
    /// Who is served by TLS on the other socket that all share.
    secured: BTreeSet<edge::SiteId>,
    /// Whose challenges are answered, by host name.
    accounts: BTreeMap<String, edge::AccountThumbprint>,
    sites: BTreeMap<edge::SiteId, Told>,
}

/// A table, and when the edge was told it.
#[derive(Debug, Clone)]
struct Told {
    table: edge::SiteTable,
    at: Instant,
}

impl Told {
    fn now(table: edge::SiteTable) -> Self {
        Self { table, at: Instant::now() }
    }

    /// The table for another edge: what is left of its time runs on.
    fn again(&self) -> edge::SiteTable {
        let mut table = self.table.clone();
        if let Some(revert) = &mut table.revert {
            revert.after = revert.after.saturating_sub(self.at.elapsed());
        }
        table
    }
}

impl State {
    /// Tells edges that were replaced what is served now, for connections that they still have.
    /// One that has ended, or is too old to be told, is let go: it ends what it carries itself.
    async fn tell_retired(&mut self, supervisor: &Supervisor, table: &edge::SiteTable) {
        for link in std::mem::take(&mut self.retired) {
            match link.follow(table.clone()).await {
                Ok(()) => self.retired.push(link),
                Err(edge::EdgeError::Closed) => {}
                Err(e) => supervisor.note(&format!("a replaced edge cannot be told: {}", chain(&e))),
            }
        }
    }

    fn is_needed(&self) -> bool {
        !self.listeners.is_empty()
    }
}

impl Front {
    /// Finds the edge of a predecessor, and takes the sockets back from it. An edge of another
    /// program is replaced: the sockets stay open, what it is busy with it finishes.
    pub(super) async fn reattach(&self, supervisor: &Supervisor) {
        let mut state = self.state.lock().await;
        match self.try_reattach(supervisor, &mut state).await {
            Ok(true) => supervisor.note("reattached to the edge"),
            Ok(false) => {}
            Err(e) => supervisor.note(&format!("cannot reattach to the edge: {}", chain(&e))),
        }
        self.changed.notify_one();
    }

    async fn try_reattach(
        &self,
        supervisor: &Supervisor,
        state: &mut State,
    ) -> std::result::Result<bool, edge::EdgeError> {
        let Ok(place) = EdgePlace::of(supervisor, supervisor.layout()) else {
            return Ok(false);
        };
        // Before it had an account of its own it was beside us.
        let mut found = EdgeLink::reattach(&place.sockets).await?;
        if found.is_none()
            && let Ok(beside) = socket::folder(supervisor.layout())
        {
            found = EdgeLink::reattach(&beside).await?;
        }
        let Some(mut link) = found else {
            return Ok(false);
        };
        state.listeners =
            link.listeners()?.into_iter().map(|(id, socket)| (id, TcpListener::from(socket))).collect();
        if supervisor.leash.is_some() {
            // Ours is a part of this program; connections wait until it accepts them.
            link.stop(REPLACED_GRACE).await?;
            return Ok(true);
        }
        let is_ours = supervisor.runs_our_program(link.status().pid);
        if (!is_ours || link.ping().await.is_err())
            && let Ok(command) = command(supervisor)
        {
            supervisor.note("the edge is of another version and is replaced");
            let successor = link.replace(command, REPLACED_GRACE).await?;
            state.retired.push(Arc::new(std::mem::replace(&mut link, successor)));
        }
        state.link = Some(Arc::new(link));
        Ok(true)
    }

    /// Listens where an app is reached. Listening there already is fine; elsewhere is given up
    /// once the new place is open.
    pub(super) async fn open(&self, supervisor: &Supervisor, stack: &StackId, public: Public) -> Result<()> {
        let (id, address) = (listener(stack, public.shared)?, public.address);
        let mut state = self.state.lock().await;
        if public.shared {
            state.sharing.insert(site(stack)?);
        }
        let listens = state.listeners.get(&id).and_then(|l| l.local_addr().ok());
        if listens != Some(address) {
            let socket = bind(address)?;
            if !public.shared {
                ports::keep(supervisor.layout(), stack, address.port());
            }
            if listens.is_some() {
                self.remove_listener(&mut state, &id).await?;
            }
            state.listeners.insert(id.clone(), socket);
        } else if state.link.is_some() {
            return Ok(());
        }
        let opened = match self.link(supervisor, &mut state).await {
            Ok((link, true)) => lend(&link, &id, state.listeners.get(&id)).await,
            // A new edge was lent all of them.
            Ok((_, false)) => Ok(()),
            Err(e) => Err(e),
        };
        if opened.is_err() {
            state.listeners.remove(&id);
        }
        opened
    }

    /// Gives up the place where an app is reached.
    pub(super) async fn close(&self, stack: &StackId) -> Result<()> {
        let site = site(stack)?;
        self.close_secure(stack).await?;
        let mut state = self.state.lock().await;
        if state.sharing.remove(&site) && state.sharing.is_empty() {
            self.remove_listener(&mut state, &listener(stack, true)?).await?;
        }
        self.remove_listener(&mut state, &edge::ListenerId::from(site)).await
    }

    /// Listens where apps are reached by TLS, for one more of them.
    #[cfg(feature = "tls")]
    pub(super) async fn open_secure(
        &self,
        supervisor: &Supervisor,
        stack: &StackId,
        address: SocketAddr,
    ) -> Result<()> {
        let (id, site) = (secure_listener()?, site(stack)?);
        let mut state = self.state.lock().await;
        if state.listeners.contains_key(&id) {
            state.secured.insert(site);
            return Ok(());
        }
        state.listeners.insert(id.clone(), bind(address)?);
        let opened = match self.link(supervisor, &mut state).await {
            Ok((link, true)) => lend(&link, &id, state.listeners.get(&id)).await,
            Ok((_, false)) => Ok(()),
            Err(e) => Err(e),
        };
        match opened {
            Ok(()) => state.secured.insert(site),
            Err(_) => state.listeners.remove(&id).is_some(),
        };
        opened
    }

    /// One less of them.
    pub(super) async fn close_secure(&self, stack: &StackId) -> Result<()> {
        let mut state = self.state.lock().await;
        if state.secured.remove(&site(stack)?) && state.secured.is_empty() {
            self.remove_listener(&mut state, &secure_listener()?).await?;
        }
        Ok(())
    }

    /// Has the edge answer the challenges of these accounts, by host name; also the next edge.
    #[cfg(feature = "tls")]
    pub(super) async fn answer_for(&self, accounts: BTreeMap<String, edge::AccountThumbprint>) -> Result<()> {
        let mut state = self.state.lock().await;
        if let Some(link) = &state.link {
            link.answer_for(accounts.clone()).await.map_err(|e| failed(&e))?;
        }
        state.accounts = accounts;
        Ok(())
    }

    /// The edge that runs.
    #[cfg(feature = "tls")]
    pub(super) async fn running(&self) -> Option<Arc<EdgeLink>> {
        self.state.lock().await.link.clone()
    }

    async fn remove_listener(&self, state: &mut State, id: &edge::ListenerId) -> Result<()> {
        if state.listeners.remove(id).is_some()
            && let Some(link) = &state.link
        {
            match link.remove_listener(id).await {
                // An edge that is gone listens nowhere.
                Ok(()) | Err(edge::EdgeError::Closed) => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        Ok(())
    }

    /// Tells the edge what goes where.
    pub(super) async fn set_site(&self, supervisor: &Supervisor, table: edge::SiteTable) -> Result<()> {
        let mut state = self.state.lock().await;
        let before = state.sites.insert(table.site.clone(), Told::now(table.clone()));
        if !state.is_needed() && state.link.is_none() {
            // Told when the first socket is opened.
            return Ok(());
        }
        let told = match self.link(supervisor, &mut state).await {
            Ok((link, _)) => link.set_site(table.clone()).await.map(drop).map_err(|e| failed(&e)),
            Err(e) => Err(e),
        };
        if told.is_ok() {
            state.tell_retired(supervisor, &table).await;
        }
        if told.is_err() {
            match before {
                Some(before) => state.sites.insert(table.site, before),
                None => state.sites.remove(&table.site),
            };
        }
        told
    }

    /// Removes everything of a stack.
    pub(super) async fn forget(&self, stack: &StackId, fence: u64) -> Result<()> {
        self.close(stack).await?;
        let site = site(stack)?;
        let mut state = self.state.lock().await;
        state.sites.remove(&site);
        if let Some(link) = &state.link {
            match link.remove_site(&site, fence).await {
                Ok(_) | Err(edge::EdgeError::Closed) => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        Ok(())
    }

    /// Waits until nothing of a release, or of some backends of it, is in flight.
    pub(super) async fn drain(
        &self,
        stack: &StackId,
        release: ReleaseNumber,
        backends: BTreeSet<SocketAddr>,
        deadline: Duration,
    ) -> Result<DrainReport> {
        let (link, retired) = {
            let state = self.state.lock().await;
            (state.link.clone(), state.retired.clone())
        };
        let name = edge::ReleaseName::new(release.to_string())
            .map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))?;
        let site = site(stack)?;
        let all = link.iter().chain(&retired);
        let drains = all.map(|link| link.drain_backends(&site, &name, backends.clone(), deadline));
        let mut cut = 0;
        for drained in futures_util::future::join_all(drains).await {
            match drained {
                Ok(report) => cut += report.cut,
                // What was in flight went with it.
                Err(edge::EdgeError::Closed) => {}
                Err(e) => return Err(failed(&e)),
            }
        }
        Ok(DrainReport { cut: u32::try_from(cut).unwrap_or(u32::MAX) })
    }

    /// What the edge counted.
    pub(super) async fn metrics(&self, _stack: &StackId) -> Result<serde_json::Value> {
        let link = self.state.lock().await.link.clone();
        let Some(link) = link else {
            return Ok(serde_json::Value::Null);
        };
        let metrics = link.metrics().await.map_err(|e| failed(&e))?;
        serde_json::to_value(metrics).map_err(|e| {
            ProviderError::new(ErrorKind::Unexpected, format!("the edge's metrics cannot be written: {e}"))
        })
    }

    /// Gives up sockets that were taken over and that nobody wants open.
    pub(super) async fn close_others(&self, supervisor: &Supervisor) {
        let mut wanted = Vec::new();
        for stack in supervisor.all_stacks() {
            if stack.is_open().await
                && let Ok(Some(public)) = ports::public(supervisor.layout(), &stack.id)
                && let Ok(id) = listener(&stack.id, public.shared)
            {
                wanted.push(id);
                if supervisor.certificates.secured(&stack.id).is_some() {
                    wanted.extend(secure_listener());
                }
            }
        }
        let mut state = self.state.lock().await;
        let others: Vec<_> = state.listeners.keys().filter(|id| !wanted.contains(id)).cloned().collect();
        for id in others {
            if let Err(e) = self.remove_listener(&mut state, &id).await {
                supervisor.note(e.message());
            }
        }
    }

    /// The edge, spawned if there is none. False: it is new and knows everything already.
    async fn link(&self, supervisor: &Supervisor, state: &mut State) -> Result<(Arc<EdgeLink>, bool)> {
        if let Some(link) = &state.link {
            return Ok((Arc::clone(link), true));
        }
        let mut listeners = Vec::new();
        for (id, socket) in &state.listeners {
            listeners.push((id.clone(), copy(id, socket)?));
        }
        let link = if supervisor.leash.is_some() {
            in_process(supervisor, listeners).await?
        } else {
            EdgeLink::spawn(command(supervisor)?, listeners).await.map_err(|e| failed(&e))?
        };
        for told in state.sites.values() {
            match link.set_site(told.again()).await {
                Ok(_) => {}
                // One site's table must not keep the others from being served.
                Err(e @ edge::EdgeError::Refused(_)) => supervisor.note(&chain(&e)),
                Err(e) => return Err(failed(&e)),
            }
        }
        if !state.accounts.is_empty()
            && let Err(e) = link.answer_for(state.accounts.clone()).await
        {
            supervisor.note(&chain(&e));
        }
        supervisor.note("started the edge");
        let link = Arc::new(link);
        state.link = Some(Arc::clone(&link));
        self.changed.notify_one();
        Ok((link, false))
    }

    /// Lets the edge run on for a successor.
    pub(super) async fn detach(&self) {
        self.state.lock().await.link = None;
    }

    /// Ends the edge.
    pub(super) async fn end(&self, supervisor: &Supervisor, grace: Duration) {
        let mut state = self.state.lock().await;
        state.listeners.clear();
        if let Some(link) = state.link.take()
            && let Err(e) = link.stop(grace).await
        {
            supervisor.note(&format!("the edge did not end: {}", chain(&e)));
        }
    }
}

/// Brings a dead edge back, as long as the task runs.
pub(super) async fn watch(supervisor: Arc<Supervisor>) {
    let front = &supervisor.front;
    loop {
        let link = front.state.lock().await.link.clone();
        let Some(link) = link else {
            front.changed.notified().await;
            continue;
        };
        link.closed().await;
        let mut state = front.state.lock().await;
        if state.link.as_ref().is_some_and(|now| Arc::ptr_eq(now, &link)) {
            state.link = None;
            supervisor.note("the edge has ended");
            while state.is_needed() {
                match front.link(&supervisor, &mut state).await {
                    Ok(_) => break,
                    Err(e) => {
                        supervisor.note(e.message());
                        // Others may close sockets meanwhile.
                        drop(state);
                        tokio::time::sleep(RESPAWN).await;
                        state = front.state.lock().await;
                    }
                }
            }
        }
    }
}

/// What the socket is called that an app is served on.
pub(super) fn listener(stack: &StackId, shared: bool) -> Result<edge::ListenerId> {
    // No site is called so: theirs have a `/`.
    const SHARED: &str = "front";
    if shared {
        return edge::ListenerId::new(SHARED)
            .map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()));
    }
    Ok(edge::ListenerId::from(site(stack)?))
}

/// What the socket is called that apps are served on by TLS.
pub(super) fn secure_listener() -> Result<edge::ListenerId> {
    edge::ListenerId::new("front-tls").map_err(|e| ProviderError::new(ErrorKind::Unexpected, e.to_string()))
}

async fn lend(link: &EdgeLink, id: &edge::ListenerId, socket: Option<&TcpListener>) -> Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    link.add_listener(id.clone(), copy(id, socket)?).await.map_err(|e| failed(&e))
}

fn copy(id: &edge::ListenerId, socket: &TcpListener) -> Result<OwnedFd> {
    socket.try_clone().map(OwnedFd::from).map_err(|e| {
        ProviderError::new(ErrorKind::Unexpected, format!("cannot pass the socket of {id}: {e}"))
    })
}

/// Where the edge's sockets are: beside ours, or in a folder of its own.
pub(crate) fn edge_folder(layout: &Layout) -> Result<PathBuf> {
    let home = layout.edge_home();
    if home.is_dir() {
        return Ok(home);
    }
    socket::folder(layout).map_err(at("read", &layout.socket_record()))
}

/// Where what belongs to the edge lies, and whose that is.
struct EdgePlace {
    record: PathBuf,
    sockets: PathBuf,
    certificates: Option<PathBuf>,
    account: Option<Account>,
}

impl EdgePlace {
    /// On a server the edge has a folder of its own, which is made, and an account, if there is one
    /// and we are root: then nobody who gets hold of the edge is root.
    fn of(supervisor: &Supervisor, layout: &Layout) -> Result<Self> {
        let config = &supervisor.config;
        if !config.resident {
            let sockets = socket::folder(layout).map_err(at("read", &layout.socket_record()))?;
            return Ok(Self { record: layout.edge_record(), sockets, certificates: None, account: None });
        }
        let account = config.edge_account.as_deref().filter(|_| crate::account::is_root());
        let account = account.and_then(crate::account::look_up);
        let home = layout.edge_home();
        let certificates = home.join("certificates");
        let record = home.join("edge.json");
        for folder in [&home, &certificates] {
            create_dir(folder).map_err(at("make", folder))?;
        }
        if let Some(account) = &account {
            // What was written before it had an account, too: its state, and certificates.
            let before = layout.edge_record();
            if !record.exists() && before.exists() {
                std::fs::copy(&before, &record).map_err(at("write", &record))?;
            }
            give(&home, account)?;
            give(&certificates, account)?;
        }
        Ok(Self { record, sockets: home, certificates: Some(certificates), account })
    }
}

/// Makes a folder, and the files that lie in it, an account's own.
fn give(folder: &Path, account: &Account) -> Result<()> {
    let own = |path: &Path| {
        std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid)).map_err(at("give away", path))
    };
    own(folder)?;
    for entry in std::fs::read_dir(folder).map_err(at("read", folder))? {
        let entry = entry.map_err(at("read", folder))?;
        // Something of an edge that runs may go in this moment.
        match entry.metadata() {
            Ok(seen) if seen.uid() != account.uid => own(&entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

/// Where certificates lie that the edge serves with.
#[cfg(feature = "tls")]
pub(super) fn certificates(layout: &Layout) -> PathBuf {
    layout.edge_home().join("certificates")
}

/// An edge on threads of this program.
async fn in_process(
    supervisor: &Supervisor,
    listeners: Vec<(edge::ListenerId, OwnedFd)>,
) -> Result<EdgeLink> {
    let named = supervisor.named()?;
    let options = edge::EdgeOptions::new(named.edge_record(), edge_folder(&named)?);
    let link = edge::Edge::in_process(options).await.map_err(|e| failed(&e))?;
    for (id, socket) in listeners {
        link.add_listener(id, socket).await.map_err(|e| failed(&e))?;
    }
    Ok(link)
}

/// How the edge is run: where its state is, where its sockets, where certificates, and as whom. It
/// needs no capability to listen on a port below 1024: it is handed sockets that listen.
fn command(supervisor: &Supervisor) -> Result<Command> {
    let place = EdgePlace::of(supervisor, &supervisor.named()?)?;
    let mut arguments = vec![place.record.into_os_string(), place.sockets.into_os_string()];
    arguments.extend(place.certificates.map(PathBuf::into_os_string));
    let mut command = supervisor.program.command(crate::child::EDGE, arguments);
    command.current_dir("/").stdout(Stdio::null());
    if let Some(account) = place.account {
        command.uid(account.uid).gid(account.gid);
    }
    Ok(command)
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| {
        let kind = match e.kind() {
            std::io::ErrorKind::AddrInUse => ErrorKind::Conflict,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Config,
        };
        let who = match sockets::holder(address.port()) {
            Some(holder) if kind == ErrorKind::Conflict => {
                format!(": {} (process {}) does", holder.name, holder.pid)
            }
            _ => format!(": {e}"),
        };
        ProviderError::new(kind, format!("cannot listen on {address}{who}"))
            .with_help("stop that process, or choose another port with `--port`")
    })
}

fn failed(error: &edge::EdgeError) -> ProviderError {
    let kind = match error {
        edge::EdgeError::Refused(edge::Refusal::Fenced { .. }) => ErrorKind::Fenced,
        edge::EdgeError::Refused(edge::Refusal::StillRouted { .. }) => ErrorKind::Conflict,
        edge::EdgeError::Refused(edge::Refusal::Table { .. }) => ErrorKind::Config,
        edge::EdgeError::Closed | edge::EdgeError::Timeout { .. } => ErrorKind::Ambiguous,
        _ => ErrorKind::Unexpected,
    };
    let failed = ProviderError::new(kind, chain(error));
    match error {
        edge::EdgeError::Refused(edge::Refusal::Table { .. }) => failed.with_help(
            "where apps share an address each needs a host name of its own: `app.domain` in the manifest",
        ),
        _ => failed,
    }
}

/// The error with what caused it.
fn chain(error: &edge::EdgeError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Runs the edge.
pub(crate) fn run_edge(state_file: PathBuf, socket_folder: PathBuf, certificates: Option<PathBuf>) -> u8 {
    let mut options = edge::EdgeOptions::new(state_file, socket_folder);
    options.certificates = certificates;
    match edge::run(options) {
        Ok(()) => 0,
        Err(e) => {
            super::write_note("edge", &chain(&e));
            1
        }
    }
}
