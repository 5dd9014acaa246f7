//! Stop and start: the units of the current release, and its traffic.

use std::collections::BTreeSet;

use super::change::{After, Change};
use super::rollback::never_deployed;
use super::session::Interrupted;
use super::{OperationError, Run, Workspace};
use crate::manifest::{Overlap, StrategyConfig};
use crate::names::{ReleaseNumber, StackId};
use crate::plan::{
    self, PlannedRelease, ReleaseAction, ReleaseSource, Stage, Step, StepAction, StepId, Undo,
};
use crate::provider::{FleetCapabilities, Routing, UnitObserved, UnitState};
use crate::release::strategy::{Situation, StepGraph};

impl Workspace {
    /// Plans a stop: traffic ends, then every unit. Data and releases stay.
    ///
    /// # Errors
    /// When the app was never deployed, or someone else holds the lease.
    pub async fn stop(&self, stack: &StackId, run: &Run) -> Result<Change, OperationError> {
        self.power(stack, run, false).await
    }

    /// Plans a start of the current release.
    ///
    /// # Errors
    /// When the app was never deployed, or someone else holds the lease.
    pub async fn start(&self, stack: &StackId, run: &Run) -> Result<Change, OperationError> {
        self.power(stack, run, true).await
    }

    async fn power(&self, stack: &StackId, run: &Run, on: bool) -> Result<Change, OperationError> {
        let command = if on { "start" } else { "stop" };
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let session = self.session(stack, &source.provider, run, command, Interrupted::Resolve).await?;
        if on {
            session.revive().await?;
        }
        let cx = session.context();
        let fleet = session.fleet()?;
        let units = fleet.list(&cx).await?;
        let routing = fleet.routing(&cx).await?;
        let inventory = self.inventory(&*session.provider, &cx).await?;
        let state = &session.state;
        let mut release = None;
        let release_steps = if on {
            let current = state
                .current
                .and_then(|n| state.releases.get(&n))
                .ok_or_else(|| never_deployed(stack))?
                .release
                .clone();
            let next = PlannedRelease {
                number: current.number,
                source: ReleaseSource::Staged { release: Box::new(current) },
            };
            let steps = start_steps(&next, &units, &routing, &fleet.capabilities(), &[]);
            release = Some(next);
            steps
        } else {
            stop_steps(&units, &routing, state.current)
        };
        let plan = plan::assemble(plan::AssembleInput {
            stack: stack.clone(),
            provider: source.provider.clone(),
            incarnation: state.incarnation,
            command: command.to_owned(),
            resource_steps: Vec::new(),
            release_steps,
            release,
            current: state.current,
            notes: Vec::new(),
            inventory: &inventory,
        })?;
        Ok(Change {
            session,
            plan,
            diagnostics: Vec::new(),
            after: After { stopped: Some(!on), ..After::default() },
        })
    }
}

/// Brings the units of a staged release up and its traffic back; units of others end.
/// Empty when it serves already.
pub(super) fn start_steps(
    next: &PlannedRelease,
    units: &[UnitObserved],
    routing: &Routing,
    fleet: &FleetCapabilities,
    expired: &[ReleaseNumber],
) -> Vec<Step> {
    let config = StrategyConfig::default();
    let situation = Situation { next, current: None, routing, units, fleet, config: &config, expired };
    let running: BTreeSet<_> = units
        .iter()
        .filter(|u| u.release == next.number && u.state == UnitState::Running)
        .map(|u| &u.unit)
        .collect();
    let complete = situation
        .services()
        .iter()
        .flat_map(|(name, config)| crate::release::strategy::units(name, config))
        .all(|unit| running.contains(&unit));
    let alone = units.iter().all(|u| u.release == next.number || u.state == UnitState::Stopped);
    if complete && alone && routing.weights == Routing::all_to(next.number).weights {
        return Vec::new();
    }
    StepGraph::new(&situation)
        .start(Overlap::Allowed)
        .start(Overlap::Exclusive)
        .shift(Routing::all_to(next.number))
        .retire()
        .done()
}

/// Ends the traffic, then every unit.
pub(super) fn stop_steps(
    units: &[UnitObserved],
    routing: &Routing,
    current: Option<ReleaseNumber>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut after = BTreeSet::new();
    let owner = current.or_else(|| units.first().map(|u| u.release)).unwrap_or(ReleaseNumber(0));
    if !routing.weights.is_empty() {
        let id = StepId("shift:none".to_owned());
        steps.push(Step {
            id: id.clone(),
            stage: Stage::Release,
            action: StepAction::Release {
                release: owner,
                action: ReleaseAction::Shift { routing: Routing::default() },
            },
            undo: Undo::Unshift,
            after: BTreeSet::new(),
            reason: "no new requests".to_owned(),
            token: None,
        });
        after.insert(id);
    }
    for seen in units.iter().filter(|u| u.state != UnitState::Stopped) {
        steps.push(Step {
            id: StepId(format!("stop:{}/{}", seen.release, seen.unit)),
            stage: Stage::Release,
            action: StepAction::Release {
                release: owner,
                action: ReleaseAction::Stop { old: seen.release, unit: seen.unit.clone() },
            },
            undo: Undo::Release {
                release: seen.release,
                action: ReleaseAction::Start { unit: seen.unit.clone() },
            },
            after: after.clone(),
            reason: String::new(),
            token: None,
        });
    }
    steps
}
