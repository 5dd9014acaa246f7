use std::collections::{BTreeMap, BTreeSet};

use super::ResourceOptions;
use crate::engine::{ResourceState, StackState};
use crate::names::{ResourceKey, ResourceKind, StackId};
use crate::plan::needs::needs;
use crate::plan::{Inventory, Observed, PlanError, Stage, Step, StepAction, StepId, Undo};
use crate::provider::{PhysicalId, Provider};

/// An object that is to go.
#[derive(Debug, Clone)]
pub(super) struct Doomed {
    pub(super) key: ResourceKey,
    pub(super) kind: ResourceKind,
    pub(super) id: PhysicalId,
    /// What must outlive it.
    pub(super) needs: BTreeSet<ResourceKey>,
    pub(super) holds_data: bool,
    /// It is not there any more: what it held is not deleted by forgetting it.
    pub(super) gone: bool,
    pub(super) reason: String,
    /// Not the object that the state has under this key.
    pub(super) extra: bool,
}

/// Collects what is to go, keeps what must stay, and puts the rest in order.
#[derive(Debug, Default)]
pub(super) struct Removal {
    doomed: Vec<Doomed>,
    kept: Vec<Doomed>,
}

impl Removal {
    pub(super) fn add(&mut self, mut doomed: Doomed, options: &ResourceOptions) {
        if doomed.holds_data && !doomed.gone && !options.delete_data {
            doomed.reason = "it holds data".to_owned();
            self.kept.push(doomed);
        } else if options.needed.contains(&doomed.id) {
            doomed.reason = "a release that is kept for rollback needs it".to_owned();
            self.kept.push(doomed);
        } else {
            self.doomed.push(doomed);
        }
    }

    /// A resource of the state, and other objects with its marks.
    pub(super) fn known(
        &mut self,
        key: &ResourceKey,
        known: &ResourceState,
        inventory: &Inventory,
        reason: &str,
        options: &ResourceOptions,
    ) {
        let gone = match inventory.get(key) {
            Observed::Absent => true,
            Observed::Known(objects) => !objects.iter().any(|(_, found)| found.id == known.id),
            Observed::Unknown { .. } => false,
        };
        let doomed = |kind: &ResourceKind, id: &PhysicalId, reason: String, extra: bool| Doomed {
            key: key.clone(),
            kind: kind.clone(),
            id: id.clone(),
            needs: known.needs.clone(),
            holds_data: known.holds_data,
            gone: gone && !extra,
            reason,
            extra,
        };
        let why = if gone { "it is gone already, and is forgotten".to_owned() } else { reason.to_owned() };
        self.add(doomed(&known.kind, &known.id, why, false), options);
        for (kind, found) in inventory.objects(key) {
            if found.id != known.id {
                self.add(doomed(kind, &found.id, reason.to_owned(), true), options);
            }
        }
    }

    /// What is kept keeps what it needs.
    fn close(&mut self) {
        loop {
            let needed: BTreeMap<ResourceKey, ResourceKey> = self
                .kept
                .iter()
                .flat_map(|kept| kept.needs.iter().map(|need| (need.clone(), kept.key.clone())))
                .collect();
            let (stay, go): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.doomed).into_iter().partition(|d| needed.contains_key(&d.key));
            self.doomed = go;
            if stay.is_empty() {
                return;
            }
            self.kept.extend(stay.into_iter().map(|mut d| {
                if let Some(by) = needed.get(&d.key) {
                    d.reason = format!("`{by}` needs it, which is kept");
                }
                d
            }));
        }
    }

    /// Deletes, each after those of what needs it, and what is kept.
    pub(super) fn steps(self) -> (Vec<Step>, Vec<String>) {
        let (steps, kept) = self.finish();
        let notes = kept
            .iter()
            .map(|k| format!("`{}` ({}) is not wanted but kept: {}", k.key, k.id, k.reason))
            .collect();
        (steps, notes)
    }

    /// Deletes, and what stays.
    fn plan(self) -> DestroyPlan {
        let (steps, kept) = self.finish();
        let notes = kept.iter().map(|k| format!("`{}` ({}) is kept: {}", k.key, k.id, k.reason)).collect();
        let kept = kept.into_iter();
        let kept =
            kept.map(|k| KeptResource { key: k.key, id: k.id, holds_data: k.holds_data, reason: k.reason });
        DestroyPlan { steps, kept: kept.collect(), notes }
    }

    fn finish(mut self) -> (Vec<Step>, Vec<Doomed>) {
        self.close();
        let id = |d: &Doomed| {
            StepId(if d.extra { format!("delete:{}#{}", d.key, d.id) } else { format!("delete:{}", d.key) })
        };
        // Needed key → steps that must go before its own.
        let mut before: BTreeMap<&ResourceKey, BTreeSet<StepId>> = BTreeMap::new();
        for doomed in &self.doomed {
            for need in &doomed.needs {
                before.entry(need).or_default().insert(id(doomed));
            }
        }
        let steps = self
            .doomed
            .iter()
            .map(|doomed| Step {
                id: id(doomed),
                stage: Stage::Contract,
                action: StepAction::Delete {
                    key: doomed.key.clone(),
                    kind: doomed.kind.clone(),
                    id: doomed.id.clone(),
                    holds_data: doomed.holds_data,
                },
                undo: Undo::Keep { reason: "what was deleted cannot be brought back".to_owned() },
                after: before.get(&doomed.key).cloned().unwrap_or_default(),
                reason: doomed.reason.clone(),
                token: None,
            })
            .collect();
        (steps, self.kept)
    }
}

/// An object that bears a stack's marks and is in no state.
#[derive(Debug, Clone, PartialEq)]
pub struct OrphanObject {
    /// Its key in the stack.
    pub key: ResourceKey,
    /// Its kind.
    pub kind: ResourceKind,
    /// What the provider calls it.
    pub id: PhysicalId,
    /// May it hold data?
    pub holds_data: bool,
    /// Keys of what must outlive it.
    pub needs: BTreeSet<ResourceKey>,
}

/// Plans the delete of objects that are in no state. What may hold data stays unless asked for, and so
/// does what it needs. Pure.
#[must_use]
pub fn remove_orphans(objects: Vec<OrphanObject>, delete_data: bool) -> DestroyPlan {
    let options = ResourceOptions { delete_data, ..ResourceOptions::default() };
    let mut removal = Removal::default();
    let mut seen = BTreeSet::new();
    for OrphanObject { key, kind, id, holds_data, needs } in objects {
        let extra = !seen.insert(key.clone());
        let reason = "it is in no state".to_owned();
        removal.add(Doomed { key, kind, id, needs, holds_data, gone: false, reason, extra }, &options);
    }
    removal.plan()
}

/// What the end of a stack is planned from.
#[derive(Debug, Clone, Copy)]
pub struct DestroyInput<'a> {
    /// Which stack.
    pub stack: &'a StackId,
    /// What we did so far.
    pub state: &'a StackState,
    /// What was seen.
    pub inventory: &'a Inventory,
    /// Says what is meant by what was seen.
    pub provider: &'a dyn Provider,
    /// Databases and volumes go too.
    pub delete_data: bool,
}

/// A resource that outlives its stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptResource {
    /// Its key.
    pub key: ResourceKey,
    /// What the provider calls it.
    pub id: PhysicalId,
    /// Does it hold data itself? Else something that does needs it.
    pub holds_data: bool,
    /// Why it stays, a phrase.
    pub reason: String,
}

/// The end of a stack.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DestroyPlan {
    /// Deletes, what needs another before that other.
    pub steps: Vec<Step>,
    /// Objects that stay: those that hold data, and what they need.
    pub kept: Vec<KeptResource>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Plans the delete of every resource of a stack. What holds data stays unless asked for,
/// and so does what it needs. Objects that bear the stack's marks and are in no state are
/// deleted only with the data: nobody knows what they hold. Where the stack could not be
/// looked at, what the state knows is deleted. Pure.
///
/// # Errors
/// When the provider does not know what was seen.
pub fn destroy(input: &DestroyInput<'_>) -> Result<DestroyPlan, PlanError> {
    let options = ResourceOptions { delete_data: input.delete_data, ..ResourceOptions::default() };
    let mut removal = Removal::default();
    for (key, known) in &input.state.resources {
        removal.known(key, known, input.inventory, "the stack goes", &options);
    }
    // A destroy that kept data has forgotten them with all that they stand on.
    let unknown: Vec<&ResourceKey> =
        input.inventory.keys().filter(|key| !input.state.resources.contains_key(*key)).collect();
    let seen: Vec<_> = match unknown.is_empty() {
        true => Vec::new(),
        false => input.inventory.keys().flat_map(|key| input.inventory.objects(key)).collect(),
    };
    let seen: Vec<_> = seen.into_iter().map(|(kind, found)| (kind, found)).collect();
    let known = |key: &ResourceKey| input.state.resources.get(key).map(|known| known.needs.clone());
    let needs = needs(input.provider, &seen, known)?;
    for key in unknown {
        for (at, (kind, found)) in input.inventory.objects(key).iter().enumerate() {
            removal.add(
                Doomed {
                    key: key.clone(),
                    kind: kind.clone(),
                    id: found.id.clone(),
                    needs: needs.get(key).cloned().unwrap_or_default(),
                    holds_data: true,
                    gone: false,
                    reason: format!("it bears the marks of `{}`", input.stack),
                    extra: at > 0,
                },
                &options,
            );
        }
    }
    Ok(removal.plan())
}
