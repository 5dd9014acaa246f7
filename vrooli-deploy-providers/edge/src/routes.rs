//! The routing of all sites: published once a change, and made by each worker into the form
//! that it matches requests with.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use crate::challenges::Answers;
use crate::names::{ListenerId, ReleaseName};
use crate::origin::TrustedProxies;
use crate::stats::ReleaseStats;
use crate::table::{HttpsOnly, SiteTable};

/// The tables in force. Never altered: a change publishes another one.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Rises with every change.
    pub(crate) generation: u64,
    pub(crate) sites: Vec<PublishedSite>,
    /// Backends that do not answer.
    pub(crate) down: Arc<BTreeSet<SocketAddr>>,
    /// What authorities are told.
    pub(crate) answers: Arc<Answers>,
}

/// One site with the counters of its releases.
#[derive(Debug)]
pub(crate) struct PublishedSite {
    pub(crate) table: Arc<SiteTable>,
    pub(crate) stats: BTreeMap<ReleaseName, Arc<ReleaseStats>>,
}

/// Every route of every listener, as one worker holds it. A worker's own copy, so that no
/// request touches a counter of references that another core writes to.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) generation: u64,
    pub(crate) answers: Arc<Answers>,
    listeners: HashMap<ListenerId, ListenerRoutes>,
}

#[derive(Debug, Default)]
struct ListenerRoutes {
    exact: HashMap<Box<str>, Vec<Rc<Route>>>,
    /// `.example.com` for `*.example.com`, longest first.
    wildcard: Vec<(Box<str>, Vec<Rc<Route>>)>,
    any: Vec<Rc<Route>>,
}

/// Where the requests of one rule go. Routes of one host are ordered longest prefix first.
#[derive(Debug)]
pub(crate) struct Route {
    prefix: Box<str>,
    pub(crate) bridge_assets: bool,
    /// The cookie by which clients keep their release.
    pub(crate) sticky: Option<Rc<str>>,
    pub(crate) trusted_proxies: Option<Rc<TrustedProxies>>,
    pub(crate) https: Option<Https>,
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) compress: bool,
    /// The releases that have the service, in the order of their names.
    pub(crate) choices: Vec<Rc<Choice>>,
    /// Those of them that traffic goes back to, if it does.
    before: Vec<Rc<Choice>>,
    total_weight: u64,
}

/// That a route is only answered by TLS.
#[derive(Debug, Clone)]
pub(crate) struct Https {
    pub(crate) port: u16,
    /// What `Strict-Transport-Security` says, if it is said.
    pub(crate) remember: Option<HeaderValue>,
}

impl Https {
    fn new(only: HttpsOnly) -> Self {
        let remember = only.remember_seconds.map(|seconds| format!("max-age={seconds}"));
        let remember = remember.and_then(|text| HeaderValue::from_str(&text).ok());
        Self { port: only.port, remember }
    }
}

/// One release's backends for one service.
#[derive(Debug)]
pub(crate) struct Choice {
    weight: u32,
    pub(crate) stats: Arc<ReleaseStats>,
    pub(crate) backends: Backends,
}

/// Addresses that take turns.
#[derive(Debug)]
pub(crate) struct Backends {
    up: Vec<SocketAddr>,
    /// Tried when all others failed.
    down: Vec<SocketAddr>,
    turn: Cell<usize>,
}

impl Backends {
    fn new(addresses: &[SocketAddr], down: &BTreeSet<SocketAddr>) -> Self {
        let (down, up) = addresses.iter().partition(|address| down.contains(address));
        Self { up, down, turn: Cell::new(0) }
    }

    /// All addresses, beginning with the one whose turn it is; those that are down come last.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = SocketAddr> {
        let count = self.up.len();
        let first = self.turn.get();
        self.turn.set((first + 1) % count.max(1));
        (0..count).map(move |step| self.up[(first + step) % count]).chain(self.down.iter().copied())
    }

    /// The first address, for a request that names no host.
    pub(crate) fn first(&self) -> Option<SocketAddr> {
        self.up.first().or(self.down.first()).copied()
    }

    pub(crate) fn is_up(&self, address: SocketAddr) -> bool {
        self.up.contains(&address)
    }
}

/// Why a request has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// The socket serves no site.
    NoSite,
    /// No site on this socket has a rule for the host and path.
    NoRule,
}

impl Routes {
    pub(crate) fn compile(published: &Published) -> Self {
        let mut listeners: HashMap<ListenerId, ListenerRoutes> = HashMap::new();
        for PublishedSite { table, stats } in &published.sites {
            let trusted_proxies = table.trusted_proxies.clone().map(Rc::new);
            for listener in table.served_on() {
                let routes = listeners.entry(listener).or_default();
                for rule in &table.rules {
                    let choices: Vec<_> = table
                        .releases
                        .iter()
                        .filter_map(|(name, release)| {
                            let addresses = release.backends.get(&rule.service)?;
                            let stats = stats.get(name)?.clone();
                            (!addresses.is_empty()).then(|| {
                                Rc::new(Choice {
                                    weight: release.weight,
                                    stats,
                                    backends: Backends::new(addresses, &published.down),
                                })
                            })
                        })
                        .collect();
                    let goes_back = |choice: &&Rc<Choice>| {
                        let weights = table.revert.as_ref().map(|revert| &revert.weights);
                        weights.and_then(|all| all.get(&choice.stats.release)).is_some_and(|w| *w > 0)
                    };
                    let before = choices.iter().filter(goes_back).cloned().collect();
                    routes.add(
                        rule.host_key(),
                        Route {
                            prefix: rule.prefix().into(),
                            bridge_assets: table.bridge_assets,
                            sticky: table.sticky.as_deref().map(Rc::from),
                            trusted_proxies: trusted_proxies.clone(),
                            https: table.https.map(Https::new),
                            max_body_bytes: table.max_body_bytes,
                            compress: table.compress,
                            total_weight: choices.iter().map(|one| u64::from(one.weight)).sum(),
                            choices,
                            before,
                        },
                    );
                }
            }
        }
        for routes in listeners.values_mut() {
            routes.sort();
        }
        Self { generation: published.generation, answers: published.answers.clone(), listeners }
    }

    /// The route of a request: `host` in lower case without port, `path` as it was sent.
    pub(crate) fn find(
        &self,
        listener: &ListenerId,
        host: Option<&str>,
        path: &str,
    ) -> Result<&Rc<Route>, NoRoute> {
        let routes = self.listeners.get(listener).ok_or(NoRoute::NoSite)?;
        let by_host = host.into_iter().flat_map(|host| {
            let exact = routes.exact.get(host).map(Vec::as_slice);
            let wildcard = routes
                .wildcard
                .iter()
                .filter(move |(suffix, _)| host.len() > suffix.len() && host.ends_with(&**suffix))
                .map(|(_, routes)| routes.as_slice());
            exact.into_iter().chain(wildcard)
        });
        by_host
            .chain(std::iter::once(routes.any.as_slice()))
            .flatten()
            .find(|route| route.matches(path))
            .ok_or(NoRoute::NoRule)
    }
}

impl ListenerRoutes {
    fn add(&mut self, host: Option<String>, route: Route) {
        let routes = match host {
            None => &mut self.any,
            Some(host) => match host.strip_prefix('*') {
                None => self.exact.entry(host.into()).or_default(),
                Some(suffix) => {
                    let known = self.wildcard.iter().position(|(have, _)| **have == *suffix);
                    let index = known.unwrap_or_else(|| {
                        self.wildcard.push((suffix.into(), Vec::new()));
                        self.wildcard.len() - 1
                    });
                    &mut self.wildcard[index].1
                }
            },
        };
        routes.push(Rc::new(route));
    }

    fn sort(&mut self) {
        self.wildcard.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let of_wildcard = self.wildcard.iter_mut().map(|(_, routes)| routes);
        for routes in self.exact.values_mut().chain(of_wildcard).chain(std::iter::once(&mut self.any)) {
            routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        }
    }
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        path.strip_prefix(&*self.prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.prefix.is_empty())
    }

    /// Chooses a release by weight; `random` is asked for a number below its argument, and
    /// only when there is a choice. None when no release that has the service gets traffic.
    pub(crate) fn pick(&self, random: impl FnOnce(u64) -> u64) -> Option<&Rc<Choice>> {
        if self.total_weight == 0 {
            return None;
        }
        let mut live = self.choices.iter().filter(|choice| choice.weight > 0);
        let first = live.next()?;
        let mut point = if u64::from(first.weight) == self.total_weight {
            return Some(first);
        } else {
            random(self.total_weight)
        };
        for choice in std::iter::once(first).chain(live) {
            match point.checked_sub(u64::from(choice.weight)) {
                Some(rest) => point = rest,
                None => return Some(choice),
            }
        }
        Some(first)
    }

    /// The cookie to look for, if a client could keep one of several releases.
    pub(crate) fn sticks(&self) -> Option<&Rc<str>> {
        let cookie = self.sticky.as_ref()?;
        (self.choices.iter().filter(|choice| choice.weight > 0).count() > 1).then_some(cookie)
    }

    /// The release of a bucket of [`crate::sticky`].
    pub(crate) fn of_bucket(&self, bucket: u32) -> Option<&Rc<Choice>> {
        self.pick(|total| u64::from(bucket) * total / u64::from(crate::sticky::BUCKETS))
    }

    /// Who answers in the place of a release that does not, as long as traffic may go back from it.
    pub(crate) fn before(&self, asked: &Choice) -> Option<Rc<Choice>> {
        let mut others = self.before.iter().filter(|choice| !Arc::ptr_eq(&choice.stats, &asked.stats));
        others.find(|choice| !choice.stats.is_draining()).cloned()
    }

    /// The other releases that may have an asset which `asked` has not: those that still serve
    /// first.
    pub(crate) fn bridge(&self, asked: &Choice) -> Vec<Rc<Choice>> {
        let mut others: Vec<_> = self
            .choices
            .iter()
            .filter(|choice| !Arc::ptr_eq(&choice.stats, &asked.stats))
            .filter(|choice| !choice.stats.is_draining())
            .cloned()
            .collect();
        others.sort_by_key(|choice| std::cmp::Reverse(choice.weight));
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ServiceName, SiteId};
    use crate::table::{ReleaseRoute, Rule};

    fn table(site: &str, listener: &str, rules: &[(Option<&str>, &str, &str)]) -> SiteTable {
        let mut table = SiteTable::new(SiteId::new(site).unwrap(), 1);
        table.listeners.insert(ListenerId::new(listener).unwrap());
        for (host, path, service) in rules {
            table.rules.push(Rule {
                host: host.map(str::to_owned),
                path: (*path).to_owned(),
                service: ServiceName::new(service).unwrap(),
            });
        }
        table
    }

    fn release(table: &mut SiteTable, name: &str, weight: u32, services: &[(&str, u16)]) {
        let backends = services.iter().map(|(service, port)| {
            let address = SocketAddr::from(([127, 0, 0, 1], *port));
            (ServiceName::new(service).unwrap(), vec![address])
        });
        table
            .releases
            .insert(ReleaseName::new(name).unwrap(), ReleaseRoute { weight, backends: backends.collect() });
    }

    fn compile(tables: &[SiteTable]) -> Routes {
        let sites = tables.iter().map(|table| PublishedSite {
            table: Arc::new(table.clone()),
            stats: table
                .releases
                .keys()
                .map(|name| {
                    let stats = ReleaseStats::new(table.site.clone(), name.clone(), 1);
                    (name.clone(), stats)
                })
                .collect(),
        });
        Routes::compile(&Published { generation: 1, sites: sites.collect(), ..Published::default() })
    }

    fn port(routes: &Routes, host: Option<&str>, path: &str) -> Option<u16> {
        let listener = ListenerId::new("web").unwrap();
        let route = routes.find(&listener, host, path).ok()?;
        let choice = route.pick(|_| 0)?;
        choice.backends.in_turn().next().map(|address| address.port())
    }

    #[test]
    fn the_most_specific_host_wins_then_the_longest_path() {
        let mut one = table(
            "one",
            "web",
            &[
                (None, "/", "ui"),
                (None, "/api", "api"),
                (None, "/api/v2/", "api2"),
                (Some("*.example.com"), "/", "wild"),
            ],
        );
        release(&mut one, "r1", 100, &[("ui", 1), ("api", 2), ("api2", 3), ("wild", 4)]);
        let mut two = table(
            "two",
            "web",
            &[(Some("A.b.example.com"), "/x", "x"), (Some("*.b.example.com"), "/y", "y")],
        );
        release(&mut two, "r1", 100, &[("x", 5), ("y", 6)]);
        let routes = compile(&[one, two]);
        for (host, path, expected) in [
            (None, "/", 1),
            (None, "/apix", 1),
            (None, "/api", 2),
            (None, "/api/", 2),
            (None, "/api/v2", 3),
            (None, "/api/v2/things", 3),
            (None, "/api/v20", 2),
            (Some("other.test"), "/api", 2),
            (Some("example.com"), "/", 1),
            (Some("a.example.com"), "/api", 4),
            (Some("a.b.example.com"), "/x/1", 5),
            (Some("a.b.example.com"), "/y", 6),
            (Some("a.b.example.com"), "/z", 4),
            (None, "*", 1),
        ] {
            assert_eq!(port(&routes, host, path), Some(expected), "{host:?} {path}");
        }
        let nobody = ListenerId::new("nobody").unwrap();
        assert_eq!(routes.find(&nobody, None, "/").err(), Some(NoRoute::NoSite));
    }

    #[test]
    fn weights_are_kept_and_a_release_without_the_service_is_passed_over() {
        let mut site = table("s", "web", &[(None, "/", "ui"), (None, "/new", "extra")]);
        release(&mut site, "r1", 75, &[("ui", 1)]);
        release(&mut site, "r2", 25, &[("ui", 2), ("extra", 3)]);
        release(&mut site, "r3", 0, &[("ui", 4)]);
        let routes = compile(&[site]);
        let listener = ListenerId::new("web").unwrap();
        let route = routes.find(&listener, None, "/").unwrap();
        let mut counts = BTreeMap::new();
        for point in 0..100 {
            let choice = route.pick(|total| point % total).unwrap();
            *counts.entry(choice.stats.release.to_string()).or_insert(0) += 1;
        }
        assert_eq!(counts, BTreeMap::from([("r1".into(), 75), ("r2".into(), 25)]));
        let route = routes.find(&listener, None, "/new").unwrap();
        assert_eq!(route.pick(|_| 0).unwrap().stats.release.as_str(), "r2");

        let mut idle = table("s", "web", &[(None, "/", "ui")]);
        release(&mut idle, "r1", 0, &[("ui", 1)]);
        assert_eq!(port(&compile(&[idle]), None, "/"), None);
    }

    #[test]
    fn backends_take_turns() {
        let backends = Backends {
            up: [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec(),
            down: Vec::new(),
            turn: Cell::new(0),
        };
        let order =
            |backends: &Backends| -> Vec<u16> { backends.in_turn().map(|address| address.port()).collect() };
        assert_eq!(order(&backends), [1, 2, 3]);
        assert_eq!(order(&backends), [2, 3, 1]);
        assert_eq!(order(&backends), [3, 1, 2]);
    }
}
