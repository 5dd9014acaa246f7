use jiff::Timestamp;

use super::context::Context;
use super::done::Done;
use crate::arguments::App;
use crate::errors::Failure;
use crate::output::json::Line;
use crate::output::{ago, table, word};

pub(crate) async fn run(context: &Context, args: &App) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let releases = workspace.releases(&target.stack).await?;
    let console = &context.console;
    let now = Timestamp::now();
    for release in &releases {
        console.line(&Line::Release(release.into()));
    }
    let rows: Vec<Vec<String>> = releases
        .iter()
        .map(|release| {
            vec![
                release.number.to_string(),
                if release.current { "serves".to_owned() } else { word(&release.status) },
                release.version.clone(),
                ago(now, release.created),
                release.committed.map(|at| ago(now, at)).unwrap_or_default(),
                release.digest.short().to_owned(),
            ]
        })
        .collect();
    console.result(&table(
        console.out,
        &["RELEASE", "STATE", "VERSION", "BUILT", "MADE CURRENT", "DIGEST"],
        &rows,
    ));
    Ok(Done::read())
}
