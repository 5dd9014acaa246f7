//! Every price that is asked for is in the book, exactly once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vrooli_deploy_core::cost::PriceKey;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::manifest::{DeploymentManifest, EncryptionKey};

use super::corpus::scenarios;
use super::example;
use super::lowered::{TARGETS, bill, lower_plain, manifest, shared, with_compute};

struct Book(BTreeMap<(String, String), Vec<Value>>);

impl Book {
    fn read(provider: &str) -> Option<Self> {
        let path = shared(&format!("data/prices-{provider}.json"))?;
        let book: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut entries: BTreeMap<_, Vec<Value>> = BTreeMap::new();
        for entry in book["entries"].as_array().unwrap() {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            entries.entry((text("service"), text("sku"))).or_default().push(entry.clone());
        }
        Some(Self(entries))
    }

    /// How many entries answer.
    fn answers(&self, key: &PriceKey) -> usize {
        let fits = |entry: &&Value| {
            let region = entry["region"].as_str().unwrap();
            (region == key.region || matches!(region, "all" | "global"))
                && key
                    .attributes
                    .iter()
                    .all(|(name, value)| entry[name.as_str()] == Value::String(value.clone()))
        };
        let named = self.0.get(&(key.service.clone(), key.sku.clone()));
        named.map_or(0, |entries| entries.iter().filter(fits).count())
    }
}

/// All that the corpus asks for on a provider in a region, and whether lowering said that not
/// all prices are known there.
fn asked(
    scenarios: &[(String, DeploymentManifest)],
    provider: &str,
    region: &str,
) -> (BTreeSet<PriceKey>, bool) {
    let mut keys = BTreeSet::new();
    let mut said = false;
    for (_, scenario) in scenarios {
        for (target, compute) in TARGETS {
            if target != provider {
                continue;
            }
            for environment in ["default", "production"] {
                let mut scenario = with_compute(scenario.clone(), compute);
                scenario.infrastructure.region = Some(region.to_owned());
                scenario.networking.cdn = true;
                if provider == "aws" {
                    scenario.infrastructure.encryption = EncryptionKey::CustomerManaged;
                }
                scenario.networking.load_balancer = environment == "production";
                scenario.app.domain = Some("app.example.com".to_owned());
                let checked = lower_plain(&scenario, provider, environment);
                said |= checked.diagnostics.iter().any(|one| one.code == rules::NO_PRICES);
                let items = bill(provider, &checked.value.unwrap());
                keys.extend(items.into_iter().map(|item| item.price));
            }
        }
    }
    (keys, said)
}

#[test]
fn every_price_of_digitalocean_is_in_the_book() {
    let Some(book) = Book::read("digitalocean") else { return };
    let scenarios = scenarios();
    for region in ["nyc3", "fra1", "nyc1"] {
        let (keys, said) = asked(&scenarios, "digitalocean", region);
        assert!(!said, "prices are the same in every region");
        for key in keys {
            assert_eq!(book.answers(&key), 1, "{key:?}");
        }
    }
    let loaded = manifest(&example::workflow());
    for item in bill("digitalocean", &lower_plain(&loaded.manifest, "digitalocean", "default").value.unwrap())
    {
        assert_eq!(book.answers(&item.price), 1, "{item:?}");
    }
}

#[test]
fn every_price_of_aws_is_in_the_book_or_its_absence_is_said() {
    let Some(book) = Book::read("aws") else { return };
    let scenarios = scenarios();
    let regions = &vrooli_deploy_providers::aws::catalogue::catalogue().regions;
    let (keys, said) = asked(&scenarios, "aws", &regions.default);
    assert!(!said, "the default region is fully priced");
    for key in &keys {
        assert_eq!(book.answers(key), 1, "{key:?}");
    }
    for region in &regions.regions {
        // Where the book has nothing, a few scenarios show it as well as all.
        let scenarios =
            if region.priced.is_empty() { scenarios.get(..4).unwrap_or_default() } else { &scenarios };
        let (keys, said) = asked(scenarios, "aws", &region.name);
        let mut missing = BTreeSet::new();
        for key in &keys {
            let answers = book.answers(key);
            assert!(answers <= 1, "{key:?}");
            assert_eq!(answers == 1, region.knows_price(key), "{}: {key:?}", region.name);
            if answers == 0 {
                missing.insert(key.service.as_str());
            }
        }
        assert_eq!(said, !missing.is_empty() && !keys.is_empty(), "{}: {missing:?}", region.name);
    }
}

#[test]
fn all_that_can_be_named_has_a_price_or_is_marked() {
    let (Some(aws), Some(digitalocean)) = (Book::read("aws"), Book::read("digitalocean")) else { return };
    let known = vrooli_deploy_providers::aws::catalogue::catalogue();
    let key = |provider: &str, service: &str, sku: &str, attributes: &[(&str, &str)]| PriceKey {
        provider: provider.to_owned(),
        service: service.to_owned(),
        sku: sku.to_owned(),
        region: if provider == "aws" { "us-east-1" } else { "nyc3" }.to_owned(),
        attributes: attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    for class in &known.rds.classes {
        for deployment in ["single-az", "multi-az"] {
            for engine in ["postgres", "mysql"] {
                let key = key("aws", "rds", &class.name, &[("engine", engine), ("deployment", deployment)]);
                assert_eq!(aws.answers(&key), 1, "{key:?}");
            }
        }
    }
    for node in &known.elasticache.nodes {
        for engine in &node.engines {
            assert_eq!(
                aws.answers(&key("aws", "elasticache", &node.name, &[("engine", engine)])),
                1,
                "{node:?}"
            );
        }
    }
    for family in &known.ec2.prefer {
        for size in known.ec2.sizes.iter().filter(|size| size.family() == family) {
            assert_eq!(aws.answers(&key("aws", "ec2", &size.name, &[("os", "linux")])), 1, "{size:?}");
        }
    }
    let known = vrooli_deploy_providers::digitalocean::catalogue::catalogue();
    for size in &known.droplets.sizes {
        assert_eq!(digitalocean.answers(&key("digitalocean", "droplet", &size.name, &[])), 1, "{size:?}");
    }
    for size in &known.app_platform.sizes {
        assert_eq!(
            digitalocean.answers(&key("digitalocean", "app-platform", &size.name, &[])),
            1,
            "{size:?}"
        );
    }
    for engine in ["pg", "mysql", "valkey"] {
        for size in known.nodes(engine) {
            let key = key("digitalocean", "managed-db", &size.name, &[("engine", engine)]);
            assert_eq!(digitalocean.answers(&key), usize::from(size.priced), "{engine} {size:?}");
        }
    }
}
