//! Orphans of a stack deleted: planned, shown, journalled, as every delete is.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::super::change::{After, Change, Orphans};
use super::super::destroy::is_data_named;
use super::super::rebuild::may_take_over;
use super::super::session::Interrupted;
use super::super::{OperationError, Run, Workspace};
use super::{OrphanChoices, OrphanOptions, OrphanedObject, OrphanedStack};
use crate::names::{ProviderName, StackId};
use crate::plan::needs::needs;
use crate::plan::{self, Inventory, OrphanObject};
use crate::provider::Provider;

/// As the journal calls it.
const COMMAND: &str = "orphans --delete";

impl Workspace {
    /// Plans the delete of the orphans of a stack, whether this workspace has it or not. What its state
    /// has stays. What may hold data stays unless `choices.data` is the app's name. What another state
    /// owns is refused unless `choices.take_over` names the stack; then it becomes this state's when the
    /// change is applied, before anything is deleted.
    ///
    /// # Errors
    /// When there are none, another state owns any of them, `choices.data` is another name (a gate,
    /// exit 7), or someone else holds the lease.
    pub async fn delete_orphans(
        &self,
        stack: &StackId,
        options: &OrphanOptions,
        choices: &OrphanChoices,
        run: &Run,
    ) -> Result<Change, OperationError> {
        let data = is_data_named(stack, choices.data.as_deref(), "what may hold data")?;
        let name = self.provider_of(stack, options).await?;
        let session = self.session(stack, &name, run, COMMAND, Interrupted::Resolve).await?;
        let mut notes = Vec::new();
        let orphaned = match self.place(&name, options, &mut notes).await? {
            Some(place) => {
                let orphaned = self.orphaned(&place, &*session.provider, stack).await?;
                Some((place.regions, orphaned))
            }
            None => None,
        };
        let Some((regions, orphaned)) = orphaned.filter(|(_, orphaned)| !orphaned.objects.is_empty()) else {
            return Err(none(stack));
        };
        let take_over = self.taking_over(stack, &*session.provider, &orphaned, choices)?;
        let objects = with_needs(&*session.provider, &orphaned.objects)?;
        let removal = plan::remove_orphans(objects, data);
        notes.extend(removal.notes);
        notes.extend(note_of_owners(take_over, &orphaned, self.0.store.id()));
        let inventory =
            Inventory::seen(orphaned.objects.iter().map(|one| (one.kind.clone(), one.found.clone())));
        let plan = plan::assemble(plan::AssembleInput {
            stack: stack.clone(),
            provider: name,
            incarnation: session.state.incarnation,
            command: COMMAND.to_owned(),
            resource_steps: removal.steps,
            specs: BTreeMap::new(),
            release_steps: Vec::new(),
            release: None,
            current: session.state.current,
            notes,
            inventory: &inventory,
        })?;
        let forget = self.source(stack).await?.is_none();
        let orphans = Orphans { take_over, regions, forget };
        Ok(Change {
            session,
            plan,
            cost: None,
            diagnostics: Vec::new(),
            after: After { orphans: Some(orphans), ..After::default() },
        })
    }

    /// Where a stack's orphans are: where it was said, where the stack is, else the only provider that
    /// there is anything at.
    pub(super) async fn provider_of(
        &self,
        stack: &StackId,
        options: &OrphanOptions,
    ) -> Result<ProviderName, OperationError> {
        if let Some(name) = &options.provider {
            return Ok(name.clone());
        }
        if let Some(source) = self.source(stack).await? {
            return Ok(source.provider);
        }
        let all = self.providers_to_look_at(options).await?;
        let mut there = BTreeSet::new();
        for name in all {
            let found = self.place(&name, options, &mut Vec::new()).await?;
            if found.is_some_and(|place| place.stacks(Some(stack)).contains(stack)) {
                there.insert(name);
            }
        }
        let mut there = there.into_iter();
        match (there.next(), there.next()) {
            (Some(name), None) => Ok(name),
            (None, _) => Err(none(stack)),
            (Some(one), Some(another)) => Err(OperationError::Nothing {
                message: format!("`{one}` and `{another}` both have orphans of `{stack}`"),
                help: "say which: `--provider NAME`".to_owned(),
            }),
        }
    }

    /// Is anything to be taken over, and may it be?
    pub(super) fn taking_over(
        &self,
        stack: &StackId,
        provider: &dyn crate::provider::Provider,
        orphaned: &OrphanedStack,
        choices: &OrphanChoices,
    ) -> Result<bool, OperationError> {
        let others = orphaned.others(self.0.store.id());
        let places = others.iter().map(|owner| (provider.name().to_string(), *owner)).collect();
        may_take_over(stack, choices.take_over.as_deref(), places)?;
        if !others.is_empty() && provider.ledger().is_none() {
            return Err(super::super::rebuild::no_records(provider));
        }
        Ok(!others.is_empty())
    }
}

/// Said with the plan: whoever owns them is refused from then on.
pub(super) fn note_of_owners(take_over: bool, orphaned: &OrphanedStack, ours: Uuid) -> Option<String> {
    let others: Vec<String> = orphaned.others(ours).iter().map(Uuid::to_string).collect();
    take_over.then(|| {
        format!(
            "what the state {} owns becomes this state's first; that one is refused from then on",
            others.join(", ")
        )
    })
}

pub(super) fn none(stack: &StackId) -> OperationError {
    OperationError::Nothing {
        message: format!("nothing bears the marks of `{stack}` that is in no state and can be read"),
        help: "`vrooli-deploy orphans` lists what there is; `--region NAME` looks elsewhere".to_owned(),
    }
}

/// Objects with what each needs, by what is seen alone.
fn with_needs(
    provider: &dyn Provider,
    objects: &[OrphanedObject],
) -> Result<Vec<OrphanObject>, OperationError> {
    let seen: Vec<_> = objects.iter().map(|one| (&one.kind, &one.found)).collect();
    let needs = needs(provider, &seen, |_| None)?;
    let object = |one: &OrphanedObject| {
        Ok(OrphanObject {
            key: one.found.key.clone(),
            kind: one.kind.clone(),
            id: one.found.id.clone(),
            holds_data: provider.kind(&one.kind)?.may_hold_data(),
            needs: needs.get(&one.found.key).cloned().unwrap_or_default(),
        })
    };
    objects.iter().map(object).collect()
}
