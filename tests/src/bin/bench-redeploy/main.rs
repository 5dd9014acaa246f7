//! One release after the other while clients of every kind ask all the time: how many of their
//! requests fail. Prints markdown.
//!
//! ```text
//! bench-redeploy [REDEPLOYS [REQUESTS [CASE…]]]      20, 100,000, all cases
//! ```
//! Needs `vrooli-deploy` beside itself, and rustc. Peers that are on the PATH do the same cutovers
//! in the same run: haproxy, nginx, caddy.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod ours;
mod peers;
mod row;

use std::process::ExitCode;
use std::time::Duration;

use vrooli_deploy_tests::load::LoadOptions;

use self::ours::{CASES, Disturbance};
use self::row::Row;

/// What everyone is asked with.
const LOAD: LoadOptions =
    LoadOptions { keep_alive: 12, one_shot: 4, others: 3, pause: Duration::from_millis(4) };

/// How long what is open when a release is replaced may take.
const DRAIN: Duration = Duration::from_secs(2);

/// How much of it.
#[derive(Debug, Clone, Copy)]
struct Size {
    redeploys: u64,
    requests: u64,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let mut number = |default| words.next().map_or(Ok(default), |word| word.parse());
    let (Ok(redeploys), Ok(requests)) = (number(20), number(100_000)) else {
        eprintln!("bench-redeploy [REDEPLOYS [REQUESTS [CASE…]]]");
        return ExitCode::from(2);
    };
    let size = Size { redeploys, requests };
    let wanted: Vec<String> = words.collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "{redeploys} redeploys a row under the load of {} clients, {} s of drain.\n",
        LOAD.keep_alive + LOAD.one_shot + 5 * LOAD.others,
        DRAIN.as_secs()
    );
    Row::print_head();
    let mut clean = true;
    for case in CASES.iter().filter(|case| is_wanted(case.name)) {
        eprintln!("{}", case.name);
        match runtime.block_on(ours::run(case, size)) {
            Ok(row) => {
                row.print();
                clean &= row.is_clean();
                for why in row.failures.iter().take(20) {
                    eprintln!("  {why}");
                }
            }
            Err(e) => {
                eprintln!("{}: {e}", case.name);
                clean = false;
            }
        }
    }
    for peer in peers::PEERS.iter().filter(|peer| is_wanted(peer.name)) {
        if !peers::is_here(peer.name) {
            eprintln!("skipped: {} is not installed", peer.name);
            continue;
        }
        eprintln!("{}", peer.name);
        match runtime.block_on(peers::run(peer, size)) {
            Ok(row) => {
                row.print();
                for why in row.failures.iter().take(5) {
                    eprintln!("  {why}");
                }
            }
            Err(e) => eprintln!("{}: {e}", peer.name),
        }
    }
    if CASES.iter().any(|case| case.disturbance == Disturbance::Kill && is_wanted(case.name)) {
        println!(
            "\nOpen at a kill: requests that the killed edge had in its hands. They are not among the failed."
        );
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
