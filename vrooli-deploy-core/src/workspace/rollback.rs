use super::change::{After, Change};
use super::error::never_deployed;
use super::session::Interrupted;
use super::steps::expired;
use super::{OperationError, Run, Workspace};
use crate::engine::{ReleaseStatus, StackState};
use crate::names::{ReleaseNumber, StackId};
use crate::plan::{self, PlannedRelease, ReleaseSource};
use crate::release::strategy::Situation;

impl Workspace {
    /// Plans the way back: to the given release, or to the last good one before the current.
    /// The whole bundle comes back: artefact, environment, secret versions, routes.
    ///
    /// # Errors
    /// When there is no such release, or someone else holds the lease.
    pub async fn rollback(
        &self,
        stack: &StackId,
        to: Option<ReleaseNumber>,
        run: &Run,
    ) -> Result<Change, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let session = self.session(stack, &source.provider, run, "rollback", Interrupted::Resolve).await?;
        session.revive().await?;
        let target = goal(&session.state, to)?;
        let cx = session.context();
        let fleet = session.fleet()?;
        let units = fleet.list(&cx).await?;
        let routing = fleet.routing(&cx).await?;
        let inventory = self.inventory(&*session.provider, &cx).await?;
        let state = &session.state;
        let release = &state.releases.get(&target).ok_or_else(|| no_such_release(target))?.release;
        let next = PlannedRelease {
            number: target,
            source: ReleaseSource::Staged { release: Box::new(release.clone()) },
        };
        let capabilities = fleet.capabilities();
        let strategy = self.0.strategies.get(release.bundle.strategy.kind.name())?;
        let mut expired = expired(state);
        expired.retain(|number| *number != target);
        let release_steps = strategy.steps(&Situation {
            next: &next,
            current: state.current.and_then(|n| state.releases.get(&n)).map(|r| &r.release),
            routing: &routing,
            units: &units,
            fleet: &capabilities,
            config: &release.bundle.strategy,
            expired: &expired,
        })?;
        let newer = state
            .current
            .and_then(|n| state.releases.get(&n))
            .map(|r| r.release.bundle.migrations.len())
            .unwrap_or_default();
        let mut notes = Vec::new();
        if newer > release.bundle.migrations.len() {
            notes.push(format!(
                "{} SQL file(s) applied since {target} stay applied: a rollback takes back no SQL",
                newer - release.bundle.migrations.len()
            ));
        }
        let plan = plan::assemble(plan::AssembleInput {
            stack: stack.clone(),
            provider: source.provider.clone(),
            incarnation: state.incarnation,
            command: "rollback".to_owned(),
            resource_steps: Vec::new(),
            release_steps,
            release: Some(next),
            current: state.current,
            notes,
            inventory: &inventory,
        })?;
        Ok(Change {
            session,
            plan,
            diagnostics: Vec::new(),
            after: After { stopped: Some(false), ..After::default() },
        })
    }
}

fn no_such_release(number: ReleaseNumber) -> OperationError {
    OperationError::Nothing {
        message: format!("there is no release {number}"),
        help: "`vrooli-deploy releases APP` shows those that can be gone back to".to_owned(),
    }
}

/// The release to go back to. Without a wish: the newest good one before the current.
fn goal(state: &StackState, to: Option<ReleaseNumber>) -> Result<ReleaseNumber, OperationError> {
    let current = state.current;
    if let Some(to) = to {
        let record = state.releases.get(&to).ok_or_else(|| no_such_release(to))?;
        if Some(to) == current {
            return Err(OperationError::Nothing {
                message: format!("{to} is the current release"),
                help: "`vrooli-deploy releases APP` shows those that can be gone back to".to_owned(),
            });
        }
        return match record.status {
            ReleaseStatus::Good => Ok(to),
            ReleaseStatus::Removed => Err(OperationError::Nothing {
                message: format!("{to} is no longer kept"),
                help: "deploy its source again".to_owned(),
            }),
            ReleaseStatus::Failed | ReleaseStatus::Candidate => Err(OperationError::Nothing {
                message: format!("{to} never became current: its deployment failed"),
                help: "`vrooli-deploy releases APP` shows those that were good".to_owned(),
            }),
        };
    }
    state
        .releases
        .iter()
        .rev()
        .find(|(number, record)| {
            record.status == ReleaseStatus::Good && current.is_none_or(|current| **number < current)
        })
        .map(|(number, _)| *number)
        .ok_or_else(|| OperationError::Nothing {
            message: "there is no earlier good release to go back to".to_owned(),
            help: "`vrooli-deploy releases APP` shows the history; `--to rN` goes to a release that is not the newest before this one".to_owned(),
        })
}
