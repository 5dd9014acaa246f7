use super::context::Context;
use super::done::Done;
use crate::errors::Failure;
use crate::output::json::Line;
use crate::output::{name, table, word};

pub(crate) async fn run(context: &Context) -> Result<Done, Failure> {
    let workspace = context.workspace().await?;
    let stacks = workspace.list().await?;
    let console = &context.console;
    for stack in &stacks {
        console.line(&Line::App(stack.into()));
    }
    if stacks.is_empty() {
        console.note("no apps here yet; `vrooli-deploy up FOLDER` deploys one");
        return Ok(Done::read());
    }
    let rows: Vec<Vec<String>> = stacks
        .iter()
        .map(|stack| {
            vec![
                name(stack),
                word(&stack.health),
                stack.release.map(|r| r.to_string()).unwrap_or_default(),
                stack.urls.join(" "),
                stack.source.as_ref().map(|s| s.display().to_string()).unwrap_or_default(),
            ]
        })
        .collect();
    console.result(&table(console.out, &["APP", "STATE", "RELEASE", "URL", "FROM"], &rows));
    Ok(Done::read())
}
