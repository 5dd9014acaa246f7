//! Servers over SSH, beside Ansible and pyinfra: the same work on the same hosts, interleaved.
//! Prints markdown.
//!
//! ```text
//! bench-hosts [--kept] PROGRAM TOOLS [ROUNDS [HOSTS…]]      5 rounds; 1, 3 and 10 hosts
//! ```
//! Without `--kept` each command connects anew, as when the last one is more than a minute ago; with it those that
//! keep connections for a minute find them.
//! PROGRAM is a release build of `vrooli-deploy`. TOOLS is a folder for a Python environment with
//! Ansible and pyinfra, which is made if it is not there (`tests/fixtures/hosts/bench`, where their
//! playbooks and deploys lie, too). Needs a Docker engine with the image of
//! `tests/fixtures/hosts/build.sh`, ssh, rustc and python3.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod row;
mod stand;
mod tools;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use self::row::{Row, Sample};
use self::stand::{Image, Stand};
use self::tools::{Tool, Work};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let kept = words.first().is_some_and(|word| word == "--kept");
    words.drain(..usize::from(kept));
    let numbers: Option<Vec<u32>> = words.iter().skip(2).map(|word| word.parse().ok()).collect();
    let ([program, folder, ..], Some(numbers)) = (words.as_slice(), numbers) else {
        eprintln!("bench-hosts [--kept] PROGRAM TOOLS [ROUNDS [HOSTS…]]");
        return ExitCode::from(2);
    };
    let (rounds, counts) = match numbers.as_slice() {
        [] => (5, &[1, 3, 10][..]),
        [rounds] => (*rounds, &[1, 3, 10][..]),
        [rounds, counts @ ..] => (*rounds, counts),
    };
    match run(Path::new(program), Path::new(folder), kept, rounds, counts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &Path, folder: &Path, kept: bool, rounds: u32, counts: &[u32]) -> io::Result<()> {
    let program = program.canonicalize()?;
    let folder: PathBuf = tools::python(folder)?;
    let image = Image::make()?;
    println!(
        "{rounds} rounds, interleaved; seconds, median (least to most). Installing packages on one host, the same \
         for all: {:.1} s.\n",
        image.packages.as_secs_f64()
    );
    Row::print_head();
    for count in counts {
        let stand = Stand::up(&image, *count)?;
        let tools = tools::all(&stand, &program, &folder, kept)?;
        let mut row = Row::default();
        for round in 0..rounds {
            for at in 0..tools.len() {
                // Who comes first is never the same one twice running.
                let tool = &tools[(at + round as usize) % tools.len()];
                eprintln!("{count} hosts, round {}: {}", round + 1, tool.name());
                // What one left would be a stranger's to the next.
                for other in &tools {
                    other.reset(&stand)?;
                }
                measure(&stand, tool.as_ref(), round, &mut row)?;
            }
            row.add(tools::BARE, Work::Nothing, timed(&stand, || stand.bare())?);
        }
        row.print(*count);
    }
    Ok(())
}

/// All that a tool does in a round. What is not timed is there for what is.
fn measure(stand: &Stand, tool: &dyn Tool, round: u32, row: &mut Row) -> io::Result<()> {
    for work in [Work::Setup, Work::SetupAgain] {
        row.add(tool.name(), work, timed(stand, || tool.setup(stand))?);
        tool.is_set_up(stand)?;
    }
    let (old, new) = (2 * round + 1, 2 * round + 2);
    stand.artefact(old)?;
    if let Some(why) = tool.release(stand, old)? {
        row.refuse(tool.name(), &why);
        return Ok(());
    }
    stand.artefact(new)?;
    for work in [Work::Release, Work::ReleaseAgain] {
        row.add(tool.name(), work, timed(stand, || tool.release(stand, new).map(drop))?);
        tool.serves(stand, new)?;
    }
    Ok(())
}

fn timed(stand: &Stand, work: impl FnOnce() -> io::Result<()>) -> io::Result<Sample> {
    let before = stand.counted()?;
    let spent = stand.processor()?;
    let begun = Instant::now();
    work()?;
    let took = begun.elapsed();
    let spent = stand.processor()?.saturating_sub(spent);
    let after = stand.counted()?;
    let hosts = f64::from(stand.count);
    Ok(Sample {
        took,
        processor: spent / stand.count,
        connections: (after.0 - before.0) as f64 / hosts,
        sessions: (after.1 - before.1) as f64 / hosts,
    })
}
