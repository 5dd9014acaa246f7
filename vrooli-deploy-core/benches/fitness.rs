//! How long requirements and fitness take: of one scenario, and of a folder of them.
//!
//! `cargo bench -p vrooli-deploy-core --bench fitness -- [FOLDER]`, where the folder holds
//! `service.json` files under any names (default: the corpus beside the checkout).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark prints what it measured"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vrooli_deploy_core::fitness::{AssessOptions, TIERS, assess};
use vrooli_deploy_core::manifest::{LoadedManifest, load_text};

const RUNS: u32 = 50;

fn main() {
    let folder = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .map_or_else(|| shared().join("corpus").join("service-json"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no folder {}", folder.display());
        return;
    };
    let mut texts: Vec<(String, String)> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    texts.sort();
    let mut options = AssessOptions::default();
    options.tiers = TIERS.to_vec();
    let read = |(name, text): &(String, String)| -> Option<LoadedManifest> {
        load_text(Path::new(&format!("scenarios/{name}/.vrooli/service.json")), text.clone()).value
    };
    // The data files are read once.
    for text in &texts {
        drop(read(text).map(|loaded| assess(&loaded, &options)));
    }
    let mut slowest = (Duration::ZERO, "");
    let mut scoring = Duration::ZERO;
    let begin = Instant::now();
    for text in &texts {
        let loaded = read(text);
        let start = Instant::now();
        for _ in 0..RUNS {
            drop(loaded.as_ref().map(|loaded| assess(loaded, &options)));
        }
        let one = start.elapsed() / RUNS;
        scoring += one;
        if one > slowest.0 {
            slowest = (one, &text.0);
        }
    }
    let reading = begin.elapsed().saturating_sub(scoring * RUNS);
    println!("{} files, {} tiers each", texts.len(), TIERS.len());
    println!("read and import all: {reading:.1?}");
    println!("requirements and fitness of all: {scoring:.1?}");
    println!("requirements and fitness of the slowest ({}): {:.1?}", slowest.1, slowest.0);
}

fn shared() -> PathBuf {
    std::env::var_os("VROOLI_DEPLOY_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from)
}
