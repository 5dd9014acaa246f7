//! How long it takes to know before acting: fitness and cost of one scenario, and of a folder
//! of them, and what `validate` adds.
//!
//! `cargo run --release -p vrooli-deploy-tests --bin bench-assess -- [FOLDER]`, where the folder
//! holds `service.json` files under any names (default: the corpus beside the checkout).
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, printed")]

use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vrooli_deploy_core::cost::{self, DEFAULT_USAGE, Prices, UsageProfile};
use vrooli_deploy_core::fitness;
use vrooli_deploy_core::manifest::{LoadedManifest, Tier, load_text};
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::validate::{ValidateOptions, validate};

const ROUNDS: usize = 11;

fn main() {
    let folder = std::env::args().nth(1).map_or_else(shared, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no folder {}", folder.display());
        return;
    };
    let mut texts: Vec<(String, String)> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    texts.sort();
    let registry = vrooli_deploy_providers::registry();
    let prices = Prices::embedded();
    let usage = UsageProfile::named(DEFAULT_USAGE).unwrap();
    println!("{} files; medians of {ROUNDS} rounds, least to most", texts.len());
    for provider in ["aws", "digitalocean"] {
        let (mut all, mut slowest, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        // One round that does not count: data files are read once a process.
        for round in 0..=ROUNDS {
            let (mut worst, mut ruled) = (Spent::default(), Spent::default());
            let begin = Clock::now();
            for (name, text) in &texts {
                let start = Clock::now();
                let Some(loaded) = read(name, text, provider) else { continue };
                let stack = StackId {
                    app: loaded.manifest.app.name.clone(),
                    environment: "default".parse().unwrap(),
                };
                drop(fitness::assess(&loaded, &fitness::AssessOptions::default()));
                drop(cost::assess(&registry, &stack, &loaded, &cost::AssessOptions::new(usage, &prices)));
                let spent = start.elapsed();
                worst = Spent {
                    wall: worst.wall.max(spent.wall),
                    processor: worst.processor.max(spent.processor),
                };
                let start = Clock::now();
                drop(validate(&registry, &stack, &loaded, &ValidateOptions::default()));
                let spent = start.elapsed();
                ruled = Spent { wall: ruled.wall + spent.wall, processor: ruled.processor + spent.processor };
            }
            if round > 0 {
                all.push(begin.elapsed() - ruled);
                slowest.push(worst);
                rules.push(ruled);
            }
        }
        println!();
        println!("| {provider} | wall ms, median | least to most | processor ms, median | least to most |");
        println!("|---|---:|---:|---:|---:|");
        row("read, fitness and cost: the slowest file", slowest);
        row("read, fitness and cost: all files", all);
        row("validate: all files, beside that", rules);
    }
}

fn read(name: &str, text: &str, provider: &str) -> Option<LoadedManifest> {
    let mut loaded =
        load_text(Path::new(&format!("scenarios/{name}/.vrooli/service.json")), text.to_owned()).value?;
    loaded.manifest.target = Tier::Saas;
    loaded.manifest.provider = provider.parse().unwrap();
    Some(loaded)
}

/// What passed, and what of it the processor worked for us: others cannot make that longer.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    processor: Duration,
}

impl Sub for Spent {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            wall: self.wall.saturating_sub(other.wall),
            processor: self.processor.saturating_sub(other.processor),
        }
    }
}

struct Clock {
    wall: Instant,
    processor: Duration,
}

impl Clock {
    fn now() -> Self {
        Self { wall: Instant::now(), processor: processor() }
    }

    fn elapsed(&self) -> Spent {
        Spent { wall: self.wall.elapsed(), processor: processor().saturating_sub(self.processor) }
    }
}

/// What the processor has worked for this thread; zero where the system does not say.
fn processor() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(said.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default())
}

fn row(what: &str, spent: Vec<Spent>) {
    let figures = |pick: fn(&Spent) -> Duration| {
        let mut times: Vec<Duration> = spent.iter().map(pick).collect();
        times.sort();
        let ms = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
        let last = times.len().saturating_sub(1);
        format!("{:.1} | {:.1} to {:.1}", ms(times.len() / 2), ms(0), ms(last))
    };
    println!("| {what} | {} | {} |", figures(|one| one.wall), figures(|one| one.processor));
}

fn shared() -> PathBuf {
    let shared = std::env::var_os("VROOLI_DEPLOY_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    shared.join("corpus").join("service-json")
}
