use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::EstimateCost;
use crate::errors::Failure;
use crate::output::{self, json::Line};

pub(crate) async fn run(context: &Context, args: &EstimateCost) -> Result<Done, Failure> {
    let (workspace, target) = context.target_to_assess_with(&args.app.app, &args.values).await?;
    let report = workspace.estimate(&target, &args.options())?;
    let console = &context.console;
    change::input(console, &report.diagnostics);
    console.line(&Line::Estimate(Box::new((&report).into())));
    console.result(&output::estimate(console.out, &report, console.verbose > 0));
    report.gate()?;
    Ok(Done::read())
}
