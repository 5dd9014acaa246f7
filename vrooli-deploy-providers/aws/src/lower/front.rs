//! How the app is reached: load balancer or address, certificate, names, content network.

use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key, unknown};
use vrooli_deploy_core::stack::Input;

use super::Site;
use super::compute::{self, Behind, Compute, ServicePort};
use super::network::{Network, ids};
use crate::kinds::COLOURS;
use crate::kinds::certificate::{Certificate, CertificateSpec};
use crate::kinds::distribution::{Distribution, DistributionSpec};
use crate::kinds::dns_record::{DnsRecord, DnsRecordSpec};
use crate::kinds::hosted_zone::{HostedZone, HostedZoneSpec};
use crate::kinds::listener::{Listener, ListenerSpec, Protocol};
use crate::kinds::listener_rule::{ListenerRule, ListenerRuleSpec};
use crate::kinds::load_balancer::{LoadBalancer, LoadBalancerSpec};
use crate::kinds::target_group::{TargetGroup, TargetGroupSpec, TargetKind};

/// What stands in front, before anything is made.
#[derive(Debug, Default)]
pub(super) struct FrontChoice {
    pub(super) balancer: bool,
    tls: bool,
    cdn: bool,
}

/// What stands in front.
#[derive(Debug, Default)]
pub(super) struct Front {
    pub(super) balancer: Option<ResourceKey>,
    /// The address of a single machine.
    pub(super) address: Option<ResourceKey>,
}

/// Chooses what stands in front.
pub(super) fn choose(lowering: &mut Lowering<'_>, compute: Option<&Compute>) -> FrontChoice {
    let networking = &lowering.options().networking;
    let (cdn, ssl) = (networking.cdn, networking.ssl.as_deref());
    let domain = lowering.options().domain.is_some();
    let Some(compute) = compute else {
        if cdn {
            lowering.say_at(
                "/networking/cdn",
                rules::CDN.diagnostic("there is nothing to put a content network in front of"),
            );
        }
        return FrontChoice::default();
    };
    if let Some(Behind::Because(why)) = compute.behind {
        let diagnostic = rules::ADDED.diagnostic(format!("a load balancer is added: {why}"));
        lowering.say(diagnostic.help("with the compute type `ec2` and one machine there is none"));
    }
    let balancer = compute.behind.is_some();
    let mut tls = domain && ssl != Some("none");
    match ssl {
        None | Some("managed" | "acm" | "none") => {}
        Some("letsencrypt") if balancer => {
            let message = "a load balancer of AWS takes its certificates from ACM: one of ACM is used instead of Let's Encrypt";
            let mut diagnostic = rules::TLS.diagnostic(message);
            diagnostic.severity = Severity::Info;
            lowering.say_at("/networking/ssl", diagnostic.help("it is free and renewed by itself"));
        }
        Some("letsencrypt") => {}
        Some(other) => {
            let mut diagnostic =
                unknown(rules::TLS, "source of certificates", other, ["managed", "letsencrypt", "none"]);
            diagnostic.severity = Severity::Error;
            lowering.say_at("/networking/ssl", diagnostic);
            tls = false;
        }
    }
    if !domain && ssl.is_some_and(|ssl| ssl != "none") {
        lowering.say_at(
            "/networking/ssl",
            rules::TLS
                .diagnostic("`ssl` is asked for, but `app.domain` is not set: there is nothing to certify")
                .help("set `app.domain`; until then the app is served without TLS"),
        );
    }
    FrontChoice { balancer, tls, cdn: cdn && balancer }
}

/// Makes what stands in front.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    network: &Network,
    choice: &FrontChoice,
) -> Front {
    let domain = lowering.options().domain.clone();
    let zone = domain.as_deref().map(|domain| zone(lowering, domain));
    if !choice.balancer {
        let listens = compute.reached.is_some();
        let address = (!compute.fargate && listens).then(|| compute::address(lowering, site));
        if let (Some(domain), Some(zone), Some(address)) = (&domain, &zone, &address) {
            let spec = DnsRecordSpec {
                zone: output(zone, "id"),
                name: domain.clone(),
                record_type: "A".to_owned(),
                alias: None,
                alias_zone: None,
                values: vec![output(address, "address")],
                ttl_seconds: Some(site.known.defaults.record_ttl_seconds),
            };
            lowering.add(&resource_key("dns/app"), &DnsRecord, &spec, false);
        }
        return Front { balancer: None, address };
    }
    let certificate = match (&domain, &zone) {
        (Some(domain), Some(zone)) if choice.tls => {
            Some(certificate(lowering, "front/certificate", &site.region.name, domain, zone))
        }
        _ => None,
    };
    let balancer = balancer(lowering, site, network);
    listeners(lowering, site, compute, network, &balancer, certificate.as_ref());
    let mut target = (balancer.clone(), "dns_name", Some(output(&balancer, "zone_id")));
    if choice.cdn {
        let own = &site.known.regions.default;
        let certificate = match (&domain, &zone) {
            (Some(_), Some(_)) if choice.tls && site.region.name == *own => certificate,
            // The content network reads certificates of one region only.
            (Some(domain), Some(zone)) if choice.tls => {
                Some(self::certificate(lowering, "front/certificate-cdn", own, domain, zone))
            }
            _ => None,
        };
        let cdn = resource_key("front/cdn");
        let spec = DistributionSpec {
            aliases: domain.iter().filter(|_| certificate.is_some()).cloned().collect(),
            certificate: certificate.as_ref().map(|key| output(key, "id")),
            origin: output(&balancer, "dns_name"),
            price_class: site.known.defaults.cdn.price_class.clone(),
        };
        lowering.add(&cdn, &Distribution, &spec, false);
        target = (cdn, "domain_name", Some(Input::Value(site.known.defaults.cdn.zone.clone())));
    }
    if let (Some(domain), Some(zone)) = (&domain, &zone) {
        let spec = DnsRecordSpec {
            zone: output(zone, "id"),
            name: domain.clone(),
            record_type: "A".to_owned(),
            alias: Some(output(&target.0, target.1)),
            alias_zone: target.2,
            values: Vec::new(),
            ttl_seconds: None,
        };
        lowering.add(&resource_key("dns/app"), &DnsRecord, &spec, false);
    }
    Front { balancer: Some(balancer), address: None }
}

fn zone(lowering: &mut Lowering<'_>, domain: &str) -> ResourceKey {
    let key = resource_key("dns/zone");
    lowering.add(&key, &HostedZone, &HostedZoneSpec { domain: domain.to_owned() }, false);
    lowering.say_at(
        "/app/domain",
        rules::DELEGATION
            .diagnostic(format!("a zone for {domain} is made; delegate the name to its servers"))
            .help("enter them (the zone's output `name_servers`) as NS records at the parent domain"),
    );
    key
}

fn certificate(
    lowering: &mut Lowering<'_>,
    key: &str,
    region: &str,
    domain: &str,
    zone: &ResourceKey,
) -> ResourceKey {
    let key = resource_key(key);
    let spec = CertificateSpec {
        region: region.to_owned(),
        domain: domain.to_owned(),
        alternatives: Vec::new(),
        zone: output(zone, "id"),
    };
    lowering.add(&key, &Certificate, &spec, false);
    key
}

fn balancer(lowering: &mut Lowering<'_>, site: Site<'_>, network: &Network) -> ResourceKey {
    let key = resource_key("front/balancer");
    let spec = LoadBalancerSpec {
        region: site.region.name.clone(),
        name: object_name(lowering.stack(), "", 32),
        subnets: ids(&network.public),
        security_groups: network.balancer_group.iter().map(|group| output(group, "id")).collect(),
        idle_timeout_seconds: site.known.defaults.idle_timeout_seconds,
        deletion_protection: site.scale.deletion_protection,
    };
    lowering.add(&key, &LoadBalancer, &spec, false);
    // AWS makes none that is open to the internet in a network without a way there.
    lowering.after(&key, &network.gateway);
    key
}

/// Two target groups for each service that requests are routed to, so that two releases can
/// stand behind the load balancer at once; what `/` goes to is the default.
fn listeners(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    network: &Network,
    balancer: &ResourceKey,
    certificate: Option<&ResourceKey>,
) {
    let region = &site.region.name;
    let routed: Vec<&ServicePort> =
        compute.ports.iter().filter(|port| !port.config.routes.is_empty()).collect();
    let limit = site.known.defaults.limits.target_groups_per_service;
    if compute.fargate && routed.len() > limit {
        let message = format!(
            "{} services are routed to; a service on ECS can be in {limit} target groups",
            routed.len()
        );
        lowering.say(
            rules::COUNT
                .diagnostic(message)
                .help("let fewer services have routes, or choose the compute type `ec2`"),
        );
    }
    // An app of which only the machines are known listens where containers do by default.
    let mut groups: Vec<([ResourceKey; 2], Vec<&str>)> = Vec::new();
    if site.requirements.services.is_empty() {
        let pair = pair(lowering, site, compute, network, ("app", site.known.defaults.container_port, "/"));
        groups.push((pair, vec!["/"]));
    }
    for port in routed {
        let health = port.config.health.as_ref().and_then(|health| health.path.as_deref()).unwrap_or("/");
        let pair = pair(lowering, site, compute, network, (port.service.as_str(), port.number, health));
        groups.push((pair, port.config.routes.iter().map(|route| route.path.as_str()).collect()));
    }
    let root = groups.iter().find(|(_, paths)| paths.contains(&"/")).map(|(pair, _)| ids(pair));
    let plain = resource_key("front/listener-http");
    let secure = resource_key("front/listener-https");
    let default = root.unwrap_or_default();
    let mut spec = ListenerSpec {
        region: region.clone(),
        load_balancer: output(balancer, "id"),
        port: 80,
        protocol: Protocol::Http,
        certificate: None,
        redirect_to_https: certificate.is_some(),
        target_groups: if certificate.is_some() { Vec::new() } else { default.clone() },
    };
    lowering.add(&plain, &Listener, &spec, false);
    if let Some(certificate) = certificate {
        spec.port = 443;
        spec.protocol = Protocol::Https;
        spec.certificate = Some(output(certificate, "id"));
        spec.redirect_to_https = false;
        spec.target_groups = default;
        lowering.add(&secure, &Listener, &spec, false);
    }
    let listener = if certificate.is_some() { &secure } else { &plain };
    let mut rules: Vec<(&str, &[ResourceKey; 2])> = groups
        .iter()
        .flat_map(|(pair, paths)| paths.iter().filter(|path| **path != "/").map(move |path| (*path, pair)))
        .collect();
    // The longest path wins, so it is tried first.
    rules.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(b.0)));
    for (index, (path, pair)) in (1u32..).zip(rules) {
        let spec = ListenerRuleSpec {
            region: region.clone(),
            listener: output(listener, "id"),
            priority: index * 10,
            paths: vec![path.to_owned(), format!("{}/*", path.trim_end_matches('/'))],
            hosts: Vec::new(),
            target_groups: ids(pair),
        };
        lowering.add(&resource_key(&format!("front/rule-{index}")), &ListenerRule, &spec, false);
    }
}

/// The two target groups of a service. The first is served from at first; later weights are
/// the fleet's.
fn pair(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    network: &Network,
    (service, port, health): (&str, u16, &str),
) -> [ResourceKey; 2] {
    let stack = lowering.stack();
    let mut one = |colour: &str| {
        let key = resource_key(&format!("front/{service}-{colour}"));
        let spec = TargetGroupSpec {
            region: site.region.name.clone(),
            name: object_name(stack, &format!("{service}-{colour}"), 32),
            vpc: output(&network.vpc, "id"),
            port,
            targets: if compute.fargate { TargetKind::Ip } else { TargetKind::Instance },
            health_path: health.to_owned(),
            interval_seconds: site.known.defaults.health_interval_seconds,
            drain_seconds: site.known.defaults.drain_seconds,
        };
        lowering.add(&key, &TargetGroup, &spec, false);
        key
    };
    COLOURS.map(&mut one)
}
