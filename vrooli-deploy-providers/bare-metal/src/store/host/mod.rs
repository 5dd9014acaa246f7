//! The host's side of a delivery: our program there, as root, takes into the store what is sent on its
//! standard input. It is told what by the lines that [`Delivery`](super::Delivery) writes, and says what
//! came of it in lines as surveys do.
//!
//! ```text
//! store/pieces/<sha256>          what artefacts consist of, each piece once for all apps
//! store/refs/<app>/<env>/<name>  what an artefact is made of: nobody takes that away
//! store/lock                     held where names are given or taken away
//! store/phase-…                  one that is under way, as long as its `lock` is held
//! ```
//! A script for hosts without our program brings that there, by the same store.

mod input;
mod look;
mod make;
mod phase;
mod prune;
#[cfg(test)]
mod tests;
mod unpack;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd as _;
use std::path::Path;

use self::input::Input;
use self::phase::Store;
use super::BASE;
use crate::blocks::BLOCK;

/// By which our program knows that it was started for this.
const MARKER: &str = "__vrooli-deploy-child";
const STORE: &str = "store";
/// What is missing? The input is what is to be there.
pub(super) const ASK: &str = "ask";
/// Here is what was said to be missing. The input is the length of what is to be there, that, and pieces.
pub(super) const SEND: &str = "send";
/// Here is what is thought to be missing. The same input.
pub(super) const SEND_UNASKED: &str = "send-unasked";

/// The arguments by which our program does one of these.
pub(super) fn words(mode: &'static str) -> &'static [&'static str] {
    match mode {
        ASK => &[STORE, ASK],
        SEND => &[STORE, SEND],
        _ => &[STORE, SEND_UNASKED],
    }
}

/// The script that becomes our program. As other scripts of ours it has its standard input.
pub(super) fn command(mode: &str) -> String {
    format!("exec {BASE}/program {MARKER} {STORE} {mode}")
}

/// Another delivery has held the store for too long.
pub(super) const HELD: u8 = 20;
/// What was sent was cut off.
pub(super) const CUT: u8 = 21;
/// What was put together is not what it should be.
pub(super) const OTHER: u8 = 22;
/// The release's folder holds something else, which runs.
pub(super) const IN_USE: u8 = 23;
/// There is no such account.
pub(super) const NO_ACCOUNT: u8 = 24;
/// Docker does not answer.
pub(super) const NO_DOCKER: u8 = 25;
/// Store and releases are on two file systems.
pub(super) const TWO_DISKS: u8 = 26;

/// Runs the hidden subcommand that takes what is delivered to a host, and ends the process with its
/// status, if this process was started as that; else does nothing. First in `main`, before threads and
/// runtimes.
pub fn run_if_child() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != MARKER)
        || arguments.next().is_none_or(|role| role != STORE)
    {
        return;
    }
    let mode = arguments.next().and_then(|mode: OsString| mode.into_string().ok()).unwrap_or_default();
    let status =
        match input().and_then(|mut from| run(Path::new(BASE), &mode, &mut from, &mut io::stdout().lock())) {
            Ok(()) => 0,
            Err(failure) => {
                let _ = writeln!(io::stderr(), "{}", failure.words);
                failure.status
            }
        };
    std::process::exit(i32::from(status));
}

/// Standard input, of which more is read at a time than by the library's own.
fn input() -> Result<impl Read> {
    let from = io::stdin().as_fd().try_clone_to_owned()?;
    // Whoever writes need not wait so often. What is no pipe, and a limit of the system's: as it is.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&from, BLOCK);
    Ok(BufReader::with_capacity(BLOCK, File::from(from)))
}

/// Why it ends.
#[derive(Debug)]
struct Failure {
    status: u8,
    words: String,
}

impl Failure {
    fn new(status: u8, words: impl Display) -> Self {
        Self { status, words: words.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(1, error)
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// The same with the path it happened at.
fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::new(1, format_args!("{path}: {error}"))
}

/// Makes what the input says of what follows it; says what came of it to `to`.
fn run(base: &Path, mode: &str, from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    let input = match mode {
        ASK => Input::read_all(from),
        SEND | SEND_UNASKED => Input::read_head(from),
        _ => return Err(Failure::new(64, "asked for something unknown")),
    }?;
    let store = Store::open(base, to)?;
    if mode != SEND && !look::goes_on(&store, &input, mode == ASK)? {
        return Ok(());
    }
    if mode == ASK {
        return store.missing(&input)?.iter().try_for_each(|piece| store.say("missing", piece));
    }
    store.let_go()?;
    // Not before: what nobody reads yet somebody would have to hold.
    store.ask_for_pieces()?;
    let arrived = store.take(from)?;
    make::make(&store, &input, &arrived)
}
