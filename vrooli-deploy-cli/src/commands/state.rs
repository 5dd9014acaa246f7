use vrooli_deploy_core::workspace::Workspace;

use super::change;
use super::context::{Context, retyped};
use super::done::Done;
use crate::arguments::{State, StateRebuild};
use crate::errors::Failure;
use crate::output;
use crate::output::json::Line;

pub(crate) async fn run(context: &Context, args: &State) -> Result<Done, Failure> {
    match args {
        State::Rebuild(args) => rebuild(context, args).await,
    }
}

async fn rebuild(context: &Context, args: &StateRebuild) -> Result<Done, Failure> {
    let console = &context.console;
    if args.set_aside
        && let Some(aside) = Workspace::set_aside(&context.workspace_options()?)?
    {
        console.note(&output::set_aside(&aside));
    }
    let (workspace, target) = context.target_with(&args.app.app, &args.values).await?;
    change::input(console, &target.diagnostics);
    let take_over = match args.take_over.as_deref() {
        // Asked without a name: a person types it, nothing else may.
        Some("") if console.can_ask => {
            let question = format!(
                "This makes this state the owner of `{}`; the one that is now is refused then. Its name:",
                target.stack.app
            );
            Some(context.ask(&question).await?)
        }
        Some("") => {
            let named = format!("--take-over={}", target.stack.app);
            let whole = retyped("--yes").replacen("--take-over", &named, 1);
            return Err(Failure::nobody_to_ask("state rebuild --take-over", &whole));
        }
        name => name.map(ToOwned::to_owned),
    };
    let rebuilt = workspace.rebuild(&target, &args.options(take_over), &context.run()).await?;
    for thing in &rebuilt.things {
        console.line(&Line::Rebuilt(thing.into()));
    }
    console.result(&output::rebuilt(console.out, &rebuilt));
    Ok(Done::changed(true))
}
