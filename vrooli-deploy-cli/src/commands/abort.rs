use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::App;
use crate::errors::Failure;

pub(crate) async fn run(context: &Context, args: &App) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let report = workspace.abort(&target.stack, &context.run()).await?;
    change::say(&context.console, "abort", &report);
    Ok(Done::report(&report))
}
