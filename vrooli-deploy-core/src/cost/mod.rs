//! What a stack costs. A kind says *what* is billed ([`BillItem`]); a price book, which is
//! dated data, says what that costs; a usage profile says how much of it.
//!
//! ```text
//! Stack ── bill() ──► Bill ── estimate(usage, prices) ──► Estimate{low, expected, high}
//! ```

mod bill;
mod billing;
pub mod book;
mod estimate;
mod money;
mod number;
mod prices;
mod usage;

pub use bill::{Allowance, BillItem, Line, Metric, PriceKey, Quantity};
pub use book::{Grade, PriceBook};
pub use estimate::{Bill, BookUsed, Estimate, EstimateLine, PriceStep, Server, UnknownCost, estimate};
pub use money::{Currency, Decimal, Money};
pub use prices::Prices;
pub use usage::{
    DEFAULT_USAGE, Figure, Level, Levels, USAGE_SCHEMA, UsageProfile, UsageValue, read_usage, read_usage_file,
};
