//! What a resource costs, as data. Prices themselves are dated data files.

use serde::{Deserialize, Serialize};

/// One thing that a provider bills for, without its price: the price book knows that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BillItem {
    /// The provider's own name of what is billed, as the price book spells it.
    pub sku: String,
    /// How many of [`unit`](Self::unit) a month, as decimal text.
    pub quantity: String,
    /// `hour`, `month`, `GB-month`, `GB`, …
    pub unit: String,
    /// Which line of an estimate it belongs to: `compute`, `database`, `cache`, ….
    pub line: String,
}
