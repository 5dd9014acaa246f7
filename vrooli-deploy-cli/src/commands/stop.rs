use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::App;
use crate::errors::Failure;

pub(crate) async fn run(context: &Context, args: &App) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let change = workspace.stop(&target.stack, &context.run()).await?;
    let report = change::apply(context, "stop", change).await?;
    change::say(&context.console, "stop", &report);
    Ok(Done::report(&report))
}
