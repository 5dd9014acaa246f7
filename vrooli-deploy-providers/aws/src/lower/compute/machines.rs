//! The app on groups of machines behind a load balancer.

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::provider::sizing::Need;

use super::super::Site;
use super::super::network::{Network, ids};
use super::{Compute, Size, image, machine_size, repository};
use crate::kinds::COLOURS;
use crate::kinds::auto_scaling_group::{AutoScalingGroup, AutoScalingGroupSpec};
use crate::kinds::launch_template::{LaunchTemplate, LaunchTemplateSpec};

/// Everything that listens on each machine of one place, each worker on machines of another: a worker that
/// must not run twice has a count of its own, and is handed over by itself. Each place is two groups, of which
/// one runs the release that serves and the other the next one, and a template that both are made of.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    network: &Network,
    (machine, role): (&str, &ResourceKey),
) {
    repository(lowering, site);
    let place = |lowering: &mut Lowering<'_>, name: &str, machine: &str, count: u32, most: u32| {
        let stack = lowering.stack();
        let defaults = &site.known.defaults;
        let template = resource_key(&format!("compute/{name}/template"));
        let spec = LaunchTemplateSpec {
            region: site.region.name.clone(),
            name: object_name(stack, name, 128),
            instance_type: machine.to_owned(),
            image: image(&defaults.images.group, site, machine),
            security_groups: vec![output(&network.app_group, "id")],
            profile: Some(output(role, "name")),
            disk_gib: defaults.disk_gib,
            public_address: network.public_addresses,
        };
        lowering.add(&template, &LaunchTemplate, &spec, false);
        for (colour, count) in COLOURS.into_iter().zip([count, 0]) {
            let spec = AutoScalingGroupSpec {
                region: site.region.name.clone(),
                name: object_name(stack, &format!("{name}-{colour}"), 255),
                launch_template: output(&template, "id"),
                subnets: ids(&network.app),
                max: most,
                count,
                instance_type: machine.to_owned(),
                disk_gib: defaults.disk_gib,
                public_address: network.public_addresses,
            };
            lowering.add(&resource_key(&format!("compute/{name}/{colour}")), &AutoScalingGroup, &spec, false);
        }
    };
    place(lowering, "app", machine, compute.count, compute.most);
    for (name, worker) in &compute.workers {
        let what = format!("machine of worker `{name}`");
        let need = Need::of_services([worker]).and(Need::of_machine());
        // All services are of one image.
        let what = (what.as_str(), Some(machine));
        if let Some(Size::Machine(machine)) = machine_size(lowering, site, what, None, need) {
            let count = worker.scaling.min;
            place(lowering, &format!("worker-{name}"), &machine, count, count.max(worker.scaling.max));
        }
    }
    if compute.most > compute.count {
        let message = format!(
            "up to {} machines are asked for, and nothing adds any to the {} that run",
            compute.most, compute.count
        );
        lowering.say_at(
            "/infrastructure/compute",
            rules::NOT_SCALED
                .diagnostic(message)
                .help("choose the compute type `fargate`, or let as many run as the app ever needs (`infrastructure.compute.count`)"),
        );
    }
    if site.requirements.data_volume {
        lowering.say(
            rules::DATA_FILES
                .diagnostic("the app keeps files in `data`, and each machine of a group has its own")
                .help("keep them in object storage or in the database, or run one machine without a load balancer"),
        );
    }
}
