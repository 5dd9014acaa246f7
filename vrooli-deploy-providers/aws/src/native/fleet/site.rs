//! What the stack's specs say of where an app runs: its services, their target groups, who listens.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use vrooli_deploy_core::manifest::ServiceConfig;
use vrooli_deploy_core::names::{PortName, ResourceKey, ServiceName};
use vrooli_deploy_core::provider::{AnyKind, ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::Bundle;

use crate::kinds::COLOURS;
use crate::kinds::dns_record::DnsRecord;
use crate::kinds::iam_role::IamRole;
use crate::kinds::load_balancer::LoadBalancer;
use crate::kinds::log_group::LogGroup;
use crate::kinds::target_group::TargetGroup;
use crate::native::{Account, Look};

/// The ports that an app's services listen on as containers: the first of each is the one that lowering
/// chose, further ones without a number follow after all of these.
pub(super) fn ports(bundle: &Bundle) -> BTreeMap<(ServiceName, PortName), u16> {
    let mut all = BTreeMap::new();
    let mut further = Vec::new();
    let mut next = crate::catalogue::catalogue().defaults.container_port;
    for (service, config) in bundle.services.iter().filter(|(_, config)| !config.ports.is_empty()) {
        let fixed = config.ports.values().find_map(|port| port.port);
        for (index, (name, port)) in config.ports.iter().enumerate() {
            match (index, port.port) {
                (0, _) => _ = all.insert((service.clone(), name.clone()), fixed.unwrap_or(next)),
                (_, Some(number)) => _ = all.insert((service.clone(), name.clone()), number),
                _ => further.push((service.clone(), name.clone())),
            }
        }
        next = next.saturating_add(1);
    }
    for port in further {
        all.insert(port, next);
        next = next.saturating_add(1);
    }
    all
}

/// The place of all that listens.
const FRONT: &str = "compute/app";

/// Where services of the app run that are one task, or on one machine: two slots, of which one has the
/// release that serves and the other the next one.
#[derive(Debug, Clone)]
pub(super) struct Place<P> {
    /// What the keys of both begin with.
    pub(super) key: String,
    pub(super) region: String,
    /// The names of both, blue first.
    pub(super) slots: [String; 2],
    /// How many run where nothing scales them.
    pub(super) count: u32,
    /// Does something else say how many run?
    pub(super) scaled: bool,
    /// What it has of its own.
    pub(super) on: P,
}

impl<P> Place<P> {
    /// Does it run that service of an app?
    pub(super) fn runs(&self, service: &ServiceName, config: &ServiceConfig) -> bool {
        if config.ports.is_empty() { self.key == worker(service) } else { self.is_front() }
    }

    /// Does what listens run here?
    pub(super) fn is_front(&self) -> bool {
        self.key == FRONT
    }

    /// The services of a release that it runs.
    pub(super) fn services<'a>(
        &self,
        bundle: &'a Bundle,
    ) -> impl Iterator<Item = (&'a ServiceName, &'a ServiceConfig)> + use<'a, '_, P> {
        bundle.services.iter().filter(|(name, config)| self.runs(name, config))
    }
}

fn worker(service: &ServiceName) -> String {
    format!("compute/worker-{service}")
}

/// The two target groups of a service that requests are routed to, by name, blue first: each slot of what
/// listens is in the group of its colour.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) service: String,
    pub(super) groups: [String; 2],
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Site<P> {
    pub(super) region: String,
    pub(super) places: Vec<Place<P>>,
    pub(super) pairs: Vec<Pair>,
    /// The load balancer, by name.
    pub(super) balancer: Option<String>,
    /// The name that the app has, if it has one.
    pub(super) domain: Option<String>,
    /// What the app may do, by the role's name.
    pub(super) role: String,
    /// Where its lines go, by the group's name.
    pub(super) logs: String,
}

/// Specs of a kind that the stack has or is to have, by key: what is wanted before what is there.
pub(super) fn specs<S: DeserializeOwned>(account: &Account, kind: &dyn AnyKind) -> Vec<(ResourceKey, S)> {
    let read = |(key, spec): (&ResourceKey, &serde_json::Value)| {
        Some((key.clone(), serde_json::from_value(spec.clone()).ok()?))
    };
    let mut all: Vec<(ResourceKey, S)> = account.wanted(kind, Look::Stack).filter_map(read).collect();
    // State and manifest may both say one: it is named the same in both.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.dedup_by(|a, b| a.0 == b.0);
    all
}

pub(super) fn name_of(account: &Account, kind: &dyn AnyKind, key: &str) -> Option<String> {
    let mut all = account.wanted(kind, Look::Stack);
    all.find_map(|(one, spec)| (one.as_str() == key).then(|| spec["name"].as_str().map(str::to_owned))?)
}

/// Pairs of slots of a stack: what the keys of both begin with, and their specs, blue first.
pub(super) fn pairs_of<S: DeserializeOwned>(account: &Account, kind: &dyn AnyKind) -> Vec<(String, [S; 2])> {
    let mut all: BTreeMap<String, S> =
        specs(account, kind).into_iter().map(|(key, spec)| (key.to_string(), spec)).collect();
    let of = |key: &String| key.strip_suffix(COLOURS[0])?.strip_suffix('/').map(str::to_owned);
    let keys: Vec<String> = all.keys().filter_map(of).collect();
    let both = keys.into_iter().filter_map(|key| {
        let [blue, green] = COLOURS.map(|colour| all.remove(&format!("{key}/{colour}")));
        Some((key, [blue?, green?]))
    });
    both.collect()
}

impl<P> Site<P> {
    /// Reads it, with the places that something has found.
    ///
    /// # Errors
    /// When the stack has nothing that could run an app.
    pub(super) fn of(account: &Account, places: Vec<Place<P>>) -> Result<Self> {
        let lacks = |what: &str| {
            ProviderError::new(ErrorKind::Config, format!("the stack has no {what} that an app could run in"))
                .with_help("apps run on Fargate (`infrastructure.compute.type: fargate`) or on machines behind a load balancer (`ec2`)")
        };
        let region = places.first().ok_or_else(|| lacks("place"))?.region.clone();
        let groups: BTreeMap<String, &str> = account
            .wanted(&TargetGroup, Look::Stack)
            .filter_map(|(key, spec)| Some((key.to_string(), spec["name"].as_str()?)))
            .collect();
        let pairs = groups.keys().filter_map(|key| {
            let service = key.strip_prefix("front/")?.strip_suffix(COLOURS[0])?.strip_suffix('-')?;
            let group =
                |colour| groups.get(&format!("front/{service}-{colour}")).map(|name| (*name).to_owned());
            let [blue, green] = COLOURS.map(group);
            Some(Pair { service: service.to_owned(), groups: [blue?, green?] })
        });
        Ok(Self {
            region,
            pairs: pairs.collect(),
            balancer: name_of(account, &LoadBalancer, "front/balancer"),
            domain: name_of(account, &DnsRecord, "dns/app"),
            role: name_of(account, &IamRole, "compute/role").ok_or_else(|| lacks("role"))?,
            logs: name_of(account, &LogGroup, "logs/app").ok_or_else(|| lacks("log group"))?,
            places,
        })
    }

    /// The place of a service of a release.
    pub(super) fn place(&self, bundle: &Bundle, service: &ServiceName) -> Result<&Place<P>> {
        let config = bundle.services.get(service);
        let place = config.and_then(|config| self.places.iter().find(|place| place.runs(service, config)));
        place.ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("the stack has nothing that runs `{service}`"))
                .with_help("deploy again: the stack is made for the services of the manifest")
        })
    }

    /// The place where a unit of any release runs, by its service's name alone.
    pub(super) fn place_of(&self, service: &ServiceName) -> Option<&Place<P>> {
        let worker = worker(service);
        let place = self.places.iter().find(|place| place.key == worker);
        place.or_else(|| self.places.iter().find(|place| place.is_front()))
    }

    /// Target groups of the services of a release that requests are routed to, in one place.
    pub(super) fn pairs(&self, place: &Place<P>, bundle: &Bundle) -> Vec<&Pair> {
        let here = |pair: &&Pair| place.services(bundle).any(|(name, _)| name.as_str() == pair.service);
        self.pairs.iter().filter(here).collect()
    }
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::release::Bundle;

    use super::*;

    fn bundle() -> Bundle {
        let digest = format!("sha256:{}", "0".repeat(64));
        serde_json::from_value(serde_json::json!({
            "app": "shop", "environment": "default", "version": "1",
            "artefact": { "digest": digest, "source": digest, "location": "shop", "root": "." },
            "services": {
                "api": { "run": ["/api"], "ports": { "http": {}, "admin": {} } },
                "jobs": { "run": ["/jobs"] },
                "web": { "run": ["/web"], "ports": { "http": { "port": 3000 } } },
            },
            "env": {}, "smoke": [], "strategy": { "type": "blue-green" }, "resources": [], "migrations": [],
        }))
        .unwrap()
    }

    fn place(key: &str) -> Place<()> {
        Place {
            key: key.to_owned(),
            region: "us-east-1".to_owned(),
            slots: ["shop-blue".to_owned(), "shop-green".to_owned()],
            count: 1,
            scaled: false,
            on: (),
        }
    }

    #[test]
    fn ports_are_those_that_lowering_chose() {
        let first = crate::catalogue::catalogue().defaults.container_port;
        let numbers: Vec<(String, u16)> = ports(&bundle())
            .into_iter()
            .map(|((service, port), number)| (format!("{service}/{port}"), number))
            .collect();
        let expected = [("api/admin", first), ("api/http", first + 2), ("web/http", 3000)];
        assert_eq!(numbers, expected.map(|(name, number)| (name.to_owned(), number)));
    }

    #[test]
    fn what_listens_is_one_task_and_each_worker_another() {
        let bundle = bundle();
        let names = |key: &str| -> Vec<String> {
            place(key).services(&bundle).map(|(name, _)| name.to_string()).collect()
        };
        assert_eq!(names("compute/app"), ["api", "web"]);
        assert_eq!(names("compute/worker-jobs"), ["jobs"]);
    }

    #[test]
    fn each_routed_service_of_a_release_has_a_pair_of_groups() {
        let pair = |service: &str| Pair {
            service: service.to_owned(),
            groups: [format!("{service}-blue"), format!("{service}-green")],
        };
        let site = Site {
            region: "us-east-1".to_owned(),
            places: vec![place("compute/app"), place("compute/worker-jobs")],
            pairs: vec![pair("api"), pair("gone"), pair("web")],
            balancer: None,
            domain: None,
            role: "app".to_owned(),
            logs: "/shop".to_owned(),
        };
        let of = |place: &Place<()>| -> Vec<String> {
            site.pairs(place, &bundle()).into_iter().map(|pair| pair.service.clone()).collect()
        };
        assert_eq!(of(&site.places[0]), ["api", "web"]);
        assert!(of(&site.places[1]).is_empty());
        let place_of = |service: &str| site.place_of(&service.parse().unwrap()).unwrap().key.clone();
        assert_eq!(
            (place_of("jobs"), place_of("web")),
            (site.places[1].key.clone(), site.places[0].key.clone())
        );
    }
}
