use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::{ReleaseNumber, ResourceKey, ResourceKind, UnitId};
use crate::provider::{OpToken, PhysicalId, Routing};
use crate::release::verdict::WatchRules;

/// The id of a step in its plan, readable and the same each time: `create:database/main`,
/// `start:r3/api.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StepId(pub String);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When a step may run. A stage begins when all steps of the stages before it have succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before the release; the running release can live with it.
    Expand,
    /// The change of release itself.
    Release,
    /// After Commit: deletes and shrinking.
    Contract,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its id.
    pub id: StepId,
    /// When it may run.
    pub stage: Stage,
    /// What it does.
    pub action: StepAction,
    /// What takes it back, decided now.
    pub undo: Undo,
    /// Steps that must have succeeded first.
    pub after: BTreeSet<StepId>,
    /// Why it is there, for people.
    pub reason: String,
    /// Token of a create. Not part of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<OpToken>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum StepAction {
    /// Makes a resource.
    Create {
        /// Its key.
        key: ResourceKey,
        /// Its kind.
        kind: ResourceKind,
        /// `Spec<Wanted>`.
        spec: Value,
        /// Rises on replace.
        generation: u32,
        /// Holds data that cannot be made again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        holds_data: bool,
        /// Resources that must outlive it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        needs: BTreeSet<ResourceKey>,
    },
    /// Changes a resource.
    Update {
        /// Its key.
        key: ResourceKey,
        /// Its kind.
        kind: ResourceKind,
        /// What the provider calls it.
        id: PhysicalId,
        /// `Spec<Wanted>`.
        spec: Value,
        /// What was seen when planning.
        observed: Value,
        /// Fields that change.
        fields: Vec<String>,
        /// Holds data that cannot be made again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        holds_data: bool,
        /// Resources that must outlive it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        needs: BTreeSet<ResourceKey>,
    },
    /// Removes a resource.
    Delete {
        /// Its key.
        key: ResourceKey,
        /// Its kind.
        kind: ResourceKind,
        /// What the provider calls it.
        id: PhysicalId,
        /// It holds data, and the user asked for it to go.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        holds_data: bool,
    },
    /// Takes over an object that bears our marks and is in no state.
    Adopt {
        /// Its key.
        key: ResourceKey,
        /// Its kind.
        kind: ResourceKind,
        /// What the provider calls it.
        id: PhysicalId,
        /// `Spec<Wanted>`.
        spec: Value,
        /// What was seen when planning.
        observed: Value,
        /// Holds data that cannot be made again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        holds_data: bool,
        /// Resources that must outlive it.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        needs: BTreeSet<ResourceKey>,
    },
    /// A step of the change of release.
    Release {
        /// The release it belongs to.
        release: ReleaseNumber,
        /// What is done.
        #[serde(flatten)]
        action: ReleaseAction,
    },
}

impl StepAction {
    /// The resource it is about; `None` for a step of the change of release.
    #[must_use]
    pub fn key(&self) -> Option<&ResourceKey> {
        match self {
            Self::Create { key, .. }
            | Self::Update { key, .. }
            | Self::Delete { key, .. }
            | Self::Adopt { key, .. } => Some(key),
            Self::Release { .. } => None,
        }
    }

    /// What it does, for people: `create database/main`, `start api.0 of r3`.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Create { key, .. } => format!("create {key}"),
            Self::Update { key, .. } => format!("update {key}"),
            Self::Delete { key, .. } => format!("delete {key}"),
            Self::Adopt { key, .. } => format!("adopt {key}"),
            Self::Release { release, action } => action.title(*release),
        }
    }
}

impl ReleaseAction {
    /// What it does for a release, for people.
    #[must_use]
    pub fn title(&self, release: ReleaseNumber) -> String {
        match self {
            Self::Build => format!("build {release}"),
            Self::Stage => format!("stage {release}"),
            Self::Migrate => format!("apply SQL of {release}"),
            Self::Yield { old, unit } => format!("stop {unit} of {old} to make room"),
            Self::Start { unit } => format!("start {unit} of {release}"),
            Self::Probe { unit } => format!("probe {unit} of {release}"),
            Self::Smoke { through_edge: true } => format!("smoke test {release} through the edge"),
            Self::Smoke { through_edge: false } => format!("smoke test {release}"),
            Self::Shift { routing } => match routing.weights.len() {
                0 => "end traffic".to_owned(),
                1 => format!(
                    "move traffic to {}",
                    routing.weights.keys().map(ToString::to_string).collect::<String>()
                ),
                _ => {
                    let shares: Vec<_> = routing.weights.iter().map(|(r, w)| format!("{r}={w}")).collect();
                    format!("split traffic {}", shares.join(" "))
                }
            },
            Self::Watch { .. } => format!("watch {release}"),
            Self::Commit => format!("commit {release}"),
            Self::Hold => format!("hold {release} until somebody decides"),
            Self::Drain { old, units, .. } if units.is_empty() => format!("drain {old}"),
            Self::Drain { old, units, .. } => {
                let units: Vec<_> = units.iter().map(ToString::to_string).collect();
                format!("drain {} of {old}", units.join(", "))
            }
            Self::Stop { old, unit } => format!("stop {unit} of {old}"),
            Self::Remove { old } => format!("remove {old}"),
        }
    }
}

/// What a release step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum ReleaseAction {
    /// Builds the artefact and fixes the bundle.
    Build,
    /// Puts it where it will run.
    Stage,
    /// Applies schema, migrations and seeds, each file once.
    Migrate,
    /// Stops an old unit of an exclusive service (its undo starts it again).
    Yield {
        /// The release of the old unit.
        old: ReleaseNumber,
        /// The old unit.
        unit: UnitId,
    },
    /// Starts a unit.
    Start {
        /// Which.
        unit: UnitId,
    },
    /// Waits until a unit is well.
    Probe {
        /// Which.
        unit: UnitId,
    },
    /// Runs the smoke tests.
    Smoke {
        /// Through the edge, or at the units.
        through_edge: bool,
    },
    /// Moves traffic.
    Shift {
        /// To what.
        routing: Routing,
    },
    /// Compares new with old for a while.
    Watch {
        /// How long.
        #[serde(with = "crate::duration")]
        #[schemars(with = "String")]
        window: Duration,
        /// The release that served before, if there is one to compare with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<ReleaseNumber>,
        /// What a verdict goes by.
        rules: WatchRules,
    },
    /// Waits for a person: both releases are there until `promote` or `abort`.
    Hold,
    /// The release is the current one from here on.
    Commit,
    /// Waits until an old release, or units of it, have nothing in flight.
    Drain {
        /// Which.
        old: ReleaseNumber,
        /// Which units; none named: all.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        units: BTreeSet<UnitId>,
        /// How long at most.
        #[serde(with = "crate::duration")]
        #[schemars(with = "String")]
        deadline: Duration,
    },
    /// Stops a unit of an old release.
    Stop {
        /// The old release.
        old: ReleaseNumber,
        /// The unit.
        unit: UnitId,
    },
    /// Removes an old release that nothing needs any more.
    Remove {
        /// Which.
        old: ReleaseNumber,
    },
}

/// What takes a step back, decided when the plan is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "undo")]
pub enum Undo {
    /// Nothing to take back.
    Nothing,
    /// Remove what was made.
    Delete,
    /// Put back what was there.
    Restore {
        /// The spec before, references symbolic.
        previous: Value,
    },
    /// Do this release step instead.
    Release {
        /// The release it works on.
        release: ReleaseNumber,
        /// What is done.
        #[serde(flatten)]
        action: ReleaseAction,
    },
    /// Set the traffic back to what the journal says it was.
    Unshift,
    /// Stop the unit that was started.
    Stop,
    /// It stays, and is listed.
    Keep {
        /// Why.
        reason: String,
    },
}
