//! Real processes, killed for real. The binary is its own supervisor, shim, edge and app.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is a test, which clippy cannot see without the usual harness"
)]

#[cfg(target_os = "linux")]
#[macro_use]
mod trials;
#[cfg(target_os = "linux")]
mod app;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod serving;
#[cfg(target_os = "linux")]
mod world;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    vrooli_deploy_provider_local::child::run_if_child(world::hooks());
    if let Some(status) = app::run_if_app() {
        return status;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(process::trials());
    trials.extend(serving::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: supervising processes needs Linux");
}
