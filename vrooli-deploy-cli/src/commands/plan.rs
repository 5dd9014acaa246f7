use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use vrooli_deploy_core::plan::{Plan, ReleaseSource};

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::{self, Choices};
use crate::errors::Failure;
use crate::output;
use crate::output::json::{Line, PlanLine};

pub(crate) async fn run(context: &Context, args: &arguments::Plan) -> Result<Done, Failure> {
    let plan = show(context, &args.app.app, &args.choices).await?;
    if let Some(file) = &args.out {
        if in_source(file, &plan) {
            return Err(Failure::plan_in_source(file));
        }
        save(file, &plan).map_err(|e| Failure::write(file, &e))?;
        context.console.note(&format!(
            "saved; to apply exactly this: vrooli-deploy deploy {} --plan {}",
            args.app.app,
            file.display()
        ));
    }
    Ok(Done::exit(if args.detailed_exitcode && !plan.is_empty() { 10 } else { 0 }))
}

/// Plans without a lease, and shows it.
pub(crate) async fn show(context: &Context, app: &str, choices: &Choices) -> Result<Plan, Failure> {
    let (workspace, target) = context.target_with(app, &choices.values).await?;
    let report = workspace.plan(&target, &choices.options()).await?;
    let console = &context.console;
    change::input(console, &report.diagnostics);
    console.line(&Line::Plan(Box::new(PlanLine::new(&report.plan, report.cost.as_ref()))));
    console.result(&output::plan(console.out, &report.plan, report.cost.as_ref(), console.verbose > 0));
    report.gate()?;
    Ok(report.plan)
}

/// Would the file be a part of what the plan builds? Then saving it would change the plan.
fn in_source(file: &Path, plan: &Plan) -> bool {
    let Some(ReleaseSource::Build { request, .. }) = plan.release.as_ref().map(|r| &r.source) else {
        return false;
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder that is not there is told of when the file is written.
    folder.canonicalize().is_ok_and(|folder| folder.starts_with(&request.root))
}

/// Writes it whole or not at all, for its owner alone.
fn save(file: &Path, plan: &Plan) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = file.with_file_name(name);
    let write = || {
        let mut out =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        serde_json::to_writer_pretty(&mut out, plan)?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        std::fs::rename(&temporary, file)
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    })
}
