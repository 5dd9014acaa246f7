//! The same cutover behind other proxies, each as its own documentation has it, of the same app.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vrooli_deploy_tests::load::{Connection, Load};

use crate::ours::{at_least, build_server};
use crate::row::Row;
use crate::{DRAIN, LOAD, Size};

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    start: fn(&Stand) -> io::Result<Proxy>,
    /// All that is new goes to the second of the two; what is open stays with the first.
    switch: fn(&Stand, &Proxy, usize) -> io::Result<()>,
    /// What is still open where nothing new goes; none where the proxy does not say.
    open: fn(&Stand, &Proxy, usize) -> io::Result<Option<u64>>,
}

pub(crate) const PEERS: &[Peer] = &[
    Peer { name: "haproxy", start: haproxy, switch: haproxy_switch, open: haproxy_open },
    Peer { name: "nginx", start: nginx, switch: nginx_switch, open: nginx_open },
    Peer { name: "caddy", start: caddy, switch: caddy_switch, open: |_, _, _| Ok(None) },
];

/// Two places where an app can be, and a folder.
struct Stand {
    folder: tempfile::TempDir,
    places: [u16; 2],
    front: SocketAddr,
    admin: SocketAddr,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Proxy {
    process: Running,
}

pub(crate) fn is_here(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

pub(crate) async fn run(peer: &Peer, size: Size) -> io::Result<Row> {
    let stand = Stand::new()?;
    stand.build()?;
    let mut apps = [Some(stand.app(0, 0).await?), None];
    let proxy = (peer.start)(&stand)?;
    listening(stand.front).await?;
    let begun = Instant::now();
    let load = Load::start(stand.front, LOAD);
    let mut ended = BTreeMap::new();
    let mut now = 0;
    for number in 1..=size.redeploys {
        at_least(load.tally(), size.requests * number / size.redeploys).await;
        let next = 1 - now;
        apps[next] = Some(stand.app(next, number).await?);
        (peer.switch)(&stand, &proxy, next)?;
        let switched = Instant::now();
        while switched.elapsed() < DRAIN && (peer.open)(&stand, &proxy, now)? != Some(0) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // With this it is told to end, as a deployment tool would.
        if let Some(mut old) = apps[now].take() {
            let pid = i32::try_from(old.0.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
            while old.0.try_wait()?.is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        now = next;
        *ended.entry("switched".to_owned()).or_default() += 1;
    }
    let tally = load.end().await;
    let notes = Connection::open(SocketAddr::from(([127, 0, 0, 1], stand.places[now]))).await?;
    let written = { notes }.get("/notes", true).await?.body;
    Ok(Row::new(peer.name, ended, (&tally, &String::from_utf8_lossy(&written)), &[], begun))
}

fn free() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

async fn listening(at: SocketAddr) -> io::Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(at).is_err() {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(io::Error::other(format!("nobody listens on {at}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

impl Stand {
    fn new() -> io::Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            places: [free()?.port(), free()?.port()],
            front: free()?,
            admin: free()?,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn build(&self) -> io::Result<()> {
        let bin = self.file("bin");
        std::fs::create_dir_all(&bin)?;
        build_server(&bin.join("server"))
    }

    /// Starts a release in a place, and waits until it is well.
    async fn app(&self, place: usize, version: u64) -> io::Result<Running> {
        let bin = self.file("bin");
        let child = Command::new(bin.join("server"))
            .arg("--quiet")
            .current_dir(bin)
            .env("PORT", self.places[place].to_string())
            .env("APP_VERSION", version.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let running = Running(child);
        listening(SocketAddr::from(([127, 0, 0, 1], self.places[place]))).await?;
        Ok(running)
    }
}

fn launch(command: &mut Command) -> io::Result<Proxy> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(Proxy { process: Running(child) })
}

// HAProxy: two servers, of which one is in maintenance; told by its socket (management guide,
// "set server … state").

const SLOTS: [&str; 2] = ["blue", "green"];

fn haproxy(stand: &Stand) -> io::Result<Proxy> {
    let file = stand.file("haproxy.cfg");
    std::fs::write(
        &file,
        format!(
            "global\n  maxconn 2000\n  stats socket {} mode 600 level admin\ndefaults\n  mode http\n  \
             option http-keep-alive\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
             timeout tunnel 1h\nfrontend f\n  bind {}\n  default_backend b\nbackend b\n  \
             server blue 127.0.0.1:{}\n  server green 127.0.0.1:{} disabled\n",
            stand.file("haproxy.sock").display(),
            stand.front,
            stand.places[0],
            stand.places[1]
        ),
    )?;
    launch(Command::new("haproxy").arg("-f").arg(file).arg("-db"))
}

fn haproxy_says(stand: &Stand, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(stand.file("haproxy.sock"))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn haproxy_switch(stand: &Stand, _: &Proxy, next: usize) -> io::Result<()> {
    haproxy_says(stand, &format!("set server b/{} state ready", SLOTS[next]))?;
    haproxy_says(stand, &format!("set server b/{} state drain", SLOTS[1 - next])).map(drop)
}

fn haproxy_open(stand: &Stand, _: &Proxy, place: usize) -> io::Result<Option<u64>> {
    let stat = haproxy_says(stand, "show stat")?;
    let line = stat.lines().find(|line| line.starts_with(&format!("b,{},", SLOTS[place])));
    // The fifth field is `scur`, sessions now.
    Ok(line.and_then(|line| line.split(',').nth(4)).and_then(|now| now.parse().ok()))
}

// nginx: another upstream in the configuration, and SIGHUP; old workers go on with what is open
// until worker_shutdown_timeout (Controlling nginx; core module).

fn nginx_configuration(stand: &Stand, place: usize) -> io::Result<PathBuf> {
    let file = stand.file("nginx.conf");
    let at = stand.folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    std::fs::write(
        &file,
        format!(
            "worker_processes 2; daemon off; pid {at}/nginx.pid; error_log {at}/nginx-error.log;\n\
             worker_shutdown_timeout {}s;\nevents {{ worker_connections 4000; }}\nhttp {{ access_log off;\n\
             {temporary}map $http_upgrade $connection_upgrade {{ default upgrade; '' \"\"; }}\n\
             upstream b {{ server 127.0.0.1:{}; keepalive 64; }}\nserver {{ listen {};\n\
             location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Host $host;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;\n\
             proxy_buffering off; }} }} }}\n",
            DRAIN.as_secs(),
            stand.places[place],
            stand.front
        ),
    )?;
    Ok(file)
}

fn nginx(stand: &Stand) -> io::Result<Proxy> {
    let file = nginx_configuration(stand, 0)?;
    launch(Command::new("nginx").arg("-p").arg(stand.folder.path()).arg("-c").arg(file))
}

fn nginx_switch(stand: &Stand, proxy: &Proxy, next: usize) -> io::Result<()> {
    nginx_configuration(stand, next)?;
    let before = shutting_down(proxy);
    let pid = i32::try_from(proxy.process.0.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.ok_or(io::ErrorKind::NotFound)?, rustix::process::Signal::HUP)?;
    // The new workers are there once the old ones are told to end.
    let begun = Instant::now();
    while shutting_down(proxy) <= before && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn nginx_open(_: &Stand, proxy: &Proxy, _: usize) -> io::Result<Option<u64>> {
    Ok(Some(shutting_down(proxy)))
}

/// Old workers, which is the one thing that nginx tells of what is open.
fn shutting_down(proxy: &Proxy) -> u64 {
    let id = proxy.process.0.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let old = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains("shutting down"))
    };
    children.split_whitespace().filter(old).count() as u64
}

// Caddy: PATCH of the upstreams by their @id (API documentation), with stream_close_delay, which
// keeps WebSockets over a change of configuration (reverse_proxy, streaming).

fn caddy(stand: &Stand) -> io::Result<Proxy> {
    let file = stand.file("caddy.json");
    let configuration = serde_json::json!({
        "admin": {"listen": stand.admin.to_string(), "config": {"persist": false}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"servers": {"s": {
            "listen": [stand.front.to_string()],
            "automatic_https": {"disable": true},
            "routes": [{"handle": [{
                "handler": "reverse_proxy",
                "@id": "app",
                "flush_interval": -1,
                "stream_close_delay": format!("{}s", DRAIN.as_secs()),
                "upstreams": [{"dial": format!("127.0.0.1:{}", stand.places[0])}],
            }]}],
        }}}},
    });
    std::fs::write(&file, configuration.to_string())?;
    let home: &Path = stand.folder.path();
    launch(Command::new("caddy").env("HOME", home).args(["run", "--config"]).arg(file))
}

fn caddy_switch(stand: &Stand, _: &Proxy, next: usize) -> io::Result<()> {
    let body = serde_json::json!([{"dial": format!("127.0.0.1:{}", stand.places[next])}]).to_string();
    let mut stream = TcpStream::connect(stand.admin)?;
    write!(
        stream,
        "PATCH /id/app/upstreams HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        stand.admin,
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(io::Error::other(answer)) }
}
