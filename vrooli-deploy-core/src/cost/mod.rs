//! What a stack costs. A kind says *what* is billed ([`BillItem`]); a price book, which is
//! dated data, says what that costs.

mod bill;
mod money;

pub use bill::{Allowance, BillItem, Line, Metric, PriceKey, Quantity};
pub use money::{Currency, Decimal, Money};
