//! The command line of vrooli-deploy. Parses flags, calls the library, draws what it
//! says; holds no logic of its own.

#[cfg(unix)]
mod arguments;
#[cfg(unix)]
mod commands;
#[cfg(unix)]
mod errors;
#[cfg(unix)]
mod output;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    // Supervisor, edge and shims are this binary too: what is one of them never comes back from here.
    let registry = vrooli_deploy_providers::registry();
    vrooli_deploy_providers::run_if_child(&registry);
    commands::run(registry)
}

#[cfg(not(unix))]
fn main() -> std::process::ExitCode {
    use std::io::Write as _;
    // If even this cannot be written, the exit code says it.
    let _ = writeln!(
        std::io::stderr(),
        "error: vrooli-deploy runs on Linux and macOS; on Windows, run it inside WSL 2"
    );
    std::process::ExitCode::from(1)
}
