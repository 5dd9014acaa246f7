//! What the local provider does on a real machine: real processes, killed for real. The
//! program starts itself again as its own supervisor, shim, edge, app and victim, which is
//! why it has a `main` of its own.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests say what went wrong by panicking, and what they skip by printing"
)]

#[cfg(target_os = "linux")]
#[macro_use]
mod trials;
#[cfg(target_os = "linux")]
mod app;
mod building;
mod containers;
mod migrating;
mod place;
mod postgres;
#[cfg(target_os = "linux")]
mod process;
mod redis;
#[cfg(target_os = "linux")]
mod serving;
mod small_kinds;
#[cfg(target_os = "linux")]
mod world;

/// First argument of a child; the second says which.
const CHILD: &str = "__child";

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    {
        vrooli_deploy_provider_local::child::run_if_child(world::hooks());
        if let Some(status) = app::run_if_app() {
            return status;
        }
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(CHILD) {
        let mode = arguments.next().unwrap_or_default();
        let rest: Vec<String> = arguments.collect();
        let status = match mode.as_str() {
            "build-step" => i32::from(vrooli_deploy_provider_local::build::run_build_step()),
            "build" => building::child(&rest),
            "create-postgres" => postgres::child(&rest),
            "create-redis" => redis::child(&rest),
            "migrate" => migrating::child(&rest),
            other => panic!("no such child: {other}"),
        };
        std::process::exit(status);
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(small_kinds::trials());
    trials.extend(building::trials());
    trials.extend(postgres::trials());
    trials.extend(redis::trials());
    trials.extend(containers::trials());
    trials.extend(migrating::trials());
    #[cfg(target_os = "linux")]
    trials.extend(process::trials());
    #[cfg(target_os = "linux")]
    trials.extend(serving::trials());
    #[cfg(not(target_os = "linux"))]
    println!("skipped: supervising processes needs Linux");
    libtest_mimic::run(&arguments, trials).exit_code()
}
