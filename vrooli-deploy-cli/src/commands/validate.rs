use vrooli_deploy_core::validate::CheckStatus;

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::Validate;
use crate::errors::Failure;
use crate::output;
use crate::output::json::{CheckLine, Line};

pub(crate) async fn run(context: &Context, args: &Validate) -> Result<Done, Failure> {
    let (workspace, target) = context.target_with(&args.app.app, &args.values).await?;
    let options = args.options(jiff::Zoned::now().date());
    let report = workspace.validate(&target, &options, &args.budget()).await?;
    let console = &context.console;
    change::input(console, &report.diagnostics);
    let validation = &report.validation;
    for check in &validation.checks {
        console.line(&Line::Check(Box::new(CheckLine::new(validation, check))));
    }
    console.result(&output::validation(console.out, validation, console.verbose > 0));
    if validation.status() < CheckStatus::Fail {
        return Ok(Done::read());
    }
    let failure = Failure::invalid(validation);
    console.error(&output::failure(console.err, &failure));
    Ok(Done { error: Some(failure.clone()), ..Done::exit(failure.exit) })
}
