//! From what is wanted and what is there to steps.

mod removal;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

use super::graph;
use super::inventory::{Inventory, Observed, Seen};
use super::reference::{references, substitute};
use super::{PlanError, Stage, Step, StepAction, StepId, Undo};
use crate::engine::{ResourceState, StackState};
use crate::names::{ResourceKey, ResourceKind};
use crate::provider::{
    AnyKind, Change, Found, OpToken, OutputValue, Outputs, Ownership, PhysicalId, Provider,
};
use crate::stack::{Reference, Resource, Stack};

pub use removal::{DestroyInput, DestroyPlan, KeptResource, OrphanObject, destroy, remove_orphans};
use removal::{Doomed, Removal};

/// What a resource plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct ResourceInput<'a> {
    /// What is wanted.
    pub stack: &'a Stack,
    /// What we did so far.
    pub state: &'a StackState,
    /// What was seen.
    pub inventory: &'a Inventory,
    /// The incarnation that tokens are minted from.
    pub incarnation: Uuid,
    /// The kinds: pure halves only, no call is made.
    pub provider: &'a dyn Provider,
    /// The user's choices.
    pub options: &'a ResourceOptions,
}

/// Choices that a resource plan depends on. The default deletes no data and stops nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceOptions {
    /// Resources that hold data may be deleted and replaced.
    pub delete_data: bool,
    /// What cannot stand twice may go before the new one comes.
    pub allow_downtime: bool,
    /// The plan makes the first release of the stack: if it fails nothing is to be left, so
    /// what an interrupted attempt has made already becomes a part of the plan.
    pub first_release: bool,
    /// Objects that a retained release needs: never deleted.
    pub needed: BTreeSet<PhysicalId>,
}

/// Steps for resources, and what a person should know about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourcePlan {
    /// Steps of the stages expand and contract, in an order in which they could run.
    pub steps: Vec<Step>,
    /// See [`Plan::specs`](super::Plan::specs).
    pub specs: BTreeMap<ResourceKey, Value>,
    /// What is kept although it is not wanted, what could not be seen, what will pause.
    pub notes: Vec<String>,
}

/// The key of the resource that a step makes, whose outputs are therefore known only after apply.
#[must_use]
pub fn changed_key(step: &Step) -> Option<ResourceKey> {
    match &step.action {
        StepAction::Create { key, .. } => Some(key.clone()),
        _ => None,
    }
}

/// The diff of a stack: what to make, change, take over, make anew and delete. Pure.
///
/// # Errors
/// When a spec does not fit its kind, resources need each other in a circle or need what is
/// not there, it is not known whether something is there, or data would be lost.
pub fn resources(input: &ResourceInput<'_>) -> Result<ResourcePlan, PlanError> {
    let mut planner = Planner {
        input,
        plan: ResourcePlan::default(),
        last: BTreeMap::new(),
        outputs: BTreeMap::new(),
        fresh: BTreeSet::new(),
        removal: Removal::default(),
    };
    let keys: Vec<&ResourceKey> = input.stack.resources.keys().collect();
    let needs = planner.needs(&keys)?;
    for index in in_order(&keys, &needs)? {
        planner.plan_one(keys[index], &input.stack.resources[keys[index]], &needs[index])?;
    }
    planner.remove_unwanted();
    let Planner { mut plan, removal, .. } = planner;
    let (steps, notes) = removal.steps();
    plan.steps.extend(steps);
    plan.notes.extend(notes);
    Ok(plan)
}

fn in_order(keys: &[&ResourceKey], needs: &[BTreeSet<ResourceKey>]) -> Result<Vec<usize>, PlanError> {
    let index: BTreeMap<&ResourceKey, usize> = keys.iter().enumerate().map(|(i, k)| (*k, i)).collect();
    let after: Vec<Vec<usize>> =
        needs.iter().map(|needs| needs.iter().filter_map(|key| index.get(key).copied()).collect()).collect();
    graph::order(&after)
        .map_err(|path| PlanError::Cycle { path: path.into_iter().map(|i| keys[i].to_string()).collect() })
}

struct Planner<'a> {
    input: &'a ResourceInput<'a>,
    plan: ResourcePlan,
    /// The last step of the expand stage for each key that has one.
    last: BTreeMap<ResourceKey, StepId>,
    /// Outputs that are known now, by key.
    outputs: BTreeMap<ResourceKey, Outputs>,
    /// Keys that this plan makes: their outputs are known after apply.
    fresh: BTreeSet<ResourceKey>,
    removal: Removal,
}

/// One resource on its way through the planner.
struct Subject<'a> {
    key: &'a ResourceKey,
    want: &'a Resource,
    kind: &'a dyn AnyKind,
    /// The spec with what is known put in the place of references.
    resolved: Value,
    needs: &'a BTreeSet<ResourceKey>,
}

impl<'a> Planner<'a> {
    /// Checks every spec, and says for each resource which must be there first.
    fn needs(&self, keys: &[&ResourceKey]) -> Result<Vec<BTreeSet<ResourceKey>>, PlanError> {
        self.all_kinds_are_made(keys)?;
        let mut all = Vec::with_capacity(keys.len());
        for &key in keys {
            let want = &self.input.stack.resources[key];
            let kind = self.kind(key, &want.kind)?;
            kind.check(&want.spec).map_err(|source| PlanError::Spec { key: key.clone(), source })?;
            let mut needs = want.after.clone();
            for reference in references(&want.spec) {
                self.check_reference(key, &reference)?;
                needs.insert(reference.key);
            }
            match self.ownership(key, want, kind)? {
                Ownership::ChildOf(parent) => {
                    needs.insert(parent);
                }
                Ownership::DerivedName(name) if name.is_empty() => {
                    return Err(PlanError::Ownership {
                        key: key.clone(),
                        kind: want.kind.clone(),
                        why: "its derived name is empty".to_owned(),
                    });
                }
                Ownership::Tags | Ownership::DerivedName(_) | Ownership::HostLedger => {}
            }
            if let Some(missing) = needs.iter().find(|need| !self.input.stack.resources.contains_key(need)) {
                return Err(PlanError::Missing { key: key.clone(), missing: missing.clone() });
            }
            all.push(needs);
        }
        Ok(all)
    }

    /// All that are not are named at once.
    fn all_kinds_are_made(&self, keys: &[&ResourceKey]) -> Result<(), PlanError> {
        let wanted: BTreeSet<&ResourceKind> =
            keys.iter().map(|key| &self.input.stack.resources[*key].kind).collect();
        let mut refusals =
            wanted.into_iter().filter_map(|kind| Some((kind.clone(), self.input.provider.kind(kind).err()?)));
        let Some((first, source)) = refusals.next() else { return Ok(()) };
        let kinds = std::iter::once(first).chain(refusals.map(|(kind, _)| kind)).collect();
        Err(PlanError::Kinds { kinds, source })
    }

    fn check_reference(&self, key: &ResourceKey, reference: &Reference) -> Result<(), PlanError> {
        let Some(source) = self.input.stack.resources.get(&reference.key) else {
            return Err(PlanError::Missing { key: key.clone(), missing: reference.key.clone() });
        };
        let known = self.kind(&reference.key, &source.kind)?.output_names();
        if known.contains(&reference.output.as_str()) {
            Ok(())
        } else {
            Err(PlanError::Output {
                key: key.clone(),
                of: reference.key.clone(),
                output: reference.output.clone(),
                known: known.join(", "),
            })
        }
    }

    fn kind(&self, key: &ResourceKey, kind: &ResourceKind) -> Result<&'a dyn AnyKind, PlanError> {
        self.input.provider.kind(kind).map_err(|source| PlanError::Spec { key: key.clone(), source })
    }

    fn ownership(
        &self,
        key: &ResourceKey,
        want: &Resource,
        kind: &dyn AnyKind,
    ) -> Result<Ownership, PlanError> {
        kind.ownership(key, &want.spec).map_err(|source| PlanError::Spec { key: key.clone(), source })
    }

    fn plan_one(
        &mut self,
        key: &'a ResourceKey,
        want: &'a Resource,
        needs: &'a BTreeSet<ResourceKey>,
    ) -> Result<(), PlanError> {
        let kind = self.kind(key, &want.kind)?;
        let subject = Subject { key, want, kind, resolved: self.resolve(&want.spec), needs };
        let known = self.input.state.resources.get(key);
        match (known, self.input.inventory.get(key)) {
            (Some(known), Observed::Unknown { why }) => {
                self.plan
                    .notes
                    .push(format!("`{key}` could not be seen ({why}); planned by what was seen last"));
                let last = Found {
                    key: key.clone(),
                    id: known.id.clone(),
                    observed: known.observed.clone(),
                    token: None,
                };
                self.present(&subject, &last, Some(known), &[])
            }
            (Some(known), Observed::Known(objects)) => {
                match objects.iter().position(|(kind, found)| *kind == known.kind && found.id == known.id) {
                    Some(at) => {
                        let (mut others, current) = (objects.clone(), objects[at].clone());
                        others.remove(at);
                        if current.0 == want.kind {
                            self.present(&subject, &current.1, Some(known), &others)
                        } else {
                            let fields = vec!["kind".to_owned()];
                            self.replace(&subject, &current, Some(known), fields, &others)
                        }
                    }
                    None => self.unknown_objects(&subject, objects, Some(known)),
                }
            }
            (Some(known), Observed::Absent) => {
                self.create(&subject, format!("{} is gone", known.id), BTreeSet::new());
                Ok(())
            }
            (None, Observed::Known(objects)) => self.unknown_objects(&subject, objects, None),
            (None, Observed::Absent) => {
                self.create(&subject, "it is not there yet".to_owned(), BTreeSet::new());
                Ok(())
            }
            (None, Observed::Unknown { why }) => {
                Err(PlanError::Unseen { key: key.clone(), why: why.clone() })
            }
        }
    }

    /// Objects that bear the key's marks, none of them the one in the state.
    fn unknown_objects(
        &mut self,
        subject: &Subject<'_>,
        objects: &[Seen],
        known: Option<&ResourceState>,
    ) -> Result<(), PlanError> {
        let reason = known.map_or_else(|| "it is not there yet".to_owned(), |k| format!("{} is gone", k.id));
        let usable = self.usable(subject, objects)?;
        if let Some(at) = usable {
            let mut others = objects.to_vec();
            let (_, found) = others.remove(at);
            self.present(subject, &found, None, &others)
        } else if let Some(at) = objects.iter().position(|(kind, _)| *kind == subject.want.kind) {
            let mut others = objects.to_vec();
            let current = others.remove(at);
            let fields = self.change(subject, &current.1)?;
            self.replace(subject, &current, None, names(&fields), &others)
        } else {
            self.create(subject, reason, BTreeSet::new());
            self.twins(subject, objects);
            Ok(())
        }
    }

    /// The first object that needs not be made anew.
    fn usable(&self, subject: &Subject<'_>, objects: &[Seen]) -> Result<Option<usize>, PlanError> {
        for (at, (kind, found)) in objects.iter().enumerate() {
            if *kind == subject.want.kind && !matches!(self.change(subject, found)?, Change::Replace(_)) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn change(&self, subject: &Subject<'_>, found: &Found<Value>) -> Result<Change, PlanError> {
        subject
            .kind
            .diff(&subject.resolved, &found.observed)
            .map_err(|source| PlanError::Spec { key: subject.key.clone(), source })
    }

    /// An object that is there: leave it, change it, or make it anew.
    fn present(
        &mut self,
        subject: &Subject<'_>,
        found: &Found<Value>,
        known: Option<&ResourceState>,
        others: &[Seen],
    ) -> Result<(), PlanError> {
        let change = self.change(subject, found)?;
        if let Change::Replace(fields) = change {
            // A replacement that failed may have left the object that is wanted again.
            if let Some(at) = self.usable(subject, others)? {
                let mut rest = others.to_vec();
                let (_, better) = rest.remove(at);
                rest.push((subject.want.kind.clone(), found.clone()));
                return self.present(subject, &better, None, &rest);
            }
            let current = (subject.want.kind.clone(), found.clone());
            return self.replace(subject, &current, known, fields, others);
        }
        self.remember_outputs(subject, found, known);
        let key = subject.key;
        let (holds_data, needs) = (subject.want.holds_data, subject.needs.clone());
        let mut after = self.after(subject);
        let ours = known.is_some_and(|k| !k.adopted);
        let first_undo =
            || if ours { Undo::Delete } else { Undo::Keep { reason: "it was there before".to_owned() } };
        if known.is_none() || (self.input.options.first_release && matches!(change, Change::None)) {
            let reason = if known.is_none() {
                "it bears our marks and is in no state"
            } else {
                "an earlier attempt made it"
            };
            let id = StepId(format!("adopt:{key}"));
            self.plan.steps.push(Step {
                id: id.clone(),
                stage: Stage::Expand,
                action: StepAction::Adopt {
                    key: key.clone(),
                    kind: subject.want.kind.clone(),
                    id: found.id.clone(),
                    spec: subject.want.spec.clone(),
                    observed: found.observed.clone(),
                    holds_data,
                    needs: needs.clone(),
                },
                undo: first_undo(),
                after: std::mem::take(&mut after),
                reason: reason.to_owned(),
                token: None,
            });
            after.insert(id.clone());
            self.last.insert(key.clone(), id);
        }
        if let Change::InPlace(fields) = change {
            let id = StepId(format!("update:{key}"));
            self.plan.steps.push(Step {
                id: id.clone(),
                stage: Stage::Expand,
                reason: self.reason(subject, found, known, &fields),
                action: StepAction::Update {
                    key: key.clone(),
                    kind: subject.want.kind.clone(),
                    id: found.id.clone(),
                    spec: subject.want.spec.clone(),
                    observed: found.observed.clone(),
                    fields,
                    holds_data,
                    needs,
                },
                undo: match known {
                    Some(_) if self.input.options.first_release => first_undo(),
                    Some(known) => Undo::Restore { previous: known.spec.clone() },
                    None => Undo::Keep { reason: "how it was before is in no state".to_owned() },
                },
                after,
                token: None,
            });
            self.last.insert(key.clone(), id);
        } else if known.is_some_and(|known| known.spec != subject.want.spec) {
            self.plan.specs.insert(key.clone(), subject.want.spec.clone());
        }
        self.twins(subject, others);
        Ok(())
    }

    /// Makes the next generation; the old object goes once the new release is committed.
    fn replace(
        &mut self,
        subject: &Subject<'_>,
        (old_kind, old): &Seen,
        known: Option<&ResourceState>,
        fields: Vec<String>,
        others: &[Seen],
    ) -> Result<(), PlanError> {
        let key = subject.key;
        let options = self.input.options;
        let holds_data = subject.want.holds_data || known.is_some_and(|k| k.holds_data);
        if holds_data && !options.delete_data {
            return Err(PlanError::Protected { key: key.clone(), fields });
        }
        let why = self.reason(subject, old, known, &fields);
        let alone = *old_kind == subject.want.kind && self.same_name(subject, known)?;
        let needs = known.map_or_else(|| subject.needs.clone(), |k| k.needs.clone());
        if alone {
            if !options.allow_downtime {
                return Err(PlanError::Downtime { key: key.clone(), fields });
            }
            let id = StepId(format!("delete:{key}"));
            self.plan.steps.push(Step {
                id: id.clone(),
                stage: Stage::Expand,
                action: StepAction::Delete {
                    key: key.clone(),
                    kind: old_kind.clone(),
                    id: old.id.clone(),
                    holds_data,
                },
                undo: Undo::Keep { reason: "what was deleted cannot be brought back".to_owned() },
                after: BTreeSet::new(),
                reason: format!("two of it cannot stand side by side; {why}"),
                token: None,
            });
            self.plan
                .notes
                .push(format!("`{key}` is not there from its delete until it is made anew: downtime"));
            self.create(subject, why, BTreeSet::from([id]));
        } else {
            self.create(subject, format!("must be made anew: {why}"), BTreeSet::new());
            self.removal.add(
                Doomed {
                    key: key.clone(),
                    kind: old_kind.clone(),
                    id: old.id.clone(),
                    needs,
                    holds_data,
                    gone: false,
                    reason: "replaced".to_owned(),
                    extra: false,
                },
                options,
            );
        }
        self.twins(subject, others);
        Ok(())
    }

    /// Would the new object have the name of the old one?
    fn same_name(&self, subject: &Subject<'_>, known: Option<&ResourceState>) -> Result<bool, PlanError> {
        let wanted = self.ownership(subject.key, subject.want, subject.kind)?;
        let Ownership::DerivedName(name) = wanted else { return Ok(false) };
        let Some(known) = known else { return Ok(true) };
        let before = subject.kind.ownership(subject.key, &known.spec);
        Ok(matches!(before, Ok(Ownership::DerivedName(before)) if before == name))
    }

    fn create(&mut self, subject: &Subject<'_>, reason: String, also_after: BTreeSet<StepId>) {
        let key = subject.key;
        let state = self.input.state;
        // A number that was used is never used again: its token may still be remembered by the provider.
        let generation = state.generations.get(key).copied().unwrap_or_default() + 1;
        let id = StepId(format!("create:{key}"));
        let downtime = !also_after.is_empty();
        let mut after = self.after(subject);
        after.extend(also_after);
        self.plan.steps.push(Step {
            id: id.clone(),
            stage: Stage::Expand,
            action: StepAction::Create {
                key: key.clone(),
                kind: subject.want.kind.clone(),
                spec: subject.want.spec.clone(),
                generation,
                holds_data: subject.want.holds_data,
                needs: subject.needs.clone(),
            },
            undo: if downtime {
                Undo::Keep { reason: "the object before it is gone".to_owned() }
            } else {
                Undo::Delete
            },
            after,
            reason,
            token: Some(OpToken::new(self.input.incarnation, key, generation)),
        });
        self.last.insert(key.clone(), id);
        self.fresh.insert(key.clone());
    }

    /// Steps of the resources that it needs.
    fn after(&self, subject: &Subject<'_>) -> BTreeSet<StepId> {
        subject.needs.iter().filter_map(|need| self.last.get(need).cloned()).collect()
    }

    /// Objects with the marks of a key that another object has: left by a replacement that
    /// was not finished, or twins.
    fn twins(&mut self, subject: &Subject<'_>, others: &[Seen]) {
        for (kind, found) in others {
            self.removal.add(
                Doomed {
                    key: subject.key.clone(),
                    kind: kind.clone(),
                    id: found.id.clone(),
                    needs: subject.needs.clone(),
                    holds_data: subject.want.holds_data,
                    gone: false,
                    reason: format!("a second object of `{}`, left by an earlier run", subject.key),
                    extra: true,
                },
                self.input.options,
            );
        }
    }

    /// Fields that differ, and whether another hand made them differ.
    fn reason(
        &self,
        subject: &Subject<'_>,
        found: &Found<Value>,
        known: Option<&ResourceState>,
        fields: &[String],
    ) -> String {
        let applied = known.map(|known| self.resolve(&known.spec));
        let drifted = applied
            .and_then(|spec| subject.kind.diff(&spec, &found.observed).ok())
            .map(|change| names(&change))
            .unwrap_or_default();
        let phrases: Vec<String> = fields
            .iter()
            .map(|field| {
                if self.fresh_reference(subject, field) {
                    format!("`{field}` is known after apply")
                } else if drifted.contains(field) {
                    format!("`{field}` was changed by another hand")
                } else {
                    format!("`{field}` is wanted otherwise")
                }
            })
            .collect();
        phrases.join(", ")
    }

    fn fresh_reference(&self, subject: &Subject<'_>, field: &str) -> bool {
        subject
            .want
            .spec
            .get(field)
            .is_some_and(|value| references(value).iter().any(|r| self.fresh.contains(&r.key)))
    }

    /// Outputs of what is there now: plain ones from what was seen, secret ones from the state.
    fn remember_outputs(
        &mut self,
        subject: &Subject<'_>,
        found: &Found<Value>,
        known: Option<&ResourceState>,
    ) {
        let mut outputs = known.map(|k| k.outputs.clone()).unwrap_or_default();
        if let Ok(seen) = subject.kind.outputs(&found.id, &found.observed) {
            outputs.extend(seen);
        }
        self.outputs.insert(subject.key.clone(), outputs);
    }

    fn resolve(&self, spec: &Value) -> Value {
        let mut spec = spec.clone();
        substitute(&mut spec, &|reference| {
            output_json(self.outputs.get(&reference.key)?.get(&reference.output)?)
        });
        spec
    }

    /// Resources of the state that are not wanted any more, and objects that nobody knows.
    fn remove_unwanted(&mut self) {
        let input = self.input;
        for (key, known) in &input.state.resources {
            if !input.stack.resources.contains_key(key) {
                self.removal.known(key, known, input.inventory, "it is not wanted any more", input.options);
            }
        }
        for key in input.inventory.keys() {
            if input.stack.resources.contains_key(key) || input.state.resources.contains_key(key) {
                continue;
            }
            for (_, found) in input.inventory.objects(key) {
                self.plan.notes.push(format!(
                    "`{key}` ({}) bears this stack's marks but is in no state and not wanted: it is kept",
                    found.id
                ));
            }
        }
    }
}

/// An output as JSON: a secret as its reference.
pub(crate) fn output_json(output: &OutputValue) -> Option<Value> {
    match output {
        OutputValue::Plain(value) => Some(value.clone()),
        OutputValue::Secret(reference) => serde_json::to_value(reference).ok(),
    }
}

fn names(change: &Change) -> Vec<String> {
    match change {
        Change::None => Vec::new(),
        Change::InPlace(fields) | Change::Replace(fields) => fields.clone(),
    }
}
