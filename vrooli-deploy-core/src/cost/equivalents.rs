//! The same thing in the words of several providers, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::book;
use super::{Decimal, PriceKey};
use crate::manifest::crosswalk::embedded;
use crate::manifest::{ComputeConfig, EncryptionKey, InfrastructureConfig, PartConfig, PasswordKeeper};

type Words = Vec<BTreeMap<String, String>>;

#[derive(Debug, Default, Deserialize)]
struct Equivalents {
    compute: Words,
    database: Words,
    cache: Words,
    storage: Words,
    sized: Vec<Sized>,
    sizes: Sizes,
}

/// Sizes of providers whose price book does not say how large they are, the smallest first.
#[derive(Debug, Default, Deserialize)]
struct Sizes {
    aws: Vec<Size>,
}

/// How large a size is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Size {
    part: Part,
    size: String,
    vcpus: Decimal,
    memory_gib: Decimal,
}

impl Size {
    fn words(&self) -> String {
        format!("{} vCPU, {} GiB", self.vcpus.normalize(), self.memory_gib.normalize())
    }
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

/// The sizes of a part on a provider, the cheapest or smallest first.
fn sizes(provider: &str, part: Part, kind: &str) -> Vec<Size> {
    if provider == "aws" {
        // Fargate has no names for sizes.
        let named = part != Part::Compute || kind == "ec2";
        return EQUIVALENTS.sizes.aws.iter().filter(|size| named && size.part == part).cloned().collect();
    }
    let Some(book) = book::embedded(provider) else { return Vec::new() };
    let Some(sized) = EQUIVALENTS.sized.iter().find(|sized| {
        sized.provider == provider && sized.part == part && (part != Part::Compute || sized.kind == kind)
    }) else {
        return Vec::new();
    };
    let mut known: Vec<(Decimal, Size)> = book
        .of_service(&sized.service)
        .iter()
        .filter(|price| {
            sized.attributes.iter().all(|(name, value)| price.attributes.get(name) == Some(value))
        })
        .filter_map(|price| {
            let number = |name: &str| price.attributes.get(name)?.parse::<Decimal>().ok();
            let memory = number("memory_gib").or_else(|| Some(number("memory_mb")? / Decimal::from(1024)))?;
            let size = Size { part, size: price.sku.clone(), vcpus: number("vcpus")?, memory_gib: memory };
            Some((price.amount, size))
        })
        .collect();
    known.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.size.cmp(&b.1.size)));
    known.into_iter().map(|(_, size)| size).collect()
}

/// The size of another provider that is at least as large, and what to say about it.
fn as_large(
    (from, kind, size): (&str, &str, &str),
    (to, word): (&str, &str),
    part: Part,
) -> Option<(String, String)> {
    let mine = sizes(from, part, kind).into_iter().find(|known| known.size == size)?;
    // What a cache takes of a processor is little anywhere: its memory is what counts.
    let processors = if part == Part::Cache { Decimal::ZERO } else { mine.vcpus };
    let theirs = sizes(to, part, word)
        .into_iter()
        .find(|known| known.vcpus >= processors && known.memory_gib >= mine.memory_gib)?;
    let note = format!(
        "`{}` ({}) of {to} stands for `{}` ({}) of {from}",
        theirs.size,
        theirs.words(),
        mine.size,
        mine.words()
    );
    Some((theirs.size, note))
}

/// What a manifest asks of one provider, asked of another: counts stay, words are translated,
/// sizes become the cheapest that are at least as large, regions are the other's to choose.
/// What has no counterpart is left out, and its provider chooses. Also what to say about it.
pub(super) fn elsewhere(
    infrastructure: &InfrastructureConfig,
    from: &str,
    to: &str,
) -> (InfrastructureConfig, Vec<String>) {
    let mut notes = Vec::new();
    let mut sized = |kind: &str, size: &Option<String>, word: &str, part: Part| {
        let (size, note) = as_large((from, kind, size.as_deref()?), (to, word), part)?;
        notes.push(note);
        Some(size)
    };
    let mut translate = |part: &Option<PartConfig>, words: &'static Words, which: Option<Part>| {
        let part = part.as_ref()?;
        let kind = translated(words, &part.kind, to)?.to_owned();
        let size = which.and_then(|which| sized(&part.kind, &part.size, &kind, which));
        let password = PasswordKeeper::default();
        Some(PartConfig { kind, size, region: None, version: part.version.clone(), password })
    };
    let database = translate(&infrastructure.database, &EQUIVALENTS.database, Some(Part::Database));
    let cache = translate(&infrastructure.cache, &EQUIVALENTS.cache, Some(Part::Cache));
    let storage = translate(&infrastructure.storage, &EQUIVALENTS.storage, None);
    let compute = infrastructure.compute.as_ref().and_then(|compute| {
        let kind = translated(&EQUIVALENTS.compute, &compute.kind, to)?.to_owned();
        let size = sized(&compute.kind, &compute.size, &kind, Part::Compute);
        Some(ComputeConfig { kind, size, count: compute.count })
    });
    if infrastructure.encryption == EncryptionKey::CustomerManaged {
        notes.push(format!("encrypted with {to}'s own keys, not with one of yours"));
    }
    if infrastructure.database.as_ref().is_some_and(|part| part.password == PasswordKeeper::Managed) {
        notes.push(format!("with a password that is stored, not one that {from} keeps"));
    }
    if infrastructure.budget.is_some() {
        notes.push(format!("without the budget, which is {from}'s to keep"));
    }
    let there = InfrastructureConfig {
        region: None,
        compute,
        database,
        cache,
        storage,
        encryption: EncryptionKey::default(),
        budget: None,
        servers: infrastructure.servers.clone(),
    };
    (there, notes)
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
    fn sizes_of_aws_are_in_its_book_and_rise() {
        let book = book::embedded("aws").unwrap();
        for size in &EQUIVALENTS.sizes.aws {
            let service = match size.part {
                Part::Compute => "ec2",
                Part::Database => "rds",
                Part::Cache => "elasticache",
            };
            assert!(!book.of_product(service, &size.size).is_empty(), "{}", size.size);
        }
        for pair in EQUIVALENTS.sizes.aws.windows(2) {
            assert!(pair[0].part != pair[1].part || pair[0].memory_gib < pair[1].memory_gib, "{pair:?}");
        }
    }

    #[test]
    fn counts_go_along_and_sizes_become_as_large() {
        let mine: InfrastructureConfig = serde_json::from_value(serde_json::json!({
            "region": "nyc3",
            "compute": {"type": "droplet", "size": "s-2vcpu-4gb", "count": 2},
            "database": {"type": "managed-postgres", "size": "db-s-1vcpu-1gb", "version": "16"},
            "cache": {"type": "managed-redis", "size": "db-s-1vcpu-1gb"},
            "storage": {"type": "spaces", "region": "nyc3"}
        }))
        .unwrap();
        let (theirs, notes) = elsewhere(&mine, "digitalocean", "aws");
        assert_eq!(
            serde_json::to_value(&theirs).unwrap(),
            serde_json::json!({
                "compute": {"type": "ec2", "size": "t3.medium", "count": 2},
                "database": {"type": "managed-postgres", "size": "db.t4g.micro", "version": "16"},
                "cache": {"type": "managed-redis", "size": "cache.t4g.small"},
                "storage": {"type": "s3"}
            })
        );
        assert!(notes.contains(&"`t3.medium` (2 vCPU, 4 GiB) of aws stands for `s-2vcpu-4gb` (2 vCPU, 4 GiB) of digitalocean".to_owned()), "{notes:?}");
        let (back, _) = elsewhere(&theirs, "aws", "digitalocean");
        assert_eq!(
            back.compute,
            Some(ComputeConfig { size: Some("s-2vcpu-4gb".to_owned()), ..mine.compute.unwrap() })
        );
        assert_eq!(other_computes("digitalocean", "droplet").collect::<Vec<_>>(), ["app-platform"]);
    }

    #[test]
    fn what_is_one_providers_alone_is_left_out_and_said() {
        let mine: InfrastructureConfig = serde_json::from_value(serde_json::json!({
            "encryption": "customer-managed",
            "budget": {"monthly_usd": "200", "notify": ["ops@example.com"]}
        }))
        .unwrap();
        let (theirs, notes) = elsewhere(&mine, "aws", "digitalocean");
        assert_eq!((theirs, notes.len()), (InfrastructureConfig::default(), 2), "{notes:?}");
    }
}
