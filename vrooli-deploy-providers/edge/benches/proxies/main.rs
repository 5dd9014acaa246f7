//! The edge beside other proxies on this machine, in one interleaved run: requests a second,
//! latency, processor seconds of the proxy for 100,000 requests, and resident memory.
//!
//! `cargo bench -p vrooli-deploy-edge --features tls --bench proxies [-- ROUNDS SECONDS [ROW]]`,
//! where ROW is part of a row's name, such as `plain, small` or `idle`. A
//! proxy that is not installed is left out, and that is said. Prints markdown.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program that measures: it prints, and ends when something is missing"
)]

mod backend;
mod load;
mod measured;
mod peers;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use load::Load;
use measured::{Figures, table};
use peers::Proxy;

/// What one row of the table asks for.
struct Case {
    tls: bool,
    body: Body,
    connections: usize,
    /// Each request on a connection of its own.
    one_shot: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Small,
    Large,
}

impl Body {
    fn path(self) -> &'static str {
        match self {
            Self::Small => "/small",
            Self::Large => "/large",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Small => 100,
            Self::Large => 1 << 20,
        }
    }
}

impl Case {
    fn name(&self) -> String {
        let by = if self.tls { "TLS" } else { "plain" };
        let body = if self.body == Body::Small { "small" } else { "1 MB" };
        match (self.one_shot, self.connections) {
            (true, count) => format!("{by}, {body}, a connection each, {count} at once"),
            (false, 1) => format!("{by}, {body}, 1 connection"),
            (false, count) => format!("{by}, {body}, {count} connections"),
        }
    }

    /// Every row: plain and TLS, small and large, one connection, some and many; and plain
    /// ones that are used once.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for tls in [false, true] {
            for body in [Body::Small, Body::Large] {
                for connections in [1, 64, 1_000] {
                    all.push(Self { tls, body, connections, one_shot: false });
                }
            }
        }
        all.push(Self { tls: false, body: Body::Small, connections: 16, one_shot: true });
        all
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|one| one != "--bench");
    match arguments.next().as_deref() {
        Some("backend") => backend::serve(),
        Some("edge") => peers::edge::serve(),
        Some("load") => load::run_as_child(),
        first => {
            let rounds = first.and_then(|one| one.parse().ok()).unwrap_or(5);
            let seconds = arguments.next().and_then(|one| one.parse().ok()).unwrap_or(3);
            let only = arguments.next().unwrap_or_default();
            raise_open_files();
            match measure(rounds, Duration::from_secs(seconds), &only) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// Thousands of connections are open at once, here and in what is started from here.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}

fn measure(rounds: usize, each: Duration, only: &str) -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (backend, _backend) = backend::start()?;
    let certificate = peers::certificate(folder.path())?;
    let mut proxies = peers::start_all(folder.path(), backend, &certificate)?;
    println!("{rounds} rounds of {} s a row, interleaved; medians (least–most).\n", each.as_secs());
    for case in Case::all().iter().filter(|case| case.name().contains(only)) {
        let mut figures: Vec<Figures> = proxies.iter().map(|_| Figures::default()).collect();
        for round in 0..=rounds {
            // The first round warms up and is not counted. Each later one begins with another
            // proxy, so that none always follows the same.
            let each = if round == 0 { each.min(Duration::from_secs(1)) } else { each };
            for at in 0..proxies.len() {
                let at = (at + round) % proxies.len();
                let proxy = &mut proxies[at];
                let address = if case.tls { proxy.tls } else { Some(proxy.plain) };
                let Some(address) = address else { continue };
                let one = once(proxy, address, case, &certificate, each)?;
                if round > 0 {
                    figures[at].add(one);
                }
            }
        }
        table(&case.name(), &proxies, &figures);
    }
    if "idle".contains(only) {
        idle(&mut proxies)?;
    }
    Ok(())
}

fn once(
    proxy: &mut Proxy,
    address: SocketAddr,
    case: &Case,
    certificate: &peers::Certificate,
    each: Duration,
) -> std::io::Result<measured::Once> {
    let load = Load {
        address,
        path: case.body.path().to_owned(),
        connections: case.connections,
        one_shot: case.one_shot,
        body_bytes: case.body.bytes(),
        trusted: case.tls.then(|| certificate.certificate_file.clone()),
        for_ms: u64::try_from(each.as_millis()).unwrap_or(1_000),
    };
    let ready = load::in_a_child(&load)?;
    let before = proxy.processor_seconds();
    let done = ready.go()?;
    Ok(measured::Once {
        processor: proxy.processor_seconds() - before,
        resident_mb: proxy.resident_mb(),
        done,
    })
}

/// Memory of connections that do nothing.
fn idle(proxies: &mut [Proxy]) -> std::io::Result<()> {
    const IDLE: usize = 10_000;
    println!(
        "| {IDLE} idle connections, after one request each | resident MB before | after | KB a connection |"
    );
    println!("|---|---:|---:|---:|");
    for proxy in proxies {
        let before = proxy.resident_mb();
        let held = load::hold_idle(proxy.plain, IDLE)?;
        let after = proxy.resident_mb();
        // All of them are still there: the first is asked once more.
        load::ask_again(&held[0])?;
        println!(
            "| {} | {before:.0} | {after:.0} | {:.1} |",
            proxy.name,
            (after - before) * 1_024.0 / held.len() as f64
        );
        drop(held);
    }
    println!();
    Ok(())
}
