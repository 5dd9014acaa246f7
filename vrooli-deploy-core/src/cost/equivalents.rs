//! The same thing in the words of several providers, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::PriceKey;
use crate::manifest::crosswalk::embedded;
use crate::manifest::{ComputeConfig, InfrastructureConfig, PartConfig};

type Words = Vec<BTreeMap<String, String>>;

#[derive(Debug, Default, Deserialize)]
struct Equivalents {
    compute: Words,
    database: Words,
    cache: Words,
    storage: Words,
    sized: Vec<Sized>,
}

/// A price whose product is a size that a manifest can ask for.
#[derive(Debug, Deserialize)]
pub(super) struct Sized {
    provider: String,
    service: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    pub(super) part: Part,
    /// The manifest's word for it.
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// A part of an infrastructure that has a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    Compute,
    Database,
    Cache,
}

static EQUIVALENTS: LazyLock<Equivalents> = LazyLock::new(|| embedded(include_str!("data/equivalents.json")));

/// The part of a manifest whose size a key prices.
pub(super) fn sized(key: &PriceKey) -> Option<&'static Sized> {
    EQUIVALENTS.sized.iter().find(|sized| {
        sized.provider == key.provider
            && sized.service == key.service
            && sized.attributes.iter().all(|(name, value)| key.attributes.get(name) == Some(value))
    })
}

/// Other words of a provider for what does the same as `kind` does: other topologies.
pub(super) fn other_computes(provider: &str, kind: &str) -> impl Iterator<Item = &'static str> {
    let (provider, kind) = (provider.to_owned(), kind.to_owned());
    EQUIVALENTS
        .compute
        .iter()
        .filter_map(move |words| words.get(&provider).map(String::as_str).filter(|word| *word != kind))
}

fn translated(words: &'static Words, kind: &str, to: &str) -> Option<&'static str> {
    words.iter().find(|words| words.values().any(|word| word == kind))?.get(to).map(String::as_str)
}

/// What a manifest asks of one provider, asked of another: counts stay, words are translated,
/// sizes and regions are the other's to choose. What has no counterpart is left out, and its
/// provider chooses.
pub(super) fn elsewhere(infrastructure: &InfrastructureConfig, to: &str) -> InfrastructureConfig {
    let part = |part: &Option<PartConfig>, words: &'static Words| {
        let part = part.as_ref()?;
        let kind = translated(words, &part.kind, to)?.to_owned();
        Some(PartConfig { kind, size: None, region: None, version: part.version.clone() })
    };
    let compute = infrastructure.compute.as_ref().and_then(|compute| {
        let kind = translated(&EQUIVALENTS.compute, &compute.kind, to)?.to_owned();
        Some(ComputeConfig { kind, size: None, count: compute.count })
    });
    InfrastructureConfig {
        region: None,
        compute,
        database: part(&infrastructure.database, &EQUIVALENTS.database),
        cache: part(&infrastructure.cache, &EQUIVALENTS.cache),
        storage: part(&infrastructure.storage, &EQUIVALENTS.storage),
        servers: infrastructure.servers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::book;

    #[test]
    fn every_price_that_is_named_is_in_a_book() {
        assert!(!EQUIVALENTS.sized.is_empty());
        for sized in &EQUIVALENTS.sized {
            let prices = book::embedded(&sized.provider).unwrap().of_service(&sized.service);
            assert!(
                prices
                    .iter()
                    .any(|price| sized.attributes.iter().all(|(n, v)| price.attributes.get(n) == Some(v))),
                "{sized:?}"
            );
        }
    }

    #[test]
    fn counts_go_along_and_sizes_do_not() {
        let mine: InfrastructureConfig = serde_json::from_value(serde_json::json!({
            "region": "nyc3",
            "compute": {"type": "droplet", "size": "s-2vcpu-4gb", "count": 2},
            "database": {"type": "managed-postgres", "size": "db-s-1vcpu-1gb", "version": "16"},
            "storage": {"type": "spaces", "region": "nyc3"}
        }))
        .unwrap();
        let theirs = serde_json::to_value(elsewhere(&mine, "aws")).unwrap();
        assert_eq!(
            theirs,
            serde_json::json!({
                "compute": {"type": "ec2", "count": 2},
                "database": {"type": "managed-postgres", "version": "16"},
                "storage": {"type": "s3"}
            })
        );
        assert_eq!(other_computes("digitalocean", "droplet").collect::<Vec<_>>(), ["app-platform"]);
    }
}
