//! Stop and start: the units of the current release, and its traffic.

use std::collections::BTreeMap;

use super::change::{After, Change};
use super::error::never_deployed;
use super::session::Interrupted;
use super::steps::{start_steps, stop_steps};
use super::{OperationError, Run, Workspace};
use crate::engine::{Survey, survey};
use crate::names::StackId;
use crate::plan::{self, PlannedRelease, ReleaseSource};

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
        let cx = if on { session.revive().await? } else { session.context() };
        let fleet = session.fleet()?;
        let Survey { inventory, units, routing, .. } =
            survey(&*session.provider, &cx, &session.state).await?;
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
            specs: BTreeMap::new(),
            release_steps,
            release,
            current: state.current,
            notes: Vec::new(),
            inventory: &inventory,
        })?;
        Ok(Change {
            session,
            plan,
            cost: None,
            diagnostics: Vec::new(),
            after: After { stopped: Some(!on), ..After::default() },
        })
    }
}
