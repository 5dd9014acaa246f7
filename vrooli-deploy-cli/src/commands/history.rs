use super::context::Context;
use super::done::Done;
use crate::arguments::History;
use crate::errors::Failure;
use crate::output::{json::Line, record, table};

pub(crate) async fn run(context: &Context, args: &History) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app.app).await?;
    let records = workspace.history(&target.stack, args.from).await?;
    let console = &context.console;
    for one in &records {
        console.line(&Line::record(one));
    }
    let rows: Vec<Vec<String>> = records.iter().map(record).collect();
    console.result(&table(console.out, &["SEQ", "AT", "WHAT", "STEP", "MORE"], &rows));
    Ok(Done::read())
}
