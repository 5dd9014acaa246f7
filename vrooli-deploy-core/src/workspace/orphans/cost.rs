//! What an object costs that no stack wants: what is billed while it is there, by what is seen of it.

use serde_json::Value;

use super::super::OperationError;
use crate::cost::{Bill, DEFAULT_USAGE, Level, Money, Prices, Quantity, UsageProfile, estimate};
use crate::names::ResourceKey;
use crate::provider::AnyKind;

/// The cost of a month without what is billed by use, which nobody knows, and what is to be said of it.
/// `None`: it is not known.
pub(super) fn monthly(
    kind: &dyn AnyKind,
    observed: &Value,
    prices: &Prices,
) -> Result<(Option<Money>, Option<String>), OperationError> {
    let Some(items) = kind.bill_of(observed)? else {
        return Ok((None, Some("what is seen of it does not tell its price".to_owned())));
    };
    let all = items.len();
    let fixed: Vec<_> =
        items.into_iter().filter(|item| !matches!(item.quantity, Quantity::Usage { .. })).collect();
    let by_use = (fixed.len() < all).then(|| "what is billed by use is not in it".to_owned());
    if fixed.is_empty() {
        return Ok(match by_use {
            Some(_) => (None, Some("it is billed by use".to_owned())),
            None => (Some(Money::usd(crate::cost::Decimal::ZERO)), None),
        });
    }
    // Nothing of it is by use: any profile says the same.
    let Some(usage) = UsageProfile::named(prices.usage().unwrap_or(DEFAULT_USAGE)) else {
        return Ok((None, Some("the usual usage profile is not there".to_owned())));
    };
    let key = ResourceKey::new("orphan")
        .map_err(|error| OperationError::Nothing { message: error.to_string(), help: String::new() })?;
    let provider = fixed.first().map_or_else(String::new, |item| item.price.provider.clone());
    let bill = Bill {
        provider,
        items: fixed.into_iter().map(|item| (key.clone(), item)).collect(),
        ..Bill::default()
    };
    let checked = estimate(&bill, usage, prices);
    let why = checked.diagnostics.iter().max_by_key(|d| d.severity).map(|d| d.message.clone());
    Ok(match checked.value {
        Some(estimate) => (Some(estimate.total(Level::Expected)), by_use),
        None => (None, Some(why.unwrap_or_else(|| "it has no price".to_owned()))),
    })
}
