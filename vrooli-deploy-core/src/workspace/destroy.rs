use super::change::{After, Change, Destroyed};
use super::error::never_deployed;
use super::session::{Interrupted, Session};
use super::steps::stop_steps;
use super::{DestroyOptions, OperationError, Run, Workspace};
use crate::engine::{Entry, LeftBehind, Survey, survey};
use crate::names::{ReleaseNumber, ResourceKey, StackId};
use crate::plan::{self, Inventory, ReleaseAction, Stage, Step, StepAction, StepId, Undo};
use crate::provider::PhysicalId;

impl Workspace {
    /// Plans the end of a stack: traffic, units, releases, resources. Databases and volumes
    /// stay unless `options.data` is the app's name.
    ///
    /// # Errors
    /// When there is no such stack, `options.data` is another name (a gate, exit 7), or
    /// someone else holds the lease.
    pub async fn destroy(
        &self,
        stack: &StackId,
        options: &DestroyOptions,
        run: &Run,
    ) -> Result<Change, OperationError> {
        let data = match &options.data {
            Some(name) if name == stack.app.as_str() => true,
            Some(name) => {
                return Err(OperationError::Gate {
                    message: format!(
                        "`--data={name}` does not name the app `{}`: its data is kept",
                        stack.app
                    ),
                    help: format!("to delete its databases and volumes for good: `--data={}`", stack.app),
                });
            }
            None => false,
        };
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let session = self.session(stack, &source.provider, run, "destroy", Interrupted::Abandon).await?;
        let cx = session.context();
        let Survey { inventory, units, routing, staged, .. } =
            survey(&*session.provider, &cx, &session.state).await?;
        let state = &session.state;
        let mut release_steps = stop_steps(&units, &routing, state.current);
        let stopped: std::collections::BTreeSet<StepId> =
            release_steps.iter().map(|s| s.id.clone()).collect();
        let owner = state.current.unwrap_or(ReleaseNumber(state.last_release));
        for release in staged {
            release_steps.push(Step {
                id: StepId(format!("remove:{}", release.number)),
                stage: Stage::Contract,
                action: StepAction::Release {
                    release: owner,
                    action: ReleaseAction::Remove { old: release.number },
                },
                undo: Undo::Nothing,
                after: stopped.clone(),
                reason: String::new(),
                token: None,
            });
        }
        let destroy =
            plan::destroy(&plan::DestroyInput { stack, state, inventory: &inventory, delete_data: data });
        let kept =
            destroy.kept.iter().map(|(key, id)| (key.to_string(), place(&inventory, key, id))).collect();
        let notes = destroy.notes;
        let plan = plan::assemble(plan::AssembleInput {
            stack: stack.clone(),
            provider: source.provider.clone(),
            incarnation: state.incarnation,
            command: "destroy".to_owned(),
            resource_steps: destroy.steps,
            release_steps,
            release: None,
            current: state.current,
            notes,
            inventory: &inventory,
        })?;
        Ok(Change {
            session,
            plan,
            diagnostics: Vec::new(),
            after: After { destroyed: Some(Destroyed { data, kept }), ..After::default() },
        })
    }
}

/// Where a kept resource lies, as a person would look for it: its folder or its volume,
/// where it has one.
fn place(inventory: &Inventory, key: &ResourceKey, id: &PhysicalId) -> String {
    inventory
        .objects(key)
        .iter()
        .find(|(_, found)| found.id == *id)
        .and_then(|(_, found)| {
            let field = |name: &str| found.observed.get(name)?.as_str();
            let path = field("path").map(ToOwned::to_owned);
            path.or_else(|| field("volume").map(|volume| format!("the container engine's volume `{volume}`")))
        })
        .unwrap_or_else(|| id.to_string())
}

impl Session {
    /// What is left once all steps of a destroy were done: folders, secrets, the journal.
    /// Killed in between, the next destroy does the rest.
    pub(super) async fn finish_destroy(
        &mut self,
        destroyed: &Destroyed,
    ) -> Result<Vec<LeftBehind>, OperationError> {
        let workspace = self.workspace.clone();
        let inner = &workspace.0;
        let cx = self.context();
        if let Some(fleet) = self.provider.fleet() {
            fleet.forget(&cx, destroyed.data).await?;
        }
        // A folder for data that held none is gone by now.
        let kept: Vec<_> = destroyed
            .kept
            .iter()
            .filter(|(_, place)| !place.starts_with('/') || std::path::Path::new(place).exists())
            .collect();
        if kept.is_empty() {
            let references = inner.secrets.list(&format!("{}/", self.stack))?;
            inner.secrets.remove(&references)?;
        }
        for record in self.lease.append(self.state.seq, &[Entry::Destroyed]).await? {
            // The store refuses what cannot follow; folding our own copy cannot fail after that.
            let _ = self.state.apply(&record);
        }
        if kept.is_empty() {
            inner.store.forget(&self.stack).await?;
        }
        let env = match self.stack.environment.as_str() {
            "default" => String::new(),
            other => format!(" --env {other}"),
        };
        Ok(kept
            .into_iter()
            .map(|(key, place)| LeftBehind {
                what: format!("{key} at {place}"),
                why: format!(
                    "data is kept; `destroy {}{} --data={}` deletes it",
                    self.stack.app, env, self.stack.app
                ),
            })
            .collect())
    }
}
