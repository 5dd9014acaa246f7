//! The manifest of the workflow document, phase 5, and what it is billed for.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric, Quantity};
use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::manifest::yaml::SpanIndex;

use super::lowered::{bill, check_stack, lower, lower_plain, manifest, shared};

pub(crate) fn workflow() -> Value {
    json!({
        "schema_version": "v0.1",
        "target": "saas",
        "provider": "digitalocean",
        "app": { "name": "picker-wheel", "version": "1.0.0", "domain": "picker-wheel.example.com" },
        "infrastructure": {
            "compute": { "type": "droplet", "size": "s-2vcpu-4gb", "count": 2 },
            "database": { "type": "managed-postgres", "size": "db-s-1vcpu-1gb" },
            "cache": { "type": "managed-redis", "size": "db-s-1vcpu-1gb" },
            "storage": { "type": "spaces", "region": "nyc3" }
        },
        "networking": { "load_balancer": true, "ssl": "letsencrypt", "cdn": true }
    })
}

/// What is billed whatever users do: `line service/sku engine × how many`.
fn fixed(items: &[BillItem]) -> Vec<String> {
    let mut fixed: Vec<String> = items
        .iter()
        .filter_map(|item| {
            let Quantity::Running(count) = &item.quantity else { return None };
            let engine =
                item.price.attributes.get("engine").map_or(String::new(), |engine| format!(" {engine}"));
            Some(format!("{:?} {}/{}{engine} × {count}", item.line, item.price.service, item.price.sku))
        })
        .collect();
    fixed.sort();
    fixed
}

#[test]
fn the_example_is_billed_for_exactly_what_it_names() {
    let loaded = manifest(&workflow());
    let checked = lower(&loaded.manifest, &loaded.spans, "digitalocean", "default");
    let errors: Vec<_> =
        checked.diagnostics.iter().filter(|said| said.severity >= Severity::Warning).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let stack = checked.value.unwrap();
    check_stack("digitalocean", &stack);
    let items = bill("digitalocean", &stack);
    let expected = [
        "Cache managed-db/db-s-1vcpu-1gb valkey × 1",
        "Compute droplet/s-2vcpu-4gb × 1",
        "Compute droplet/s-2vcpu-4gb × 1",
        "Database managed-db/db-s-1vcpu-1gb pg × 1",
        "LoadBalancer load-balancer/regional-http × 1",
        "Storage spaces/base × 1",
    ];
    assert_eq!(fixed(&items), expected);
    // Nothing is provisioned by amount, and what users cause draws on what is included.
    let mut included: BTreeMap<&str, Decimal> = BTreeMap::new();
    for item in &items {
        for allowance in &item.includes {
            *included.entry(allowance.pool.as_str()).or_default() += allowance.amount;
        }
    }
    let metrics: Vec<(Metric, Decimal, &str)> = items
        .iter()
        .filter_map(|item| match &item.quantity {
            Quantity::Usage { metric, factor, pool } => Some((*metric, *factor, pool.as_deref().unwrap())),
            Quantity::Amount(_) | Quantity::ShareOf { .. } => panic!("{item:?}"),
            Quantity::Running(_) => None,
        })
        .collect();
    let sent: Decimal =
        metrics.iter().filter(|(metric, ..)| *metric == Metric::EgressGb).map(|(_, factor, _)| factor).sum();
    assert_eq!(sent, Decimal::ONE, "the app's traffic is billed once");
    let use_of = |metric| if metric == Metric::StorageGb { 100 } else { 500 };
    for (metric, factor, pool) in metrics {
        assert!(Decimal::from(use_of(metric)) * factor <= included[pool], "{pool} holds the document's use");
    }
    assert_eq!(included["droplet-transfer"], Decimal::from(8000));

    let mut without = workflow();
    without["networking"]["load_balancer"] = json!(false);
    let loaded = manifest(&without);
    let items =
        bill("digitalocean", &lower_plain(&loaded.manifest, "digitalocean", "default").value.unwrap());
    let expected: Vec<_> = expected.into_iter().filter(|line| !line.starts_with("LoadBalancer")).collect();
    assert_eq!(fixed(&items), expected, "without a load balancer all else stays");
}

/// 95.15 with the load balancer and 83.15 without, from the prices of the book.
#[test]
fn the_example_sums_to_what_the_book_says() {
    let Some(path) = shared("data/prices-digitalocean.json") else { return };
    let book: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let price = |item: &BillItem| -> Decimal {
        let entry = book["entries"].as_array().unwrap().iter().find(|entry| {
            entry["service"] == item.price.service
                && entry["sku"] == item.price.sku
                && item.price.attributes.iter().all(|(name, value)| entry[name.as_str()] == *value)
        });
        entry.unwrap()["usd"].to_string().parse().unwrap()
    };
    for (balancer, total, compute) in [(true, "95.15", "48"), (false, "83.15", "48")] {
        let mut document = workflow();
        document["networking"]["load_balancer"] = json!(balancer);
        let loaded = manifest(&document);
        let items =
            bill("digitalocean", &lower_plain(&loaded.manifest, "digitalocean", "default").value.unwrap());
        let running = |item: &&BillItem| matches!(item.quantity, Quantity::Running(_));
        let sum: Decimal = items.iter().filter(running).map(price).sum();
        assert_eq!(sum, total.parse().unwrap());
        let machines = items.iter().filter(running).filter(|item| item.line == Line::Compute);
        assert_eq!(machines.map(price).sum::<Decimal>(), compute.parse().unwrap());
    }
}

#[test]
fn regions_that_differ_are_explained_at_their_place() {
    let mut document = workflow();
    document["infrastructure"]["region"] = json!("nyc1");
    let loaded = manifest(&document);
    let checked = lower(&loaded.manifest, &loaded.spans, "digitalocean", "default");
    let said = checked.diagnostics.iter().find(|said| said.code == rules::REGION_MISMATCH).unwrap();
    assert!(said.message.contains("nyc1") && said.message.contains("nyc3"), "{said}");
    assert!(said.message.contains("nyc1 has no Spaces"), "{said}");
    assert!(said.to_string().starts_with("deployment.json:"), "{said} has a place");
    assert_eq!(said.severity, Severity::Warning);
    assert!(!checked.has_errors());

    // The same without places says the same.
    let plain = lower(&loaded.manifest, &SpanIndex::default(), "digitalocean", "default");
    assert_eq!(plain.value, checked.value);
}

#[test]
fn redis_is_valkey_there_and_that_is_said() {
    let loaded = manifest(&workflow());
    let checked = lower(&loaded.manifest, &loaded.spans, "digitalocean", "default");
    let said = checked.diagnostics.iter().find(|said| said.code == rules::ENGINE_RENAMED).unwrap();
    assert!(said.message.contains("Valkey") && said.help.as_deref().unwrap().contains("managed-valkey"));
    let cache = &checked.value.unwrap().resources[&"cache/main".parse().unwrap()];
    assert_eq!(cache.spec["engine"], "valkey");
}
