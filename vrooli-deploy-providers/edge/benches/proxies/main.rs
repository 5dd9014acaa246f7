//! The edge beside other proxies on this machine, in one interleaved run: requests a second,
//! latency, processor seconds of the proxy for 100,000 requests, and resident memory.
//!
//! `cargo bench -p vrooli-deploy-edge --features tls --bench proxies [-- ROUNDS SECONDS]`. A
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
    name: &'static str,
    path: &'static str,
    connections: usize,
    tls: bool,
    /// Each request on a connection of its own.
    one_shot: bool,
    body_bytes: usize,
}

const CASES: &[Case] = &[
    Case {
        name: "small, 1 connection",
        path: "/small",
        connections: 1,
        tls: false,
        one_shot: false,
        body_bytes: 100,
    },
    Case {
        name: "small, 64 connections",
        path: "/small",
        connections: 64,
        tls: false,
        one_shot: false,
        body_bytes: 100,
    },
    Case {
        name: "small, 1,000 connections",
        path: "/small",
        connections: 1_000,
        tls: false,
        one_shot: false,
        body_bytes: 100,
    },
    Case {
        name: "small, a connection each",
        path: "/small",
        connections: 16,
        tls: false,
        one_shot: true,
        body_bytes: 100,
    },
    Case {
        name: "1 MB, 16 connections",
        path: "/large",
        connections: 16,
        tls: false,
        one_shot: false,
        body_bytes: 1 << 20,
    },
    Case {
        name: "TLS, small, 64 connections",
        path: "/small",
        connections: 64,
        tls: true,
        one_shot: false,
        body_bytes: 100,
    },
    Case {
        name: "TLS, 1 MB, 16 connections",
        path: "/large",
        connections: 16,
        tls: true,
        one_shot: false,
        body_bytes: 1 << 20,
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|one| one != "--bench");
    match arguments.next().as_deref() {
        Some("backend") => backend::serve(),
        Some("edge") => peers::edge::serve(),
        Some("load") => load::run_as_child(),
        first => {
            let rounds = first.and_then(|one| one.parse().ok()).unwrap_or(5);
            let seconds = arguments.next().and_then(|one| one.parse().ok()).unwrap_or(3);
            match measure(rounds, Duration::from_secs(seconds)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn measure(rounds: usize, each: Duration) -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (backend, _backend) = backend::start()?;
    let certificate = peers::certificate(folder.path())?;
    let mut proxies = peers::start_all(folder.path(), backend, &certificate)?;
    println!("{rounds} rounds of {} s a row, interleaved; medians.\n", each.as_secs());
    for case in CASES {
        let mut figures: Vec<Figures> = proxies.iter().map(|_| Figures::default()).collect();
        for round in 0..=rounds {
            for (proxy, figures) in proxies.iter_mut().zip(&mut figures) {
                let address = if case.tls { proxy.tls } else { Some(proxy.plain) };
                let Some(address) = address else { continue };
                let one = once(proxy, address, case, &certificate, each)?;
                // The first round warms up and is not counted.
                if round > 0 {
                    figures.add(one);
                }
            }
        }
        table(case.name, &proxies, &figures);
    }
    idle(&mut proxies)?;
    Ok(())
}

fn once(
    proxy: &mut Proxy,
    address: SocketAddr,
    case: &Case,
    certificate: &peers::Certificate,
    each: Duration,
) -> std::io::Result<measured::Once> {
    let before = proxy.processor_seconds();
    let load = Load {
        address,
        path: case.path.to_owned(),
        connections: case.connections,
        one_shot: case.one_shot,
        body_bytes: case.body_bytes,
        trusted: case.tls.then(|| certificate.certificate_file.clone()),
        for_ms: u64::try_from(each.as_millis()).unwrap_or(1_000),
    };
    let done = load::in_a_child(&load)?;
    Ok(measured::Once {
        processor: proxy.processor_seconds() - before,
        resident_mb: proxy.resident_mb(),
        done,
    })
}

/// Memory of connections that do nothing.
fn idle(proxies: &mut [Proxy]) -> std::io::Result<()> {
    // A process may have 20,000 descriptors on many machines, and a proxy wants two a connection.
    const IDLE: usize = 9_000;
    println!(
        "| {IDLE} idle connections, after one request each | resident MB before | after | KB a connection |"
    );
    println!("|---|---:|---:|---:|");
    for proxy in proxies {
        let before = proxy.resident_mb();
        let held = load::hold_idle(proxy.plain, IDLE)?;
        let after = proxy.resident_mb();
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
