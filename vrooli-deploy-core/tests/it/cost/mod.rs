//! Prices and estimates.

mod assess;
mod book;
mod estimate;
mod properties;
mod refresh;

use vrooli_deploy_core::cost::{Allowance, Bill, BillItem, Decimal, Line, Metric, PriceKey, Quantity};
use vrooli_deploy_core::names::ResourceKey;

/// A number from text.
fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn item(line: Line, provider: &str, service: &str, sku: &str, region: &str, quantity: Quantity) -> BillItem {
    BillItem {
        line,
        what: format!("{service} {sku}"),
        price: PriceKey {
            provider: provider.to_owned(),
            service: service.to_owned(),
            sku: sku.to_owned(),
            region: region.to_owned(),
            attributes: std::collections::BTreeMap::new(),
        },
        quantity,
        includes: Vec::new(),
        per_release: false,
    }
}

fn running(count: u32) -> Quantity {
    Quantity::Running(count.into())
}

fn used(metric: Metric, pool: Option<&str>) -> Quantity {
    Quantity::Usage { metric, factor: Decimal::ONE, pool: pool.map(ToOwned::to_owned) }
}

fn with(mut item: BillItem, name: &str, value: &str) -> BillItem {
    item.price.attributes.insert(name.to_owned(), value.to_owned());
    item
}

fn including(mut item: BillItem, pool: &str, amount: u32) -> BillItem {
    item.includes.push(Allowance { pool: pool.to_owned(), amount: amount.into() });
    item
}

fn digital(line: Line, service: &str, sku: &str, quantity: Quantity) -> BillItem {
    item(line, "digitalocean", service, sku, "nyc3", quantity)
}

/// What the manifest of the workflow document's phase 5 is billed for on DigitalOcean.
fn document_items(load_balancer: bool) -> Vec<(&'static str, BillItem)> {
    let droplets = digital(Line::Compute, "droplet", "s-2vcpu-4gb", running(2));
    let mut items = vec![
        ("fleet/web", including(droplets, "droplet-transfer", 4000)),
        (
            "fleet/web",
            digital(
                Line::Bandwidth,
                "bandwidth",
                "droplet-egress-overage",
                used(Metric::EgressGb, Some("droplet-transfer")),
            ),
        ),
        (
            "database/main",
            with(digital(Line::Database, "managed-db", "db-s-1vcpu-1gb", running(1)), "engine", "pg"),
        ),
        (
            "cache/main",
            with(digital(Line::Cache, "managed-db", "db-s-1vcpu-1gb", running(1)), "engine", "valkey"),
        ),
        (
            "store/main",
            including(
                including(digital(Line::Storage, "spaces", "base", running(1)), "spaces-storage", 250),
                "spaces-transfer",
                1024,
            ),
        ),
        (
            "store/main",
            digital(
                Line::Storage,
                "spaces",
                "extra-storage",
                used(Metric::StorageGb, Some("spaces-storage")),
            ),
        ),
        (
            "store/main",
            digital(Line::Bandwidth, "spaces", "extra-egress", used(Metric::CdnGb, Some("spaces-transfer"))),
        ),
    ];
    if load_balancer {
        items.push((
            "balancer/main",
            digital(Line::LoadBalancer, "load-balancer", "regional-http", running(1)),
        ));
    }
    items
}

fn bill(provider: &str, items: Vec<(&str, BillItem)>) -> Bill {
    Bill {
        provider: provider.to_owned(),
        items: items.into_iter().map(|(key, item)| (ResourceKey::new(key).unwrap(), item)).collect(),
        ..Bill::default()
    }
}
