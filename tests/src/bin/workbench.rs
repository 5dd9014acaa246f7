//! An embedding program in small, for tests: it does what the command line does, through
//! the library, and can be told to die at the Nth journal append or provider call.
//!
//! ```text
//! workbench STATE COMMAND [APP] [--kill append:N:before] [--data NAME] [--to rN] …
//! ```
//! One line of JSON on stdout, the exit code of the command line. With `--in-process` the apps
//! run inside it: it then reads further commands from standard input, a line each, and ends
//! when that does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, not a library")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use vrooli_deploy_core::engine::{EngineHooks, Entry, Hook, JournalRecord};
use vrooli_deploy_core::plan::StepId;
use vrooli_deploy_core::release::strategy::Strategies;
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, OperationError, RollbackOptions, Run, TargetOptions, Workspace,
    WorkspaceOptions,
};

#[derive(Debug, Default)]
struct Arguments {
    state: String,
    command: String,
    app: String,
    kill: Option<String>,
    data: Option<String>,
    to: Option<String>,
    environment: Option<String>,
    name: Option<String>,
    force: bool,
    allow_degraded: bool,
    adopt: bool,
    in_process: bool,
    no_wait: bool,
    allow_irreversible: bool,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Arguments {
    let mut parsed = Arguments::default();
    let mut plain = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--kill" => parsed.kill = words.next(),
            "--data" => parsed.data = words.next(),
            "--to" => parsed.to = words.next(),
            "--env" => parsed.environment = words.next(),
            "--name" => parsed.name = words.next(),
            "--force" => parsed.force = true,
            "--allow-degraded" => parsed.allow_degraded = true,
            "--adopt" => parsed.adopt = true,
            "--in-process" => parsed.in_process = true,
            "--no-wait" => parsed.no_wait = true,
            "--allow-irreversible" => parsed.allow_irreversible = true,
            _ => plain.push(word),
        }
    }
    let mut plain = plain.into_iter();
    parsed.state = plain.next().unwrap_or_default();
    parsed.command = plain.next().unwrap_or_default();
    parsed.app = plain.next().unwrap_or_default();
    parsed
}

/// Ends this process at the Nth of what it counts, as kill -9 would.
struct Killer {
    calls: bool,
    after: bool,
    left: AtomicU64,
}

impl Killer {
    /// `append:3:before`, `call:2:after`.
    fn parse(text: &str) -> Self {
        let mut parts = text.split(':');
        let calls = parts.next() == Some("call");
        let number = parts.next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
        Self { calls, after: parts.next() == Some("after"), left: AtomicU64::new(number) }
    }

    fn passes(&self, calls: bool, after: bool) {
        if self.calls == calls && self.after == after && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // The signal is on its way; nothing more may happen.
            loop {
                std::thread::park();
            }
        }
    }
}

#[async_trait]
impl Hook for Killer {
    async fn before_append(&self, _: u64, _: &Entry) {
        self.passes(false, false);
    }
    async fn after_append(&self, _: &JournalRecord) {
        self.passes(false, true);
    }
    async fn before_call(&self, _: &StepId, _: &'static str) {
        self.passes(true, false);
    }
    async fn after_call(&self, _: &StepId, _: &'static str, _: bool) {
        self.passes(true, true);
    }
}

fn hooks(kill: Option<&str>) -> EngineHooks {
    kill.map_or_else(EngineHooks::default, |kill| EngineHooks::new(Killer::parse(kill)))
}

fn main() -> ExitCode {
    let arguments = arguments(std::env::args().skip(1));
    if !arguments.in_process {
        // One that runs apps in itself is never started again.
        vrooli_deploy_providers::run_if_child(&vrooli_deploy_providers::registry());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(1);
        }
    };
    if arguments.in_process {
        return runtime.block_on(in_process(arguments));
    }
    let workspace = open(&arguments, vrooli_deploy_providers::registry());
    ExitCode::from(runtime.block_on(async { say(run(&arguments, &workspace.await).await) }))
}

/// Runs apps in itself until its standard input ends.
async fn in_process(first: Arguments) -> ExitCode {
    let here = vrooli_deploy_providers::local::LocalFactory::new().in_process();
    let workspace = open(&first, vrooli_deploy_providers::registry_with_local(here.clone())).await;
    let state = first.state.clone();
    let mut code = say(run(&first, &workspace).await);
    // Nothing else is to be done by this thread: supervisor and edge have their own.
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words = std::iter::once(state.clone()).chain(line.split_whitespace().map(str::to_owned));
        code = say(run(&arguments(words), &workspace).await);
    }
    here.shutdown().await;
    ExitCode::from(code)
}

/// Prints what came of a command.
fn say(result: Result<(Value, u8), OperationError>) -> u8 {
    let (value, code) = result.unwrap_or_else(|e| {
        let value = json!({"error": e.to_string(), "code": e.code(), "help": e.help(), "diagnostics": match &e {
            OperationError::Input(all) => json!(all),
            OperationError::PlanChanged { differences } => json!(differences),
            _ => Value::Null,
        }});
        (value, e.exit_code())
    });
    println!("{value}");
    code
}

type Opened = Result<Workspace, OperationError>;

async fn open(arguments: &Arguments, registry: vrooli_deploy_core::provider::Registry) -> Opened {
    let mut options = WorkspaceOptions::new(&arguments.state);
    options.key = std::env::var("VROOLI_DEPLOY_KEY").ok().map(Secret::new);
    Workspace::open_with(options, registry, Strategies::default(), hooks(arguments.kill.as_deref())).await
}

async fn run(arguments: &Arguments, workspace: &Opened) -> Result<(Value, u8), OperationError> {
    let workspace = match workspace {
        Ok(workspace) => workspace,
        Err(e) => {
            return Ok((json!({"error": e.to_string(), "code": e.code(), "help": e.help()}), e.exit_code()));
        }
    };
    let run = Run::new().with_events(|event| {
        if let Ok(line) = serde_json::to_string(event) {
            eprintln!("{line}");
        }
    });
    if arguments.command == "list" {
        return Ok((json!(workspace.list().await?), 0));
    }
    let options = TargetOptions {
        environment: arguments.environment.as_ref().and_then(|e| e.parse().ok()),
        name: arguments.name.as_ref().and_then(|e| e.parse().ok()),
        ..TargetOptions::default()
    };
    let target = workspace.resolve(&arguments.app, &options).await?;
    let mut deploy = DeployOptions::default();
    deploy.force = arguments.force;
    deploy.allow_degraded = arguments.allow_degraded;
    deploy.adopt = arguments.adopt;
    deploy.no_wait = arguments.no_wait;
    let mut destroy = DestroyOptions::default();
    destroy.data.clone_from(&arguments.data);
    let stack = &target.stack;
    let change = match arguments.command.as_str() {
        "deploy" => workspace.deploy(&target, &deploy, &run).await?,
        "rollback" => {
            let mut options = RollbackOptions::default();
            options.to = arguments.to.as_ref().and_then(|r| r.parse().ok());
            options.allow_irreversible = arguments.allow_irreversible;
            workspace.rollback(stack, &options, &run).await?
        }
        "stop" => workspace.stop(stack, &run).await?,
        "start" => workspace.start(stack, &run).await?,
        "destroy" => workspace.destroy(stack, &destroy, &run).await?,
        "plan" => return Ok((json!(workspace.plan(&target, &deploy).await?.plan), 0)),
        "status" => return Ok((json!(workspace.status(stack).await?), 0)),
        "releases" => return Ok((json!(workspace.releases(stack).await?), 0)),
        "history" => return Ok((json!(workspace.history(stack, 1).await?.len()), 0)),
        "promote" => {
            let report = workspace.promote(stack, &run).await?;
            return Ok((json!(report), report.outcome.kind.exit_code()));
        }
        "abort" => {
            let report = workspace.abort(stack, &run).await?;
            return Ok((json!(report), report.outcome.kind.exit_code()));
        }
        "resume" => {
            let report = workspace.resume(stack, &run).await?;
            return Ok((json!(report), report.outcome.kind.exit_code()));
        }
        other => {
            return Ok((json!({"error": format!("no command `{other}`")}), 2));
        }
    };
    let report = change.apply().await?;
    Ok((json!(report), report.outcome.kind.exit_code()))
}
