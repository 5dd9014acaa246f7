//! Which requests an app asks for where several apps share an address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::ServiceConfig;
use crate::names::ServiceName;

/// Requests for a host, below a path. Two apps cannot have the same ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// The host, in lower case; none: every host that nobody else claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path, without a slash at its end; the empty text is the root.
    pub path: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "{}{path}", self.host.as_deref().unwrap_or("*"))
    }
}

/// What services ask for: by their routes, else all where only one has a port. A route without a host is for the
/// app's domain.
#[must_use]
pub fn claims(services: &BTreeMap<ServiceName, ServiceConfig>, domain: Option<&str>) -> BTreeSet<Claim> {
    let open: Vec<&ServiceConfig> = services.values().filter(|service| !service.ports.is_empty()).collect();
    let claim = |host: Option<&str>, path: &str| Claim {
        host: host.or(domain).map(str::to_ascii_lowercase),
        path: path.strip_suffix('/').unwrap_or(path).to_owned(),
    };
    let routes = open.iter().flat_map(|service| &service.routes);
    let all: BTreeSet<Claim> = routes.map(|route| claim(route.host.as_deref(), &route.path)).collect();
    if all.is_empty() && open.len() == 1 { BTreeSet::from([claim(None, "/")]) } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(services: serde_json::Value, domain: Option<&str>) -> Vec<String> {
        let services = serde_json::from_value(services).unwrap();
        claims(&services, domain).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn routes_say_what_is_asked_for_and_a_domain_whose_it_is() {
        let api = serde_json::json!({ "run": "x", "ports": { "http": {} }, "routes": [{ "path": "/api/" }] });
        let web = serde_json::json!({
            "run": "x", "ports": { "http": {} }, "routes": [{ "path": "/" }, { "host": "A.Example", "path": "/" }]
        });
        let both = serde_json::json!({ "api": api, "web": web });
        assert_eq!(of(both.clone(), None), ["*/", "*/api", "a.example/"]);
        assert_eq!(of(both, Some("Shop.Example")), ["a.example/", "shop.example/", "shop.example/api"]);
        let alone =
            serde_json::json!({ "web": { "run": "x", "ports": { "http": {} } }, "work": { "run": "y" } });
        assert_eq!(of(alone, None), ["*/"]);
        assert_eq!(
            of(serde_json::json!({ "work": { "run": "y", "routes": [{ "path": "/" }] } }), None),
            [""; 0]
        );
    }
}
