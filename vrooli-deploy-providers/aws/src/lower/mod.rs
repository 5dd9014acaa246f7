//! From what an app needs to a stack on AWS. Pure: the same input gives the same stack.

mod budget;
mod choose;
mod compute;
mod dashboard;
mod data;
mod encryption;
mod front;
mod network;

use std::collections::BTreeSet;

use vrooli_deploy_core::diagnostics::{Checked, rules};
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::LowerOptions;
use vrooli_deploy_core::provider::lowering::Lowering;
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::Stack;

use crate::catalogue::{Catalogue, Region, Scale, catalogue};

/// Where a stack is built, and how large.
#[derive(Debug, Clone, Copy)]
struct Site<'a> {
    known: &'static Catalogue,
    region: &'static Region,
    /// The first zones of the region.
    zones: &'static [String],
    scale: Scale,
    requirements: &'a Requirements,
}

/// The stack of an app on AWS. Without errors it can be planned; the value is there even with
/// errors, so that a report can show what was understood.
pub fn lower(stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
    let mut lowering = Lowering::new(stack, options);
    let known = catalogue();
    let Some(region) = choose::region(&mut lowering, known) else {
        return lowering.finish();
    };
    let scale = known.scale(stack.environment.as_str());
    let zones = region.zones.get(..scale.zones).unwrap_or(&region.zones);
    let site = Site { known, region, zones, scale, requirements };

    let wanted = data::wanted(&mut lowering, site);
    let compute = compute::choose(&mut lowering, site);
    let front = front::choose(&mut lowering, compute.as_ref());
    let network = network::lower(&mut lowering, site, compute.as_ref(), &front, &wanted);
    if let Some(network) = &network {
        data::lower(&mut lowering, site, network, &wanted);
    }
    let stores = data::stores(&mut lowering, site, &wanted);
    if let (Some(compute), Some(network)) = (&compute, &network) {
        let front = front::lower(&mut lowering, site, compute, network, &front);
        let databases: Vec<_> = wanted.databases().cloned().collect();
        let data = compute::Data { databases: &databases, stores: &stores };
        compute::lower(&mut lowering, site, compute, network, &front, data);
    }
    dashboard::lower(&mut lowering, site);
    budget::lower(&mut lowering, site);
    let mut checked = lowering.finish();
    say_what_has_no_price(&mut checked, region);
    checked
}

/// An estimate would stop at these; better to hear of all at once.
fn say_what_has_no_price(checked: &mut Checked<Stack>, region: &Region) {
    let Some(stack) = &checked.value else { return };
    let kinds = crate::kinds::all();
    let mut unknown = BTreeSet::new();
    for resource in stack.resources.values() {
        let items =
            kinds.iter().find(|kind| kind.kind() == resource.kind).map(|kind| kind.bill(&resource.spec));
        for item in items.into_iter().flatten().flatten() {
            if !region.knows_price(&item.price) {
                unknown.insert(item.price.service);
            }
        }
    }
    if unknown.is_empty() {
        return;
    }
    let services = unknown.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    checked.diagnostics.push(
        rules::NO_PRICES
            .diagnostic(format!("in {} ({}) not all prices are known: {services}", region.name, region.title))
            .help(format!(
                "an estimate there names what it cannot price; `{}` is fully priced, or give a book with `--prices FILE`",
                catalogue().regions.default
            )),
    );
}
