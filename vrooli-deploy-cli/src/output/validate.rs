//! What rules say of an app, as people read it.

use vrooli_deploy_core::diagnostics::Severity;
use vrooli_deploy_core::validate::{Check, CheckStatus, Finding, Validation};

use super::json::{CheckLine, FindingLine, RemediationLine};
use super::style::{Paint, harmless};

/// A line a rule; under those that do not pass what they found. With more words also where, why,
/// and what to do.
pub(crate) fn validation(paint: Paint, validation: &Validation, verbose: bool) -> String {
    let mut text = format!(
        "{} on {}, tier {}\n",
        paint.bold(&validation.stack.to_string()),
        validation.provider,
        validation.tier
    );
    let width = validation.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &validation.checks {
        text.push_str(&one(paint, check, width, verbose));
    }
    text.push_str(&format!("\n  {}", tally(validation)));
    text
}

fn mark(paint: Paint, status: CheckStatus) -> String {
    match status {
        CheckStatus::Pass => paint.green("✓"),
        CheckStatus::Warn => paint.yellow("!"),
        CheckStatus::Fail => paint.red("✗"),
    }
}

fn one(paint: Paint, check: &Check, width: usize, verbose: bool) -> String {
    let told: Vec<&Finding> =
        check.findings.iter().filter(|found| verbose || found.diagnostic.severity > Severity::Info).collect();
    // One finding is the summary; several stand below it.
    let below = verbose || told.len() > 1;
    let counts = if below && check.status != CheckStatus::Pass {
        match told.iter().filter(|found| found.diagnostic.severity > Severity::Info).count() {
            1 => String::new(),
            count => format!("{count} findings"),
        }
    } else {
        harmless(&check.summary)
    };
    let mut text = format!("\n  {} {:width$}  {counts}", mark(paint, check.status), check.name);
    text.truncate(text.trim_end().len());
    if below {
        for found in told {
            text.push_str(&finding(paint, found, verbose));
        }
    }
    text
}

fn finding(paint: Paint, found: &Finding, verbose: bool) -> String {
    let diagnostic = &found.diagnostic;
    let word = match diagnostic.severity {
        Severity::Error => paint.red(&format!("error[{}]", diagnostic.code)),
        Severity::Warning => paint.yellow(&format!("warning[{}]", diagnostic.code)),
        Severity::Info => paint.cyan(&format!("note[{}]", diagnostic.code)),
    };
    let mut text = format!("\n      {word}: {}", harmless(&diagnostic.message));
    if !verbose {
        return text;
    }
    for label in &diagnostic.labels {
        text.push_str(&paint.dim(&format!("\n          at {}", label.span)));
    }
    if !found.cause.is_empty() {
        text.push_str(&paint.dim(&format!("\n          because of {}", harmless(&found.cause))));
    }
    let steps = if diagnostic.severity == Severity::Info { &[] } else { found.steps.as_slice() };
    for (index, step) in steps.iter().enumerate() {
        text.push_str(&format!("\n          {}. {}", index + 1, harmless(step)));
    }
    text
}

fn tally(validation: &Validation) -> String {
    let [passed, warned, failed] =
        [CheckStatus::Pass, CheckStatus::Warn, CheckStatus::Fail].map(|status| validation.count(status));
    format!("{} checks: {passed} passed, {warned} warned, {failed} failed", validation.checks.len())
}

impl CheckLine {
    pub(crate) fn new(validation: &Validation, check: &Check) -> Self {
        Self {
            app: validation.stack.app.to_string(),
            environment: validation.stack.environment.to_string(),
            provider: validation.provider.to_string(),
            tier: validation.tier.to_string(),
            name: check.name.to_owned(),
            code: check.code.to_string(),
            status: super::word(&check.status),
            summary: check.summary.clone(),
            findings: check.findings.iter().map(FindingLine::from).collect(),
        }
    }
}

impl From<&Finding> for FindingLine {
    fn from(found: &Finding) -> Self {
        Self {
            diagnostic: (&found.diagnostic).into(),
            cause: found.cause.clone(),
            remediation: RemediationLine { steps: found.steps.clone() },
        }
    }
}
