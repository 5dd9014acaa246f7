use vrooli_deploy_core::workspace::DestroyOptions;

use super::change;
use super::context::{Context, retyped};
use super::done::Done;
use crate::arguments::Destroy;
use crate::errors::Failure;

pub(crate) async fn run(context: &Context, args: &Destroy) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app.app).await?;
    let mut options = DestroyOptions::default();
    options.data = match args.data.as_deref() {
        // Asked without a name: a person types it, nothing else may.
        Some("") if context.console.can_ask => Some(
            context
                .ask(&format!(
                    "This deletes the databases and volumes of `{}` for good. Its name:",
                    target.stack.app
                ))
                .await?,
        ),
        Some("") => {
            let named = format!("--data={}", target.stack.app);
            let whole = retyped("--yes").replacen("--data", &named, 1);
            return Err(Failure::nobody_to_ask("destroy --data", &whole));
        }
        name => name.map(ToOwned::to_owned),
    };
    let change = workspace.destroy(&target.stack, &options, &context.run()).await?;
    let report = change::apply(context, "destroy", change).await?;
    change::say(&context.console, "destroy", &report);
    Ok(Done::report(&report))
}
