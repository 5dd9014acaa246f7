//! What runs the app: droplets, or App Platform.

use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::manifest::ServiceConfig;
use vrooli_deploy_core::names::{ResourceKey, ServiceName};
use vrooli_deploy_core::provider::choosing::{Sizes, compute_type, size};
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::provider::sizing::Need;

use super::front::FrontChoice;
use super::{Site, choose, tag};
use crate::catalogue::ContainerSize;
use crate::kinds::app::{App, AppSpec, Component, Role};
use crate::kinds::droplet::{Droplet, DropletSpec};
use crate::kinds::firewall::{Firewall, FirewallSpec, Inbound};
use crate::kinds::registry::{Registry, RegistrySpec};
use crate::kinds::volume::{Volume, VolumeSpec};

/// What runs the app.
#[derive(Debug)]
pub(super) struct Compute {
    pub(super) count: u32,
    /// Does something of it serve requests?
    pub(super) listens: bool,
    /// The path that is asked whether the app is well.
    pub(super) health_path: String,
    size: Size,
}

#[derive(Debug)]
enum Size {
    Droplet(String),
    Platform(Vec<Component>),
}

impl Compute {
    /// Is it App Platform?
    pub(super) fn platform(&self) -> bool {
        matches!(self.size, Size::Platform(_))
    }

    /// Keys of the droplets.
    pub(super) fn droplets(&self) -> Vec<ResourceKey> {
        if self.platform() {
            return Vec::new();
        }
        (1..=self.count).map(|number| resource_key(&format!("compute/droplet-{number}"))).collect()
    }
}

/// What runs the app, unless nothing does.
pub(super) fn choose(lowering: &mut Lowering<'_>, site: Site<'_>) -> Option<Compute> {
    let config = lowering.options().infrastructure.compute.as_ref();
    let services = &site.requirements.services;
    if services.is_empty() && config.is_none() {
        return None;
    }
    let kind = compute_type(lowering, &site.known.defaults.compute, "DigitalOcean")?;
    let scaling =
        || services.values().filter(|service| !service.ports.is_empty()).map(|service| &service.scaling);
    let least = scaling().map(|scaling| scaling.min).max().unwrap_or(1);
    let most = scaling().map(|scaling| scaling.max).max().unwrap_or(1);
    let count = config.and_then(|config| config.count).unwrap_or_else(|| least.max(site.scale.instances));
    if count == 0 {
        let diagnostic = rules::COUNT.diagnostic("0 cannot run: at least one is needed");
        lowering.say_at(
            "/infrastructure/compute/count",
            diagnostic.help("set `infrastructure.compute.count` to 1 or more"),
        );
        return None;
    }
    let asked = config.and_then(|config| config.size.as_deref());
    let size = if kind == "droplet" {
        if most > count {
            let mut diagnostic = rules::COUNT
                .diagnostic(format!("droplets do not follow the load: {count} run, not up to {most}"));
            diagnostic.severity = Severity::Warning;
            lowering
                .say(diagnostic.help("App Platform (`app-platform`) can; or set the count that is needed"));
        }
        Size::Droplet(droplet_size(lowering, site, asked)?)
    } else {
        Size::Platform(components(lowering, site, asked, count, most)?)
    };
    let listening = || services.values().filter(|service| !service.ports.is_empty());
    // The edge on a droplet answers for what `/` goes to.
    let root = |service: &&ServiceConfig| service.routes.iter().any(|route| route.path == "/");
    let health = listening().find(root).and_then(|service| service.health.as_ref()?.path.clone());
    Some(Compute {
        count,
        listens: services.is_empty() || listening().next().is_some(),
        health_path: health.unwrap_or_else(|| "/".to_owned()),
        size,
    })
}

fn droplet_size(lowering: &mut Lowering<'_>, site: Site<'_>, asked: Option<&str>) -> Option<String> {
    let all = &site.known.droplets.sizes;
    let sizes = Sizes {
        what: "droplet",
        pointer: "/infrastructure/compute/size",
        named: all.iter().map(|size| size.name.as_str()).collect(),
        preferred: all
            .iter()
            .filter(|size| size.preferred)
            .filter_map(|size| Some((size.amount()?, size.name.as_str())))
            .collect(),
    };
    let need = Need::of_services(site.requirements.services.values()).and(Need::of_machine());
    size(lowering, sizes, asked, need)
}

/// The parts of an app on App Platform: everything that listens in one, because a scenario's
/// page asks its API at `localhost`; each worker in one of its own.
fn components(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    asked: Option<&str>,
    count: u32,
    most: u32,
) -> Option<Vec<Component>> {
    let services = &site.requirements.services;
    let (web, workers): (Vec<_>, Vec<_>) =
        services.iter().partition(|(_, service)| !service.ports.is_empty());
    let mut components = Vec::new();
    if !web.is_empty() || services.is_empty() {
        let need = Need::of_services(web.iter().map(|(_, service)| *service));
        components.push(component(lowering, site, "app", Role::Service, asked, (count, most), need)?);
    }
    for (name, worker) in workers {
        let name: &ServiceName = name;
        let need = Need::of_services([worker]);
        let counts = (worker.scaling.min.max(1), worker.scaling.max);
        components.push(component(lowering, site, name.as_str(), Role::Worker, None, counts, need)?);
    }
    Some(components)
}

fn component(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    name: &str,
    role: Role,
    asked: Option<&str>,
    (count, most): (u32, u32),
    need: Need,
) -> Option<Component> {
    let pointer = "/infrastructure/compute/size";
    let fits = |size: &&ContainerSize| (count == 1 || size.scales) && (most <= count || size.autoscales);
    let all = &site.known.app_platform.sizes;
    let what = format!("container of `{name}`");
    let sizes = Sizes {
        what: &what,
        pointer,
        named: all.iter().map(|size| size.name.as_str()).collect(),
        preferred: all.iter().filter(fits).map(|size| (size.amount(), size.name.as_str())).collect(),
    };
    let chosen = size(lowering, sizes, asked, need)?;
    let known = site.known.container(&chosen)?;
    if count > 1 && !known.scales {
        let other = all.iter().find(|size| size.scales && size.memory_mib >= known.memory_mib);
        let help = other.map_or_else(String::new, |other| format!("{} can run more than once", other.name));
        let message = format!("{chosen} runs once only, and {count} are asked for");
        lowering.say_at(pointer, rules::COUNT.diagnostic(message).help(help));
        return None;
    }
    let follows = most > count && known.autoscales;
    if most > count && !known.autoscales {
        let mut diagnostic = rules::COUNT
            .diagnostic(format!("{chosen} does not follow the load: {count} run, not up to {most}"));
        diagnostic.severity = Severity::Warning;
        lowering.say_at(pointer, diagnostic.help("sizes with processors of their own (`apps-d-…`) do"));
    }
    Some(Component { name: name.to_owned(), role, size: chosen, count, most: follows.then_some(most) })
}

/// What runs the app.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    vpc: &ResourceKey,
    front: &FrontChoice,
) {
    match &compute.size {
        Size::Droplet(size) => droplets(lowering, site, compute, vpc, front, size),
        Size::Platform(components) => platform(lowering, site, vpc, components),
    }
}

fn droplets(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    vpc: &ResourceKey,
    front: &FrontChoice,
    size: &str,
) {
    let stack = lowering.stack();
    for (number, key) in (1..).zip(compute.droplets()) {
        let number: u32 = number;
        let spec = DropletSpec {
            name: object_name(stack, &format!("app-{number}"), 63),
            region: site.region.name.clone(),
            size: size.to_owned(),
            image: site.known.droplets.image.clone(),
            vpc: output(vpc, "id"),
            tags: vec![object_name(stack, "", 255), tag(stack)],
            monitoring: true,
            backups: None,
            of: compute.count,
        };
        lowering.add(&key, &Droplet, &spec, false);
    }
    firewall(lowering, site, compute, front);
    if !site.requirements.data_volume {
        return;
    }
    match compute.droplets().as_slice() {
        [only] => {
            let spec = VolumeSpec {
                name: object_name(stack, "data", 64),
                region: site.region.name.clone(),
                size_gib: site.known.defaults.data_disk_gib,
                droplet: Some(output(only, "id")),
            };
            lowering.add(&resource_key("volume/data"), &Volume, &spec, true);
        }
        _ => lowering.say(
            rules::DATA_FILES
                .diagnostic("the app keeps files in `data`, and each droplet has its own")
                .help("keep them in Spaces or in the database, or run one droplet"),
        ),
    }
}

/// Everybody → load balancer → app; whoever deploys comes in by SSH.
fn firewall(lowering: &mut Lowering<'_>, site: Site<'_>, compute: &Compute, front: &FrontChoice) {
    let ports = site.known.defaults.ports;
    let everybody = || vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let open = |port| Inbound {
        protocol: "tcp".to_owned(),
        port,
        addresses: everybody(),
        load_balancers: Vec::new(),
    };
    let mut inbound = vec![open(ports.ssh)];
    if compute.listens && front.balancer {
        inbound.push(Inbound {
            protocol: "tcp".to_owned(),
            port: ports.http,
            addresses: Vec::new(),
            load_balancers: vec![output(&resource_key("front/balancer"), "id")],
        });
    } else if compute.listens {
        inbound.extend([open(ports.http), open(ports.https)]);
    }
    let stack = lowering.stack();
    let spec = FirewallSpec { name: object_name(stack, "", 255), target_tag: tag(stack), inbound };
    lowering.add(&resource_key("network/firewall"), &Firewall, &spec, false);
}

fn platform(lowering: &mut Lowering<'_>, site: Site<'_>, vpc: &ResourceKey, components: &[Component]) {
    let Some(place) = &site.region.app_platform else {
        let names = site.known.regions.regions.iter().filter(|region| region.app_platform.is_some());
        let names = names.map(|region| region.name.as_str()).collect::<Vec<_>>().join(", ");
        let diagnostic =
            rules::UNKNOWN_REGION.diagnostic(format!("{} has no App Platform", site.region.name));
        lowering.say_at("/infrastructure/region", diagnostic.help(format!("take one of {names}")));
        return;
    };
    let stack = lowering.stack();
    let images = choose::beside(site.known, site.region, |region| region.registry);
    if let Some(images) = images {
        let defaults = &site.known.defaults;
        let spec = RegistrySpec {
            name: object_name(stack, "", 50),
            tier: defaults.registry.clone(),
            region: images.name.clone(),
        };
        lowering.add(&resource_key("images/registry"), &Registry, &spec, false);
        lowering.say(
            rules::ADDED
                .diagnostic(format!(
                    "a registry (`{}`) is added: App Platform runs images",
                    defaults.registry
                ))
                .help("images of other registries can be run too: `--image REPOSITORY@sha256:…`"),
        );
    }
    let spec = AppSpec {
        name: object_name(stack, "", site.known.app_platform.name_max),
        region: place.clone(),
        domain: lowering.options().domain.clone(),
        vpc: Some(output(vpc, "id")),
        components: components.to_vec(),
    };
    lowering.add(&resource_key("compute/app"), &App, &spec, false);
    if site.requirements.data_volume {
        lowering.say(
            rules::DATA_FILES
                .diagnostic("the app keeps files in `data`, and containers of App Platform have no disk that stays")
                .help("keep them in Spaces or in the database, or choose the compute type `droplet` with one machine"),
        );
    }
}
