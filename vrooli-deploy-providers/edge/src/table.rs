//! What a supervisor tells the edge about one site.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ListenerId, ReleaseName, ServiceName, SiteId};
use crate::origin::TrustedProxies;

/// Largest weight of a release. Weights are relative, so nobody needs more.
pub const MAX_WEIGHT: u32 = 1_000_000;
/// In seconds. Long enough for a browser that comes now and then, short enough to be waited out.
const HALF_A_YEAR: u32 = 182 * 86_400;

/// The whole routing of one site. A table replaces the one before it as a whole; requests see
/// either the old one or the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteTable {
    /// Which site this is.
    pub site: SiteId,
    /// Rises with every takeover of the site's lease. A table with a lower fence than the one
    /// the edge holds is refused.
    pub fence: u64,
    /// The sockets this site is served on. Empty means the one listener named as the site.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub listeners: BTreeSet<ListenerId>,
    /// Which requests go to which service. The most specific host wins, then the longest path.
    pub rules: Vec<Rule>,
    /// The releases that exist for this site, whether they get traffic or not.
    pub releases: BTreeMap<ReleaseName, ReleaseRoute>,
    /// Whether a GET for a static asset that one release does not have is tried on the others.
    #[serde(default)]
    pub bridge_assets: bool,
    /// How backends of a service are checked by the edge itself. One that does not answer gets
    /// requests only when no other is left. Without an entry a backend is checked from the time
    /// that a request could not reach it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub health: BTreeMap<ServiceName, HealthCheck>,
    /// The name of a cookie that makes a client keep its release while several serve. Clients
    /// without one are sampled like everyone else. None: each request is sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// Proxies in front of the edge that say where a request came from. None: what requests
    /// say of it is thrown away, and the client is whoever connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<TrustedProxies>,
    /// Sends who comes without TLS to the same address with it. None: plain HTTP is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsOnly>,
    /// Bytes of the largest body that a request may have; a larger one is answered 413. None:
    /// bodies stream through, however large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Whether answers are compressed (gzip) for clients that take it: pages, scripts, styles,
    /// JSON. What may hold a secret beside what an attacker chose (BREACH) is left alone: pages
    /// and JSON asked for with a cookie or with credentials, unless they say that they are
    /// `public`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
    /// Where the edge goes back to by itself unless another table comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Revert>,
}

/// That a site is only answered by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpsOnly {
    /// The port that clients reach TLS at; 443 is not written out.
    pub port: u16,
    /// How long a browser is to remember it (HSTS), in whole seconds; none: it is not told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remember_seconds: Option<u32>,
}

impl HttpsOnly {
    /// At a port, and remembered for half a year.
    #[must_use]
    pub fn at(port: u16) -> Self {
        Self { port, remember_seconds: Some(HALF_A_YEAR) }
    }
}

/// Sends the requests that match to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A host name without port, `*.example.com` for its direct and indirect subdomains, or
    /// none for every host. Compared without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path that starts with `/`. It matches itself and what lies below it, on whole
    /// segments: `/api` matches `/api` and `/api/x`, never `/apix`. A trailing `/` says the
    /// same as none. Compared byte by byte with what the client sent: nothing is decoded.
    pub path: String,
    /// The service that answers.
    pub service: ServiceName,
}

/// One release as the edge sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRoute {
    /// Its share of the requests, relative to the other releases; 0 gets none.
    pub weight: u32,
    /// Where each service listens. Several addresses take turns.
    pub backends: BTreeMap<ServiceName, Vec<SocketAddr>>,
}

/// How a backend is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked for; an answer below 400 is well. None: that it accepts a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Between two checks.
    #[serde(rename = "interval_ms", with = "crate::millis")]
    pub interval: Duration,
    /// Of one check.
    #[serde(rename = "timeout_ms", with = "crate::millis")]
    pub timeout: Duration,
    /// So many in a row fail before the backend is down.
    pub unhealthy_after: u32,
    /// Begun by a request that failed, and over when the backend answers.
    #[serde(skip)]
    pub(crate) by_report: bool,
}

impl HealthCheck {
    /// A GET every 5 s that may take 2 s; two failures in a row mean down.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            path: Some(path.into()),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            unhealthy_after: 2,
            by_report: false,
        }
    }
}

/// A way back that needs nobody. As long as it is there, a request without a body that the release it
/// was sent to does not take is answered by one of those that traffic would go back to, and counts as
/// failed for the other. If no other table comes within `after`, the edge gives the
/// releases these weights (0 to those not named) and remembers it across a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// How long from now, in whole milliseconds. A duration and not a time, so that a jump of
    /// the machine's clock does not move it while the edge runs.
    #[serde(rename = "after_ms", with = "crate::millis")]
    pub after: Duration,
    /// The weights to go back to.
    pub weights: BTreeMap<ReleaseName, u32>,
}

/// A site as the edge holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteState {
    /// The table in force. `revert`, if there is one, says what is left of the time.
    pub table: SiteTable,
    /// Present once the edge went back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted: Option<Reverted>,
    /// Requests and tunnels that each release is busy with at this moment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_flight: BTreeMap<ReleaseName, u64>,
}

/// That the edge went back to earlier weights because nobody told it otherwise in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverted {
    /// When, in milliseconds since 1970 by the machine's clock.
    pub at_unix_ms: u64,
    /// The weights that were in force until then.
    pub from: BTreeMap<ReleaseName, u32>,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A path without a leading `/`, or with a character that no request line can hold.
    #[error("path {path:?} must start with `/` and hold only visible ASCII without `?` and `#`")]
    Path {
        /// The path as given.
        path: String,
    },
    /// A host that cannot be one.
    #[error("host {host:?} must be a host name without scheme, port or path, or `*.` and one")]
    Host {
        /// The host as given.
        host: String,
    },
    /// Two rules of this table say the same.
    #[error("two rules for host {host:?} and path {path:?}")]
    Twice {
        /// The host of both.
        host: Option<String>,
        /// The path of both.
        path: String,
    },
    /// Another site has the same rule on the same socket.
    #[error("host {host:?} and path {path:?} on listener {listener} already belong to site {site}")]
    Taken {
        /// The socket that both serve.
        listener: ListenerId,
        /// The host of both.
        host: Option<String>,
        /// The path of both.
        path: String,
        /// Who has it.
        site: SiteId,
    },
    /// A health check that takes or waits no time.
    #[error("a health check must have an interval and a timeout above zero")]
    Check,
    /// A name that no cookie can have.
    #[error("{cookie:?} cannot be the name of a cookie")]
    Cookie {
        /// The name as given.
        cookie: String,
    },
    /// A weight over [`MAX_WEIGHT`].
    #[error("weight {weight} of release {release} is over {MAX_WEIGHT}")]
    Weight {
        /// Whose weight.
        release: ReleaseName,
        /// The weight as given.
        weight: u32,
    },
    /// `revert` names a release that the table has not.
    #[error("revert names release {release}, which the table does not have")]
    RevertTo {
        /// The release as given.
        release: ReleaseName,
    },
}

impl Rule {
    /// A rule for every host.
    #[must_use]
    pub fn any_host(path: impl Into<String>, service: ServiceName) -> Self {
        Self { host: None, path: path.into(), service }
    }

    /// The host in the form that requests are compared with.
    pub(crate) fn host_key(&self) -> Option<String> {
        self.host.as_ref().map(|host| host.to_ascii_lowercase())
    }

    /// The path without its trailing slash: the empty string is the root.
    pub(crate) fn prefix(&self) -> &str {
        self.path.strip_suffix('/').unwrap_or(&self.path)
    }

    fn check(&self) -> Result<(), TableError> {
        let plain = self.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#');
        if !self.path.starts_with('/') || !plain {
            return Err(TableError::Path { path: self.path.clone() });
        }
        if let Some(host) = &self.host {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            let plain = match address {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
            };
            if name.is_empty() || name.len() > 253 || name.ends_with('.') || !plain {
                return Err(TableError::Host { host: host.clone() });
            }
        }
        Ok(())
    }
}

impl SiteTable {
    /// A table with no rule and no release yet.
    #[must_use]
    pub fn new(site: SiteId, fence: u64) -> Self {
        Self {
            site,
            fence,
            listeners: BTreeSet::new(),
            rules: Vec::new(),
            releases: BTreeMap::new(),
            bridge_assets: false,
            health: BTreeMap::new(),
            sticky: None,
            trusted_proxies: None,
            https: None,
            max_body_bytes: None,
            compress: false,
            revert: None,
        }
    }

    /// The sockets this site is served on.
    #[must_use]
    pub fn served_on(&self) -> BTreeSet<ListenerId> {
        if self.listeners.is_empty() {
            BTreeSet::from([ListenerId::from(self.site.clone())])
        } else {
            self.listeners.clone()
        }
    }

    /// The share of each release.
    #[must_use]
    pub fn weights(&self) -> BTreeMap<ReleaseName, u32> {
        self.releases.iter().map(|(name, release)| (name.clone(), release.weight)).collect()
    }

    /// Gives each release its weight from `weights`, and 0 to those not named.
    pub fn set_weights(&mut self, weights: &BTreeMap<ReleaseName, u32>) {
        for (name, release) in &mut self.releases {
            release.weight = weights.get(name).copied().unwrap_or(0);
        }
    }

    /// Checks what can be checked without knowing the other sites.
    ///
    /// # Errors
    /// Says which rule, weight or name is wrong; the first one found.
    pub fn check(&self) -> Result<(), TableError> {
        if let Some(cookie) = self.sticky.as_ref().filter(|cookie| !crate::sticky::is_name(cookie)) {
            return Err(TableError::Cookie { cookie: cookie.clone() });
        }
        for check in self.health.values() {
            let path = check.path.as_deref().unwrap_or("/");
            if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TableError::Path { path: path.to_owned() });
            }
            if check.interval.is_zero() || check.timeout.is_zero() {
                return Err(TableError::Check);
            }
        }
        let mut seen = BTreeSet::new();
        for rule in &self.rules {
            rule.check()?;
            if !seen.insert((rule.host_key(), rule.prefix())) {
                return Err(TableError::Twice { host: rule.host.clone(), path: rule.path.clone() });
            }
        }
        let reverts = self.revert.iter().flat_map(|revert| revert.weights.iter());
        for (release, weight) in
            self.releases.iter().map(|(name, release)| (name, &release.weight)).chain(reverts.clone())
        {
            if *weight > MAX_WEIGHT {
                return Err(TableError::Weight { release: release.clone(), weight: *weight });
            }
        }
        for (release, _) in reverts {
            if !self.releases.contains_key(release) {
                return Err(TableError::RevertTo { release: release.clone() });
            }
        }
        Ok(())
    }

    /// Checks that no rule of this site is also a rule of another one on the same socket.
    pub(crate) fn check_beside<'a>(
        &self,
        others: impl Iterator<Item = &'a SiteTable>,
    ) -> Result<(), TableError> {
        let mine = self.served_on();
        for other in others.filter(|other| other.site != self.site) {
            let theirs = other.served_on();
            let Some(listener) = mine.intersection(&theirs).next() else {
                continue;
            };
            for rule in &self.rules {
                let same =
                    |theirs: &&Rule| theirs.host_key() == rule.host_key() && theirs.prefix() == rule.prefix();
                if other.rules.iter().any(|theirs| same(&theirs)) {
                    return Err(TableError::Taken {
                        listener: listener.clone(),
                        host: rule.host.clone(),
                        path: rule.path.clone(),
                        site: other.site.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(site: &str, rules: &[(Option<&str>, &str)]) -> SiteTable {
        let mut table = SiteTable::new(SiteId::new(site).unwrap(), 1);
        table.rules = rules
            .iter()
            .map(|(host, path)| Rule {
                host: host.map(str::to_owned),
                path: (*path).to_owned(),
                service: ServiceName::new("ui").unwrap(),
            })
            .collect();
        table
    }

    #[test]
    fn hosts_and_paths_are_checked() {
        for good in
            [(None, "/"), (Some("a.example"), "/api"), (Some("*.a.example"), "/x/"), (Some("[::1]"), "/")]
        {
            table("s", &[good]).check().unwrap();
        }
        for bad in [
            (None, ""),
            (None, "api"),
            (None, "/a b"),
            (None, "/a?b"),
            (Some(""), "/"),
            (Some("a:80"), "/"),
            (Some("a.example."), "/"),
            (Some("*."), "/"),
            (Some("a/b"), "/"),
            (Some("[x]"), "/"),
        ] {
            assert!(table("s", &[bad]).check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_same_rule_twice_is_refused_within_and_between_sites() {
        let within = table("s", &[(Some("A.example"), "/x"), (Some("a.example"), "/x/")]);
        assert!(matches!(within.check(), Err(TableError::Twice { .. })));

        let first = table("one", &[(None, "/")]);
        let mut second = table("two", &[(None, "/")]);
        second.check_beside([&first].into_iter()).unwrap();
        second.listeners = first.served_on();
        assert!(matches!(second.check_beside([&first].into_iter()), Err(TableError::Taken { .. })));
    }

    #[test]
    fn a_revert_names_releases_of_the_table() {
        let mut table = table("s", &[]);
        let release = ReleaseName::new("r1").unwrap();
        table.revert =
            Some(Revert { after: Duration::from_secs(1), weights: BTreeMap::from([(release.clone(), 100)]) });
        assert!(matches!(table.check(), Err(TableError::RevertTo { .. })));
        table.releases.insert(release, ReleaseRoute { weight: 0, backends: BTreeMap::new() });
        table.check().unwrap();
    }
}
