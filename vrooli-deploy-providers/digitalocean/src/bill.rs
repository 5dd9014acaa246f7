//! What DigitalOcean bills for, in the words of its price book.

use vrooli_deploy_core::cost::{Allowance, BillItem, Decimal, Line, Metric, PriceKey, Quantity};

/// What the book is asked.
pub(crate) fn key((service, sku, region): (&str, &str, &str)) -> PriceKey {
    PriceKey {
        provider: "digitalocean".to_owned(),
        service: service.to_owned(),
        sku: sku.to_owned(),
        region: region.to_owned(),
        attributes: std::collections::BTreeMap::new(),
    }
}

/// One item.
pub(crate) fn item(
    line: Line,
    what: impl Into<String>,
    place: (&str, &str, &str),
    quantity: Quantity,
) -> BillItem {
    let price = key(place);
    BillItem { line, what: what.into(), price, quantity, includes: Vec::new(), per_release: false }
}

/// What a price includes.
pub(crate) fn allowance(pool: &str, amount: impl Into<Decimal>) -> Allowance {
    Allowance { pool: pool.to_owned(), amount: amount.into() }
}

/// An item whose price depends on further columns of the book.
pub(crate) fn with<const N: usize>(mut item: BillItem, attributes: [(&str, &str); N]) -> BillItem {
    item.price.attributes =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    item
}

/// So many run all month.
pub(crate) fn running(count: u32) -> Quantity {
    Quantity::Running(count.into())
}

/// What users cause, in the unit of the metric.
pub(crate) fn usage(metric: Metric) -> Quantity {
    Quantity::Usage { metric, factor: Decimal::ONE, pool: None }
}

/// What users cause, times something, beyond what a pool holds. Where the book counts in GiB a
/// GB is taken for one: the estimate is rather too high.
pub(crate) fn usage_from(metric: Metric, factor: Decimal, pool: &str) -> Quantity {
    Quantity::Usage { metric, factor, pool: Some(pool.to_owned()) }
}

/// One share of so many. Zero counts as one.
pub(crate) fn share(of: u32) -> Decimal {
    Decimal::ONE / Decimal::from(of.max(1))
}
