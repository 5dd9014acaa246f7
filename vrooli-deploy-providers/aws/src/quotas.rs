//! Limits of an account that count objects of a kind: which there are, and what of a plan counts against
//! them. How much there may be and is, AWS says (`native/quotas.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use vrooli_deploy_core::names::{ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::pure::included;
use vrooli_deploy_core::provider::{Added, Permission};

use crate::catalogue::catalogue;

/// All that are looked at.
#[derive(Debug, Default, Deserialize)]
pub struct QuotaCatalogue {
    /// Where they are known from.
    pub source: String,
    /// As of when.
    pub as_of: String,
    /// Each object counts against one at most.
    pub quotas: Vec<Quota>,
}

/// A limit of an account.
#[derive(Debug, Deserialize)]
pub struct Quota {
    /// The kinds whose objects it counts.
    pub kinds: Vec<String>,
    /// Service Quotas' code of the service.
    pub service: String,
    /// Service Quotas' code of the limit.
    pub code: String,
    /// What AWS calls it.
    pub name: String,
    /// Where it holds.
    pub per: Scope,
    /// What AWS gives an account at first.
    pub default: f64,
    /// What it counts.
    #[serde(default)]
    pub unit: Unit,
    /// Of machines: the letters that types which it counts begin with, before any digit. Empty: it counts all.
    #[serde(default)]
    pub families: Vec<String>,
    /// The calls that tell how much is in use.
    pub counted_by: Vec<String>,
}

impl Quota {
    /// Does it count such an object?
    fn counts(&self, kind: &ResourceKind, spec: &Value) -> bool {
        let letters = |name: &str| name.split(|c: char| !c.is_ascii_lowercase()).next().map(str::to_owned);
        let family = || spec["instance_type"].as_str().and_then(letters).unwrap_or_default();
        self.is_of(kind) && (self.families.is_empty() || self.families.contains(&family()))
    }

    fn is_of(&self, kind: &ResourceKind) -> bool {
        self.kinds.iter().any(|one| one == kind.as_str())
    }

    /// Does AWS measure its use itself, as a metric that the limit names?
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.counted_by.iter().any(|action| action == "cloudwatch:GetMetricStatistics")
    }
}

/// Where a limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// In each region by itself.
    Region,
    /// In each zone by itself.
    Zone,
    /// In all regions together. Service Quotas tells it in the default region only.
    Account,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Objects.
    #[default]
    Objects,
    /// Virtual processors of all tasks or machines that run at once.
    Vcpu,
}

static QUOTAS: LazyLock<QuotaCatalogue> = LazyLock::new(|| included(include_str!("../data/quotas.json")));

/// All that are looked at.
#[must_use]
pub fn quotas() -> &'static QuotaCatalogue {
    &QUOTAS
}

/// What of a plan counts against a limit in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// How much, in the limit's unit.
    pub amount: f64,
    /// What of the stack that is.
    pub keys: BTreeSet<ResourceKey>,
}

/// Where something counts: the region; and the zone, where the limit holds in each by itself and it is known.
pub type Where = (String, Option<String>);

/// What counts against each limit, by its number in the catalogue and by place. `spec_of` gives the spec of
/// any resource of the stack, `home` is the region of what belongs to none.
pub fn needs<'a>(
    added: &[Added<'_>],
    spec_of: impl Fn(&ResourceKey) -> Option<&'a Value>,
    home: &str,
) -> BTreeMap<usize, BTreeMap<Where, Need>> {
    let mut all: BTreeMap<usize, BTreeMap<Where, Need>> = BTreeMap::new();
    for one in added {
        let counted = quotas().quotas.iter().enumerate().find(|(_, quota)| quota.counts(one.kind, one.spec));
        let Some((at, quota)) = counted else { continue };
        let region = match quota.per {
            Scope::Account => home,
            Scope::Region | Scope::Zone => one.spec["region"].as_str().unwrap_or(home),
        };
        let zone = || zone_of(one.spec, &spec_of);
        let place = (region.to_owned(), if quota.per == Scope::Zone { zone() } else { None });
        let need = all.entry(at).or_default().entry(place);
        let need = need.or_insert_with(|| Need { amount: 0.0, keys: BTreeSet::new() });
        need.amount += amount(quota.unit, one.spec);
        need.keys.insert(one.key.clone());
    }
    all
}

/// The zone of the subnet that a spec names.
fn zone_of<'a>(spec: &Value, spec_of: impl Fn(&ResourceKey) -> Option<&'a Value>) -> Option<String> {
    let key = ResourceKey::new(spec["subnet"]["$ref"].as_str()?).ok()?;
    spec_of(&key)?["zone"].as_str().map(str::to_owned)
}

fn amount(unit: Unit, spec: &Value) -> f64 {
    /// CPU units of one processor.
    const UNITS: f64 = 1024.0;
    match unit {
        Unit::Objects => 1.0,
        Unit::Vcpu => {
            // One machine says no count.
            let count = spec["count"].as_f64().unwrap_or(1.0);
            let of_machine = || catalogue().ec2.cpu_of(spec["instance_type"].as_str()?).map(f64::from);
            let each = spec["cpu_units"].as_f64().map(|units| units / UNITS).or_else(of_machine);
            each.unwrap_or_default() * count
        }
    }
}

/// What it takes to look at the limits that these kinds count against.
pub(crate) fn permissions(kinds: &BTreeSet<ResourceKind>) -> BTreeSet<Permission> {
    let counted: Vec<_> =
        quotas().quotas.iter().filter(|quota| kinds.iter().any(|kind| quota.is_of(kind))).collect();
    let asked: &[&str] = if counted.is_empty() {
        &[]
    } else {
        &["servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota"]
    };
    let counting = counted.iter().flat_map(|quota| &quota.counted_by).map(String::as_str);
    let right = |action: &str| Permission { action: action.to_owned(), resource: "*".to_owned() };
    asked.iter().copied().chain(counting).map(right).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(resources: &[(&str, &str, Value)]) -> Vec<(String, Where, Need)> {
        let keyed: Vec<_> = resources
            .iter()
            .map(|(key, kind, spec)| {
                (ResourceKey::new(*key).unwrap(), ResourceKind::new(*kind).unwrap(), spec)
            })
            .collect();
        let added: Vec<_> = keyed.iter().map(|(key, kind, spec)| Added { key, kind, spec }).collect();
        let spec_of = |key: &ResourceKey| Some(keyed.iter().find(|(one, ..)| one == key)?.2);
        let needs = needs(&added, spec_of, "us-east-1").into_iter();
        let places = needs.flat_map(|(at, places)| {
            places.into_iter().map(move |(place, need)| (quotas().quotas[at].kinds[0].clone(), place, need))
        });
        places.collect()
    }

    fn need(amount: f64, keys: &[&str]) -> Need {
        Need { amount, keys: keys.iter().map(|key| ResourceKey::new(*key).unwrap()).collect() }
    }

    #[test]
    fn every_kind_is_one_that_there_is_and_stands_once() {
        let kinds: BTreeSet<String> =
            crate::kinds::all().into_iter().map(|kind| kind.kind().to_string()).collect();
        let mut counted = BTreeSet::new();
        for quota in &quotas().quotas {
            assert!(quota.code.starts_with("L-") && quota.default >= 0.0 && !quota.counted_by.is_empty());
            assert!(quota.kinds.iter().all(|kind| kinds.contains(kind)), "{:?}", quota.kinds);
            let families = match &quota.families[..] {
                [] => vec![String::new()],
                some => some.to_vec(),
            };
            for (kind, family) in
                quota.kinds.iter().flat_map(|kind| families.iter().map(move |of| (kind, of)))
            {
                assert!(counted.insert((kind, family.clone())), "{kind} {family} counts twice");
            }
        }
    }

    #[test]
    fn objects_are_counted_where_their_limit_holds() {
        let subnet = |zone: &str| json!({ "region": "eu-west-1", "zone": zone });
        let nat =
            |subnet: &str| json!({ "region": "eu-west-1", "subnet": { "$ref": subnet, "output": "id" } });
        let found = of(&[
            ("a", "aws.subnet", subnet("eu-west-1a")),
            ("b", "aws.subnet", subnet("eu-west-1b")),
            ("nat/1", "aws.nat-gateway", nat("a")),
            ("nat/2", "aws.nat-gateway", nat("b")),
            ("nat/3", "aws.nat-gateway", nat("b")),
            ("nat/4", "aws.nat-gateway", json!({ "region": "eu-west-1", "subnet": "subnet-1" })),
            ("ip/1", "aws.elastic-ip", json!({ "region": "eu-west-1" })),
            ("ip/2", "aws.elastic-ip", json!({ "region": "us-west-2" })),
            ("files", "aws.bucket", json!({ "region": "eu-west-1", "name": "x" })),
        ]);
        let place = |region: &str, zone: Option<&str>| (region.to_owned(), zone.map(str::to_owned));
        let expected = [
            ("aws.elastic-ip", place("eu-west-1", None), need(1.0, &["ip/1"])),
            ("aws.elastic-ip", place("us-west-2", None), need(1.0, &["ip/2"])),
            ("aws.nat-gateway", place("eu-west-1", None), need(1.0, &["nat/4"])),
            ("aws.nat-gateway", place("eu-west-1", Some("eu-west-1a")), need(1.0, &["nat/1"])),
            ("aws.nat-gateway", place("eu-west-1", Some("eu-west-1b")), need(2.0, &["nat/2", "nat/3"])),
            ("aws.bucket", place("us-east-1", None), need(1.0, &["files"])),
        ];
        let expected: Vec<_> =
            expected.into_iter().map(|(kind, at, need)| (kind.to_owned(), at, need)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn tasks_are_counted_by_their_processors() {
        let service =
            |units: u32, count: u32| json!({ "region": "us-east-1", "cpu_units": units, "count": count });
        let found = of(&[
            ("app", "aws.ecs-service", service(512, 3)),
            ("worker", "aws.ecs-service", service(256, 1)),
        ]);
        assert_eq!(found[0].2, need(1.75, &["app", "worker"]));
        assert_eq!(of(&[("logs", "aws.log-group", json!({ "region": "us-east-1" }))]), []);
    }

    #[test]
    fn machines_are_counted_by_the_processors_of_their_size_and_family() {
        let group =
            |size: &str, count: u32| json!({ "region": "us-east-1", "instance_type": size, "count": count });
        let machine = json!({ "region": "us-east-1", "instance_type": "c7i-flex.xlarge" });
        let found = of(&[
            ("app/blue", "aws.auto-scaling-group", group("t3.small", 3)),
            ("app/green", "aws.auto-scaling-group", group("t3.small", 0)),
            ("models", "aws.auto-scaling-group", group("g5.xlarge", 1)),
            ("one", "aws.instance", machine),
            // No limit of these is known.
            ("learns", "aws.auto-scaling-group", group("trn1.2xlarge", 1)),
        ]);
        let needs: Vec<Need> = found.into_iter().map(|(_, _, need)| need).collect();
        assert_eq!(needs, [need(10.0, &["app/blue", "app/green", "one"]), need(4.0, &["models"])]);
    }

    #[test]
    fn rights_are_those_of_what_is_made() {
        let of = |kinds: &[&str]| {
            let kinds = kinds.iter().map(|kind| ResourceKind::new(*kind).unwrap()).collect();
            permissions(&kinds).into_iter().map(|right| right.action).collect::<Vec<_>>()
        };
        assert_eq!(of(&["aws.log-group"]), [""; 0]);
        assert_eq!(
            of(&["aws.bucket", "aws.log-group"]),
            [
                "s3:ListAllMyBuckets",
                "servicequotas:GetAWSDefaultServiceQuota",
                "servicequotas:GetServiceQuota"
            ]
        );
    }
}
