//! What else a manifest could ask for: smaller sizes, fewer machines, other kinds of compute,
//! nothing in front.

use super::assess::Request;
use super::budget::{Alternatives, Change};
use super::equivalents::{Part, other_computes, sized};
use super::estimate::Bill;
use super::{Decimal, PriceKey, Quantity};
use crate::manifest::{ComputeConfig, DeploymentManifest, PartConfig, PasswordKeeper};
use crate::names::ProviderName;

/// Sizes and counts of one part that are proposed at most: the nearest below what there is.
const MOST: usize = 12;

/// Alternatives to a manifest on one provider, each lowered anew.
pub(super) struct ManifestAlternatives<'a> {
    request: &'a Request<'a>,
    provider: &'a ProviderName,
    /// What is asked of the provider now.
    manifest: DeploymentManifest,
    changes: Vec<(Change, Edit)>,
}

#[derive(Debug, Clone)]
enum Edit {
    Count(u32),
    Size { part: Part, kind: String, size: String },
    Compute(String),
    NoLoadBalancer,
    NoCdn,
}

impl<'a> ManifestAlternatives<'a> {
    pub(super) fn new(request: &'a Request<'a>, provider: &'a ProviderName, bill: &Bill) -> Self {
        let (asked, _) = request.manifest_for(provider);
        let manifest = &asked;
        let mut changes = Vec::new();
        let mut add = |part: &str, what: String, edit: Edit| {
            changes.push((Change { part: part.to_owned(), what }, edit));
        };
        if let Some(compute) = &manifest.infrastructure.compute {
            if let Some(count) = compute.count.filter(|count| *count > 1) {
                for fewer in (1..count).rev().take(MOST) {
                    add(
                        "compute.count",
                        format!("compute.count: {fewer} instead of {count}"),
                        Edit::Count(fewer),
                    );
                }
            }
            for kind in other_computes(provider.as_str(), &compute.kind) {
                let what = format!("compute.type: {kind} instead of {}", compute.kind);
                add("compute.size", what, Edit::Compute(kind.to_owned()));
            }
        }
        let mut seen = Vec::new();
        for (_, item) in &bill.items {
            let Quantity::Running(_) = item.quantity else { continue };
            let Some(sized) = sized(&item.price) else { continue };
            if seen.contains(&sized.part) {
                continue;
            }
            seen.push(sized.part);
            let name = match sized.part {
                Part::Compute => "compute",
                Part::Database => "database",
                Part::Cache => "cache",
            };
            let kind = asked_kind(manifest, sized.part).unwrap_or(&sized.kind).to_owned();
            for size in cheaper(request, &item.price) {
                let what = format!("{name}.size: {size} instead of {}", item.price.sku);
                let edit = Edit::Size { part: sized.part, kind: kind.clone(), size };
                add(&format!("{name}.size"), what, edit);
            }
        }
        if manifest.networking.load_balancer {
            add("load_balancer", "load_balancer: false".to_owned(), Edit::NoLoadBalancer);
        }
        if manifest.networking.cdn {
            add("cdn", "cdn: false".to_owned(), Edit::NoCdn);
        }
        Self { request, provider, manifest: asked, changes }
    }
}

fn asked_kind(manifest: &DeploymentManifest, part: Part) -> Option<&str> {
    let infrastructure = &manifest.infrastructure;
    match part {
        Part::Compute => infrastructure.compute.as_ref().map(|compute| compute.kind.as_str()),
        Part::Database => infrastructure.database.as_ref().map(|part| part.kind.as_str()),
        Part::Cache => infrastructure.cache.as_ref().map(|part| part.kind.as_str()),
    }
}

/// Products of the same service, region and columns that cost less, the dearest first.
fn cheaper(request: &Request<'_>, key: &PriceKey) -> Vec<String> {
    let prices = request.options.prices;
    let Ok(now) = prices.find(key) else { return Vec::new() };
    let Some(now) = now.first().map(|found| found.price) else { return Vec::new() };
    let mut known: Vec<(Decimal, String)> = prices
        .of(&key.provider)
        .flat_map(|book| book.of_service(&key.service))
        .filter(|price| price.unit == now.unit && price.sku != key.sku)
        .filter_map(|price| {
            let key = PriceKey { sku: price.sku.clone(), ..key.clone() };
            let amount = prices.find(&key).ok()?.first()?.price.amount;
            (amount < now.amount && !amount.is_zero()).then_some((amount, key.sku))
        })
        .collect();
    // Of several that cost the same, the one that is named most alike: it is the most alike.
    let unlike = |sku: &str| strsim::levenshtein(sku, &key.sku);
    known.sort_by(|a, b| {
        b.0.cmp(&a.0).then_with(|| unlike(&a.1).cmp(&unlike(&b.1))).then_with(|| a.1.cmp(&b.1))
    });
    known.dedup_by(|a, b| a.0 == b.0);
    // The nearest below, and the cheapest of all.
    let cheapest = known.last().cloned();
    known.truncate(MOST);
    known.extend(cheapest.filter(|cheapest| !known.contains(cheapest)));
    known.into_iter().map(|(_, size)| size).collect()
}

impl Alternatives for ManifestAlternatives<'_> {
    fn changes(&self) -> Vec<Change> {
        self.changes.iter().map(|(change, _)| change.clone()).collect()
    }

    fn bill(&self, chosen: &[usize]) -> Option<Bill> {
        let mut manifest = self.manifest.clone();
        for index in chosen {
            let (_, edit) = self.changes.get(*index)?;
            apply(&mut manifest, edit);
        }
        let count = manifest.infrastructure.compute.as_ref().and_then(|compute| compute.count);
        // Nothing would spread requests over several machines.
        let was = self.manifest.networking.load_balancer;
        if was && !manifest.networking.load_balancer && count.is_some_and(|count| count > 1) {
            return None;
        }
        self.request.bill_of(&manifest, self.provider).into_result().ok().map(|(bill, _)| bill)
    }
}

fn apply(manifest: &mut DeploymentManifest, edit: &Edit) {
    let infrastructure = &mut manifest.infrastructure;
    match edit {
        Edit::Count(count) => {
            if let Some(compute) = &mut infrastructure.compute {
                compute.count = Some(*count);
            }
        }
        Edit::Compute(kind) => {
            if let Some(compute) = &mut infrastructure.compute {
                compute.kind.clone_from(kind);
                compute.size = None;
            }
        }
        Edit::Size { part, kind, size } => {
            let place = match part {
                Part::Compute => {
                    let compute = infrastructure.compute.get_or_insert_with(|| ComputeConfig {
                        kind: kind.clone(),
                        size: None,
                        count: None,
                    });
                    compute.size = Some(size.clone());
                    return;
                }
                Part::Database => &mut infrastructure.database,
                Part::Cache => &mut infrastructure.cache,
            };
            let part = place.get_or_insert_with(|| PartConfig {
                kind: kind.clone(),
                size: None,
                region: None,
                version: None,
                password: PasswordKeeper::default(),
            });
            part.size = Some(size.clone());
        }
        Edit::NoLoadBalancer => manifest.networking.load_balancer = false,
        Edit::NoCdn => manifest.networking.cdn = false,
    }
}
