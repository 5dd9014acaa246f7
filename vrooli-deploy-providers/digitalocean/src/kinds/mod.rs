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

#[cfg(test)]
mod check;

use std::collections::BTreeMap;

use serde_json::Value;
use vrooli_deploy_core::names::{OutputName, ResourceKind};
use vrooli_deploy_core::provider::{AnyKind, Op, Permission};
use vrooli_deploy_core::stack::Input;

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

/// A kind's name, which is a literal of ours and valid; see the test.
pub(crate) fn kind_name(name: &'static str) -> ResourceKind {
    match ResourceKind::new(name) {
        Ok(kind) => kind,
        // Names are checked by a test; there is no better answer at run time.
        Err(error) => unreachable!("{error}"),
    }
}

/// Outputs by name; the names are literals of ours.
pub(crate) fn outputs<const N: usize>(pairs: [(&'static str, Value); N]) -> BTreeMap<OutputName, Value> {
    pairs.into_iter().filter_map(|(name, value)| Some((OutputName::new(name).ok()?, value))).collect()
}

/// The actions of a kind, by operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actions {
    pub(crate) find: &'static [&'static str],
    pub(crate) create: &'static [&'static str],
    pub(crate) update: &'static [&'static str],
    pub(crate) delete: &'static [&'static str],
}

impl Actions {
    /// What an operation needs. Looking is part of every other operation.
    pub(crate) fn of(self, op: Op, resource: impl Into<String>) -> Vec<Permission> {
        let resource = resource.into();
        let own: &[&str] = match op {
            Op::Find | Op::List => &[],
            Op::Create => self.create,
            Op::Update => self.update,
            Op::Delete => self.delete,
        };
        // Reading is never limited to one object.
        let look = self.find.iter().map(|action| (*action, "*".to_owned()));
        let change = own.iter().map(|action| (*action, resource.clone()));
        look.chain(change)
            .map(|(action, resource)| Permission { action: action.to_owned(), resource })
            .collect()
    }
}

/// Do two sets of ids differ? The order says nothing; a reference is not known and differs.
pub(crate) fn ids_differ(want: &[Input<String>], have: &[String]) -> bool {
    want.len() != have.len()
        || want.iter().any(|id| match id {
            Input::Value(id) => !have.contains(id),
            Input::Ref(_) => true,
        })
}

/// Does an id that may be absent differ?
pub(crate) fn id_differs(want: Option<&Input<String>>, have: Option<&String>) -> bool {
    match (want, have) {
        (Some(want), Some(have)) => want.differs(have),
        (None, None) => false,
        _ => true,
    }
}

/// Is the version that is wanted newer than what runs, or older? `16` is any 16.
pub(crate) fn version_change(want: &str, have: &str) -> (bool, bool) {
    let numbers =
        |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    let want = numbers(want);
    let mut have = numbers(have);
    have.truncate(want.len());
    (want > have, want < have)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_of_kinds_and_outputs_are_valid_and_different() {
        let mut kinds = BTreeSet::new();
        for kind in all() {
            assert!(kinds.insert(kind.kind()), "{}", kind.kind());
            assert!(kind.kind().as_str().starts_with("digitalocean."));
            for output in kind.output_names() {
                assert!(OutputName::new(*output).is_ok(), "{output}");
            }
            let schema = serde_json::to_value(kind.schema()).unwrap();
            assert_eq!(
                schema["additionalProperties"],
                false,
                "{} refuses what it does not know",
                kind.kind()
            );
        }
    }

    #[test]
    fn the_order_of_ids_says_nothing() {
        let want = [Input::Value("a".to_owned()), Input::Value("b".to_owned())];
        assert!(!ids_differ(&want, &["b".to_owned(), "a".to_owned()]));
        assert!(ids_differ(&want, &["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn a_newer_version_is_installed_in_place_and_an_older_one_is_not() {
        assert_eq!(version_change("17", "16.4"), (true, false));
        assert_eq!(version_change("16", "16.4"), (false, false), "any 16 will do");
        assert_eq!(version_change("15", "16.4"), (false, true));
        assert_eq!(version_change("8.4", "8.0.39"), (true, false));
        assert_eq!(version_change("16.10", "16.9"), (true, false), "versions are numbers, not text");
    }
}
