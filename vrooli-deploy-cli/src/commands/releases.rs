use jiff::Timestamp;

use super::context::Context;
use super::done::Done;
use crate::arguments::App;
use crate::errors::Failure;
use crate::output::json::Line;
use crate::output::{ago, harmless, table, word};

pub(crate) async fn run(context: &Context, args: &App) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let releases = workspace.releases(&target.stack).await?;
    let console = &context.console;
    let now = Timestamp::now();
    for release in &releases {
        console.line(&Line::Release(release.into()));
    }
    let profiles = releases.iter().any(|release| release.profile.is_some());
    let mut head = vec!["RELEASE", "STATE", "VERSION", "BUILT", "MADE CURRENT", "DIGEST"];
    if profiles {
        head.push("PROFILE");
    }
    let failures = releases.iter().any(|release| release.failure.is_some());
    if failures {
        head.push("WHY");
    }
    let rows: Vec<Vec<String>> = releases
        .iter()
        .map(|release| {
            let mut row = vec![
                release.number.to_string(),
                if release.current { "serves".to_owned() } else { word(&release.status) },
                release.version.clone(),
                ago(now, release.created),
                release.committed.map(|at| ago(now, at)).unwrap_or_default(),
                release.digest.short().to_owned(),
            ];
            if profiles {
                row.push(release.profile.map(|profile| profile.to_string()).unwrap_or_default());
            }
            if failures {
                row.push(release.failure.as_deref().map(harmless).unwrap_or_default());
            }
            row
        })
        .collect();
    console.result(&table(console.out, &head, &rows));
    Ok(Done::read())
}
