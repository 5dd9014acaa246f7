//! How the app is reached: load balancer or addresses, certificate, names, content network.

use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key, unknown};

use super::compute::Compute;
use super::{Site, tag};
use crate::kinds::cdn::{Cdn, CdnSpec};
use crate::kinds::certificate::{Certificate, CertificateSpec};
use crate::kinds::dns_record::{DnsRecord, DnsRecordSpec};
use crate::kinds::domain::{Domain, DomainSpec};
use crate::kinds::load_balancer::{LoadBalancer, LoadBalancerSpec, Rule};
use crate::kinds::reserved_ip::{ReservedIp, ReservedIpSpec};

/// What stands in front, before anything is made.
#[derive(Debug, Default)]
pub(super) struct FrontChoice {
    pub(super) balancer: bool,
    tls: bool,
}

/// Chooses what stands in front.
pub(super) fn choose(lowering: &mut Lowering<'_>, compute: &Compute) -> FrontChoice {
    let networking = &lowering.options().networking;
    let (asked, ssl) = (networking.load_balancer, networking.ssl.as_deref());
    let domain = lowering.options().domain.is_some();
    let platform = compute.platform();
    if platform && asked {
        lowering.say_at(
            "/networking/load_balancer",
            rules::ADDED.diagnostic("App Platform shares requests out by itself: no load balancer is made"),
        );
    }
    if !platform && !asked && compute.count > 1 && compute.listens {
        lowering.say(
            rules::ADDED
                .diagnostic(format!("{} addresses are added, one for each droplet: the name points to all", compute.count))
                .help("`networking.load_balancer: true` puts a load balancer in front, which leaves out what is not well"),
        );
    }
    let known = ["letsencrypt", "managed", "none"];
    if let Some(other) = ssl.filter(|ssl| !known.contains(ssl)) {
        let mut diagnostic = unknown(rules::TLS, "source of certificates", other, known);
        diagnostic.severity = Severity::Error;
        lowering.say_at("/networking/ssl", diagnostic);
    }
    if !domain && !platform && ssl.is_some_and(|ssl| ssl != "none") {
        lowering.say_at(
            "/networking/ssl",
            rules::TLS
                .diagnostic("`ssl` is asked for, but `app.domain` is not set: there is nothing to certify")
                .help("set `app.domain`; until then the app is served without TLS"),
        );
    }
    FrontChoice { balancer: asked && !platform && compute.listens, tls: domain && ssl != Some("none") }
}

/// Makes what stands in front.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    vpc: &ResourceKey,
    choice: &FrontChoice,
) {
    let domain = lowering.options().domain.clone().filter(|_| compute.listens);
    let zone = domain.as_deref().map(|domain| zone(lowering, site, domain));
    if choice.balancer {
        let certificate = match &domain {
            Some(domain) if choice.tls => Some(certificate(lowering, domain, zone.as_ref())),
            _ => None,
        };
        let balancer = balancer(lowering, site, compute, vpc, certificate.as_ref());
        if let Some(zone) = &zone {
            record(lowering, "dns/app", zone, &balancer);
        }
        return;
    }
    if !compute.listens {
        return;
    }
    for (number, droplet) in (1..).zip(compute.droplets()) {
        let number: u32 = number;
        let address = resource_key(&format!("network/address-{number}"));
        let spec = ReservedIpSpec { region: site.region.name.clone(), droplet: Some(output(&droplet, "id")) };
        lowering.add(&address, &ReservedIp, &spec, false);
        if let Some(zone) = &zone {
            record(lowering, &format!("dns/app-{number}"), zone, &address);
        }
    }
}

fn zone(lowering: &mut Lowering<'_>, site: Site<'_>, domain: &str) -> ResourceKey {
    let key = resource_key("dns/zone");
    lowering.add(&key, &Domain, &DomainSpec { name: domain.to_owned() }, false);
    let servers = site.known.defaults.name_servers.join(", ");
    lowering.say_at(
        "/app/domain",
        rules::DELEGATION
            .diagnostic(format!("a zone for {domain} is made; delegate the name to its servers"))
            .help(format!("enter {servers} as NS records at the parent domain")),
    );
    key
}

fn record(lowering: &mut Lowering<'_>, key: &str, zone: &ResourceKey, target: &ResourceKey) {
    let spec = DnsRecordSpec {
        domain: output(zone, "name"),
        record_type: "A".to_owned(),
        name: "@".to_owned(),
        value: output(target, "address"),
        ttl_seconds: 60,
    };
    lowering.add(&resource_key(key), &DnsRecord, &spec, false);
}

fn certificate(lowering: &mut Lowering<'_>, domain: &str, zone: Option<&ResourceKey>) -> ResourceKey {
    let key = resource_key("front/certificate");
    let spec =
        CertificateSpec { name: object_name(lowering.stack(), "", 255), domains: vec![domain.to_owned()] };
    lowering.add(&key, &Certificate, &spec, false);
    if let Some(zone) = zone {
        lowering.after(&key, zone);
    }
    key
}

fn balancer(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: &Compute,
    vpc: &ResourceKey,
    certificate: Option<&ResourceKey>,
) -> ResourceKey {
    let ports = site.known.defaults.ports;
    let key = resource_key("front/balancer");
    let plain = Rule {
        entry_protocol: "http".to_owned(),
        entry_port: ports.http,
        target_protocol: "http".to_owned(),
        target_port: ports.http,
        certificate: None,
    };
    let secure = certificate.map(|certificate| Rule {
        entry_protocol: "https".to_owned(),
        entry_port: ports.https,
        target_protocol: "http".to_owned(),
        target_port: ports.http,
        certificate: Some(output(certificate, "id")),
    });
    let stack = lowering.stack();
    let spec = LoadBalancerSpec {
        name: object_name(stack, "", 255),
        region: site.region.name.clone(),
        nodes: site.scale.balancer_nodes.clamp(1, site.known.defaults.balancer_nodes_at_most),
        vpc: output(vpc, "id"),
        target_tag: tag(stack),
        redirect_to_https: secure.is_some(),
        rules: std::iter::once(plain).chain(secure).collect(),
        health_path: compute.health_path.clone(),
    };
    lowering.add(&key, &LoadBalancer, &spec, false);
    key
}

/// A content network, where there is something that it serves.
pub(super) fn cdn(
    lowering: &mut Lowering<'_>,
    compute: Option<&Compute>,
    store: Option<&(ResourceKey, &'static str)>,
) {
    if !lowering.options().networking.cdn {
        return;
    }
    let Some((store, region)) = store else {
        let diagnostic = if compute.is_some_and(Compute::platform) {
            let mut diagnostic = rules::CDN
                .diagnostic("App Platform keeps what may be kept at its edge by itself: nothing is made");
            diagnostic.severity = Severity::Info;
            diagnostic
        } else {
            rules::CDN
                .diagnostic("DigitalOcean's CDN serves Spaces only, and the app has none")
                .help("add `infrastructure.storage`, or leave `cdn` out")
        };
        return lowering.say_at("/networking/cdn", diagnostic);
    };
    let spec = CdnSpec {
        origin: output(store, "domain_name"),
        region: (*region).to_owned(),
        custom_domain: None,
        certificate: None,
        ttl_seconds: 3600,
    };
    lowering.add(&resource_key("front/cdn"), &Cdn, &spec, false);
}
