//! What the local provider does on a real machine. The program starts itself again as the
//! processes that tests kill, which is why it has a `main` of its own.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod building;
mod migrating;
mod place;
mod postgres;
mod redis;
mod small_kinds;

use libtest_mimic::Arguments;

/// First argument of a child; the second says which.
const CHILD: &str = "__child";

fn main() {
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
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(small_kinds::trials());
    trials.extend(building::trials());
    trials.extend(postgres::trials());
    trials.extend(redis::trials());
    trials.extend(migrating::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
