//! Orphans of a stack that this workspace has taken into its state.

use std::collections::{BTreeMap, BTreeSet};

use super::super::change::{After, Change, Orphans};
use super::super::error::never_deployed;
use super::super::session::Interrupted;
use super::super::{DeployOptions, OperationError, Run, Target, Workspace};
use super::delete::{none, note_of_owners};
use super::{OrphanChoices, OrphanOptions, OrphanedObject};
use crate::diagnostics::Diagnostic;
use crate::names::{ProviderName, ResourceKey};
use crate::plan::{self, Inventory, Step, StepAction, StepId};
use crate::stack::Stack;

/// As the journal calls it.
const COMMAND: &str = "orphans --adopt";

impl Workspace {
    /// Plans that orphans of a stack that this workspace has become part of its state: those that the
    /// manifest wants. The others are named; the next deployment deletes them, or `delete_orphans`. What
    /// another state owns is refused unless `choices.take_over` names the stack.
    ///
    /// # Errors
    /// When this workspace does not have the stack, there are none that it wants, another state owns any
    /// of them, the input cannot be used, or someone else holds the lease.
    pub async fn adopt_orphans(
        &self,
        target: &Target,
        deploy: &DeployOptions,
        options: &OrphanOptions,
        choices: &OrphanChoices,
        run: &Run,
    ) -> Result<Change, OperationError> {
        let stack = &target.stack;
        if self.source(stack).await?.is_none() {
            return Err(never_deployed(stack));
        }
        let mut infrastructure = deploy.clone();
        infrastructure.infra_only = true;
        let prepared = self.prepare(target, &infrastructure).await?;
        let (name, wanted, diagnostics) = (prepared.provider, prepared.stack, prepared.diagnostics);
        let session =
            self.session_for(stack, &name, Some(&wanted), run, COMMAND, Interrupted::Resolve).await?;
        let mut options = options.clone();
        options.provider = Some(name.clone());
        let mut notes = Vec::new();
        let place = self.place(&name, &options, &mut notes).await?.ok_or_else(|| none(stack))?;
        let orphaned = self.orphaned(&place, &*session.provider, stack).await?;
        if orphaned.objects.is_empty() {
            return Err(none(stack));
        }
        let take_over = self.taking_over(stack, &*session.provider, &orphaned, choices)?;
        // What the state has, and the orphans, whoever owns them.
        let cx = session.context();
        let there = crate::engine::observe(&*session.provider, &cx, stack, &session.state).await?;
        let mut all: Vec<_> = there.keys().flat_map(|key| there.objects(key)).cloned().collect();
        let known: BTreeSet<_> = all.iter().map(|(_, found)| found.id.clone()).collect();
        let more = orphaned.objects.iter().filter(|one| !known.contains(&one.found.id));
        all.extend(more.map(|one| (one.kind.clone(), one.found.clone())));
        let inventory = Inventory::seen(all);
        let planned = plan::resources(&plan::ResourceInput {
            stack: &wanted,
            state: &session.state,
            inventory: &inventory,
            incarnation: session.state.incarnation,
            provider: &*session.provider,
            options: &plan::ResourceOptions::default(),
        })?;
        let steps = adoptions(planned.steps, &orphaned.objects);
        notes.extend(left(&steps, &orphaned.objects, &wanted));
        notes.extend(note_of_owners(take_over, &orphaned, self.0.store.id()));
        if steps.is_empty() {
            return Err(OperationError::Nothing {
                message: format!(
                    "the manifest of `{stack}` wants none of what bears its marks and is in no state"
                ),
                help: "`vrooli-deploy orphans --delete` removes it".to_owned(),
            });
        }
        self.assembled(
            session,
            name,
            steps,
            (notes, diagnostics),
            &inventory,
            Orphans { take_over, regions: place.regions, forget: false },
        )
    }

    fn assembled(
        &self,
        session: super::super::session::Session,
        provider: ProviderName,
        resource_steps: Vec<Step>,
        (notes, diagnostics): (Vec<String>, Vec<Diagnostic>),
        inventory: &Inventory,
        orphans: Orphans,
    ) -> Result<Change, OperationError> {
        let plan = plan::assemble(plan::AssembleInput {
            stack: session.stack.clone(),
            provider,
            incarnation: session.state.incarnation,
            command: COMMAND.to_owned(),
            resource_steps,
            specs: BTreeMap::new(),
            release_steps: Vec::new(),
            release: None,
            current: session.state.current,
            notes,
            inventory,
        })?;
        Ok(Change {
            session,
            plan,
            cost: None,
            diagnostics,
            after: After { orphans: Some(orphans), ..After::default() },
        })
    }
}

/// Of a plan for the whole stack the steps that take orphans into the state.
fn adoptions(steps: Vec<Step>, orphans: &[OrphanedObject]) -> Vec<Step> {
    let is_orphan = |step: &Step| match &step.action {
        StepAction::Adopt { id, .. } => orphans.iter().any(|one| one.found.id == *id),
        _ => false,
    };
    let mut kept: Vec<Step> = steps.into_iter().filter(is_orphan).collect();
    let ids: BTreeSet<StepId> = kept.iter().map(|step| step.id.clone()).collect();
    for step in &mut kept {
        step.after.retain(|id| ids.contains(id));
    }
    kept
}

/// What stays an orphan, and why.
fn left(steps: &[Step], orphans: &[OrphanedObject], wanted: &Stack) -> Vec<String> {
    let adopted: BTreeSet<&ResourceKey> = steps.iter().filter_map(|step| step.action.key()).collect();
    let left = orphans.iter().filter(|one| {
        !adopted.contains(&one.found.key)
            || steps
                .iter()
                .all(|step| !matches!(&step.action, StepAction::Adopt { id, .. } if *id == one.found.id))
    });
    left.map(|one| {
        let why = match wanted.resources.contains_key(&one.found.key) {
            true => "the stack has another",
            false => "the manifest does not want it",
        };
        format!("`{}` ({}) stays an orphan: {why}", one.found.key, one.found.id)
    })
    .collect()
}
