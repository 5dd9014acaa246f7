//! The kinds of resources that DigitalOcean has for an app, pure halves: one file each.

pub mod app;
pub mod bucket;
pub mod cdn;
pub mod certificate;
pub mod database;
pub mod dns_record;
pub mod domain;
pub mod droplet;
pub mod firewall;
pub mod load_balancer;
pub mod project;
pub mod registry;
pub mod reserved_ip;
pub mod snapshot;
pub mod volume;
pub mod vpc;

use vrooli_deploy_core::provider::AnyKind;
#[cfg(test)]
use vrooli_deploy_core::provider::pure;
pub(crate) use vrooli_deploy_core::provider::pure::{
    Actions, id_differs, ids_differ, kind_name, outputs, version_change,
};

/// Every kind of this provider.
#[must_use]
pub fn all() -> Vec<&'static dyn AnyKind> {
    vec![
        &app::App,
        &bucket::Bucket,
        &cdn::Cdn,
        &certificate::Certificate,
        &database::Database,
        &dns_record::DnsRecord,
        &domain::Domain,
        &droplet::Droplet,
        &firewall::Firewall,
        &load_balancer::LoadBalancer,
        &project::Project,
        &registry::Registry,
        &reserved_ip::ReservedIp,
        &snapshot::Snapshot,
        &volume::Volume,
        &vpc::Vpc,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_different_and_schemas_are_closed() {
        pure::check_all("digitalocean", &all()).unwrap();
    }
}
