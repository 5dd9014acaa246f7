//! From weights of releases to a table for the edge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use vrooli_deploy_core::manifest::RouteConfig;
use vrooli_deploy_core::names::{PortName, ReleaseNumber, ServiceName, StackId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_edge as edge;

use super::super::ports::{self, UnitPorts};
use super::super::sockets;
use super::Supervisor;
use super::stack::{Serving, Stack};

/// May a release that gets traffic have a service of which nothing runs?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Allowed,
    Refused,
}

/// The table of a stack: every release that has units, and the rules of those with traffic.
pub(super) fn table(
    supervisor: &Supervisor,
    stack: &Stack,
    serving: &Serving,
    absent: Absent,
) -> Result<edge::SiteTable> {
    let routing = &serving.routing;
    let mut table = edge::SiteTable::new(site(&stack.id)?, serving.fence);
    let named: BTreeSet<ReleaseNumber> =
        routing.weights.keys().chain(routing.revert_to.keys()).copied().chain(stack.releases()).collect();
    let shared = ports::public(supervisor.layout(), &stack.id)?.is_some_and(|public| public.shared);
    if shared {
        table.listeners = BTreeSet::from([super::front::listener(&stack.id, true)?]);
    }
    let secured = supervisor.certificates.secured(&stack.id).filter(|_| shared);
    if let Some(secured) = &secured {
        table.listeners.insert(super::front::secure_listener()?);
        table.https = secured.https;
    }
    let mut front = None;
    let mut domain = None;
    let mut rules: BTreeMap<(Option<String>, String), edge::ServiceName> = BTreeMap::new();
    let nobody = BTreeSet::new();
    let nothing_serves = routing.weights.values().all(|w| *w == 0);
    // The newest first: where two releases route the same differently, it decides.
    for number in named.into_iter().rev() {
        let weight = routing.weights.get(&number).copied().unwrap_or(0);
        let release = match super::prepare::release(supervisor, &stack.id, number) {
            Ok(release) => release,
            Err(e) if weight > 0 => return Err(e),
            Err(_) => continue,
        };
        let ports = ports::read(supervisor.layout(), &stack.id, number)?;
        if shared && weight > 0 && front.is_none() {
            front = Some(release.bundle.front.clone());
        }
        if shared && domain.is_none() {
            domain.clone_from(&release.bundle.domain);
        }
        let routes = routes(&release);
        let resting = routing.resting.get(&number).unwrap_or(&nobody);
        let mut serves = stack.wanted(number);
        serves.retain(|unit| !resting.contains(unit));
        let backends = backends(&release, &ports, &serves, &routes)?;
        if weight > 0 {
            // Who lets all units of a service rest knows that nothing of it serves.
            let rests = |backend: &edge::ServiceName| {
                routes
                    .iter()
                    .filter(|route| route.backend == *backend)
                    .any(|route| resting.iter().any(|unit| unit.service == route.service))
            };
            if absent == Absent::Refused
                && let Some((service, _)) =
                    backends.iter().find(|(backend, addresses)| addresses.is_empty() && !rests(backend))
            {
                return Err(ProviderError::new(
                    ErrorKind::Conflict,
                    format!(
                        "release {number} of {} cannot get traffic: nothing of `{service}` runs",
                        stack.id
                    ),
                ));
            }
            let listens = release.bundle.services.values().any(|service| !service.ports.is_empty());
            if routes.is_empty() && listens {
                return Err(ProviderError::new(
                    ErrorKind::Config,
                    format!(
                        "release {number} of {} cannot get traffic: none of its services has a route",
                        stack.id
                    ),
                )
                .with_help("give one service `routes: [{path: /}]` in the manifest"));
            }
        }
        // Where nothing gets traffic the rules stay, so that the edge says "unavailable", not
        // "not found". Of an address that is shared nothing is claimed then: what another app has
        // must never keep this one from being taken back.
        if weight > 0 || (nothing_serves && !shared) {
            for route in &routes {
                let host = route.host.clone().or_else(|| release.bundle.domain.clone().filter(|_| shared));
                rules.entry((host, route.path.clone())).or_insert(route.backend.clone());
            }
        }
        table.releases.insert(
            edge::ReleaseName::new(number.to_string()).map_err(|e| name(&e))?,
            edge::ReleaseRoute { weight, backends },
        );
    }
    table.rules =
        rules.into_iter().map(|((host, path), service)| edge::Rule { host, path, service }).collect();
    if table.rules.is_empty() && !(shared && nothing_serves) {
        // Nothing is known of the app's routes: everything is answered with "unavailable".
        let nobody = edge::ServiceName::new("app").map_err(|e| name(&e))?;
        table.rules.push(edge::Rule { host: domain, path: "/".to_owned(), service: nobody });
    }
    if let Some(front) = front {
        table.max_body_bytes = front.max_body_bytes;
        table.compress = front.compress.unwrap_or(true);
    }
    table.bridge_assets = routing.weights.values().filter(|w| **w > 0).count() > 1;
    if let Some(at) = routing.revert_at {
        let left = at.duration_since(jiff::Timestamp::now());
        let mut weights = BTreeMap::new();
        for (number, weight) in &routing.revert_to {
            let release = edge::ReleaseName::new(number.to_string()).map_err(|e| name(&e))?;
            if table.releases.contains_key(&release) {
                weights.insert(release, *weight);
            }
        }
        table.revert = Some(edge::Revert { after: Duration::try_from(left).unwrap_or_default(), weights });
    }
    table.check().map_err(|e| ProviderError::new(ErrorKind::Config, e.to_string()))?;
    Ok(table)
}

/// The name of a stack as a site.
pub(super) fn site(stack: &StackId) -> Result<edge::SiteId> {
    edge::SiteId::new(stack.to_string()).map_err(|e| name(&e))
}

fn name(error: &edge::NameError) -> ProviderError {
    ProviderError::new(ErrorKind::Unexpected, error.to_string())
}

/// A route with the port that answers it.
struct Route {
    host: Option<String>,
    path: String,
    service: ServiceName,
    port: PortName,
    /// What the edge calls the port: the service's name for its first, else with the port's.
    backend: edge::ServiceName,
}

/// The routes of a release. Where no service has one, the only one with a port gets everything.
fn routes(release: &Release) -> Vec<Route> {
    let services = &release.bundle.services;
    let mut all = Vec::new();
    for (service, config) in services {
        for route in &config.routes {
            all.extend(resolve(service, config.ports.keys(), route));
        }
    }
    let mut open = services.iter().filter(|(_, config)| !config.ports.is_empty());
    if all.is_empty()
        && let (Some((service, config)), None) = (open.next(), open.next())
    {
        let everything = RouteConfig { host: None, path: "/".to_owned(), port: None };
        all.extend(resolve(service, config.ports.keys(), &everything));
    }
    all
}

fn resolve<'a>(
    service: &ServiceName,
    mut ports: impl Iterator<Item = &'a PortName>,
    route: &RouteConfig,
) -> Option<Route> {
    let first = ports.next()?;
    let port = route.port.as_ref().unwrap_or(first);
    let backend = if port == first { service.to_string() } else { format!("{service}.{port}") };
    Some(Route {
        host: route.host.clone(),
        path: route.path.clone(),
        service: service.clone(),
        port: port.clone(),
        backend: edge::ServiceName::new(backend).ok()?,
    })
}

/// Where each routed port of a release listens.
fn backends(
    release: &Release,
    ports: &UnitPorts,
    wanted: &[vrooli_deploy_core::names::UnitId],
    routes: &[Route],
) -> Result<BTreeMap<edge::ServiceName, Vec<SocketAddr>>> {
    let mut all = BTreeMap::new();
    for route in routes {
        let mut addresses = Vec::new();
        for unit in wanted.iter().filter(|u| u.service == route.service) {
            let number = ports.of(unit).and_then(|p| p.get(&route.port)).ok_or_else(|| {
                ProviderError::new(
                    ErrorKind::Config,
                    format!(
                        "a route of release {} names the port `{}` of `{}`, which it does not have",
                        release.number, route.port, route.service
                    ),
                )
            })?;
            addresses.push(SocketAddr::new(sockets::loopback(*number), *number));
        }
        all.insert(route.backend.clone(), addresses);
    }
    Ok(all)
}
