use vrooli_deploy_core::workspace::RestoreOptions;

use super::context::{Context, retyped};
use super::done::Done;
use crate::arguments::{App, Backups, BackupsRestore};
use crate::errors::Failure;
use crate::output;
use crate::output::json::{Line, RestoredLine, backups};

pub(crate) async fn run(context: &Context, args: &Backups) -> Result<Done, Failure> {
    match args {
        Backups::List(args) => list(context, args).await,
        Backups::Restore(args) => restore(context, args).await,
    }
}

async fn list(context: &Context, args: &App) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let sets = workspace.backups(&target.stack).await?;
    let console = &context.console;
    for line in backups(&sets) {
        console.line(&Line::Backup(line));
    }
    console.result(&output::backups(console.out, &sets));
    Ok(Done::read())
}

async fn restore(context: &Context, args: &BackupsRestore) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app.app).await?;
    let mut options = RestoreOptions::default();
    options.of.clone_from(&args.of);
    options.name.clone_from(&args.backup);
    options.data = match args.data.as_deref() {
        // Asked without a name: a person types it, nothing else may.
        Some("") if context.console.can_ask => {
            let question = format!(
                "This puts {} in the place of what `{}` holds now. Its name:",
                args.backup, target.stack.app
            );
            Some(context.ask(&question).await?)
        }
        Some("") => {
            let named = format!("--data={}", target.stack.app);
            let whole = retyped("--yes").replacen("--data", &named, 1);
            return Err(Failure::nobody_to_ask("backups restore --data", &whole));
        }
        name => name.map(ToOwned::to_owned),
    };
    let restored = workspace.restore(&target.stack, &options, &context.run()).await?;
    let console = &context.console;
    console.line(&Line::Restored(RestoredLine::from(&restored)));
    console.result(&output::restored(console.out, &restored));
    Ok(Done::changed(true))
}
