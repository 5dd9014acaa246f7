use std::path::PathBuf;

use crate::cost::{Judgement, Proposal, RefreshError, Verdict};
use crate::diagnostics::{Code, Diagnostic, rules};
use crate::engine::{ApplyError, Outcome};
use crate::names::{ProviderName, ReleaseNumber, StackId};
use crate::plan::PlanError;
use crate::provider::{ProviderError, UnknownProvider};
use crate::release::strategy::StrategyError;
use crate::secrets::SecretError;
use crate::state::StateError;

/// An operation was refused or failed before or outside a plan. What a plan came to is an
/// [`Outcome`](crate::engine::Outcome), not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The user's input is wrong.
    #[error("{}", first(.0))]
    Input(Vec<Diagnostic>),
    /// Nothing has that name.
    #[error("`{argument}` is no folder, no manifest file, no profile and no app of this workspace")]
    UnknownTarget {
        /// What was given.
        argument: String,
        /// Names that are near.
        near: Vec<String>,
    },
    /// Two things have that name.
    #[error("`{argument}` is both {first} and {second}")]
    AmbiguousTarget {
        /// What was given.
        argument: String,
        /// One hit.
        first: String,
        /// The other.
        second: String,
    },
    /// The name belongs to an app from another folder.
    #[error("an app `{name}` from {other} is deployed here already")]
    OtherSource {
        /// The name.
        name: String,
        /// The folder it came from.
        other: PathBuf,
    },
    /// The app is at another provider, and what is there would be left behind.
    #[error("`{stack}` runs at the provider `{there}`, not at `{wanted}`")]
    OtherProvider {
        /// The stack.
        stack: StackId,
        /// Where it is.
        there: ProviderName,
        /// Where it should go.
        wanted: ProviderName,
    },
    /// Another state owns the stack.
    #[error("`{stack}` belongs to another state on {}", owners(.places))]
    OtherState {
        /// The stack.
        stack: StackId,
        /// Where, and the id of the state.
        places: Vec<(String, uuid::Uuid)>,
        /// The stack as it is named to take it over.
        name: String,
    },
    /// There is nothing to act on: never deployed, or no such release.
    #[error("{message}")]
    Nothing {
        /// What is missing.
        message: String,
        /// What to do next.
        help: String,
    },
    /// A gate said no (exit 7): protected data.
    #[error("{message}")]
    Gate {
        /// What was refused.
        message: String,
        /// What would be accepted.
        help: String,
    },
    /// The app costs more than it may, or nobody can say that it does not (exit 7).
    #[error("{}", over(.0))]
    Budget(Box<Judgement>),
    /// Prices could not be refreshed; those that were there stay.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// SQL ran after the release to go back to that it may not live with (exit 7).
    #[error("{} statement(s) that cannot be taken back ran after {to}: {}", .statements.len(), .statements.join(", "))]
    Across {
        /// Where to.
        to: ReleaseNumber,
        /// Which: file, line, what it does, and the release that ran it.
        statements: Vec<String>,
    },
    /// An interrupted run could not be resolved: a person decides (exit 6).
    #[error("the interrupted run could not be resolved{}", unresolved(.0))]
    Unresolved(Box<Outcome>),
    /// The plan is not the one that was expected.
    #[error("the plan has changed since it was saved")]
    PlanChanged {
        /// What differs, a phrase each.
        differences: Vec<String>,
    },
    /// This build lacks a provider.
    #[error(transparent)]
    UnknownProvider(#[from] UnknownProvider),
    /// The strategy cannot be followed.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// No plan could be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A provider call outside a plan failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The state store failed; or someone else holds the lease (exit 5).
    #[error(transparent)]
    State(#[from] StateError),
    /// The secret store failed.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// The engine stopped: it could not write its journal, or lost its lease.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A folder or file of the workspace cannot be used.
    #[error("cannot use {}: {message}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

fn first(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .max_by_key(|d| d.severity)
        .map_or_else(|| "the input cannot be used".to_owned(), ToString::to_string)
}

fn owners(places: &[(String, uuid::Uuid)]) -> String {
    let place = |(place, owner): &(String, uuid::Uuid)| format!("{place} ({owner})");
    places.iter().map(place).collect::<Vec<_>>().join(", ")
}

fn over(judgement: &Judgement) -> String {
    let (total, limit) = (judgement.total, judgement.limit);
    match judgement.verdict {
        Verdict::Unknown => format!(
            "at least {total} USD a month, and what {} costs is not known: nobody can say that it is within {limit} USD",
            judgement.unknown.join(" and ")
        ),
        _ => format!("{total} USD a month is over the budget of {limit} USD"),
    }
}

fn would_fit(judgement: &Judgement) -> String {
    let changes = |proposal: &Proposal| proposal.changes.join("; ");
    match (&judgement.fits, &judgement.nearest) {
        (Some(fits), _) => {
            format!("the smallest change that fits: {} ({} USD a month)", changes(fits), fits.total)
        }
        (None, Some(nearest)) => format!(
            "no change that is known fits; the nearest: {} ({} USD a month)",
            changes(nearest),
            nearest.total
        ),
        (None, None) if judgement.verdict == Verdict::Unknown => {
            "say what they cost with `monthly_usd` of `infrastructure.servers`".to_owned()
        }
        (None, None) => "no change that is known costs less; `--verbose` shows what it is made of".to_owned(),
    }
}

fn unresolved(outcome: &Outcome) -> String {
    outcome
        .cause
        .as_ref()
        .map_or_else(String::new, |(step, failure)| format!(": {step}: {}", failure.message))
}

impl OperationError {
    /// The exit code of the command line.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::State(StateError::Held { .. }) => 5,
            Self::Gate { .. } | Self::OtherState { .. } | Self::Budget(_) | Self::Across { .. } => 7,
            Self::Unresolved(_) => 6,
            Self::Apply(ApplyError::Lost(_) | ApplyError::Fenced { .. }) => 5,
            Self::Apply(_) => 6,
            _ => 1,
        }
    }

    /// The message's code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Input(diagnostics) => {
                diagnostics.iter().max_by_key(|d| d.severity).map_or(rules::SYNTAX, |d| d.code)
            }
            Self::UnknownTarget { .. } => Code(250),
            Self::AmbiguousTarget { .. } => Code(251),
            Self::OtherSource { .. } => Code(252),
            Self::OtherProvider { .. } => Code(1058),
            Self::OtherState { .. } => rules::NOT_TAKEN_OVER,
            Self::Nothing { .. } => Code(253),
            Self::Gate { .. } => Code(530),
            Self::Budget(judgement) if judgement.verdict == Verdict::Unknown => rules::BUDGET_UNKNOWN,
            Self::Budget(_) => rules::OVER_BUDGET,
            Self::Refresh(error) => error.code(),
            Self::Across { .. } => crate::diagnostics::rules::ROLLBACK_ACROSS,
            Self::PlanChanged { .. } => Code(531),
            Self::Unresolved(outcome) => {
                outcome.cause.as_ref().map_or(Code(603), |(_, failure)| failure.code)
            }
            Self::UnknownProvider(_) => Code(701),
            Self::Strategy(_) => Code(532),
            Self::Plan(e) => e.code(),
            Self::Provider(e) => provider_code(e),
            Self::State(e) => state_code(e),
            Self::Secrets(e) => secret_code(e),
            Self::Apply(e) => e.code(),
            Self::Io { .. } => Code(1001),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownTarget { near, .. } if !near.is_empty() => {
                Some(format!("did you mean {}?", near.join(" or ")))
            }
            Self::UnknownTarget { .. } => {
                Some("give the folder of a scenario or a manifest file; `vrooli-deploy list` shows the apps of this workspace, `profile list` its profiles".to_owned())
            }
            Self::AmbiguousTarget { .. } => {
                Some("write `./NAME` for the folder and the id (`profile-N`) for the profile; for the app, run from elsewhere or rename the profile".to_owned())
            }
            Self::OtherProvider { stack, .. } => Some(format!(
                "deploy into another environment (`--env NAME`, or `profile set PROFILE environment NAME`), or remove it there first: `vrooli-deploy destroy {}{}`",
                stack.app,
                if stack.environment.as_str() == "default" { String::new() } else { format!(" --env {}", stack.environment) }
            )),
            Self::OtherState { name, .. } => Some(format!(
                "if that state is lost or is to be this one from now on: `state rebuild` with `--take-over={name}`; the other is refused then"
            )),
            Self::State(StateError::Changed { .. }) => Some("look at what changed (`vrooli-deploy profile versions`), and run the command again".to_owned()),
            Self::State(StateError::NameTaken { .. }) => Some("choose another name, or delete or rename the one that has it".to_owned()),
            Self::OtherSource { .. } => {
                Some("deploy under another name with `--name NAME`, or take it over with `--adopt`".to_owned())
            }
            Self::Nothing { help, .. } | Self::Gate { help, .. } => Some(help.clone()),
            Self::Budget(judgement) => Some(would_fit(judgement)),
            Self::Refresh(error) => error.help(),
            Self::Across { .. } => Some("deploy a fix forward, or, if the older release lives with the database as it is, give `--allow-irreversible`".to_owned()),
            Self::PlanChanged { .. } => Some("look at the differences and save a new plan with `plan --out FILE`".to_owned()),
            Self::Unresolved(_) => Some("mend what the message says and run the command again; `destroy` ends the app whatever is open".to_owned()),
            Self::Provider(e) => e.help().map(ToOwned::to_owned),
            Self::State(StateError::Held { .. }) => Some("wait for it to finish; a holder that died frees the lease at once".to_owned()),
            Self::Strategy(StrategyError::NoWatcher) => Some("leave `--no-wait` out and let the command watch; or `--hold`: both releases are kept until `promote` or `abort`, and nobody has to wait".to_owned()),
            Self::Plan(e) => e.help(),
            Self::Apply(e) => e.help(),
            _ => None,
        }
    }
}

fn provider_code(error: &ProviderError) -> Code {
    error.catalogued().unwrap_or(crate::engine::provider_code(error.kind()))
}

fn state_code(error: &StateError) -> Code {
    match error {
        StateError::Held { .. } => Code(1010),
        StateError::Lost { .. } => Code(1011),
        StateError::Io { .. } => Code(1001),
        StateError::Damaged { .. } => Code(1002),
        StateError::Version { .. } => Code(1003),
        StateError::Refused { .. } => Code(1012),
        StateError::NameTaken { .. } => Code(1051),
        StateError::Changed { .. } => Code(1052),
    }
}

fn secret_code(error: &SecretError) -> Code {
    match error {
        SecretError::Io { .. } => Code(801),
        SecretError::Damaged { .. } => Code(802),
        SecretError::Key { .. } => Code(803),
        SecretError::Version { .. } => Code(804),
        SecretError::NotFound { .. } => Code(805),
    }
}

/// There is no such stack here.
pub(super) fn never_deployed(stack: &crate::names::StackId) -> OperationError {
    OperationError::Nothing {
        message: format!("`{stack}` was never deployed from this workspace"),
        help: "`vrooli-deploy list` shows what is there".to_owned(),
    }
}
