use std::path::Path;

use vrooli_deploy_core::plan::{Plan, compare};
use vrooli_deploy_core::workspace::{OperationError, Report};

use super::context::Context;
use super::done::Done;
use super::{change, plan};
use crate::arguments::Deploy;
use crate::errors::Failure;

pub(crate) async fn run(context: &Context, args: &Deploy) -> Result<Done, Failure> {
    if args.dry_run {
        plan::show(context, &args.app.app, &args.choices).await?;
        return Ok(Done::read());
    }
    let report = deploy(context, "deploy", args).await?;
    change::say(&context.console, "deploy", &report);
    Ok(Done::report(&report))
}

/// Plans and applies a deployment.
pub(crate) async fn deploy(context: &Context, command: &str, args: &Deploy) -> Result<Report, Failure> {
    let saved = args.plan.as_deref().map(read).transpose()?;
    let (workspace, target) = context.target_with(&args.app.app, &args.choices.values).await?;
    let change = workspace.deploy(&target, &args.choices.options(), &context.run()).await?;
    // A saved plan is evidence, never instructions: what is applied is the one just made.
    if let Some(saved) = saved
        && saved.digest != change.plan().digest
    {
        let differences = compare(&saved, change.plan());
        return Err(OperationError::PlanChanged { differences }.into());
    }
    change::apply(context, command, change).await
}

fn read(file: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::saved_plan(file, e))?;
    serde_json::from_str(&text).map_err(|e| Failure::saved_plan(file, e))
}
