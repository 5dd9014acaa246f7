use vrooli_deploy_core::names::{AppName, EnvironmentName, StackId};
use vrooli_deploy_core::workspace::{OrphanChoices, Workspace};

use super::change;
use super::context::{Context, retyped};
use super::done::Done;
use crate::arguments::Orphans;
use crate::errors::Failure;
use crate::output;
use crate::output::json::Line;

pub(crate) async fn run(context: &Context, args: &Orphans) -> Result<Done, Failure> {
    if args.adopt {
        return adopt(context, args).await;
    }
    let workspace = context.workspace().await?;
    let stack = match &args.app {
        Some(app) => Some(stack(context, &workspace, app).await?),
        None => None,
    };
    match stack {
        Some(stack) if args.delete => delete(context, args, &workspace, &stack).await,
        stack => list(context, args, &workspace, stack).await,
    }
}

/// An app that this workspace has, by whatever it is called, else the app of that name.
async fn stack(context: &Context, workspace: &Workspace, app: &str) -> Result<StackId, Failure> {
    let options = context.global.target();
    match workspace.resolve(app, &options).await {
        Ok(target) => Ok(target.stack),
        Err(error) => match (AppName::new(app), options.environment) {
            (Ok(app), Some(environment)) => Ok(StackId { app, environment }),
            (Ok(app), None) => {
                let environment = EnvironmentName::new("default");
                Ok(StackId { app, environment: environment.map_err(|_| Failure::from(error))? })
            }
            (Err(_), _) => Err(error.into()),
        },
    }
}

async fn list(
    context: &Context,
    args: &Orphans,
    workspace: &Workspace,
    stack: Option<StackId>,
) -> Result<Done, Failure> {
    let console = &context.console;
    let report = workspace.orphans(&args.options(stack)).await?;
    for note in &report.notes {
        console.note(note);
        console.line(&Line::Note { message: note.clone() });
    }
    for one in &report.orphans {
        console.line(&Line::Orphan(Box::new(one.into())));
    }
    console.result(&output::orphans(console.out, &report));
    Ok(Done::exit(if report.orphans.is_empty() { 0 } else { 10 }))
}

async fn delete(
    context: &Context,
    args: &Orphans,
    workspace: &Workspace,
    stack: &StackId,
) -> Result<Done, Failure> {
    let mut choices = choices(context, args, stack).await?;
    choices.data = match args.data.as_deref() {
        // Asked without a name: a person types it, nothing else may.
        Some("") if context.console.can_ask => {
            let question = format!("This deletes what holds data of `{}` for good. Its name:", stack.app);
            Some(context.ask(&question).await?)
        }
        Some("") => return Err(unnamed("--data", stack.app.as_str())),
        name => name.map(ToOwned::to_owned),
    };
    let change =
        workspace.delete_orphans(stack, &args.options(Some(stack.clone())), &choices, &context.run()).await?;
    let report = change::apply(context, "orphans --delete", change).await?;
    change::say(&context.console, "orphans --delete", &report);
    Ok(Done::report(&report))
}

async fn adopt(context: &Context, args: &Orphans) -> Result<Done, Failure> {
    let app = args.app.as_deref().unwrap_or_default();
    let (workspace, target) = context.target_with(app, &args.values).await?;
    let choices = choices(context, args, &target.stack).await?;
    let options = args.options(Some(target.stack.clone()));
    let change = workspace.adopt_orphans(&target, &args.deploy(), &options, &choices, &context.run()).await?;
    let report = change::apply(context, "orphans --adopt", change).await?;
    change::say(&context.console, "orphans --adopt", &report);
    Ok(Done::report(&report))
}

async fn choices(context: &Context, args: &Orphans, stack: &StackId) -> Result<OrphanChoices, Failure> {
    let mut choices = OrphanChoices::default();
    choices.take_over = match args.take_over.as_deref() {
        Some("") if context.console.can_ask => {
            let question = format!(
                "This makes this state the owner of what is left of `{}`; the one that is now is refused then. Its name:",
                stack.app
            );
            Some(context.ask(&question).await?)
        }
        Some("") => return Err(unnamed("--take-over", stack.app.as_str())),
        name => name.map(ToOwned::to_owned),
    };
    Ok(choices)
}

/// What must be named was not, and nobody can be asked.
fn unnamed(flag: &str, app: &str) -> Failure {
    let whole = retyped("--yes").replacen(flag, &format!("{flag}={app}"), 1);
    Failure::nobody_to_ask(&format!("orphans {flag}"), &whole)
}
