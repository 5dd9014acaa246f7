use vrooli_deploy_core::workspace::RollbackOptions;

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::Rollback;
use crate::errors::Failure;

pub(crate) async fn run(context: &Context, args: &Rollback) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app.app).await?;
    let mut options = RollbackOptions::default();
    options.to = args.to;
    options.allow_irreversible = args.allow_irreversible;
    let change = workspace.rollback(&target.stack, &options, &context.run()).await?;
    let report = change::apply(context, "rollback", change).await?;
    change::say(&context.console, "rollback", &report);
    Ok(Done::report(&report))
}
