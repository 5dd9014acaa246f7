//! What came of it, in words.

use vrooli_deploy_core::engine::{Outcome, OutcomeKind};
use vrooli_deploy_core::workspace::Report;

use super::style::{Paint, harmless};
use crate::errors::Failure;

/// A failure: what, why, the facts, what to do next.
pub(crate) fn failure(paint: Paint, failure: &Failure) -> String {
    let head = match &failure.code {
        Some(code) => format!("error[{code}]"),
        None => "error".to_owned(),
    };
    let step = failure.step.as_ref().map(|step| format!("{step}: ")).unwrap_or_default();
    let mut text = format!("{}: {}{}", paint.red(&head), step, paint.bold(&indented(&failure.message)));
    for cause in &failure.causes {
        text.push_str(&format!("\n  {} {}", paint.dim("caused by:"), indented(cause)));
    }
    for fact in &failure.facts {
        if fact.value.contains('\n') || fact.name == "log" {
            text.push_str(&format!("\n  {}", paint.dim(&format!("{}:", fact.name))));
            for line in fact.value.lines() {
                text.push_str(&format!("\n    {} {}", paint.dim("│"), harmless(line)));
            }
        } else {
            text.push_str(&format!(
                "\n  {} {}",
                paint.dim(&format!("{}:", fact.name)),
                harmless(&fact.value)
            ));
        }
    }
    if let Some(help) = &failure.help {
        text.push_str(&format!("\n  {} {}", paint.cyan("help:"), indented(help)));
    }
    text
}

/// What follows a failure whose diagnostic has said it all.
pub(crate) fn more(paint: Paint, failure: &Failure) -> String {
    failure.help.as_ref().map(|help| format!("  {}", paint.dim(&indented(help)))).unwrap_or_default()
}

fn indented(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n    ")
}

/// What came of a change: one sentence, what stays, what failed.
pub(crate) fn report(paint: Paint, command: &str, report: &Report) -> String {
    let mut text = headline(paint, command, report);
    if let Some(cause) = Failure::outcome(&report.outcome) {
        text = format!("{}\n{text}", failure(paint, &cause));
    }
    // The next run goes on: what was not begun is not left behind.
    let interrupted = report.outcome.kind == OutcomeKind::Interrupted;
    for left in report.outcome.left_behind.iter().filter(|_| !interrupted) {
        text.push_str(&format!(
            "\n  {} {}: {}",
            paint.yellow("stays:"),
            harmless(&left.what),
            harmless(&left.why)
        ));
    }
    text
}

fn headline(paint: Paint, command: &str, report: &Report) -> String {
    let name = match report.environment.as_str() {
        "default" => report.app.to_string(),
        environment => format!("{}/{environment}", report.app),
    };
    let name = paint.bold(&name);
    let release = serving(&report.outcome);
    match report.outcome.kind {
        OutcomeKind::NoChange => {
            format!(
                "{} {name}: nothing to do{}",
                paint.green("✓"),
                release.map(|r| format!(", {r} serves")).unwrap_or_default()
            )
        }
        OutcomeKind::Applied => {
            let what = match (command, release) {
                ("stop", _) => "stopped".to_owned(),
                ("destroy", _) => "destroyed".to_owned(),
                ("abort", Some(release)) => format!("given up, {release} serves as before"),
                (_, Some(release)) => format!("{release} serves"),
                (_, None) => "done".to_owned(),
            };
            format!("{} {name}: {what} ({})", paint.green("✓"), steps(report.steps))
        }
        OutcomeKind::OnHold => format!("{} {name}: {}", paint.yellow("!"), undecided(report)),
        OutcomeKind::RolledBack => format!(
            "{} {name}: failed and rolled back; {}",
            paint.red("✗"),
            release.map_or_else(|| "nothing serves".to_owned(), |r| format!("{r} serves as before"))
        ),
        OutcomeKind::Partial => format!(
            "{} {name}: failed in part{}",
            paint.red("✗"),
            release.map(|r| format!("; {r} serves")).unwrap_or_default()
        ),
        OutcomeKind::Stuck => format!(
            "{} {name}: stuck, a person must decide; `vrooli-deploy status {}` shows what is there",
            paint.red("✗"),
            report.app
        ),
        OutcomeKind::Interrupted => {
            format!("{} {name}: interrupted; the next command on it goes on from here", paint.yellow("!"))
        }
    }
}

/// A release that is not decided yet: who serves, who decides.
fn undecided(report: &Report) -> String {
    let app = &report.app;
    match &report.waiting {
        Some(waiting) if waiting.watching => format!(
            "{} is being watched; {}; it is committed or goes back without you: `vrooli-deploy resume {app}` waits for that, `vrooli-deploy status {app}` shows it",
            waiting.release,
            waiting.who_serves(),
        ),
        Some(waiting) => format!(
            "{} is on hold; {}; `vrooli-deploy promote {app}` goes on, `vrooli-deploy abort {app}` goes back",
            waiting.release,
            waiting.who_serves(),
        ),
        None => format!("on hold; `vrooli-deploy status {app}` shows how it is"),
    }
}

fn steps(count: usize) -> String {
    if count == 1 { "1 step".to_owned() } else { format!("{count} steps") }
}

fn serving(outcome: &Outcome) -> Option<String> {
    outcome.release.map(|release| release.to_string())
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::diagnostics::Code;
    use vrooli_deploy_core::engine::{LeftBehind, StepFailure};
    use vrooli_deploy_core::names::{AppName, Digest, EnvironmentName, ReleaseNumber};
    use vrooli_deploy_core::plan::StepId;
    use vrooli_deploy_core::provider::ErrorKind;

    use super::*;

    #[test]
    fn a_rollback_is_never_called_success() {
        let text = report(
            Paint(false),
            "deploy",
            &Report {
                app: AppName::new("wheel").unwrap(),
                environment: EnvironmentName::new("default").unwrap(),
                outcome: Outcome {
                    kind: OutcomeKind::RolledBack,
                    release: Some(ReleaseNumber(1)),
                    cause: Some((
                        StepId("probe:r2/api.0".to_owned()),
                        StepFailure {
                            code: Code(603),
                            kind: ErrorKind::App,
                            message: "`api.0` is not well: 503".to_owned(),
                            help: Some("mend it".to_owned()),
                            context: vec![
                                ("body".to_owned(), "{}".to_owned()),
                                ("log".to_owned(), "a\nb".to_owned()),
                            ],
                            ambiguous: false,
                        },
                    )),
                    left_behind: vec![LeftBehind {
                        what: "schema.sql".to_owned(),
                        why: "applied".to_owned(),
                    }],
                },
                urls: Vec::new(),
                steps: 9,
                plan: Digest::of(b""),
                waiting: None,
            },
        );
        assert_eq!(
            text,
            "error[VD0603]: probe:r2/api.0: `api.0` is not well: 503\n  body: {}\n  log:\n    │ a\n    │ b\n  help: mend it\n\
             ✗ wheel: failed and rolled back; r1 serves as before\n  stays: schema.sql: applied"
        );
    }
}
