use clap::CommandFactory as _;

use super::done::Done;
use crate::arguments::{self, Arguments};
use crate::errors::Failure;
use crate::output::{Console, json::Line};

#[expect(clippy::unnecessary_wraps, reason = "all commands have one form")]
pub(crate) fn run(console: &Console, args: &arguments::Completions) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "vrooli-deploy", &mut script);
    let script = String::from_utf8_lossy(&script);
    console.result(&script);
    console.line(&Line::Text { text: script.into_owned() });
    Ok(Done::read())
}
