//! The client of a workspace's supervisor.

mod connection;
mod greeted;

use std::collections::BTreeSet;
use std::time::Duration;

use vrooli_deploy_core::names::{ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{CertificateSeen, DrainReport, OpCtx, Result, Routing, UnitObserved};

use super::config::Program;
use super::files::{Durability, create_dir, write_shared};
use super::protocol::{Answer, Request};
use super::{Supervision, socket, variables};
use crate::failure::at;
use crate::layout::Layout;
use connection::{exchange, lost, unexpected};
use greeted::Greeted;

/// Talks to the supervisor of a workspace. Cheap to clone; each call has its own connection,
/// so calls run side by side. When the supervisor dies under a call, another is started
/// (if the client was made to) and the call made again.
#[derive(Debug, Clone)]
pub struct SupervisorClient {
    layout: Layout,
    /// How one is started; `None`: none is.
    starter: Option<Supervision>,
    greeted: Greeted,
}

impl SupervisorClient {
    /// A client for a supervisor that runs; `None` when none does.
    ///
    /// # Errors
    /// When one is there but cannot be talked to: of another user, or of another version.
    pub async fn connect(layout: &Layout) -> Result<Option<Self>> {
        let client = Self { layout: absolute(layout), starter: None, greeted: Greeted::default() };
        let Some((stream, _)) = client.dial(socket::READING).await? else { return Ok(None) };
        client.greeted.put(socket::READING, stream);
        Ok(Some(client))
    }

    /// A client for a supervisor process, which is started if there is none, and replaced if
    /// it is older than this program.
    ///
    /// # Errors
    /// When it cannot be started, or is newer and does not understand us; `Conflict` when a
    /// program runs the workspace's apps in itself.
    pub async fn connect_or_spawn(layout: &Layout, program: Program) -> Result<Self> {
        Self::connect_or_start(layout, Supervision::Detached(program)).await
    }

    /// A client for a supervisor that is started as said if there is none.
    ///
    /// # Errors
    /// See [`connect_or_spawn`](Self::connect_or_spawn); `Conflict` when the workspace is
    /// served in the other way.
    pub async fn connect_or_start(layout: &Layout, supervision: Supervision) -> Result<Self> {
        let client =
            Self { layout: absolute(layout), starter: Some(supervision), greeted: Greeted::default() };
        client.greeted.put(socket::CHANGING, client.reach(socket::CHANGING).await?);
        Ok(client)
    }

    /// The same client, with the connections that another one made and did not use.
    pub(crate) fn with_connections_of(self, other: Option<&Self>) -> Self {
        if let Some(other) = other.filter(|other| other.layout == self.layout) {
            self.greeted.take_all_of(&other.greeted);
        }
        self
    }

    /// Starts a unit of a staged release, or finds that it runs. Waits until its process
    /// runs, not until it is well.
    ///
    /// # Errors
    /// `NotFound` when the release is not staged, `Conflict` when a port it needs is taken
    /// (the message names by whom), `Missing` or `App` when its program cannot be run,
    /// `Fenced` when somebody else holds the lease.
    pub async fn start(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<UnitObserved> {
        self.keep_environment(&cx.stack, release)?;
        let request =
            Request::Start { stack: cx.stack.clone(), release, unit: unit.clone(), fence: cx.fence };
        match self.call(cx, request).await? {
            Answer::Unit(unit) => Ok(unit),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops a unit with all its descendants: first its own grace, then by force. One that
    /// does not run is fine.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; when processes cannot be ended.
    pub async fn stop(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        self.done(cx, Request::Stop { stack: cx.stack.clone(), release, unit: unit.clone(), fence: cx.fence })
            .await
    }

    /// All units of the stack, whatever their release.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub async fn list(&self, cx: &OpCtx) -> Result<Vec<UnitObserved>> {
        match self.call(cx, Request::List { stack: cx.stack.clone() }).await? {
            Answer::Units(units) => Ok(units),
            other => Err(unexpected(&other)),
        }
    }

    /// Sets which releases get traffic; kept over restarts. The answer is what was set before.
    ///
    /// # Errors
    /// `Conflict` when a release that is to get traffic has no running unit, `Config` when it
    /// has no route, `Fenced` when somebody else holds the lease.
    pub async fn route(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        // Asked before: a second try after a lost answer would find what the first one set.
        let before = self.routing(cx).await?;
        let request = Request::Route { stack: cx.stack.clone(), routing: routing.clone(), fence: cx.fence };
        match self.call(cx, request).await? {
            Answer::Routing(_) => Ok(before),
            other => Err(unexpected(&other)),
        }
    }

    /// What is set now.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub async fn routing(&self, cx: &OpCtx) -> Result<Routing> {
        match self.call(cx, Request::Routing { stack: cx.stack.clone() }).await? {
            Answer::Routing(routing) => Ok(routing),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until the release, or those units of it, have no request in flight, `deadline` at
    /// most; then what is left is cut.
    ///
    /// # Errors
    /// `Conflict` when they still get traffic.
    pub async fn drain(
        &self,
        cx: &OpCtx,
        release: ReleaseNumber,
        units: &BTreeSet<UnitId>,
        deadline: Duration,
    ) -> Result<DrainReport> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Drain { stack: cx.stack.clone(), release, units: units.clone(), deadline_ms };
        match self.call(cx, request).await? {
            Answer::Drained(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// Goes on with the open watch of the stack, whose lease is free.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub async fn keep_watch(&self, cx: &OpCtx) -> Result<()> {
        self.done(cx, Request::KeepWatch { stack: cx.stack.clone() }).await
    }

    /// Listens at the address and port that the stack's `port.json` names.
    ///
    /// # Errors
    /// `NotFound` without that file, `Conflict` when the port is taken (the message names by
    /// whom), `Permission` when this user may not listen there.
    pub async fn open_port(&self, cx: &OpCtx) -> Result<()> {
        self.done(cx, Request::OpenPort { stack: cx.stack.clone(), fence: cx.fence }).await
    }

    /// Stops listening there. Not listening is fine.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease.
    pub async fn close_port(&self, cx: &OpCtx) -> Result<()> {
        self.done(cx, Request::ClosePort { stack: cx.stack.clone(), fence: cx.fence }).await
    }

    /// URLs under which the app is reached; none while its port is closed.
    ///
    /// # Errors
    /// When the supervisor cannot be asked.
    pub async fn urls(&self, cx: &OpCtx) -> Result<Vec<String>> {
        match self.call(cx, Request::Urls { stack: cx.stack.clone() }).await? {
            Answer::Urls(urls) => Ok(urls),
            other => Err(unexpected(&other)),
        }
    }

    /// What the edge counted, as JSON; null when no edge runs.
    ///
    /// # Errors
    /// When supervisor or edge cannot be asked.
    pub async fn metrics(&self, cx: &OpCtx) -> Result<serde_json::Value> {
        match self.call(cx, Request::Metrics { stack: cx.stack.clone() }).await? {
            Answer::Metrics(metrics) => Ok(metrics),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the stack served by TLS as its files say; with `order` a certificate is ordered if one is due.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; why there is no certificate.
    pub(crate) async fn certificate(&self, cx: &OpCtx, order: bool) -> Result<Option<CertificateSeen>> {
        let request = Request::Certificate { stack: cx.stack.clone(), fence: cx.fence, order };
        match self.call(cx, request).await? {
            Answer::Certificate(seen) => Ok(seen),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops all units of a release and removes what is kept about it: ports, records, logs.
    /// Not there is fine. The staged release itself is not ours.
    ///
    /// # Errors
    /// `Conflict` when it still gets traffic.
    pub async fn remove(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<()> {
        self.done(cx, Request::Remove { stack: cx.stack.clone(), release, fence: cx.fence }).await
    }

    /// Stops everything of the stack, closes its port and removes what is kept about it.
    ///
    /// # Errors
    /// `Fenced` when somebody else holds the lease; when processes cannot be ended.
    pub async fn forget(&self, cx: &OpCtx) -> Result<()> {
        self.done(cx, Request::Forget { stack: cx.stack.clone(), fence: cx.fence }).await
    }

    /// Ends supervisor and edge if nothing is left for them to do. (They end by themselves
    /// after some seconds.) None running is fine.
    ///
    /// # Errors
    /// `Conflict` when something runs or listens.
    pub async fn shutdown(&self) -> Result<()> {
        let Some((mut stream, _)) = self.dial(socket::CHANGING).await? else {
            return Ok(());
        };
        match exchange(&mut stream, &Request::Shutdown).await.map_err(lost)? {
            Answer::Failed(failure) => Err(failure.into()),
            Answer::Done => self.wait_until_gone().await,
            other => Err(unexpected(&other)),
        }
    }

    async fn done(&self, cx: &OpCtx, request: Request) -> Result<()> {
        match self.call(cx, request).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Keeps the part of our environment that apps may see beside the release, so that a
    /// restart years later finds the same PATH. What holds a password is not written down.
    fn keep_environment(&self, stack: &StackId, release: ReleaseNumber) -> Result<()> {
        let path = self.layout.base_environment(stack, release);
        if path.exists() || !self.layout.release_record(stack, release).exists() {
            return Ok(());
        }
        let mut base = variables::of_this_process();
        base.retain(|_, value| variables::may_be_kept(value));
        let text = serde_json::to_vec_pretty(&base).unwrap_or_default();
        let write = || {
            create_dir(&self.layout.release_units(stack, release))?;
            write_shared(&path, &text, Durability::Synced)
        };
        // A supervisor that starts sweeps drafts away, ours perhaps among them.
        write().or_else(|_| write()).map_err(at("write", &path))
    }
}

fn absolute(layout: &Layout) -> Layout {
    std::path::absolute(layout.root()).map_or_else(|_| layout.clone(), Layout::new)
}
