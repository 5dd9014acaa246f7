//! What is asked of a host: dated data, no literals.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use serde::Deserialize;

/// From where on it is a warning, and from where on it will not do.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Limit {
    pub(super) fail: f64,
    #[serde(default)]
    pub(super) warn: f64,
}

/// The releases of a system.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct System {
    pub(super) name: String,
    pub(super) good: Vec<String>,
    pub(super) old: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Limits {
    pub(super) edge_units: Vec<String>,
    pub(super) ports: Vec<u16>,
    pub(super) disk_free_gib: Limit,
    pub(super) memory_gib: Limit,
    pub(super) clock_seconds: Limit,
    pub(super) systemd: Limit,
    pub(super) systems: BTreeMap<String, System>,
    pub(super) commands: Vec<String>,
    pub(super) firewall_words: BTreeMap<String, Vec<String>>,
    proxies: BTreeMap<String, Vec<String>>,
    hints: BTreeMap<String, String>,
}

pub(super) static LIMITS: LazyLock<Limits> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/preflight.json")).unwrap_or_default());

impl Limits {
    /// What to do about a check that does not pass.
    pub(super) fn hint(&self, id: &str) -> Option<&str> {
        let id = if id.starts_with("cmd_") { "cmd" } else { id };
        self.hints.get(id).map(String::as_str)
    }

    /// Who stands in front of a server with this address: `Cloudflare`.
    pub(super) fn proxy(&self, address: IpAddr) -> Option<&str> {
        let is_in = |networks: &Vec<String>| networks.iter().any(|network| is_within(address, network));
        self.proxies.iter().find(|(_, networks)| is_in(networks)).map(|(name, _)| name.as_str())
    }
}

/// Is an address in a network, `198.41.128.0/17`?
fn is_within(address: IpAddr, network: &str) -> bool {
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            let rest = 32u32.saturating_sub(length);
            u32::from(address).checked_shr(rest) == u32::from(base).checked_shr(rest)
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => {
            let rest = 128u32.saturating_sub(length);
            u128::from(address).checked_shr(rest) == u128::from(base).checked_shr(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_are_whole() {
        assert_eq!(LIMITS.ports, [80, 443]);
        assert!(LIMITS.disk_free_gib.fail < LIMITS.disk_free_gib.warn);
        assert!(LIMITS.memory_gib.fail < LIMITS.memory_gib.warn);
        assert!(LIMITS.clock_seconds.warn < LIMITS.clock_seconds.fail);
        assert!(LIMITS.systems.contains_key("debian") && LIMITS.systems.contains_key("ubuntu"));
        assert!(LIMITS.ports.iter().all(|port| LIMITS.firewall_words.contains_key(&port.to_string())));
        for networks in LIMITS.proxies.values() {
            for network in networks {
                let base = network.split('/').next().unwrap().parse().unwrap();
                assert!(is_within(base, network), "{network}");
            }
        }
    }

    #[test]
    fn networks_end_where_they_end() {
        let proxy = |text: &str| LIMITS.proxy(text.parse().unwrap());
        assert_eq!(proxy("104.16.0.1"), Some("Cloudflare"));
        assert_eq!(proxy("104.28.0.1"), None);
        assert_eq!(proxy("2606:4700::1"), Some("Cloudflare"));
        assert_eq!(proxy("192.0.2.1"), None);
    }
}
