//! What AWS bills for, in the words of its price book.

use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric, PriceKey, Quantity};

/// One item.
pub(crate) fn item(
    line: Line,
    what: impl Into<String>,
    (service, sku, region): (&str, &str, &str),
    quantity: Quantity,
) -> BillItem {
    BillItem {
        line,
        what: what.into(),
        price: PriceKey {
            provider: "aws".to_owned(),
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

/// An item whose price depends on further columns of the book.
pub(crate) fn with<const N: usize>(mut item: BillItem, attributes: [(&str, &str); N]) -> BillItem {
    item.price.attributes =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    item
}

/// An item that two releases side by side cause twice.
pub(crate) fn per_release(mut item: BillItem) -> BillItem {
    item.per_release = true;
    item
}

/// So many run all month.
pub(crate) fn running(count: u32) -> Quantity {
    Quantity::Running(count.into())
}

/// What users cause, in the unit of the metric.
pub(crate) fn usage(metric: Metric) -> Quantity {
    usage_times(metric, Decimal::ONE)
}

/// What users cause, times something.
pub(crate) fn usage_times(metric: Metric, factor: Decimal) -> Quantity {
    Quantity::Usage { metric, factor, pool: None }
}

/// One share of so many. Zero counts as one.
pub(crate) fn share(of: u32) -> Decimal {
    Decimal::ONE / Decimal::from(of.max(1))
}
