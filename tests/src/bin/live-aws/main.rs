//! The example on real AWS, by whoever has an account for it: nothing else in the project calls it.
//!
//! ```text
//! live-aws PROGRAM REGION USD [VALUES]      USD: the most that it may cost a month
//! ```
//! PROGRAM is `vrooli-deploy` with the feature `aws-native`. Runs only with `VROOLI_DEPLOY_LIVE=aws`, and with
//! credentials where AWS's own tools look for them. VALUES is a file beside `tests/fixtures/aws/quick.yaml`, which is
//! taken unless told. Whatever happens, and at Ctrl-C, all of it is deleted, and then looked for from a workspace that knows
//! nothing of it. Its app has a name that no other has, so nothing else is touched.
//!
//! What it does costs money for as long as it runs: the monthly cost by the hour, and what is billed by use.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod app;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::app::App;

const USAGE: &str = "live-aws PROGRAM REGION USD [VALUES]";
/// What says that it is meant.
const OPT_IN: (&str, &str) = ("VROOLI_DEPLOY_LIVE", "aws");
/// So many steps of the first deployment are done when it is killed: others are under way.
const KILLED_AFTER: usize = 6;
/// How often it is looked for what is left, and how long is waited between: listings of tags lag behind.
const LOOKS: (u32, Duration) = (5, Duration::from_secs(30));

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (program, region, most, values) = match words.as_slice() {
        [program, region, most] => (program, region, most, "quick.yaml"),
        [program, region, most, values] => (program, region, most, *values),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if std::env::var(OPT_IN.0).ok().as_deref() != Some(OPT_IN.1) {
        println!(
            "skipped: it makes things on AWS that cost money; {}={} says that this is meant",
            OPT_IN.0, OPT_IN.1
        );
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = async {
        let app = App::new(Path::new(program), region, most, values)?;
        println!("app `{}` in {region}, at most {most} USD a month", app.name());
        whole(&app).await
    };
    match runtime.and_then(|runtime| runtime.block_on(run)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// All of it; were all things as they should be?
async fn whole(app: &App) -> io::Result<bool> {
    // Before anything is made: too dear is not begun.
    app.is_affordable().await?;
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let lived = tokio::select! {
        lived = life(app) => lived,
        _ = terminated.recv() => Err(io::Error::other("ended by a signal")),
        _ = interrupted.recv() => Err(io::Error::other("ended by a signal")),
    };
    let mut all = said("made, killed, made again, unchanged", lived);
    // Twice: what the first could not take away at once goes with the second.
    let gone = match app.destroy().await {
        Ok(()) => Ok(()),
        Err(_) => app.destroy().await,
    };
    all &= said("deleted with its data", gone);
    all &= said("nothing is left", nothing_left(app).await);
    Ok(all)
}

async fn life(app: &App) -> io::Result<()> {
    app.deploy_and_die(KILLED_AFTER).await?;
    app.deploy().await?;
    app.is_unchanged().await?;
    app.has_no_drift().await
}

/// Looks as somebody who never heard of it.
async fn nothing_left(app: &App) -> io::Result<()> {
    let mut left = Vec::new();
    for look in 0..LOOKS.0 {
        left = app.left().await?;
        if left.is_empty() {
            return Ok(());
        }
        if look + 1 < LOOKS.0 {
            tokio::time::sleep(LOOKS.1).await;
        }
    }
    Err(io::Error::other(format!("still there, and billed: {}", left.join(", "))))
}

/// Says how it ended; was it well?
fn said(what: &str, ended: io::Result<()>) -> bool {
    match ended {
        Ok(()) => {
            println!("ok      {what}");
            true
        }
        Err(error) => {
            println!("FAILED  {what}: {error}");
            false
        }
    }
}
