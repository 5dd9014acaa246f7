//! An edge, apps behind it and clients in front of it.

mod app;
#[cfg(feature = "acme")]
pub(crate) mod authority;
mod client;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use vrooli_deploy_edge::{
    Edge, EdgeLink, EdgeOptions, Limits, ListenerId, ReleaseName, ReleaseRoute, Rule, ServiceName, SiteId,
    SiteTable,
};

pub(crate) use app::{App, raw_app, read_head};
pub(crate) use client::{Client, fetch, get, raw};

/// Says that this process is an edge; its value is the state folder.
pub(crate) const CHILD: &str = "VROOLI_DEPLOY_EDGE_TEST_CHILD";

pub(crate) fn run_if_child() -> Option<ExitCode> {
    let folder = PathBuf::from(std::env::var_os(CHILD)?);
    let mut options = options(&folder);
    options.grace = Duration::from_secs(20);
    Some(match vrooli_deploy_edge::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge: {error}");
            ExitCode::from(3)
        }
    })
}

fn options(folder: &std::path::Path) -> EdgeOptions {
    let mut options = EdgeOptions::new(folder.join("edge.json"), folder);
    options.workers = 2;
    options.certificates = Some(folder.join("certificates"));
    options
}

/// An edge with one listener, and the folder it lives in.
pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) edge: EdgeLink,
    pub(crate) address: SocketAddr,
}

impl Rig {
    /// An edge in this process.
    pub(crate) async fn embedded() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::with_options(|options| options.limits = limits).await
    }

    pub(crate) async fn with_options(choose: impl FnOnce(&mut EdgeOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        choose(&mut options);
        let edge = Edge::in_process(options).await.unwrap();
        let (address, socket) = listen();
        edge.add_listener(listener_id(), socket.into()).await.unwrap();
        Self { folder, edge, address }
    }

    /// An edge in a process of its own.
    pub(crate) async fn process() -> Self {
        Self::process_at(listen().1).await
    }

    pub(crate) async fn process_at(socket: TcpListener) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = socket.local_addr().unwrap();
        let listeners = vec![(listener_id(), socket.into())];
        let edge = EdgeLink::spawn(command(folder.path()), listeners).await.unwrap();
        Self { folder, edge, address }
    }

    /// The folder of certificates, made if it is not there.
    #[cfg(feature = "tls")]
    pub(crate) fn certificates(&self) -> PathBuf {
        let folder = self.folder.path().join("certificates");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub(crate) fn command(&self) -> Command {
        command(self.folder.path())
    }

    /// All traffic to one release.
    pub(crate) async fn serve(&self, release: &str, app: SocketAddr) {
        let table = table(1, &[(release, 100, &[app])]);
        self.edge.set_site(table).await.unwrap();
    }
}

/// This binary as an edge on a state folder.
pub(crate) fn command(folder: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD, folder).stdout(Stdio::null()).stderr(Stdio::inherit());
    command
}

pub(crate) fn listen() -> (SocketAddr, TcpListener) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    (socket.local_addr().unwrap(), socket)
}

pub(crate) fn site() -> SiteId {
    SiteId::new("shop/default").unwrap()
}

pub(crate) fn listener_id() -> ListenerId {
    ListenerId::from(site())
}

pub(crate) fn release(name: &str) -> ReleaseName {
    ReleaseName::new(name).unwrap()
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// A table with one service `ui` at `/`.
pub(crate) fn table(fence: u64, releases: &[(&str, u32, &[SocketAddr])]) -> SiteTable {
    let mut table = SiteTable::new(site(), fence);
    table.rules.push(Rule::any_host("/", service("ui")));
    for (name, weight, addresses) in releases {
        table.releases.insert(
            release(name),
            ReleaseRoute { weight: *weight, backends: BTreeMap::from([(service("ui"), addresses.to_vec())]) },
        );
    }
    table
}

/// Waits until something is so; the test's own bound ends it.
pub(crate) async fn until<F: Future<Output = bool>>(mut what: impl FnMut() -> F) {
    while !what().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
