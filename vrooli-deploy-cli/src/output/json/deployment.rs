//! What a change does, and what came of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::PlannedCostLine;

/// What came of a change.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DeploymentLine {
    /// The app.
    pub(crate) app: String,
    /// Its environment.
    pub(crate) environment: String,
    /// The release that serves now, `r12`.
    pub(crate) release: Option<String>,
    /// Where it is reached.
    pub(crate) urls: Vec<String>,
    /// Steps of the plan.
    pub(crate) steps: usize,
    /// What is still there although it should not be, or stays on purpose.
    pub(crate) left_behind: Vec<LeftBehindLine>,
    /// Digest of the plan.
    pub(crate) plan: String,
    /// What is not decided yet (outcome `on_hold`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<WaitingLine>,
}

/// A release that is on hold, or being watched.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct WaitingLine {
    /// The new release.
    pub(crate) release: String,
    /// The one before it, kept until it is decided.
    pub(crate) old: Option<String>,
    /// True: it is being watched. False: a person decides.
    pub(crate) watching: bool,
    /// Why it waits.
    pub(crate) reason: String,
    /// Traffic: weights by release.
    pub(crate) routing: BTreeMap<String, u32>,
}

/// Something that is still there.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LeftBehindLine {
    /// What.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
}

/// A plan.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PlanLine {
    /// The app.
    pub(crate) app: String,
    /// Its environment.
    pub(crate) environment: String,
    /// Who runs it.
    pub(crate) provider: String,
    /// What for: `deploy`, `rollback`, …
    pub(crate) command: String,
    /// Digest of all that was decided.
    pub(crate) digest: String,
    /// The release that serves now.
    pub(crate) current: Option<String>,
    /// The release that is to serve.
    pub(crate) release: Option<String>,
    /// Steps in an order in which they could run.
    pub(crate) steps: Vec<StepLine>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
    /// What it does to the bill of a month; absent where nobody bills for any of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<PlannedCostLine>,
}

/// A step of a plan.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct StepLine {
    /// Its id.
    pub(crate) step: String,
    /// `expand`, `release` or `contract`.
    pub(crate) stage: String,
    /// `create`, `update`, `delete`, `adopt` or `release`.
    #[serde(rename = "do")]
    pub(crate) action: String,
    /// It deletes data that cannot be made again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deletes_data: bool,
    /// Why it is there.
    pub(crate) reason: String,
    /// Steps that must have succeeded first.
    pub(crate) after: Vec<String>,
}
