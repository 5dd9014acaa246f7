//! Our own edge, in a process of its own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use vrooli_deploy_edge::{
    AccessLogOptions, Edge, EdgeOptions, ListenerId, ReleaseName, ReleaseRoute, Rule, ServiceName, SiteId,
    SiteTable,
};

use super::{Proxy, Running, first_line};

pub(super) fn start(folder: &Path, backend: SocketAddr, logs: bool) -> std::io::Result<Proxy> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("edge")
        .arg(folder)
        .arg(backend.to_string())
        .arg(if logs { "log" } else { "quiet" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let address: SocketAddr = first_line(&mut child)?.parse().map_err(std::io::Error::other)?;
    let name = if logs { "edge" } else { "edge, no access log" };
    // One listener speaks both.
    let tls = cfg!(feature = "tls").then_some(address);
    Ok(Proxy { name: name.to_owned(), plain: address, tls, process: Running(child) })
}

pub(crate) fn serve() -> ExitCode {
    let mut arguments = std::env::args().skip(2);
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    let backend: SocketAddr = arguments.next().expect("a backend").parse().expect("an address");
    let logs = arguments.next().as_deref() == Some("log");
    let state = folder.join(if logs { "edge-log" } else { "edge-quiet" });
    std::fs::create_dir_all(&state).expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut options = EdgeOptions::new(state.join("edge.json"), &state);
        options.workers = 2;
        options.certificates = Some(folder.join("certificates"));
        let path = state.join("access.log");
        options.access_log = logs.then_some(AccessLogOptions { path, every: 1, max_bytes: 1 << 30 });
        let edge = Edge::in_process(options).await.expect("an edge");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let site = SiteId::new("bench/default").expect("a name");
        edge.add_listener(ListenerId::from(site.clone()), listener.into()).await.expect("a listener");
        let service = ServiceName::new("ui").expect("a name");
        let mut table = SiteTable::new(site, 1);
        table.rules.push(Rule::any_host("/", service.clone()));
        let route = ReleaseRoute { weight: 100, backends: BTreeMap::from([(service, vec![backend])]) };
        table.releases.insert(ReleaseName::new("r1").expect("a name"), route);
        edge.set_site(table).await.expect("a table");
        println!("{address}");
        edge.closed().await;
        ExitCode::SUCCESS
    })
}
