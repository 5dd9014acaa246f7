//! What a durable journal append costs beside a plain fsync on the same disk, and how many
//! fdatasync calls it makes (counted by strace, where that is installed).
//!
//! ```text
//! cargo bench -p vrooli-deploy-core --features engine --bench journal [-- DIR]
//! ```
//! DIR is where it writes, by default the build's own folder: a memory file system would
//! say nothing.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures and ends at the first thing that goes wrong"
)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;
use vrooli_deploy_core::engine::Entry;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::state::{Holder, Lease, SqliteStore, StateStore};

const APPENDS: usize = 600;
const BYTES: usize = 600;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.as_slice() {
        [child, dir] if child == "--append" => {
            append(Path::new(dir), APPENDS, || {});
        }
        [child, dir] if child == "--open" => {
            append(Path::new(dir), 0, || {});
        }
        [] => measure(Path::new(env!("CARGO_TARGET_TMPDIR"))),
        [dir, ..] => measure(Path::new(dir)),
    }
}

fn measure(parent: &Path) {
    let dir = tempfile::tempdir_in(parent).unwrap();
    println!("{APPENDS} appends of about {BYTES} bytes each, in {}", parent.display());
    // In turn, so that whatever else the disk is doing hits both.
    let mut plain = Plain::new(&dir.path().join("plain"));
    let mut plain_times = Vec::with_capacity(APPENDS);
    let journal_times = append(&dir.path().join("state"), APPENDS, || plain_times.push(plain.append()));
    report("plain append + fdatasync", plain_times);
    report("journal append", journal_times);
    for steps in [100, 10_000] {
        loading(&dir.path().join(format!("load-{steps}")), steps);
    }
    count(dir.path());
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_micros();
    println!("{what:<40} p50 {:>6} µs   p99 {:>6} µs", at(50), at(99));
}

/// What any program must do to keep a line.
struct Plain {
    file: File,
    line: Vec<u8>,
}

impl Plain {
    fn new(path: &Path) -> Self {
        Self { file: File::create(path).unwrap(), line: vec![b'x'; BYTES] }
    }

    fn append(&mut self) -> Duration {
        let start = Instant::now();
        self.file.write_all(&self.line).unwrap();
        self.file.sync_data().unwrap();
        start.elapsed()
    }
}

/// Entries of one long plan, one append each, with something else in between.
fn append(dir: &Path, appends: usize, mut between: impl FnMut()) -> Vec<Duration> {
    run(async {
        let store = SqliteStore::open(dir).unwrap();
        let stack = stack();
        let lease = acquire(&store, &stack).await;
        let mut seq = store.load(&stack).await.unwrap().seq;
        if seq == 0 {
            seq += lease.append(seq, &[opened(&stack, 1)]).await.unwrap().len() as u64;
        }
        let entry = started(0);
        let mut times = Vec::with_capacity(appends);
        for _ in 0..appends {
            between();
            let start = Instant::now();
            lease.append(seq, std::slice::from_ref(&entry)).await.unwrap();
            times.push(start.elapsed());
            seq += 1;
        }
        lease.release().await.unwrap();
        times
    })
}

/// A plan of many steps: one append, then opening and loading it again.
fn loading(dir: &Path, steps: usize) {
    run(async {
        let stack = stack();
        let store = SqliteStore::open(dir).unwrap();
        let lease = acquire(&store, &stack).await;
        lease.append(0, &[opened(&stack, steps)]).await.unwrap();
        lease.release().await.unwrap();
        drop(store);
        let start = Instant::now();
        let store = SqliteStore::open(dir).unwrap();
        let opened = start.elapsed();
        store.load(&stack).await.unwrap();
        let loaded = start.elapsed();
        acquire(&store, &stack).await;
        println!(
            "a plan of {steps:>6} steps: opened {:>6} µs, loaded {:>6} µs, lease taken {:>6} µs",
            opened.as_micros(),
            (loaded - opened).as_micros(),
            (start.elapsed() - loaded).as_micros()
        );
    });
}

/// Counts the fdatasync calls of a process that appends, less those of one that does not.
fn count(dir: &Path) {
    // Each on a new state, so that both make and open one.
    let opening = fdatasyncs(&dir.join("opened"), "--open");
    let appending = fdatasyncs(&dir.join("appended"), "--append");
    match (opening, appending) {
        (Some(opening), Some(appending)) => println!(
            "{} fdatasync calls for {APPENDS} appends ({opening} more to make, open and close the state)",
            appending - opening
        ),
        _ => println!("skipped: counting fdatasync calls needs strace"),
    }
}

fn fdatasyncs(dir: &Path, child: &str) -> Option<i64> {
    let log: PathBuf = dir.with_extension("strace");
    let run = Command::new("strace")
        .args(["-f", "-e", "trace=fdatasync", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .arg(child)
        .arg(dir)
        .status();
    if !run.is_ok_and(|status| status.success()) {
        return None;
    }
    let calls = std::fs::read_to_string(&log).unwrap().matches("fdatasync(").count();
    i64::try_from(calls).ok()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn stack() -> StackId {
    StackId { app: "bench".parse().unwrap(), environment: "default".parse().unwrap() }
}

async fn acquire(store: &SqliteStore, stack: &StackId) -> Box<dyn Lease> {
    let holder = Holder { id: Uuid::nil(), name: "bench".to_owned(), host: "here".to_owned(), run_url: None };
    store.acquire(stack, &holder).await.unwrap()
}

fn opened(stack: &StackId, steps: usize) -> Entry {
    let steps: Vec<_> = (0..steps)
        .map(|i| {
            json!({
                "id": format!("create:thing/{i}"), "stage": "expand",
                "action": {
                    "do": "create", "key": format!("thing/{i}"), "kind": "test.thing",
                    "spec": {"size": 1}, "generation": 1,
                },
                "undo": {"undo": "delete"}, "after": [], "reason": "it is wanted",
            })
        })
        .collect();
    serde_json::from_value(json!({
        "entry": "plan_opened", "run": Uuid::nil(),
        "plan": {
            "stack": stack, "provider": "local", "incarnation": Uuid::nil(), "command": "deploy", "steps": steps,
            "digest": format!("sha256:{}", "0".repeat(64)),
        },
    }))
    .unwrap()
}

fn started(step: usize) -> Entry {
    let spec = json!({"text": "x".repeat(BYTES - 80)});
    serde_json::from_value(json!({"entry": "started", "step": format!("create:thing/{step}"), "spec": spec}))
        .unwrap()
}
