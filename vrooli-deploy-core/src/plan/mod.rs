//! A pure diff from what is there to what is wanted: steps, undo, tokens, reasons.
//! Immutable and bound to a digest; a saved plan is evidence, never instructions.

mod assemble;
mod check;
pub mod codes;
mod compare;
mod digest;
mod error;
mod graph;
mod inventory;
pub(crate) mod needs;
pub(crate) mod reference;
mod resources;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::manifest::{ServiceConfig, SmokeTest, StrategyConfig};
use crate::names::{
    AppName, Digest, EnvironmentName, ProviderName, ReleaseNumber, ResourceKey, ServiceName, StackId,
    VariableName,
};
use crate::provider::BuildRequest;
use crate::release::{EnvValue, Migration, Release};
use crate::requirements::ResourceRequirement;
use crate::stack::{Resource, Stack};

#[cfg(feature = "engine")]
pub(crate) use assemble::is_commit;
pub use assemble::{AssembleInput, assemble};
pub use check::{Finding, check};
pub use compare::compare;
pub use error::PlanError;
pub use inventory::{Inventory, Observed, Seen};
#[cfg(feature = "engine")]
pub(crate) use resources::output_json;
pub use resources::{
    DestroyInput, DestroyPlan, KeptResource, OrphanObject, ResourceInput, ResourceOptions, ResourcePlan,
    changed_key, destroy, remove_orphans, resources,
};
pub use step::{ReleaseAction, Stage, Step, StepAction, StepId, Undo};

/// A plan: everything that will happen, decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The stack.
    pub stack: StackId,
    /// Who runs it.
    pub provider: ProviderName,
    /// Minted when the stack was first planned, and again after destroy or loss of state.
    #[schemars(with = "String")]
    pub incarnation: Uuid,
    /// What for: `deploy`, `rollback`, `destroy`, …
    pub command: String,
    /// Steps in an order in which they could run one by one.
    pub steps: Vec<Step>,
    /// What is wanted of resources that need no step and are recorded otherwise: a release brings it, as the
    /// number of its tasks, or it is only said. Recorded when the plan is done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub specs: BTreeMap<ResourceKey, Value>,
    /// The release that the steps make or make current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<PlannedRelease>,
    /// The release that serves now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<ReleaseNumber>,
    /// What a person should know: dropped steps, downtime, migrations that cannot be undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Digest of all that was decided and what it was decided from; without tokens, times and prices.
    pub digest: Digest,
}

impl Plan {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is there once it is done, of what is there now. Specs and kinds alone: what of a resource no
    /// plan says stays as it is.
    #[must_use]
    pub fn after(&self, now: &Stack) -> Stack {
        let mut after = now.clone();
        let mut made = BTreeSet::new();
        for step in &self.steps {
            match &step.action {
                StepAction::Create { key, kind, spec, holds_data, .. }
                | StepAction::Update { key, kind, spec, holds_data, .. }
                | StepAction::Adopt { key, kind, spec, holds_data, .. } => {
                    let needed = after.resources.remove(key).map(|known| known.after).unwrap_or_default();
                    let (kind, spec, holds_data) = (kind.clone(), spec.clone(), *holds_data);
                    made.insert(key);
                    after.resources.insert(key.clone(), Resource { kind, spec, after: needed, holds_data });
                }
                // Of a key that is made anew only the old object goes.
                StepAction::Delete { key, .. } if !made.contains(key) => {
                    after.resources.remove(key);
                }
                StepAction::Delete { .. } | StepAction::Release { .. } => {}
            }
        }
        for (key, spec) in &self.specs {
            if let Some(resource) = after.resources.get_mut(key) {
                resource.spec.clone_from(spec);
            }
        }
        after
    }
}

/// The release of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedRelease {
    /// Its number.
    pub number: ReleaseNumber,
    /// What it will be, or is already.
    #[serde(flatten)]
    pub source: ReleaseSource,
}

/// Where a release comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum ReleaseSource {
    /// Built by this plan.
    Build {
        /// How.
        request: Box<BuildRequest>,
        /// Digest of what it is built from.
        source: Digest,
        /// The bundle but for its artefact.
        draft: Box<Draft>,
    },
    /// A release that is staged already (rollback, or an interrupted plan that goes on).
    Staged {
        /// The release.
        release: Box<Release>,
    },
}

/// A bundle before its artefact is built; references to resource outputs are not yet resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Draft {
    /// The app.
    pub app: AppName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its version as its authors count.
    pub version: String,
    /// What runs.
    pub services: BTreeMap<ServiceName, ServiceConfig>,
    /// Environment variables by service.
    pub env: BTreeMap<ServiceName, BTreeMap<VariableName, EnvValue>>,
    /// Smoke tests.
    pub smoke: Vec<SmokeTest>,
    /// How it takes over.
    pub strategy: StrategyConfig,
    /// The host name that it is reached at, where several apps share an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The edge in front of it.
    #[serde(default, skip_serializing_if = "crate::manifest::is_default")]
    pub front: crate::release::Front,
    /// What it is to run on, by place, as the fleet says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, crate::release::Capacity>,
    /// Resources it uses.
    pub resources: Vec<ResourceRequirement>,
    /// Files that must be applied before it starts.
    pub migrations: Vec<Migration>,
}
