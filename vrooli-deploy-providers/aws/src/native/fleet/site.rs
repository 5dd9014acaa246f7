//! What the stack's specs say of where an app runs: its services, their target groups, who listens.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use vrooli_deploy_core::manifest::ServiceConfig;
use vrooli_deploy_core::names::{PortName, ResourceKey, ServiceName};
use vrooli_deploy_core::provider::{AnyKind, ErrorKind, ProviderError, Result, Wanted};
use vrooli_deploy_core::release::Bundle;

use crate::kinds::dns_record::DnsRecord;
use crate::kinds::ecs_cluster::EcsCluster;
use crate::kinds::ecs_service::{EcsService, EcsServiceSpec};
use crate::kinds::iam_role::IamRole;
use crate::kinds::load_balancer::LoadBalancer;
use crate::kinds::log_group::LogGroup;
use crate::kinds::service_scaling::ServiceScaling;
use crate::kinds::target_group::{TargetGroup, TargetGroupSpec};
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

/// A service of ECS that runs services of the app.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: ResourceKey,
    pub(super) region: String,
    pub(super) name: String,
    /// The cluster, by name.
    pub(super) cluster: String,
    pub(super) cpu_units: u32,
    pub(super) memory_mib: u32,
    /// How many tasks run where nothing scales them.
    pub(super) count: u32,
    /// Does something else say how many run?
    pub(super) scaled: bool,
}

impl Place {
    /// Does it run that service of an app?
    pub(super) fn runs(&self, service: &ServiceName, config: &ServiceConfig) -> bool {
        let key = self.key.as_str();
        if config.ports.is_empty() {
            key == format!("compute/worker-{service}")
        } else {
            key == "compute/app"
        }
    }

    /// The services of a release that it runs.
    pub(super) fn services<'a>(
        &self,
        bundle: &'a Bundle,
    ) -> impl Iterator<Item = (&'a ServiceName, &'a ServiceConfig)> + use<'a, '_> {
        bundle.services.iter().filter(|(name, config)| self.runs(name, config))
    }
}

/// The two target groups of a service that requests are routed to, by name.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) service: String,
    pub(super) blue: String,
    pub(super) green: String,
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) region: String,
    pub(super) places: Vec<Place>,
    pub(super) pairs: Vec<Pair>,
    /// The load balancer, by name.
    pub(super) balancer: Option<String>,
    /// The name that the app has, if it has one.
    pub(super) domain: Option<String>,
    /// What tasks may do, by the role's name.
    pub(super) role: String,
    /// Where their lines go, by the group's name.
    pub(super) logs: String,
}

fn specs<S: DeserializeOwned>(account: &Account, kind: &dyn AnyKind) -> Vec<(ResourceKey, S)> {
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

impl Site {
    /// Reads it.
    ///
    /// # Errors
    /// When the stack has nothing that could run an app.
    pub(super) fn of(account: &Account) -> Result<Self> {
        let lacks = |what: &str| {
            ProviderError::new(ErrorKind::Config, format!("the stack has no {what} that an app could run in"))
                .with_help("apps run on Fargate: `infrastructure.compute.type: fargate`")
        };
        let cluster = name_of(account, &EcsCluster, "compute/cluster").ok_or_else(|| lacks("cluster"))?;
        let scaled: Vec<String> = account
            .wanted(&ServiceScaling, Look::Stack)
            .filter_map(|(key, _)| key.as_str().strip_suffix("/scaling").map(str::to_owned))
            .collect();
        let place = |(key, spec): (ResourceKey, EcsServiceSpec<Wanted>)| Place {
            scaled: scaled.iter().any(|one| *one == *key.as_str()),
            key,
            region: spec.region,
            name: spec.name,
            cluster: cluster.clone(),
            cpu_units: spec.cpu_units,
            memory_mib: spec.memory_mib,
            count: spec.count,
        };
        let places: Vec<Place> = specs(account, &EcsService).into_iter().map(place).collect();
        let region = places.first().ok_or_else(|| lacks("service"))?.region.clone();
        let groups: BTreeMap<ResourceKey, TargetGroupSpec<Wanted>> =
            specs(account, &TargetGroup).into_iter().collect();
        let group = |service: &str, colour: &str| {
            let key = ResourceKey::new(format!("front/{service}-{colour}")).ok()?;
            Some(groups.get(&key)?.name.clone())
        };
        let pairs = groups.keys().filter_map(|key| {
            let service = key.as_str().strip_prefix("front/")?.strip_suffix("-blue")?;
            let (blue, green) = (group(service, "blue")?, group(service, "green")?);
            Some(Pair { service: service.to_owned(), blue, green })
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
    pub(super) fn place(&self, bundle: &Bundle, service: &ServiceName) -> Result<&Place> {
        let config = bundle.services.get(service);
        let place = config.and_then(|config| self.places.iter().find(|place| place.runs(service, config)));
        place.ok_or_else(|| {
            ProviderError::new(
                ErrorKind::Config,
                format!("the stack has no service of ECS that runs `{service}`"),
            )
            .with_help("deploy again: the stack is made for the services of the manifest")
        })
    }

    /// Refuses an app of which several services are routed to: AWS puts a task set into one target group
    /// only, and all that listens is one task.
    pub(super) fn one_is_routed(&self) -> Result<()> {
        let [first, second, ..] = self.pairs.as_slice() else { return Ok(()) };
        let words = format!(
            "requests are routed to `{}` and to `{}`, and AWS lets a task set be in one target group only",
            first.service, second.service
        );
        Err(ProviderError::new(ErrorKind::Unsupported, words).with_help(
            "give routes to one service, and let it pass on what is for the others: they are at `localhost`",
        ))
    }

    /// The target groups of the service of a place that requests are routed to.
    pub(super) fn pair(&self, place: &Place, bundle: &Bundle) -> Option<&Pair> {
        let mut names = place.services(bundle).map(|(name, _)| name.as_str());
        names.find_map(|name| self.pairs.iter().find(|pair| pair.service == name))
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

    fn place(key: &str) -> Place {
        Place {
            key: key.parse().unwrap(),
            region: "us-east-1".to_owned(),
            name: "shop".to_owned(),
            cluster: "shop".to_owned(),
            cpu_units: 256,
            memory_mib: 512,
            count: 1,
            scaled: false,
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
    fn two_services_that_are_routed_to_are_refused_by_name() {
        let pair = |service: &str| Pair {
            service: service.to_owned(),
            blue: "blue".to_owned(),
            green: "green".to_owned(),
        };
        let mut site = Site {
            region: "us-east-1".to_owned(),
            places: vec![place("compute/app")],
            pairs: vec![pair("web")],
            balancer: None,
            domain: None,
            role: "app".to_owned(),
            logs: "/shop".to_owned(),
        };
        assert!(site.one_is_routed().is_ok());
        assert_eq!(site.pair(&site.places[0], &bundle()).unwrap().service, "web");
        site.pairs.push(pair("api"));
        let error = site.one_is_routed().unwrap_err();
        assert!(error.message().contains("`web` and to `api`"), "{error}");
    }
}
