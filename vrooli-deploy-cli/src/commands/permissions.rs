use serde_json::Value;

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::Permissions;
use crate::errors::Failure;
use crate::output::json::Line;

pub(crate) async fn run(context: &Context, args: &Permissions) -> Result<Done, Failure> {
    let (workspace, target) = context.target_with(&args.app.app, &args.choices.values).await?;
    let (rights, diagnostics) = workspace.permissions(&target, &args.choices.options()).await?;
    let console = &context.console;
    change::input(console, &diagnostics);
    console.line(&Line::Permissions {
        permissions: rights.permissions.iter().cloned().collect(),
        policies: rights.policies.clone(),
    });
    // One value on stdout, for what reads it next.
    match rights.policies.as_slice() {
        [] => {
            for permission in &rights.permissions {
                console.result(&format!("{} on {}", permission.action, permission.resource));
            }
        }
        [one] => console.result(&format!("{one:#}")),
        several => {
            console.result(&format!("{:#}", Value::from(several)));
            console
                .note(&format!("{} policies, each as long as one may be: attach all of them", several.len()));
        }
    }
    Ok(Done::read())
}
