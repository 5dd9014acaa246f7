use std::io::IsTerminal as _;
use std::time::Duration;

use vrooli_deploy_core::provider::LogQuery;

use super::context::Context;
use super::done::Done;
use crate::arguments::Logs;
use crate::errors::Failure;
use crate::output::{harmless, json::Line};

const BETWEEN: Duration = Duration::from_millis(300);

pub(crate) async fn run(context: &Context, args: &Logs) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app.app).await?;
    let console = &context.console;
    let terminal = std::io::stdout().is_terminal();
    let mut query =
        LogQuery { release: args.release, service: args.service.clone(), lines: args.lines, after: None };
    loop {
        let page = workspace.logs(&target.stack, &query).await?;
        for line in &page.lines {
            console.line(&Line::log(line));
            // A file gets what the app wrote; a terminal must not obey it.
            let text = if terminal { harmless(&line.line) } else { line.line.clone() };
            let who = console.out.dim(&format!("{} {} |", line.release, line.unit));
            console.result(&format!("{who} {text}"));
        }
        if !args.follow {
            return Ok(Done::read());
        }
        query.after = Some(page.next);
        tokio::time::sleep(BETWEEN).await;
    }
}
