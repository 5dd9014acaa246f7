//! From what an app needs to a stack on DigitalOcean. Pure: the same input gives the same stack.

mod choose;
mod compute;
mod data;
mod front;

use vrooli_deploy_core::diagnostics::Checked;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::LowerOptions;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, resource_key};
use vrooli_deploy_core::requirements::Requirements;
use vrooli_deploy_core::stack::Stack;

use crate::catalogue::{Catalogue, Region, Scale, catalogue};
use crate::kinds::project::{Project, ProjectSpec};
use crate::kinds::vpc::{Vpc, VpcSpec};

/// Where a stack is built, and how large.
#[derive(Debug, Clone, Copy)]
struct Site<'a> {
    known: &'static Catalogue,
    region: &'static Region,
    scale: Scale,
    requirements: &'a Requirements,
}

/// The stack of an app on DigitalOcean. Without errors it can be planned; the value is there
/// even with errors, so that a report can show what was understood.
pub fn lower(stack: &StackId, requirements: &Requirements, options: &LowerOptions) -> Checked<Stack> {
    let mut lowering = Lowering::new(stack, options);
    let known = catalogue();
    lowering.no_customer_key("DigitalOcean");
    lowering.no_managed_password("DigitalOcean", &["database", "cache", "storage"]);
    lowering.no_budget("DigitalOcean");
    let Some(region) = choose::region(&mut lowering, known) else {
        return lowering.finish();
    };
    let scale = known.scale(stack.environment.as_str());
    let site = Site { known, region, scale, requirements };

    let wanted = data::wanted(&mut lowering, site);
    let compute = compute::choose(&mut lowering, site);
    if compute.is_some() || !wanted.is_empty() {
        project(&mut lowering, site);
    }
    if compute.is_some() || data::needs_network(&wanted) {
        let vpc = network(&mut lowering, site);
        let on_droplets = compute.as_ref().is_some_and(|compute| !compute.platform());
        data::clusters(&mut lowering, site, &vpc, &wanted, on_droplets);
        if let Some(compute) = &compute {
            let front = front::choose(&mut lowering, compute);
            compute::lower(&mut lowering, site, compute, &vpc, &front);
            front::lower(&mut lowering, site, compute, &vpc, &front);
        }
    }
    let stores = data::stores(&mut lowering, site, &wanted);
    front::cdn(&mut lowering, compute.as_ref(), stores.first());
    lowering.finish()
}

/// The mark of a stack's droplets: what load balancers, firewalls and databases look for.
fn tag(stack: &StackId) -> String {
    object_name(stack, "app", 255)
}

fn project(lowering: &mut Lowering<'_>, site: Site<'_>) {
    let stack = lowering.stack();
    let environment = match stack.environment.as_str() {
        name if site.known.is_production(name) => "Production",
        "staging" => "Staging",
        _ => "Development",
    };
    let spec = ProjectSpec {
        name: object_name(stack, "", 175),
        description: format!("objects of {stack}, made by vrooli-deploy"),
        environment: environment.to_owned(),
    };
    lowering.add(&resource_key("project/main"), &Project, &spec, false);
}

fn network(lowering: &mut Lowering<'_>, site: Site<'_>) -> ResourceKey {
    let key = resource_key("network/vpc");
    let spec = VpcSpec {
        name: object_name(lowering.stack(), "", 255),
        region: site.region.name.clone(),
        ip_range: None,
    };
    lowering.add(&key, &Vpc, &spec, false);
    key
}
