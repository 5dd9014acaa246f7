//! What a stack costs. A kind says *what* is billed ([`BillItem`]); a price book, which is
//! dated data, says what that costs; a usage profile says how much of it.
//!
//! ```text
//! Stack ── bill() ──► Bill ── estimate(usage, prices) ──► Estimate{low, expected, high}
//! ```

mod alternatives;
mod assess;
mod bill;
mod billing;
pub mod book;
mod budget;
mod difference;
mod equivalents;
mod estimate;
mod money;
mod number;
mod planned;
mod prices;
mod reckon;
mod refresh;
mod usage;
mod usage_file;

pub use assess::{AssessOptions, Assessment, Column, assess, bill};
pub use bill::{Allowance, BillItem, Line, Metric, PriceKey, Quantity};
pub use book::{Grade, PriceBook};
pub use budget::{Alternatives, Change, Judgement, Proposal, Verdict, judge};
pub use difference::{Difference, differences};
pub use estimate::{Bill, BookUsed, Estimate, EstimateLine, PriceStep, Server, UnknownCost};
pub use money::{Currency, Decimal, Money};
pub use planned::{PlannedCost, PlannedCostInput, planned};
pub use prices::Prices;
pub use reckon::estimate;
pub use refresh::{PriceApi, PriceReply, RefreshError, refresh_digitalocean};
pub use usage::{DEFAULT_USAGE, Figure, Level, Levels, UsageProfile, UsageValue};
pub use usage_file::{USAGE_SCHEMA, read_usage, read_usage_file};
