use super::context::Context;
use super::done::Done;
use crate::arguments::App;
use crate::errors::Failure;
use crate::output::{self, json::Line};

pub(crate) async fn run(context: &Context, args: &App) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let report = workspace.drift(&target.stack).await?;
    let console = &context.console;
    for note in &report.notes {
        console.note(note);
    }
    for one in &report.differences {
        console.line(&Line::Drift(one.into()));
    }
    console.result(&output::drift(console.out, &report));
    Ok(Done::exit(if report.differences.is_empty() { 0 } else { 10 }))
}
