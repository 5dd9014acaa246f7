//! One file a verb. Each calls the library and draws what it says.

mod abort;
mod backups;
mod change;
mod completions;
mod configure;
mod context;
mod deploy;
mod destroy;
mod done;
mod drift;
mod estimate_cost;
mod explain;
mod file;
mod fitness;
mod history;
mod hosts;
mod interrupt;
mod list;
mod logs;
mod man;
mod manifest;
mod orphans;
mod permissions;
mod plan;
mod preflight;
mod prices;
mod profile;
mod promote;
mod releases;
mod render;
mod resume;
mod rollback;
mod secrets;
mod start;
mod state;
mod status;
mod stop;
mod swaps;
mod swaps_apply;
mod up;
mod validate;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use vrooli_deploy_core::provider::Registry;

use crate::arguments::{Arguments, Backups, Command, Manifest};
use crate::errors::Failure;
use crate::output::json::{Line, OutcomeWord, ResultLine, VERSION};
use crate::output::{self, Console};
use context::Context;
use done::Done;
use interrupt::Interrupt;

/// Does what the command line says.
pub(crate) fn run(registry: Registry) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let console = Console::new(&arguments.global);
    let command = arguments.command.name();
    log(arguments.global.verbose);
    let result = match &arguments.command {
        // Nothing here needs a runtime or a workspace.
        Command::Manifest(args) if !matches!(args, Manifest::Generate(_)) => {
            manifest::run(&console, &arguments.global, args)
        }
        Command::Explain(args) => explain::run(&console, args),
        Command::Completions(args) => completions::run(&console, args),
        Command::Man(args) => man::run(&console, args),
        _ => operate(console.clone(), arguments, registry),
    };
    finish(&console, command, result)
}

/// Commands on a workspace.
fn operate(console: Console, arguments: Arguments, registry: Registry) -> Result<Done, Failure> {
    // Two threads: the library waits for the disk in its own, and Ctrl-C must be seen meanwhile.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::system("cannot start", &e))?;
    let result = runtime.block_on(async {
        let changes = changes(&arguments.command);
        let interrupt = Interrupt::listen(&console, changes)?;
        let context = Context { console, global: arguments.global, registry, interrupt: interrupt.clone() };
        let result = tokio::select! {
            result = dispatch(&context, &arguments.command) => result,
            () = interrupt.over() => Err(Failure::interrupted()),
        };
        match result {
            // Whatever else it says: it was told to stop.
            Err(_) if interrupt.is_asked() && changes => Err(Failure::interrupted_change()),
            Err(_) if interrupt.is_asked() => Err(Failure::interrupted()),
            result => result,
        }
    });
    // A question that nobody answers must not keep the program.
    runtime.shutdown_background();
    result
}

/// Does the command change anything? Then it gets time to stop by itself.
fn changes(command: &Command) -> bool {
    matches!(
        command,
        Command::Up(_)
            | Command::Deploy(_)
            | Command::Stop(_)
            | Command::Start(_)
            | Command::Rollback(_)
            | Command::Promote(_)
            | Command::Abort(_)
            | Command::Destroy(_)
            | Command::Resume(_)
            | Command::Backups(Backups::Restore(_))
            | Command::State(_)
    ) || matches!(command, Command::Orphans(orphans) if orphans.delete || orphans.adopt)
}

async fn dispatch(context: &Context, command: &Command) -> Result<Done, Failure> {
    match command {
        Command::Up(args) => up::run(context, args).await,
        Command::Plan(args) => plan::run(context, args).await,
        Command::Deploy(args) => deploy::run(context, args).await,
        Command::List => list::run(context).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Stop(args) => stop::run(context, args).await,
        Command::Start(args) => start::run(context, args).await,
        Command::Releases(args) => releases::run(context, args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Promote(args) => promote::run(context, args).await,
        Command::Abort(args) => abort::run(context, args).await,
        Command::Destroy(args) => destroy::run(context, args).await,
        Command::Drift(args) => drift::run(context, args).await,
        Command::Orphans(args) => orphans::run(context, args).await,
        Command::Resume(args) => resume::run(context, args).await,
        Command::Backups(args) => backups::run(context, args).await,
        Command::State(args) => state::run(context, args).await,
        Command::History(args) => history::run(context, args).await,
        Command::Secrets(args) => secrets::run(context, args).await,
        Command::Profile(args) => profile::run(context, args).await,
        Command::Configure(args) => configure::run(context, args).await,
        Command::Manifest(Manifest::Generate(args)) => manifest::generate(context, args).await,
        Command::Manifest(args) => manifest::run(&context.console, &context.global, args),
        Command::Permissions(args) => permissions::run(context, args).await,
        Command::Render(args) => render::run(context, args).await,
        Command::EstimateCost(args) => estimate_cost::run(context, args).await,
        Command::Validate(args) => validate::run(context, args).await,
        Command::Hosts(args) => hosts::run(context, args).await,
        Command::Preflight(args) => preflight::run(context, args).await,
        Command::Prices(args) => prices::run(context, args).await,
        Command::Fitness(args) => fitness::run(context, args).await,
        Command::Swaps(args) => swaps::run(context, args).await,
        Command::Explain(args) => explain::run(&context.console, args),
        Command::Completions(args) => completions::run(&context.console, args),
        Command::Man(args) => man::run(&context.console, args),
    }
}

/// The last words, and the exit code.
fn finish(console: &Console, command: &str, result: Result<Done, Failure>) -> ExitCode {
    let done = match result {
        Ok(done) => done,
        Err(failure) => {
            if !failure.diagnostics.is_empty() {
                // What refused it is read last, where the eye is.
                let mut drawn = failure.diagnostics.clone();
                drawn.sort_by_key(|diagnostic| diagnostic.severity);
                console.error(&output::diagnostics(console.err, console.width(), &drawn));
                for diagnostic in &failure.diagnostics {
                    console.line(&Line::Diagnostic(diagnostic.into()));
                }
            }
            if failure.exit == 130 {
                console.error(&failure.message);
            } else if failure.is_a_diagnostic() {
                console.error(&output::more(console.err, &failure));
            } else {
                console.error(&output::failure(console.err, &failure));
            }
            Done {
                exit: failure.exit,
                outcome: OutcomeWord::of_exit(failure.exit),
                deployment: None,
                error: Some(failure),
            }
        }
    };
    console.line(&Line::Result(Box::new(ResultLine {
        version: VERSION,
        command: command.to_owned(),
        outcome: done.outcome,
        exit_code: done.exit,
        deployment: done.deployment,
        error: done.error,
    })));
    ExitCode::from(done.exit)
}

/// Help and version are answers; anything else that cannot be parsed is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = u8::try_from(error.exit_code()).unwrap_or(2);
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let failure = if exit != 0 && may_hold_a_secret(&arguments) {
        let failure = Failure::usage_with_secret();
        let plain = output::failure(output::Paint(false), &failure);
        use std::io::Write as _;
        // Nobody reads any more: nothing to say it to.
        let _ = writeln!(std::io::stderr(), "{plain}");
        failure
    } else {
        // See above.
        let _ = error.print();
        Failure::usage(error.render().to_string().trim_end().to_owned())
    };
    if exit != 0 && arguments.iter().any(|argument| argument == "--json") {
        let line = ResultLine {
            version: VERSION,
            command: String::new(),
            outcome: OutcomeWord::Usage,
            exit_code: exit,
            deployment: None,
            error: Some(failure),
        };
        if let Ok(text) = serde_json::to_string(&Line::Result(Box::new(line))) {
            use std::io::Write as _;
            // See above.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }
    ExitCode::from(exit)
}

/// Commands that take a value which must not be repeated, whatever else is wrong with the line.
fn may_hold_a_secret(arguments: &[std::ffi::OsString]) -> bool {
    let at = |word: &str| arguments.iter().position(|argument| argument == word);
    at("configure").is_some()
        || matches!((at("secrets"), at("set")), (Some(secrets), Some(set)) if secrets < set)
}

/// The program's own log, for those who look for a fault in it.
fn log(verbose: u8) {
    let filter = match verbose {
        0 | 1 => return,
        2 => "vrooli_deploy=info",
        3 => "vrooli_deploy=debug",
        _ => "trace",
    };
    // Set once, here; nothing else could have set it.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        // In a file colours are only in the way.
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
