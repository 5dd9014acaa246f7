//! What the parts of an app's infrastructure are where nobody chose, by provider. Data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::manifest::crosswalk::embedded;

#[derive(Debug, Default, Deserialize)]
struct Parts {
    providers: BTreeMap<String, ProviderParts>,
}

#[derive(Debug, Deserialize)]
struct ProviderParts {
    compute: String,
    resources: BTreeMap<String, String>,
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| embedded(include_str!("data/parts.json")));

/// What machines or containers are there, if that is known.
pub(super) fn compute(provider: &str) -> Option<&'static str> {
    Some(PARTS.providers.get(provider)?.compute.as_str())
}

/// What a resource of the catalogue is there, if that is known.
pub(super) fn resource(provider: &str, kind: &str) -> Option<&'static str> {
    Some(PARTS.providers.get(provider)?.resources.get(kind)?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::crosswalk;
    use crate::requirements::catalogue;

    #[test]
    fn the_data_can_be_read_and_speaks_of_what_is_known() {
        let parts: Parts = serde_json::from_str(include_str!("data/parts.json")).unwrap();
        for (provider, parts) in &parts.providers {
            assert_eq!(crosswalk::provider(provider).unwrap().as_str(), provider);
            for kind in parts.resources.keys() {
                assert_eq!(catalogue().find(kind).unwrap().name, *kind);
            }
        }
        assert_eq!(compute("digitalocean"), Some("droplet"));
        assert_eq!(resource("digitalocean", "redis"), Some("managed-redis"));
        assert_eq!(resource("local", "redis"), None);
    }
}
