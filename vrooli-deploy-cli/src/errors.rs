//! Why a command did not do what it was asked.

use std::error::Error as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::diagnostics::{Code, Diagnostic, Severity, rules};
use vrooli_deploy_core::engine::{Outcome, StepFailure};
use vrooli_deploy_core::fitness::{Fitness, TierFitness};
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::plan::StepId;
use vrooli_deploy_core::provider::ProviderError;
use vrooli_deploy_core::validate::Validation;
use vrooli_deploy_core::workspace::OperationError;
use vrooli_deploy_providers::bare_metal::artefact::ArtefactError;
use vrooli_deploy_providers::bare_metal::host::HostName;
use vrooli_deploy_providers::bare_metal::preflight::{CheckStatus, Preflight};
use vrooli_deploy_providers::bare_metal::remote::RemoteError;

/// What went wrong. Behind a pointer: it is returned from everywhere and seldom there.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Failure(Box<Error>);

impl std::ops::Deref for Failure {
    type Target = Error;
    fn deref(&self) -> &Error {
        &self.0
    }
}

impl std::ops::DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Error {
        &mut self.0
    }
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Error {
    /// `VD1010`; see `vrooli-deploy explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    /// What.
    pub(crate) message: String,
    /// What caused it, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<String>,
    /// Named facts: the provider's request id, a probe's status and body, the last log lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) facts: Vec<Fact>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
    /// How the program ends.
    #[serde(skip)]
    pub(crate) exit: u8,
    /// What is wrong with the input; drawn before the rest.
    #[serde(skip)]
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A named fact about a failure.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Fact {
    /// What it is.
    pub(crate) name: String,
    /// It.
    pub(crate) value: String,
}

impl Failure {
    fn new(code: Option<Code>, exit: u8, message: impl Into<String>) -> Self {
        Self(Box::new(Error {
            code: code.map(|c| c.to_string()),
            step: None,
            message: message.into(),
            causes: Vec::new(),
            facts: Vec::new(),
            help: None,
            exit,
            diagnostics: Vec::new(),
        }))
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Why a step failed.
    pub(crate) fn step(step: Option<&StepId>, failure: &StepFailure) -> Self {
        let mut this = Self::new(Some(failure.code), 1, failure.message.clone());
        this.step = step.map(ToString::to_string);
        let facts = failure.context.iter();
        this.facts = facts.map(|(name, value)| Fact { name: name.clone(), value: value.clone() }).collect();
        this.help.clone_from(&failure.help);
        this
    }

    /// Why a run came to what it came to.
    pub(crate) fn outcome(outcome: &Outcome) -> Option<Self> {
        let (step, failure) = outcome.cause.as_ref()?;
        let mut this = Self::step(Some(step), failure);
        this.exit = outcome.kind.exit_code();
        Some(this)
    }

    /// It asks first, and there is nobody to ask.
    pub(crate) fn nobody_to_ask(command: &str, retype: &str) -> Self {
        Self::new(
            Some(Code(533)),
            1,
            format!("`{command}` asks before it does this, and there is no terminal to ask on"),
        )
        .with_help(format!("to go on without being asked: {retype}"))
    }

    /// A value is asked for, and there is nobody to ask.
    pub(crate) fn no_value(name: &str) -> Self {
        Self::new(
            Some(Code(533)),
            1,
            format!("the value of `{name}` is asked for, and there is no terminal to ask on"),
        )
        .with_help("give it on standard input, with `-` in the place of the value")
    }

    /// The command line holds a secret and cannot be understood: it is not repeated.
    pub(crate) fn usage_with_secret() -> Self {
        Self::new(None, 2, "the command line cannot be understood; it is not repeated, because it may hold a secret")
            .with_help("give the value on standard input, with `-` in its place; one that begins with a hyphen comes after `--`")
    }

    /// More than one value was given; none of them is repeated.
    pub(crate) fn several_values() -> Self {
        Self::new(None, 2, "a secret has one value; put it in quotes if it has spaces")
            .with_help("or give it on standard input, with `-` in its place")
    }

    /// The answer was no.
    pub(crate) fn declined() -> Self {
        Self::new(None, 1, "nothing was changed")
    }

    /// A saved plan cannot be used.
    pub(crate) fn saved_plan(file: &Path, why: impl std::fmt::Display) -> Self {
        Self::new(Some(Code(534)), 1, format!("cannot use the saved plan {}: {why}", file.display()))
            .with_help("save one with `vrooli-deploy plan APP --out FILE`")
    }

    /// A plan would be saved where it changes what it is the plan of.
    pub(crate) fn plan_in_source(file: &Path) -> Self {
        Self::new(
            Some(Code(534)),
            1,
            format!(
                "{} lies in the app's own folder: saved there, the plan would be a part of the source",
                file.display()
            ),
        )
        .with_help("save it outside the app's folder")
    }

    /// A file or folder that was asked for cannot be written.
    pub(crate) fn write(path: &Path, error: &std::io::Error) -> Self {
        Self::new(Some(Code(1001)), 1, format!("cannot write {}: {error}", path.display()))
    }

    /// There is no place for state.
    pub(crate) fn no_state_dir(why: impl std::fmt::Display) -> Self {
        Self::new(Some(Code(1001)), 1, format!("cannot tell where state should live: {why}"))
            .with_help("say it with `--state-dir DIR` or VROOLI_DEPLOY_HOME")
    }

    /// The program itself cannot go on.
    pub(crate) fn system(what: &str, error: &std::io::Error) -> Self {
        Self::new(None, 1, format!("{what}: {error}"))
    }

    /// Something cannot be written in the form that was asked for.
    pub(crate) fn unwritable(what: &str, why: &str) -> Self {
        Self::new(None, 1, format!("cannot write {what}: {why}"))
    }

    /// There is no page for that code.
    pub(crate) fn unknown_code(code: Code) -> Self {
        Self::new(None, 1, format!("there is no code {code}"))
            .with_help("`vrooli-deploy explain` lists all codes")
    }

    /// There is no page for that command.
    pub(crate) fn unknown_command(name: &str) -> Self {
        Self::new(None, 2, format!("there is no command `{name}`"))
            .with_help("`vrooli-deploy help` lists all commands")
    }

    /// The command line cannot be understood.
    pub(crate) fn usage(message: String) -> Self {
        Self::new(None, 2, message)
    }

    /// Stopped by the user, before anything came of it.
    pub(crate) fn interrupted() -> Self {
        Self::new(None, 130, "interrupted")
    }

    /// Stopped by the user while something was being changed.
    pub(crate) fn interrupted_change() -> Self {
        Self::new(None, 130, "interrupted; the next command on the app goes on from here")
    }

    /// The app is not fit for the tier.
    pub(crate) fn unfit(fitness: &Fitness, tier: &TierFitness) -> Self {
        let (code, message) = if tier.blockers.is_empty() {
            let wanted = tier.threshold;
            let message = format!("its fitness is {}, and {wanted} is wanted", tier.overall);
            (rules::FITNESS_TOO_LOW, message)
        } else {
            (
                rules::FITNESS_BLOCKED,
                tier.blockers.iter().map(|b| b.message.clone()).collect::<Vec<_>>().join("; "),
            )
        };
        Self::new(
            Some(code),
            7,
            format!("`{}` is not fit for the tier {}: {message}", fitness.app, tier.tier),
        )
        .with_help(format!("`vrooli-deploy explain {code}` says more; `-v` shows every term"))
    }

    /// Rules say that the app must not be deployed as it is, or cannot understand it.
    pub(crate) fn invalid(validation: &Validation) -> Self {
        let names: Vec<&str> = validation.failed().map(|check| check.name).collect();
        let message = format!(
            "`{}` must not be deployed as it is: {} of {} checks failed: {}",
            validation.stack.app,
            names.len(),
            validation.checks.len(),
            names.join(", ")
        );
        let exit = if validation.is_wrong_input() { 1 } else { 7 };
        Self::new(Some(rules::VALIDATION_FAILED), exit, message)
            .with_help("`--verbose` shows what caused each, where, and the steps that mend it")
    }

    /// Some hosts cannot be used.
    pub(crate) fn hosts(bad: &[&HostName], all: usize) -> Self {
        let names: Vec<&str> = bad.iter().map(|host| host.as_str()).collect();
        let message = format!("{} of {all} hosts cannot be used: {}", bad.len(), names.join(", "));
        Self::new(Some(rules::HOSTS_FAILED), 1, message).with_help("why stands at each")
    }

    /// There is no server to look at.
    pub(crate) fn no_hosts(stack: &StackId) -> Self {
        Self::new(Some(rules::NO_HOSTS), 1, format!("`{}` has no servers", stack.app)).with_help(
            "name them in the manifest, `infrastructure.servers: [{host: web1.example.com, role: app}]`, or add one: `vrooli-deploy hosts add HOST`",
        )
    }

    /// Something is in the way of a deployment.
    pub(crate) fn preflight(looked: &Preflight) -> Self {
        let failed: Vec<String> = looked
            .checks()
            .filter(|(_, check)| check.status == CheckStatus::Fail)
            .map(|(host, check)| match host {
                Some(host) => format!("{} on {host}", check.id),
                None => check.id.clone(),
            })
            .collect();
        let message =
            format!("{} of {} checks failed: {}", failed.len(), looked.checks().count(), failed.join(", "));
        Self::new(Some(rules::PREFLIGHT_FAILED), 1, message)
            .with_help("do what the hints say, and run it again; nothing was changed")
    }

    /// The input cannot be used.
    pub(crate) fn input(diagnostics: Vec<Diagnostic>) -> Self {
        OperationError::Input(diagnostics).into()
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        if matches!(error, RemoteError::Cancelled { .. }) {
            return Self::interrupted();
        }
        let mut failure = Self::new(Some(error.code()), 1, error.to_string()).with_help(error.help());
        if !error.words().is_empty() {
            failure.facts.push(Fact { name: "said".to_owned(), value: error.words().to_owned() });
        }
        failure
    }
}

impl From<ArtefactError> for Failure {
    fn from(error: ArtefactError) -> Self {
        Self::new(Some(rules::UNREADABLE), 1, error.to_string())
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let mut failure = Self::new(Some(error.code()), error.exit_code(), error.to_string());
        failure.help = error.help();
        // A transparent error is its own source's message; what lies under that is the cause.
        let mut cause = match &error {
            OperationError::Provider(provider) => {
                failure.provider(provider);
                if provider.catalogued().is_some() {
                    // It is the failure's, and is not said twice.
                    provider.message().clone_into(&mut failure.message);
                }
                provider.source()
            }
            other => other.source(),
        };
        while let Some(error) = cause {
            if let Some(provider) = error.downcast_ref::<ProviderError>() {
                failure.provider(provider);
            }
            failure.causes.push(error.to_string());
            cause = error.source();
        }
        match error {
            OperationError::Input(diagnostics) => {
                let errors = || diagnostics.iter().filter(|d| d.severity == Severity::Error);
                failure.message = match (errors().next(), errors().count()) {
                    (Some(only), 1) => only.message.clone(),
                    (_, 0) => "the input cannot be used".to_owned(),
                    (_, n) => format!("the input cannot be used: {n} errors"),
                };
                failure.code = errors().next().map(|d| d.code.to_string());
                failure.help =
                    failure.code.as_ref().map(|code| format!("`vrooli-deploy explain {code}` says more"));
                failure.diagnostics = diagnostics;
            }
            OperationError::PlanChanged { differences } => {
                failure.facts = differences
                    .into_iter()
                    .map(|value| Fact { name: "difference".to_owned(), value })
                    .collect();
            }
            _ => {}
        }
        failure
    }
}

impl Failure {
    /// Is this one of its diagnostics over again?
    pub(crate) fn is_a_diagnostic(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error && d.message == self.message)
    }

    fn provider(&mut self, error: &ProviderError) {
        if let Some(id) = error.request_id() {
            self.facts.push(Fact { name: "request id".to_owned(), value: id.to_owned() });
        }
        for (name, value) in error.context() {
            self.facts.push(Fact { name: (*name).to_owned(), value: value.clone() });
        }
        if self.help.is_none() {
            self.help = error.help().map(ToOwned::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::provider::ErrorKind;

    use super::*;

    #[test]
    fn a_provider_s_own_words_are_kept_and_not_repeated() {
        let error = ProviderError::new(ErrorKind::Quota, "no space left")
            .with_request_id("req-1")
            .with_context("log", "last line")
            .with_help("make room")
            .with_source(std::io::Error::other("ENOSPC"));
        let failure = Failure::from(OperationError::Provider(error));
        assert_eq!(failure.message, "no space left");
        assert_eq!(failure.causes, ["ENOSPC"]);
        assert_eq!(failure.help.as_deref(), Some("make room"));
        let facts: Vec<_> = failure.facts.iter().map(|f| (f.name.as_str(), f.value.as_str())).collect();
        assert_eq!(facts, [("request id", "req-1"), ("log", "last line")]);
        // The code of a cloud is kept beside ours; one of ours is the failure's own.
        for (code, shown, message) in
            [("E17", "VD0708", "no space left (E17)"), ("VD0918", "VD0918", "no space left")]
        {
            let error = ProviderError::new(ErrorKind::Quota, "no space left").with_code(code);
            let failure = Failure::from(OperationError::Provider(error));
            assert_eq!((failure.code.as_deref(), failure.message.as_str()), (Some(shown), message));
        }
    }
}
