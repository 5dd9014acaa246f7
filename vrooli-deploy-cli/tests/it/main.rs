//! The program as a user sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod canary;
#[cfg(feature = "tls")]
mod certificates;
mod configure;
mod estimate;
mod fleet;
mod hosts;
mod json;
mod live;
mod normal;
mod prices;
mod records;
#[path = "../../../vrooli-deploy-providers/bare-metal/tests/it/rig.rs"]
mod rig;
mod script;
mod supervisor;
mod terminal;

use std::path::{Path, PathBuf};

use script::Script;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Runs every script of a folder, or those whose name holds `$SCRIPT`.
fn run_all(folder: &Path) {
    let wanted = std::env::var("SCRIPT").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .filter(|path| path.display().to_string().contains(&wanted))
        .collect();
    files.sort();
    assert!(!files.is_empty() || !wanted.is_empty(), "no scripts in {}", folder.display());
    let failed: Vec<String> = files.iter().filter_map(|file| Script::read(file).run().err()).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// What needs nothing but the program: usage, manifests, explanations.
#[test]
fn scripts() {
    run_all(&folder("scripts"));
}

/// What deploys for real on this machine.
#[test]
fn live_scripts() {
    run_all(&folder("scripts/live"));
}
