//! The reference stack of AWS on an emulator (moto), behind a proxy that makes every call take as long
//! as AWS's do. Prints markdown.
//!
//! ```text
//! bench-aws speed PROGRAM [ROUNDS]          5 rounds; beside terraform, if it is on the PATH
//! bench-aws crash PROGRAM [KILLS [SEED]]    200 SIGKILLs at random moments, then the same command again
//! bench-aws lost PROGRAM                    the answer to every create is lost once
//! bench-aws serve [MILLISECONDS]            an emulator to try things on by hand, until Ctrl-C;
//!                                           says each call
//! ```
//! PROGRAM is `vrooli-deploy` with the feature `aws-native`. `VROOLI_DEPLOY_MOTO` is the folder that
//! `moto_server` is in. terraform takes its AWS provider from wherever its own settings say.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod crash;
mod lost;
mod ours;
mod speed;
mod stand;
mod terraform;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use vrooli_deploy_tests::moto::wire::action;

use self::stand::Stand;

/// What a call of AWS takes longer here than the emulator takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(250);

const USAGE: &str = "bench-aws speed PROGRAM [ROUNDS] | crash PROGRAM [KILLS [SEED]] | lost PROGRAM | \
                     serve [MILLISECONDS]";

enum Mode {
    Speed(PathBuf, u32),
    Crash(PathBuf, u64, u64),
    Lost(PathBuf),
    Serve(Duration),
}

fn mode(words: &[&str]) -> Option<Mode> {
    let number = |at: usize, default: u64| words.get(at).map_or(Some(default), |word| word.parse().ok());
    // So that two runs are two experiments; the seed is printed.
    let seed = u64::from(std::process::id());
    Some(match words {
        ["speed", program, ..] => Mode::Speed(program.into(), u32::try_from(number(2, 5)?).ok()?),
        ["crash", program, ..] => Mode::Crash(program.into(), number(2, 200)?, number(3, seed)?),
        ["lost", program] => Mode::Lost(program.into()),
        ["serve", ..] => Mode::Serve(Duration::from_millis(number(1, 0)?)),
        _ => return None,
    })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(mode) = mode(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(unless_interrupted(run(mode)))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Emulators and deployments end with this program, however it is asked to end.
async fn unless_interrupted(run: impl Future<Output = io::Result<bool>>) -> io::Result<bool> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = run => done,
        _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        _ = terminated.recv() => Err(io::Error::other("terminated")),
    }
}

/// Says whether all was as it should be.
async fn run(mode: Mode) -> io::Result<bool> {
    match mode {
        Mode::Speed(program, rounds) => speed::run(&program.canonicalize()?, rounds).await,
        Mode::Crash(program, kills, seed) => crash::run(&program.canonicalize()?, kills, seed).await,
        Mode::Lost(program) => lost::run(&program.canonicalize()?).await,
        Mode::Serve(latency) => serve(latency).await,
    }
}

async fn serve(latency: Duration) -> io::Result<bool> {
    let stand = Stand::up().await?;
    stand.proxy.set_latency(latency);
    let from = Instant::now();
    stand.proxy.break_when(move |request| {
        eprintln!("{:8.3} {}", from.elapsed().as_secs_f64(), action(request));
        None
    });
    println!("export AWS_ENDPOINT_URL={} AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x", stand.proxy.url());
    std::future::pending().await
}
