use std::collections::BTreeMap;
use std::path::PathBuf;

use super::change::{After, Change, Destroyed, Staying};
use super::error::never_deployed;
use super::planned_cost::Billed;
use super::session::{Interrupted, Session};
use super::steps::stop_steps;
use super::{CostOptions, DestroyOptions, OperationError, Run, Workspace};
use crate::engine::{Entry, LeftBehind, Survey, survey};
use crate::names::{ReleaseNumber, StackId};
use crate::plan::{self, Inventory, KeptResource, ReleaseAction, Stage, Step, StepAction, StepId, Undo};

/// Are data to be deleted, too? Only by the name of the app that they are of; any other is a gate.
pub(super) fn is_data_named(
    stack: &StackId,
    named: Option<&str>,
    what: &str,
) -> Result<bool, OperationError> {
    match named {
        None => Ok(false),
        Some(name) if name == stack.app.as_str() => Ok(true),
        Some(name) => Err(OperationError::Gate {
            message: format!("`--data={name}` does not name the app `{}`: its data is kept", stack.app),
            help: format!("to delete {what} for good: `--data={}`", stack.app),
        }),
    }
}

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
        let data = is_data_named(stack, options.data.as_deref(), "its databases and volumes")?;
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
        let provider = &*session.provider;
        let input = plan::DestroyInput { stack, state, inventory: &inventory, provider, delete_data: data };
        let destroy = plan::destroy(&input)?;
        let kept = destroy.kept.iter().map(|kept| stays(&inventory, kept)).collect();
        let notes = destroy.notes;
        let plan = plan::assemble(plan::AssembleInput {
            stack: stack.clone(),
            provider: source.provider.clone(),
            incarnation: state.incarnation,
            command: "destroy".to_owned(),
            resource_steps: destroy.steps,
            specs: BTreeMap::new(),
            release_steps,
            release: None,
            current: state.current,
            notes,
            inventory: &inventory,
        })?;
        let of = Billed { provider: &source.provider, manifest: None, whole: false, include_optional: false };
        let cost = self.planned_cost(&of, &session.state, &plan, &CostOptions::default())?;
        Ok(Change {
            session,
            plan,
            cost,
            diagnostics: Vec::new(),
            after: After { destroyed: Some(Destroyed { data, kept }), ..After::default() },
        })
    }
}

/// A kept resource, and where it lies, as a person would look for it: its folder or its volume,
/// where it has one, and its server.
fn stays(inventory: &Inventory, kept: &KeptResource) -> Staying {
    let KeptResource { key, id, holds_data, reason } = kept;
    let observed =
        inventory.objects(key).iter().find(|(_, found)| found.id == *id).map(|(_, found)| &found.observed);
    let field = |name: &str| Some(observed?.get(name)?.as_str()?.to_owned());
    let (path, host) = (field("path"), field("host"));
    let volume = || field("volume").map(|volume| format!("the container engine's volume `{volume}`"));
    let place = path.clone().or_else(volume);
    let needed = match (&place, &host) {
        _ if !holds_data => Some(reason.clone()),
        // Its data are another resource's.
        (None, Some(host)) => Some(format!("{host} keeps data of the app, and this says whose they are")),
        _ => None,
    };
    let what = match (place, &host) {
        (Some(place), None) => format!("{key} at {place}"),
        (Some(place), Some(host)) => format!("{key} at {place} on {host}"),
        (None, Some(host)) => format!("{key} on {host}"),
        (None, None) => format!("{key} at {id}"),
    };
    Staying {
        what,
        needed,
        // On a server it is not looked for here.
        here: path.filter(|_| host.is_none()).map(PathBuf::from),
    }
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
            .filter(|staying| staying.here.as_ref().is_none_or(|place| place.exists()))
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
        let delete = format!("`destroy {}{env} --data={}`", self.stack.app, self.stack.app);
        let left = |staying: &Staying| LeftBehind {
            what: staying.what.clone(),
            why: match &staying.needed {
                None => format!("data is kept; {delete} deletes it"),
                Some(reason) => format!("{reason}; {delete} removes both"),
            },
        };
        Ok(kept.into_iter().map(left).collect())
    }
}
