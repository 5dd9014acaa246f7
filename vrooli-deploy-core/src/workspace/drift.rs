//! How what is there differs from what was applied.

use serde::{Deserialize, Serialize};

use super::error::never_deployed;
use super::steps::serves;
use super::{OperationError, Workspace};
use crate::engine::{StackState, Survey, survey};
use crate::names::StackId;
use crate::plan::{self, StepAction};
use crate::provider::{Cancellation, CertificateSeen, Provider};
use crate::stack::{Resource, Stack};

/// What `drift` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftReport {
    /// The stack.
    pub stack: StackId,
    /// How many resources were looked at.
    pub resources: usize,
    /// What differs. Empty: nothing.
    pub differences: Vec<Drift>,
    /// What could not be seen, and what else a person should know.
    pub notes: Vec<String>,
}

/// Something that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The resource's key, or the release.
    pub what: String,
    /// Its kind; of a release none.
    pub kind: Option<String>,
    /// How it differs.
    pub change: DriftKind,
    /// The fields that differ, as the kind calls them.
    pub fields: Vec<String>,
    /// For people.
    pub reason: String,
}

/// How something differs from what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// It is not there any more.
    Gone,
    /// It is there, and other than it was made.
    Changed,
    /// It bears our marks, and no state knows of it.
    Unknown,
}

impl Workspace {
    /// Holds what is there against what was last applied, whatever the manifest says by now.
    /// Takes no lease and changes nothing.
    ///
    /// # Errors
    /// When the stack was never deployed, or the world cannot be looked at.
    pub async fn drift(&self, stack: &StackId) -> Result<DriftReport, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let provider = self.provider(stack, &source.provider, None).await?;
        let state = self.0.store.load(stack).await?;
        let cx = self.observe_context(stack, 0, Cancellation::new());
        let seen = survey(&*provider, &cx, &state).await?;
        let (mut differences, mut notes) = resources(stack, &*provider, &state, &seen)?;
        if !source.stopped {
            differences.extend(release(&state, &seen));
        }
        if let Some(fleet) = provider.fleet().filter(|_| !source.stopped) {
            differences.extend(fleet.certificates(&cx).await?.iter().filter_map(certificate));
        }
        if let Some(open) = &state.open {
            notes.push(format!(
                "`{}` was interrupted; the next command on it resolves that",
                open.plan.command
            ));
        }
        Ok(DriftReport { stack: stack.clone(), resources: state.resources.len(), differences, notes })
    }
}

/// Is there one, and will it go on being good?
fn certificate(seen: &CertificateSeen) -> Option<Drift> {
    Some(Drift {
        what: format!("certificate of {} on {}", seen.names.join(", "), seen.host),
        kind: Some("certificate".to_owned()),
        change: if seen.not_after.is_some() { DriftKind::Changed } else { DriftKind::Gone },
        fields: Vec::new(),
        reason: seen.problem.clone()?,
    })
}

/// What a plan for what was last applied would do.
fn resources(
    stack: &StackId,
    provider: &dyn Provider,
    state: &StackState,
    seen: &Survey,
) -> Result<(Vec<Drift>, Vec<String>), OperationError> {
    let applied = Stack {
        id: stack.clone(),
        resources: state
            .resources
            .iter()
            .map(|(key, known)| {
                let resource = Resource {
                    kind: known.kind.clone(),
                    spec: known.spec.clone(),
                    after: known.needs.clone(),
                    holds_data: known.holds_data,
                };
                (key.clone(), resource)
            })
            .collect(),
    };
    // Nothing is done with it: what could only be made anew is told, too.
    let options =
        plan::ResourceOptions { delete_data: true, allow_downtime: true, ..plan::ResourceOptions::default() };
    let planned = plan::resources(&plan::ResourceInput {
        stack: &applied,
        state,
        inventory: &seen.inventory,
        incarnation: state.incarnation,
        provider,
        options: &options,
    })?;
    let mut differences: Vec<Drift> = Vec::new();
    for step in planned.steps {
        let (key, kind, change, fields) = match step.action {
            StepAction::Create { key, kind, .. } if seen.inventory.objects(&key).is_empty() => {
                (key, kind, DriftKind::Gone, Vec::new())
            }
            StepAction::Create { key, kind, .. } => (key, kind, DriftKind::Changed, Vec::new()),
            StepAction::Update { key, kind, fields, .. } => (key, kind, DriftKind::Changed, fields),
            StepAction::Adopt { key, kind, .. } => (key, kind, DriftKind::Unknown, Vec::new()),
            StepAction::Delete { key, kind, .. } if !state.resources.contains_key(&key) => {
                (key, kind, DriftKind::Unknown, Vec::new())
            }
            StepAction::Delete { .. } | StepAction::Release { .. } => continue,
        };
        differences.push(Drift {
            what: key.to_string(),
            kind: Some(kind.to_string()),
            change,
            fields,
            reason: step.reason,
        });
    }
    Ok((differences, planned.notes))
}

/// Does the current release serve, as it was left?
fn release(state: &StackState, seen: &Survey) -> Option<Drift> {
    let current = &state.releases.get(&state.current?)?.release;
    (!serves(current, &seen.units, &seen.routing)).then(|| Drift {
        what: current.number.to_string(),
        kind: None,
        change: DriftKind::Changed,
        fields: Vec::new(),
        reason: "it does not serve as it was left".to_owned(),
    })
}
