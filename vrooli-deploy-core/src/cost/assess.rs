//! A manifest on a provider, or on several: what is billed, what it costs, whether it fits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::alternatives::ManifestAlternatives;
use super::book::PriceBook;
use super::budget::{Judgement, judge};
use super::difference::{Difference, differences};
use super::equivalents::elsewhere;
use super::estimate::{Bill, Estimate, Server};
use super::prices::Prices;
use super::reckon::estimate;
use super::usage::{Level, UsageProfile};
use super::{Decimal, Line, Money};
use crate::diagnostics::{Checked, Diagnostic, Severity, Span, rules};
use crate::manifest::{DeploymentManifest, Dialect, LoadedManifest, Tier};
use crate::names::{DependencyName, ProviderName, StackId};
use crate::provider::{LowerOptions, Registry};
use crate::requirements::{self, DeriveOptions};
use crate::stack::Stack;

/// The provider whose machines are the user's own.
const BARE_METAL: &str = "bare-metal";

/// What to assess, and how.
#[derive(Debug, Clone)]
pub struct AssessOptions<'a> {
    /// Another provider than the manifest's.
    pub provider: Option<ProviderName>,
    /// Another region there than the manifest's, by that provider's name.
    pub region: Option<String>,
    /// The same app on these too.
    pub compare: Vec<ProviderName>,
    /// What users cause.
    pub usage: &'a UsageProfile,
    /// Which of its values decide.
    pub level: Level,
    /// What things cost.
    pub prices: &'a Prices,
    /// A book to hold the estimate against, line by line.
    pub against: Option<Arc<PriceBook>>,
    /// The most that it may cost a month, in US dollars.
    pub max_monthly: Option<Decimal>,
    /// Optional dependencies too.
    pub include_optional: bool,
    /// Dependencies to leave out.
    pub drop: Vec<DependencyName>,
}

impl<'a> AssessOptions<'a> {
    /// On the manifest's own provider, with expected usage.
    #[must_use]
    pub fn new(usage: &'a UsageProfile, prices: &'a Prices) -> Self {
        Self {
            provider: None,
            region: None,
            compare: Vec::new(),
            usage,
            level: Level::default(),
            prices,
            against: None,
            max_monthly: None,
            include_optional: false,
            drop: Vec::new(),
        }
    }
}

/// What an app costs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Assessment {
    /// Which app.
    pub stack: StackId,
    /// The usage that decides.
    pub level: Level,
    /// What it costs where it was asked for.
    pub estimate: Estimate,
    /// Name of the book that it was held against, and where they differ.
    pub against: Option<(String, Vec<Difference>)>,
    /// The same app on several providers, the first of them where it was asked for.
    pub columns: Vec<Column>,
    /// What the budget says.
    pub judgement: Option<Judgement>,
}

/// The app on one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Which.
    pub provider: ProviderName,
    /// What it costs there; `None` when that cannot be said.
    pub estimate: Option<Estimate>,
    /// Why it cannot be said, and what else was noticed.
    pub diagnostics: Vec<Diagnostic>,
}

/// What an app costs, on which providers, and whether that fits. Pure.
///
/// Of the other providers of a comparison one that cannot be estimated does not keep the rest
/// from being shown.
pub fn assess(
    registry: &Registry,
    stack: &StackId,
    loaded: &LoadedManifest,
    options: &AssessOptions<'_>,
) -> Checked<Assessment> {
    let provider = options.provider.clone().unwrap_or_else(|| loaded.manifest.provider.clone());
    let request = Request::new(registry, stack, loaded, options);
    let mut diagnostics = Vec::new();
    let mut ours = None;
    if let Some(billed) = keep(request.bill(&provider), &mut diagnostics)
        && let Some(estimate) = keep(estimate(&billed, options.usage, options.prices), &mut diagnostics)
    {
        ours = Some((billed, estimate));
    }
    let Some((billed, estimated)) = ours else { return Checked { value: None, diagnostics } };
    let against = options.against.as_ref().and_then(|book| {
        if book.provider != billed.provider {
            return None;
        }
        let prices = options.prices.clone().with(Arc::clone(book));
        let usage = book.usage.as_deref().and_then(UsageProfile::named).unwrap_or(options.usage);
        let theirs = estimate(&billed, usage, &prices).into_result().ok()?.0;
        // A book without a price for any of it has nothing to say.
        let used = theirs.books.iter().any(|used| used.name == book.name);
        used.then(|| (book.name.clone(), differences(&estimated, &theirs, book, options.level)))
    });
    let mut columns = Vec::new();
    if !options.compare.is_empty() {
        let mut seen = BTreeSet::from([provider.clone()]);
        columns.push(Column {
            provider: provider.clone(),
            estimate: Some(estimated.clone()),
            diagnostics: Vec::new(),
        });
        for other in options.compare.iter().filter(|other| seen.insert((*other).clone())) {
            columns.push(request.column(other));
        }
    }
    let judgement = options.max_monthly.map(|limit| {
        let alternatives = ManifestAlternatives::new(&request, &provider, &billed);
        let price = |bill: &Bill| {
            let (estimate, _) = estimate(bill, options.usage, options.prices).into_result().ok()?;
            estimate.complete().then(|| estimate.total(options.level))
        };
        judge(&estimated, options.level, limit, &alternatives, &price)
    });
    let assessment = Assessment {
        stack: stack.clone(),
        level: options.level,
        estimate: estimated,
        against,
        columns,
        judgement,
    };
    Checked { value: Some(assessment), diagnostics }
}

/// Keeps the value if nothing about it is an error, and what there is to say in any case.
fn keep<T>(checked: Checked<T>, diagnostics: &mut Vec<Diagnostic>) -> Option<T> {
    let failed = checked.has_errors();
    diagnostics.extend(checked.diagnostics);
    checked.value.filter(|_| !failed)
}

fn is_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error
}

/// One question: an app of this manifest, on some provider.
pub(super) struct Request<'a> {
    registry: &'a Registry,
    stack: &'a StackId,
    pub(super) loaded: &'a LoadedManifest,
    pub(super) options: &'a AssessOptions<'a>,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        stack: &'a StackId,
        loaded: &'a LoadedManifest,
        options: &'a AssessOptions<'a>,
    ) -> Self {
        Self { registry, stack, loaded, options }
    }

    fn column(&self, provider: &ProviderName) -> Column {
        let mut diagnostics = Vec::new();
        let estimate = keep(self.bill(provider), &mut diagnostics).and_then(|bill| {
            keep(estimate(&bill, self.options.usage, self.options.prices), &mut diagnostics)
        });
        Column { provider: provider.clone(), estimate, diagnostics }
    }

    fn bill(&self, provider: &ProviderName) -> Checked<Bill> {
        let (manifest, notes) = self.manifest_for(provider);
        let mut billed = self.bill_of(&manifest, provider);
        if let Some(bill) = billed.value.as_mut().filter(|_| !billed.diagnostics.iter().any(is_error)) {
            bill.notes.extend(notes);
            return billed;
        }
        if notes.is_empty() {
            return billed;
        }
        // Sizes that were found for it are a proposal: if it does not take them, it chooses itself.
        let mut unsized_manifest = manifest;
        let infrastructure = &mut unsized_manifest.infrastructure;
        if let Some(compute) = &mut infrastructure.compute {
            compute.size = None;
        }
        for part in [&mut infrastructure.database, &mut infrastructure.cache].into_iter().flatten() {
            part.size = None;
        }
        let chosen = self.bill_of(&unsized_manifest, provider);
        if chosen.value.is_some() && !chosen.has_errors() { chosen } else { billed }
    }

    /// What is asked of a provider: what the manifest says, in that provider's words, and what
    /// to say about the translation.
    pub(super) fn manifest_for(&self, provider: &ProviderName) -> (DeploymentManifest, Vec<String>) {
        let mut manifest = self.loaded.manifest.clone();
        let mut notes = Vec::new();
        if *provider != manifest.provider {
            (manifest.infrastructure, notes) =
                elsewhere(&manifest.infrastructure, manifest.provider.as_str(), provider.as_str());
        }
        let asked = self.options.provider.as_ref().unwrap_or(&manifest.provider);
        if self.options.region.is_some() && provider == asked {
            manifest.infrastructure.region.clone_from(&self.options.region);
        }
        (manifest, notes)
    }

    /// Where the manifest's own file says something. Pointers of another dialect mean other things.
    fn span(&self, pointer: &str) -> Option<Span> {
        let place = self.loaded.spans.place(pointer).filter(|_| self.loaded.dialect == Dialect::Manifest)?;
        place.value.clone().or_else(|| place.key.clone())
    }

    fn places(&self) -> BTreeMap<Line, Span> {
        [
            (Line::Compute, "/infrastructure/compute/size"),
            (Line::Compute, "/infrastructure/compute"),
            (Line::Database, "/infrastructure/database/size"),
            (Line::Database, "/infrastructure/database"),
            (Line::Cache, "/infrastructure/cache/size"),
            (Line::Cache, "/infrastructure/cache"),
            (Line::Storage, "/infrastructure/storage"),
            (Line::LoadBalancer, "/networking/load_balancer"),
            (Line::Cdn, "/networking/cdn"),
        ]
        .into_iter()
        .rev()
        .filter_map(|(line, pointer)| Some((line, self.span(pointer)?)))
        .collect()
    }

    /// The bill before any resource is in it: where each line was asked for, and machines of the user's own.
    pub(super) fn frame(
        &self,
        manifest: &DeploymentManifest,
        provider: &ProviderName,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Bill {
        let mut bill = Bill {
            provider: provider.to_string(),
            places: self.places(),
            region_place: self.span("/infrastructure/region"),
            ..Bill::default()
        };
        if provider.as_str() == BARE_METAL {
            self.servers(manifest, &mut bill, diagnostics);
        }
        bill
    }

    /// Manifest → requirements → stack → bill. The manifest may be another than was read.
    pub(super) fn bill_of(&self, manifest: &DeploymentManifest, provider: &ProviderName) -> Checked<Bill> {
        let mut diagnostics = Vec::new();
        let mut bill = self.frame(manifest, provider, &mut diagnostics);
        let factory = match self.registry.get(provider) {
            Ok(factory) => factory,
            // What machines of one's own cost needs no provider: the manifest says it.
            Err(_) if provider.as_str() == BARE_METAL => {
                return Checked { value: Some(bill), diagnostics };
            }
            Err(unknown) => {
                diagnostics.push(rules::PROVIDER_MISSING.diagnostic(unknown.to_string()));
                return Checked { value: None, diagnostics };
            }
        };
        // What the local tier may leave out with a warning, others may not.
        let moved = manifest.target == Tier::Local && provider.as_str() != "local";
        let derive = DeriveOptions {
            include_optional: self.options.include_optional,
            drop: self.options.drop.clone(),
            tier: moved.then_some(Tier::Saas),
            ..DeriveOptions::default()
        };
        let derived = requirements::derive_at(manifest, &derive, &self.loaded.spans);
        let Some(requirements) = keep(derived, &mut diagnostics) else {
            return Checked { value: None, diagnostics };
        };
        let lower = LowerOptions::of(self.loaded, manifest);
        let lowered = factory.lower(self.stack, &requirements, &lower);
        let Some(stack) = keep(lowered, &mut diagnostics) else {
            return Checked { value: None, diagnostics };
        };
        let kinds = factory.kinds();
        items(&kinds, &stack, &mut bill, &mut diagnostics);
        if bill.items.is_empty() && provider.as_str() == "local" {
            bill.notes.push("On this machine nothing is billed".to_owned());
        }
        Checked { value: Some(bill), diagnostics }
    }

    fn servers(&self, manifest: &DeploymentManifest, bill: &mut Bill, diagnostics: &mut Vec<Diagnostic>) {
        let servers = &manifest.infrastructure.servers;
        if servers.is_empty() {
            diagnostics.push(
                rules::NOT_ESTIMATED
                    .diagnostic("what bare metal costs is not known: the manifest names no servers")
                    .at(self.span("/infrastructure"), "here")
                    .help("list them under `infrastructure.servers` with `host`, `role` and `monthly_usd`"),
            );
        }
        for (index, server) in servers.iter().enumerate() {
            let monthly = server.monthly_usd.as_deref().and_then(|text| match Money::parse(text) {
                Ok(monthly) => Some(monthly),
                Err(why) => {
                    diagnostics.push(
                        rules::SERVER_COST
                            .diagnostic(format!("`infrastructure.servers[{index}].monthly_usd` {why}"))
                            .at(self.span(&format!("/infrastructure/servers/{index}/monthly_usd")), "here")
                            .help("US dollars as decimal text: \"12.50\""),
                    );
                    None
                }
            });
            bill.servers.push(Server { host: server.host.clone(), monthly });
        }
    }
}

/// What the resources of a stack are billed for.
pub(super) fn items(
    kinds: &[&'static dyn crate::provider::AnyKind],
    stack: &Stack,
    bill: &mut Bill,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (key, resource) in &stack.resources {
        let Some(kind) = kinds.iter().find(|kind| kind.kind() == resource.kind) else {
            let message = format!("nobody can say what `{}` ({key}) is billed for", resource.kind);
            diagnostics.push(rules::KIND_NOT_PRICED.diagnostic(message));
            continue;
        };
        match kind.bill(&resource.spec) {
            Ok(items) => bill.items.extend(items.into_iter().map(|item| (key.clone(), item))),
            Err(error) => {
                let message =
                    format!("nobody can say what `{}` ({key}) is billed for: {error}", resource.kind);
                diagnostics.push(rules::KIND_NOT_PRICED.diagnostic(message));
            }
        }
    }
}

/// What the resources of a stack are billed for, by kind of a provider.
///
/// `VD0413` for a kind that is not among them or does not take its spec.
pub fn bill(
    provider: &ProviderName,
    kinds: &[&'static dyn crate::provider::AnyKind],
    stack: &Stack,
) -> Checked<Bill> {
    let mut bill = Bill { provider: provider.to_string(), ..Bill::default() };
    let mut diagnostics = Vec::new();
    items(kinds, stack, &mut bill, &mut diagnostics);
    let failed = diagnostics.iter().any(|d| d.severity == Severity::Error);
    Checked { value: (!failed).then_some(bill), diagnostics }
}
