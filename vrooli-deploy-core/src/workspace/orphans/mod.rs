//! What bears our marks and is in no stack of this workspace.

mod adopt;
mod cost;
mod delete;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::rebuild::named;
use super::{OperationError, Workspace};
use crate::cost::Money;
use crate::diagnostics::rules;
use crate::engine::{StackState, patiently};
use crate::names::{AppName, EnvironmentName, ProviderName, ResourceKey, ResourceKind, StackId};
use crate::provider::{Cancellation, ErrorKind, Found, Marked, PhysicalId, Provider, ProviderError, Scope};

/// Where to look for orphans.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OrphanOptions {
    /// At this provider only; default: all that stacks of this workspace are at.
    pub provider: Option<ProviderName>,
    /// In these regions, too, beside the provider's own and those of known stacks.
    pub regions: BTreeSet<String>,
    /// Of this stack only.
    pub stack: Option<StackId>,
}

/// What to do with the orphans of a stack, and what is allowed.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OrphanChoices {
    /// The app's name: what may hold data is deleted, too.
    pub data: Option<String>,
    /// The stack by name: what another state owns becomes this one's first.
    pub take_over: Option<String>,
}

/// What bears our marks and is in no stack of this workspace.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OrphanReport {
    /// Them, by stack.
    pub orphans: Vec<Orphan>,
    /// What those cost a month whose price is known.
    pub monthly: Money,
    /// How many have a price that is not known.
    pub unpriced: usize,
    /// Where it was looked.
    pub providers: Vec<ProviderName>,
    /// What could not be seen, and what else a person should know.
    pub notes: Vec<String>,
}

/// Whose an orphan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanOwner {
    /// This workspace's.
    This,
    /// Another workspace's: it may be in use there.
    Another,
    /// Nobody can say.
    Unknown,
}

/// An object that bears our marks and is in no stack of this workspace.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Orphan {
    /// Who has it.
    pub provider: ProviderName,
    /// Its stack by its marks; `None` where a run died before they were set.
    pub stack: Option<StackId>,
    /// Does this workspace have that stack?
    pub stack_known: bool,
    /// Its key by its marks.
    pub key: Option<ResourceKey>,
    /// Its kind; `None` where no kind makes such a thing.
    pub kind: Option<ResourceKind>,
    /// What the provider calls it.
    pub id: PhysicalId,
    /// Where it is; `None`: in no region.
    pub region: Option<String>,
    /// When it was made, where the provider tells it.
    pub since: Option<Timestamp>,
    /// The state that made it.
    pub owner: Option<Uuid>,
    /// Whose that is.
    pub whose: OrphanOwner,
    /// What it costs a month, without what is billed by use; `None`: not known.
    pub monthly: Option<Money>,
    /// What of its cost is not known, and why; `None`: nothing.
    pub cost_note: Option<String>,
    /// May it hold data?
    pub may_hold_data: bool,
    /// Can it be read, and so deleted, as its kind?
    pub readable: bool,
}

/// Orphans of a stack that can be read as their kinds, and how the stack stands here.
pub(super) struct OrphanedStack {
    state: StackState,
    objects: Vec<OrphanedObject>,
}

/// One of them.
pub(super) struct OrphanedObject {
    owner: Uuid,
    kind: ResourceKind,
    found: Found<Value>,
}

impl OrphanedStack {
    /// Owners that are not this state.
    fn others(&self, ours: Uuid) -> BTreeSet<Uuid> {
        self.objects.iter().map(|one| one.owner).filter(|owner| *owner != ours).collect()
    }
}

/// One provider's part of the account.
struct Place {
    name: ProviderName,
    regions: BTreeSet<String>,
    /// Stacks of this workspace that are there.
    known: BTreeSet<StackId>,
    marked: Vec<Marked>,
    /// What releases have of stacks that are not there, or not this workspace's: of its own the fleets see
    /// to it.
    of_releases: Vec<Marked>,
}

impl Workspace {
    /// Lists what bears our marks and is in no stack of this workspace: of stacks that it does not have,
    /// and of those that it has what their states do not have. Reads only. What a run of this workspace
    /// has open is left to the next command on that stack, and said.
    ///
    /// # Errors
    /// When a provider cannot be looked at, or cannot list what is there.
    pub async fn orphans(&self, options: &OrphanOptions) -> Result<OrphanReport, OperationError> {
        let mut report = OrphanReport {
            orphans: Vec::new(),
            monthly: Money::usd(crate::cost::Decimal::ZERO),
            unpriced: 0,
            providers: Vec::new(),
            notes: Vec::new(),
        };
        let prices = self.prices()?;
        for name in self.providers_to_look_at(options).await? {
            let Some(place) = self.place(&name, options, &mut report.notes).await? else { continue };
            report.providers.push(name.clone());
            for stack in place.stacks(options.stack.as_ref()) {
                if let Some(why) = self.busy(&stack).await? {
                    report.notes.push(why);
                    continue;
                }
                let provider = self.provider(&stack, &name, None).await?;
                let orphaned = self.orphaned(&place, &*provider, &stack).await?;
                report.orphans.extend(self.described(&place, &*provider, &stack, &orphaned, &prices)?);
            }
            if options.stack.is_none() {
                let nobodys = place.marked.iter().filter(|one| one.stack.is_none());
                report.orphans.extend(nobodys.map(|one| unreadable(&name, one, OrphanOwner::Unknown, false)));
            }
        }
        report.monthly.amount = report.orphans.iter().filter_map(|one| one.monthly).map(|m| m.amount).sum();
        report.unpriced = report.orphans.iter().filter(|one| one.monthly.is_none()).count();
        Ok(report)
    }

    /// The one that was named, else all that stacks are at.
    async fn providers_to_look_at(
        &self,
        options: &OrphanOptions,
    ) -> Result<BTreeSet<ProviderName>, OperationError> {
        if let Some(name) = &options.provider {
            return Ok(BTreeSet::from([name.clone()]));
        }
        let mut names = BTreeSet::new();
        for stack in self.0.store.stacks().await? {
            names.extend(self.source(&stack).await?.map(|source| source.provider));
        }
        if names.is_empty() {
            return Err(OperationError::Nothing {
                message: "this workspace has no stacks, so nothing says where to look".to_owned(),
                help: "name a provider: `vrooli-deploy orphans --provider aws`".to_owned(),
            });
        }
        Ok(names)
    }

    /// What bears marks at a provider. `None` where that cannot be listed.
    async fn place(
        &self,
        name: &ProviderName,
        options: &OrphanOptions,
        notes: &mut Vec<String>,
    ) -> Result<Option<Place>, OperationError> {
        let (mut regions, mut known) = (options.regions.clone(), BTreeSet::new());
        for stack in self.0.store.stacks().await? {
            // One without a source is what a `--delete` of orphans was interrupted at: not known.
            let Some(source) = self.source(&stack).await?.filter(|source| source.provider == *name) else {
                continue;
            };
            regions.extend(source.region);
            let state = self.0.store.load(&stack).await?;
            let specs = state.resources.values().filter_map(|known| known.spec.get("region")?.as_str());
            regions.extend(specs.map(str::to_owned));
            known.insert(stack);
        }
        let nobody = nobody()?;
        let provider = self.provider(&nobody, name, None).await?;
        let Some(census) = provider.census() else {
            if options.provider.is_some() {
                return Err(no_census(name));
            }
            notes.push(format!("`{name}` was passed over: what is there is known through its stacks only"));
            return Ok(None);
        };
        let cx = self.observe_context(&nobody, 0, Cancellation::new()).with_regions(regions.clone());
        let marked = patiently(|| census.marked(&cx)).await?;
        let mut of_releases = patiently(|| census.of_releases(&cx)).await?;
        let ours = |one: &Marked| {
            one.owner == Some(self.0.store.id()) && one.stack.as_ref().is_some_and(|of| known.contains(of))
        };
        of_releases.retain(|one| !ours(one));
        regions.extend(marked.iter().chain(&of_releases).filter_map(|one| one.region.clone()));
        Ok(Some(Place { name: name.clone(), regions, known, marked, of_releases }))
    }

    /// Why what bears a stack's marks is not to be looked at now: somebody of this workspace is at it.
    async fn busy(&self, stack: &StackId) -> Result<Option<String>, OperationError> {
        let name = named(stack);
        if let Some(holder) = self.0.store.holder(stack).await? {
            let who = holder.holder.name;
            return Ok(Some(format!("`{name}` was passed over: {who} is changing it")));
        }
        let open = self.0.store.load(stack).await?.open;
        Ok(open.map(|open| {
            let command = open.plan.command;
            format!("`{name}` was passed over: `{command}` was interrupted, and the next command on it resolves what that left")
        }))
    }

    /// Reads what bears a stack's marks, whoever owns it, without what this workspace's state has.
    async fn orphaned(
        &self,
        place: &Place,
        provider: &dyn Provider,
        stack: &StackId,
    ) -> Result<OrphanedStack, OperationError> {
        let state = self.0.store.load(stack).await?;
        let mut objects: BTreeMap<PhysicalId, OrphanedObject> = BTreeMap::new();
        for (owner, incarnation) in self.owners(place, stack, &state) {
            let cx = self.observe_context(stack, 0, Cancellation::new()).with_owner(owner);
            let cx = cx.with_incarnation(incarnation).with_regions(place.regions.clone());
            let scope = Scope { stack: stack.clone(), page: None };
            for (kind, found) in patiently(|| provider.inventory(&cx, &scope)).await? {
                if !has(&state, &found.id) {
                    objects.insert(found.id.clone(), OrphanedObject { owner, kind, found });
                }
            }
        }
        for one in place.of_releases.iter().filter(|one| one.stack.as_ref() == Some(stack)) {
            let (Some(owner), Some(kind), Some(key)) = (one.owner, &one.kind, &one.key) else { continue };
            let cx = self.observe_context(stack, 0, Cancellation::new()).with_owner(owner);
            let cx = cx.with_regions(place.regions.clone());
            for found in patiently(|| provider.find(&cx, kind, key, Some(&one.id))).await? {
                objects.insert(found.id.clone(), OrphanedObject { owner, kind: kind.clone(), found });
            }
        }
        Ok(OrphanedStack { state, objects: objects.into_values().collect() })
    }

    /// Who owns anything of a stack, and what its tokens were minted from, as far as that is known: what
    /// a killed run left without marks is known by that.
    fn owners(&self, place: &Place, stack: &StackId, state: &StackState) -> BTreeSet<(Uuid, Uuid)> {
        let of = place.marked.iter().filter(|one| one.stack.as_ref() == Some(stack));
        let mut owners: BTreeSet<(Uuid, Uuid)> =
            of.filter_map(|one| Some((one.owner?, one.incarnation.unwrap_or_default()))).collect();
        if place.known.contains(stack) {
            owners.insert((self.0.store.id(), state.incarnation));
        }
        owners
    }

    fn described(
        &self,
        place: &Place,
        provider: &dyn Provider,
        stack: &StackId,
        orphaned: &OrphanedStack,
        prices: &crate::cost::Prices,
    ) -> Result<Vec<Orphan>, OperationError> {
        let stack_known = place.known.contains(stack);
        let whose = |owner: Option<Uuid>| match owner {
            Some(owner) if owner == self.0.store.id() => OrphanOwner::This,
            Some(_) => OrphanOwner::Another,
            None => OrphanOwner::Unknown,
        };
        let mut all = Vec::new();
        for one in &orphaned.objects {
            let kind = provider.kind(&one.kind)?;
            let told = place.marked.iter().find(|marked| marked.id == one.found.id);
            let region = one.found.observed.get("region").and_then(Value::as_str).map(str::to_owned);
            let (monthly, cost_note) = cost::monthly(kind, &one.found.observed, prices)?;
            all.push(Orphan {
                provider: place.name.clone(),
                stack: Some(stack.clone()),
                stack_known,
                key: Some(one.found.key.clone()),
                kind: Some(one.kind.clone()),
                id: one.found.id.clone(),
                region: region.or_else(|| told?.region.clone()),
                since: told.and_then(|told| told.since),
                owner: Some(one.owner),
                whose: whose(Some(one.owner)),
                monthly,
                cost_note,
                may_hold_data: kind.may_hold_data(),
                readable: true,
            });
        }
        // What no kind of this build reads. One that its kind looked for and did not see is gone.
        for marked in place.marked.iter().filter(|one| one.stack.as_ref() == Some(stack)) {
            let looked_for = marked.kind.as_ref().is_some_and(|kind| provider.kind(kind).is_ok());
            if !looked_for && !has(&orphaned.state, &marked.id) {
                all.push(unreadable(&place.name, marked, whose(marked.owner), stack_known));
            }
        }
        all.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        Ok(all)
    }
}

impl Place {
    /// Stacks of this workspace, and those that marks tell of.
    fn stacks(&self, only: Option<&StackId>) -> BTreeSet<StackId> {
        let told = self.marked.iter().chain(&self.of_releases).filter_map(|one| one.stack.as_ref());
        let all = self.known.iter().chain(told).cloned();
        all.filter(|stack| only.is_none_or(|only| only == stack)).collect()
    }
}

fn has(state: &StackState, id: &PhysicalId) -> bool {
    state.resources.values().any(|known| known.id == *id)
}

fn unreadable(provider: &ProviderName, one: &Marked, whose: OrphanOwner, stack_known: bool) -> Orphan {
    let why = match one.kind {
        Some(_) if one.stack.is_none() => "a run died before it was complete, so nobody knows whose it is",
        Some(_) => "this build cannot read its kind; it may be gone already",
        None => "no kind makes such a thing",
    };
    Orphan {
        provider: provider.clone(),
        stack: one.stack.clone(),
        stack_known,
        key: one.key.clone(),
        kind: one.kind.clone(),
        id: PhysicalId(one.name.clone()),
        region: one.region.clone(),
        since: one.since,
        owner: one.owner,
        whose,
        monthly: None,
        cost_note: Some(why.to_owned()),
        may_hold_data: true,
        readable: false,
    }
}

/// In the place of a stack where marks of any are looked for.
fn nobody() -> Result<StackId, OperationError> {
    let wrong = |message: String| OperationError::Nothing { message, help: String::new() };
    Ok(StackId {
        app: AppName::new("orphans").map_err(|error| wrong(error.to_string()))?,
        environment: EnvironmentName::new("default").map_err(|error| wrong(error.to_string()))?,
    })
}

fn no_census(provider: &ProviderName) -> OperationError {
    OperationError::Provider(
        ProviderError::new(
            ErrorKind::Unsupported,
            format!("provider `{provider}` does not list what bears our marks: what is there is known through its stacks only"),
        )
        .with_code(rules::NO_CENSUS.to_string())
        .with_help("`vrooli-deploy drift APP` shows what an app has there that its state does not"),
    )
}
