//! What it costs to plan, apply and plan again a stack of many resources, on the fake cloud
//! without latency and with the durable state: the engine's own share of a deployment.
//!
//! ```text
//! cargo run --release -p vrooli-deploy-tests --bin bench-plan -- [RESOURCES [DIR [ROUNDS [--first]]]]
//! ```
//! RESOURCES is 10000 unless told, DIR (for the state) is a folder for temporary files, each
//! plan is made ROUNDS times (7); `--first` ends after the first plan. One line a figure: name, median, least and most; memory
//! is the peak of the whole process, the cloud included.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, not a library")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;
use vrooli_deploy_core::engine::{ApplyOptions, Engine, EngineOptions, EventSink, OutcomeKind};
use vrooli_deploy_core::plan::{self, AssembleInput, Plan, ResourceInput, ResourceOptions};
use vrooli_deploy_core::provider::{Cancellation, OpCtx, Provider};
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_core::state::{Holder, SqliteStore, StateStore};
use vrooli_deploy_tests::fakecloud::{FakeCloud, FakeCloudOptions, MemorySecrets};
use vrooli_deploy_tests::session::{key, resource, stack_id};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Resources that hang together: a network, its subnets, and what stands in them.
const GROUP: usize = 100;
const SUBNETS: usize = 9;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let resources: usize = words.next().map_or(Ok(10_000), |n| n.parse())?;
    let parent = words.next().map_or_else(std::env::temp_dir, Into::into);
    let rounds: usize = words.next().map_or(Ok(7), |n| n.parse())?;
    let first_only = words.next().is_some_and(|word| word == "--first");
    let dir = tempfile::tempdir_in(parent)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(plans(
        resources,
        dir.path(),
        rounds,
        first_only,
    ))
}

async fn plans(resources: usize, dir: &Path, rounds: usize, first_only: bool) -> Result<()> {
    let bench = Bench::new(resources);
    let (first, plan) = bench.rounds(dir, rounds).await?;
    println!("first plan of {resources}: {} steps, {first}", plan.steps.len());
    if first_only {
        return Ok(());
    }
    let (time, appended) = bench.apply(dir, plan).await?;
    println!("apply of {resources}: {:.1} s, {appended} journal records", time.as_secs_f64());
    let (again, plan) = bench.rounds(dir, rounds).await?;
    println!("no-op plan of {resources}: {} steps, {again}", plan.steps.len());
    if plan.is_empty() { Ok(()) } else { Err("what was applied is planned again".into()) }
}

struct Bench {
    stack: Stack,
    cloud: FakeCloud,
    provider: Arc<dyn Provider>,
}

impl Bench {
    fn new(resources: usize) -> Self {
        let options = FakeCloudOptions {
            latency: Duration::ZERO,
            lag: Duration::ZERO,
            slow: Duration::ZERO,
            throttle: None,
            page: 1000,
        };
        let cloud = FakeCloud::new(options);
        Self { stack: stack(resources), provider: cloud.provider(), cloud }
    }

    fn engine(&self, store: &SqliteStore) -> Engine {
        let mut options = EngineOptions::default();
        options.owner = store.id();
        Engine::new(Arc::clone(&self.provider), Arc::<MemorySecrets>::default(), options)
    }

    /// The plan, and what it took. The peak of memory is counted from here.
    async fn rounds(&self, dir: &Path, rounds: usize) -> Result<(Figures, Plan)> {
        forget_peak()?;
        let mut figures = Figures::default();
        let mut last = None;
        let (rounds, before) = (rounds.max(1), self.cloud.count());
        for _ in 0..rounds {
            last = Some(self.plan(dir, &mut figures).await?);
        }
        figures.calls = (self.cloud.count() - before) / rounds as u64;
        figures.peak = peak()?;
        Ok((figures, last.ok_or("no round")?))
    }

    /// All that a program does between opening the state and showing the plan.
    async fn plan(&self, dir: &Path, figures: &mut Figures) -> Result<Plan> {
        let start = Instant::now();
        let store = SqliteStore::open(dir)?;
        let state = store.load(&self.stack.id).await?;
        figures.load.push(start.elapsed());

        let observe = Instant::now();
        let deadline = Instant::now() + Duration::from_secs(60);
        let cx = OpCtx::new(self.stack.id.clone(), store.id(), 0, deadline, Cancellation::new());
        let seen = self.engine(&store).survey(&cx, &state).await?;
        figures.observe.push(observe.elapsed());

        let diff = Instant::now();
        let incarnation = if state.incarnation.is_nil() { Uuid::from_u128(7) } else { state.incarnation };
        let steps = plan::resources(&ResourceInput {
            stack: &self.stack,
            state: &state,
            inventory: &seen.inventory,
            incarnation,
            provider: &*self.provider,
            options: &ResourceOptions::default(),
        })?;
        let plan = plan::assemble(AssembleInput {
            stack: self.stack.id.clone(),
            provider: self.provider.name().clone(),
            incarnation,
            command: "deploy".to_owned(),
            resource_steps: steps.steps,
            specs: steps.specs,
            release_steps: Vec::new(),
            release: None,
            current: state.current,
            notes: steps.notes,
            inventory: &seen.inventory,
        })?;
        figures.diff.push(diff.elapsed());

        let check = Instant::now();
        let findings = plan::check(&plan, &state);
        if !findings.is_empty() {
            return Err(format!("the plan has {} findings", findings.len()).into());
        }
        figures.check.push(check.elapsed());

        let write = Instant::now();
        serde_json::to_writer(std::io::sink(), &plan)?;
        figures.write.push(write.elapsed());
        figures.total.push(start.elapsed());
        Ok(plan)
    }

    async fn apply(&self, dir: &Path, plan: Plan) -> Result<(Duration, u64)> {
        let store = SqliteStore::open(dir)?;
        let mut state = store.load(&self.stack.id).await?;
        let holder =
            Holder { id: Uuid::nil(), name: "bench".to_owned(), host: "here".to_owned(), run_url: None };
        let lease = store.acquire(&self.stack.id, &holder).await?;
        let start = Instant::now();
        let outcome = self
            .engine(&store)
            .apply(&*lease, &mut state, plan, ApplyOptions::default(), &EventSink::default())
            .await?;
        let time = start.elapsed();
        lease.release().await?;
        if outcome.kind == OutcomeKind::Applied {
            Ok((time, state.seq))
        } else {
            Err(format!("{outcome:?}").into())
        }
    }
}

#[derive(Default)]
struct Figures {
    load: Vec<Duration>,
    observe: Vec<Duration>,
    diff: Vec<Duration>,
    check: Vec<Duration>,
    write: Vec<Duration>,
    total: Vec<Duration>,
    /// Of the provider, for one plan.
    calls: u64,
    /// In KiB.
    peak: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("total", &self.total),
            ("load state", &self.load),
            ("observe", &self.observe),
            ("diff", &self.diff),
            ("check", &self.check),
            ("write", &self.write),
        ];
        for (name, times) in parts {
            let mut times: Vec<u128> = times.iter().map(Duration::as_micros).collect();
            times.sort_unstable();
            let ms = |at: usize| {
                times.get(at).map_or(f64::NAN, |t| Duration::from_micros(*t as u64).as_secs_f64() * 1e3)
            };
            let (middle, end) = (times.len() / 2, times.len().saturating_sub(1));
            write!(f, "{name} {:.1} ms ({:.1} to {:.1}), ", ms(middle), ms(0), ms(end))?;
        }
        write!(f, "{} provider calls, peak memory {} MB", self.calls, self.peak * 1024 / 1_000_000)
    }
}

/// A network in a hundred, nine subnets in it, and databases, buckets and records.
fn stack(resources: usize) -> Stack {
    let reference = |to: String| json!({"$ref": to, "output": "id"});
    let one = |i: usize| {
        let (group, at) = (i / GROUP, i % GROUP);
        let subnet = || reference(format!("subnet/s{group}-{}", 1 + at % SUBNETS));
        match at {
            0 => (
                format!("network/n{group}"),
                resource("fake.network", json!({"cidr": "10.0.0.0/16", "label": format!("network {group}")})),
            ),
            1..=SUBNETS => {
                let network = reference(format!("network/n{group}"));
                let spec =
                    json!({"network": network, "cidr": format!("10.0.{at}.0/24"), "public": at % 2 == 0});
                (format!("subnet/s{group}-{at}"), resource("fake.subnet", spec))
            }
            _ => match at % 3 {
                0 => (
                    format!("database/d{group}-{at}"),
                    resource("fake.database", json!({"subnet": subnet(), "size": "small", "version": "16"})),
                ),
                1 => (
                    format!("record/r{group}-{at}"),
                    resource("fake.record", json!({"name": format!("r{i}.example"), "target": subnet()})),
                ),
                _ => (
                    format!("bucket/b{group}-{at}"),
                    resource(
                        "fake.bucket",
                        json!({"name": format!("b{i}"), "region": "eu", "versioned": true}),
                    ),
                ),
            },
        }
    };
    let resources: BTreeMap<_, _> =
        (0..resources).map(one).map(|(name, wanted)| (key(&name), wanted)).collect();
    Stack { id: stack_id(), resources }
}

/// From now on the peak is a new one, where the kernel can do that.
fn forget_peak() -> Result<()> {
    match std::fs::write("/proc/self/clear_refs", "5") {
        Err(e) if e.kind() != std::io::ErrorKind::PermissionDenied => Err(e.into()),
        _ => Ok(()),
    }
}

fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
