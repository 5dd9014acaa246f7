//! What `--json` prints: one object a line, the last a `result`. These types are the
//! published format, apart from the library's own: a change of the library must not
//! change what scripts read. The schema is `schemas/cli-output.v1.json`.

mod backups;
mod deployment;
mod diagnostic;
mod drift;
mod estimate;
mod fitness;
mod hosts;
mod orphans;
mod planned_cost;
mod profile;
mod render;
mod secrets;
mod state;
mod status;
mod validate;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use vrooli_deploy_core::provider::Permission;

use crate::errors::Failure;

pub(crate) use backups::{BackupLine, RestoredLine, backups};
pub(crate) use deployment::{DeploymentLine, LeftBehindLine, PlanLine, StepLine, WaitingLine};
pub(crate) use diagnostic::{DiagnosticLine, PlaceLine};
pub(crate) use drift::DriftLine;
pub(crate) use estimate::{BookLine, EstimateLine, PriceLine};
pub(crate) use fitness::{ConsequenceLine, FitnessLine, SwapAnalysisLine, SwapLine, verdict};
pub(crate) use hosts::{HostFactsLine, HostLine, PreflightLine};
pub(crate) use orphans::OrphanLine;
pub(crate) use planned_cost::PlannedCostLine;
pub(crate) use profile::{ConfigurationLine, ProfileLine};
pub(crate) use render::RenderedLine;
pub(crate) use secrets::{SaidLine, SecretChangeLine, SecretLine, StoredSecretLine};
pub(crate) use state::RebuiltLine;
pub(crate) use status::{
    AppLine, CertificateLine, LastChangeLine, LeaseLine, ReleaseLine, ResourceLine, StatusLine, UnitLine,
    WatchLine,
};
pub(crate) use validate::{CheckLine, FindingLine, RemediationLine};

/// Rises when a field changes its meaning or goes; what is added does not count.
pub(crate) const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Line {
    /// What will happen, or would.
    Plan(Box<PlanLine>),
    /// An interrupted run is being resolved first.
    Recovering {
        /// Steps that were left dangling.
        dangling: Vec<String>,
    },
    /// A plan begins.
    PlanStarted {
        /// Number of its steps.
        steps: usize,
    },
    /// A step begins.
    StepStarted {
        /// Its id.
        step: String,
        /// `expand`, `release` or `contract`.
        stage: String,
        /// What it does, for people.
        title: String,
    },
    /// A line that a step's program wrote.
    StepOutput {
        /// Its id.
        step: String,
        /// The line.
        line: String,
    },
    /// A step is done.
    StepSucceeded {
        /// Its id.
        step: String,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// A step is tried again.
    StepRetried {
        /// Its id.
        step: String,
        /// Why.
        reason: String,
    },
    /// A step failed.
    StepFailed {
        /// Its id.
        step: String,
        /// Why.
        error: Failure,
    },
    /// A step is being undone.
    UndoStarted {
        /// Its id.
        step: String,
    },
    /// A step is undone.
    UndoSucceeded {
        /// Its id.
        step: String,
    },
    /// A step could not be undone.
    UndoFailed {
        /// Its id.
        step: String,
        /// Why.
        error: Failure,
    },
    /// A look at a release that is watched.
    Watching {
        /// The step's id.
        step: String,
        /// How long it is watched, in milliseconds.
        elapsed_millis: u64,
        /// How long it is to be watched, in milliseconds.
        window_millis: u64,
        /// `pass`, `fail` or `inconclusive`, so far.
        verdict: String,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What each release did since the watch began, the new one first.
        releases: Vec<SeenLine>,
    },
    /// The plan waits with both releases there.
    Held {
        /// The step's id.
        step: String,
        /// Why.
        reason: String,
    },
    /// Something worth knowing.
    Note {
        /// For people.
        message: String,
    },
    /// Something about the user's input.
    Diagnostic(DiagnosticLine),
    /// An app of the workspace (`list`).
    App(AppLine),
    /// How an app is (`status`).
    Status(Box<StatusLine>),
    /// Something that is not as it was deployed (`drift`).
    Drift(DriftLine),
    /// What bears our marks and is in no stack of the workspace.
    Orphan(Box<OrphanLine>),
    /// A release (`releases`).
    Release(ReleaseLine),
    /// A line that an app wrote (`logs`).
    Log {
        /// Its release.
        release: String,
        /// Its instance.
        unit: String,
        /// The line.
        line: String,
    },
    /// A record of the journal (`history`).
    Record {
        /// Counts from 1.
        seq: u64,
        /// When, RFC 3339.
        at: String,
        /// The lease under which it was written.
        fence: u64,
        /// What, in the journal's own form, which is not part of this format.
        entry: Value,
    },
    /// A profile (`profile create|list|show|set|…`).
    Profile(ProfileLine),
    /// A version of a profile (`profile versions`).
    ProfileVersion {
        /// The profile's id.
        id: String,
        /// Counts from 1.
        version: u32,
        /// Since when, RFC 3339.
        at: String,
        /// Who made it.
        by: String,
        /// What was done.
        reason: String,
        /// Was the profile deleted with it?
        deleted: bool,
    },
    /// A key that can be set (`profile keys`).
    ProfileKey {
        /// As it is typed.
        key: String,
        /// What follows it.
        takes: String,
        /// What it is for.
        about: String,
    },
    /// Something that differs between two versions (`profile diff`).
    Difference {
        /// Where: `settings.region`.
        path: String,
        /// What it was; absent: nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<Value>,
        /// What it is; absent: nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Value>,
    },
    /// A key of the configuration (`configure`). Never its value.
    Configuration(ConfigurationLine),
    /// What an app costs (`estimate-cost`).
    Estimate(Box<EstimateLine>),
    /// What a rule says of an app (`validate`).
    Check(Box<CheckLine>),
    /// A server of the user's own (`hosts`).
    Host(Box<HostLine>),
    /// A check of an app's servers (`preflight`).
    Preflight(Box<PreflightLine>),
    /// A price book (`prices list`).
    PriceBook(BookLine),
    /// A price (`prices show`).
    Price(PriceLine),
    /// A manifest (`manifest show`, `manifest generate`).
    Manifest {
        /// It, as its own schema says.
        manifest: Value,
    },
    /// What deploying an app takes (`permissions`).
    Permissions {
        /// Each right once, in the provider's own terms.
        permissions: Vec<Permission>,
        /// The same as documents that the provider takes.
        policies: Vec<Value>,
    },
    /// A file that was rendered (`render`).
    Rendered(RenderedLine),
    /// A secret of an app (`secrets identify`).
    Secret(Box<SecretLine>),
    /// What the secret store keeps (`secrets list`).
    StoredSecret(StoredSecretLine),
    /// A value was stored (`secrets set`, `generate`, `rotate`).
    SecretChange(SecretChangeLine),
    /// How fit an app is for a tier (`fitness`).
    Fitness(Box<FitnessLine>),
    /// A swap that is known (`swaps list`).
    Swap(SwapLine),
    /// What a swap would do (`swaps analyze`).
    SwapAnalysis(Box<SwapAnalysisLine>),
    /// Something that must change because of a swap (`swaps cascade`).
    Consequence(ConsequenceLine),
    /// A thing of a state that was built again (`state rebuild`).
    Rebuilt(RebuiltLine),
    /// A backup of a database or a cache (`backups list`).
    Backup(BackupLine),
    /// A backup was put back (`backups restore`).
    Restored(RestoredLine),
    /// A message code (`explain`).
    Code {
        /// `VD0203`.
        code: String,
        /// A short name.
        name: String,
        /// The page: cause, example, fix; absent in the list of all codes.
        #[serde(skip_serializing_if = "Option::is_none")]
        page: Option<String>,
    },
    /// A text that was asked for (`completions`, `man`, `manifest schema`, `secrets template`).
    Text {
        /// It.
        text: String,
    },
    /// The last line.
    Result(Box<ResultLine>),
}

/// What was seen of a release.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SeenLine {
    /// `r12`.
    pub(crate) release: String,
    /// Its share of the traffic, in percent, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<u32>,
    /// Requests.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) errors: u64,
    /// Half of all were answered within so many microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_us: Option<u64>,
    /// 99 % were answered within so many microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<u64>,
    /// How often its instances ended by themselves.
    pub(crate) restarts: u32,
    /// Memory of all its instances now, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
}

/// What came of the command.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ResultLine {
    /// Version of this format.
    pub(crate) version: u32,
    /// The command.
    pub(crate) command: String,
    /// In a word.
    pub(crate) outcome: OutcomeWord,
    /// How the program ends.
    pub(crate) exit_code: u8,
    /// Of commands that change an app.
    #[serde(flatten)]
    pub(crate) deployment: Option<DeploymentLine>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Failure>,
}

/// What came of a command, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeWord {
    /// A command that reads has read.
    Done,
    /// Differences were found (exit 10).
    Differences,
    /// Nothing was to be done.
    NoChange,
    /// The change was made.
    Applied,
    /// Not decided yet: on hold, or being watched (exit 8).
    OnHold,
    /// Failed; all is as before but for `left_behind` (exit 3).
    RolledBack,
    /// Failed in part (exit 4).
    Partial,
    /// A person decides (exit 6).
    Stuck,
    /// Stopped by the user; the next run resumes (exit 130).
    Interrupted,
    /// Refused; nothing was changed (exit 1).
    Refused,
    /// Someone else holds the lease (exit 5).
    Blocked,
    /// A gate said no (exit 7).
    Gate,
    /// The command line cannot be understood (exit 2).
    Usage,
}

impl OutcomeWord {
    /// The word for an exit code that came without an outcome.
    pub(crate) const fn of_exit(code: u8) -> Self {
        match code {
            0 => Self::Done,
            2 => Self::Usage,
            5 => Self::Blocked,
            6 => Self::Stuck,
            7 => Self::Gate,
            10 => Self::Differences,
            130 => Self::Interrupted,
            _ => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test` writes it anew; a change that is not an addition needs a new version.
    #[test]
    fn the_schema_is_the_one_that_is_checked_in() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/cli-output.v1.json");
        let mut schema = schemars::schema_for!(Line);
        schema.insert("title".to_owned(), "One line of `vrooli-deploy --json`, version 1".into());
        let text = format!("{:#}\n", schema.as_value());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &text).unwrap();
        }
        // Line by line: the whole of it is no message that anybody reads.
        let checked_in = std::fs::read_to_string(file).unwrap();
        let differs = checked_in.lines().zip(text.lines()).position(|(before, now)| before != now);
        assert_eq!(differs, None, "the line; run with UPDATE=1 and look at the difference");
        assert_eq!(checked_in.len(), text.len(), "run with UPDATE=1 and look at the difference");
    }

    #[test]
    fn the_result_is_flat_and_names_its_version() {
        let line = Line::Result(Box::new(ResultLine {
            version: VERSION,
            command: "list".to_owned(),
            outcome: OutcomeWord::Done,
            exit_code: 0,
            deployment: None,
            error: None,
        }));
        assert_eq!(
            serde_json::to_value(&line).unwrap(),
            serde_json::json!({"type": "result", "version": 1, "command": "list", "outcome": "done", "exit_code": 0})
        );
    }
}
