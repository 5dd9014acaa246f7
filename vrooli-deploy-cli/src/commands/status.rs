use std::io::IsTerminal as _;
use std::time::Duration;

use jiff::Timestamp;

use super::context::Context;
use super::done::Done;
use crate::arguments::Status;
use crate::errors::Failure;
use crate::output::{self, json::Line};

const BETWEEN: Duration = Duration::from_secs(1);

pub(crate) async fn run(context: &Context, args: &Status) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app.app).await?;
    let console = &context.console;
    let clear = args.watch && !console.json && std::io::stdout().is_terminal();
    let mut live = workspace.live(&target.stack);
    let mut last = None;
    loop {
        let report = if args.watch { live.look().await? } else { workspace.status(&target.stack).await? };
        // What does not move is said once; on a terminal "5 min ago" moves too.
        if clear || last.as_ref() != Some(&report) {
            let text = output::status(console.out, Timestamp::now(), &report);
            console.result(&if clear { format!("\u{1b}[2J\u{1b}[H{text}") } else { text });
            console.line(&Line::Status(Box::new((&report).into())));
        }
        if !args.watch {
            return Ok(Done::read());
        }
        last = Some(report);
        tokio::time::sleep(BETWEEN).await;
    }
}
