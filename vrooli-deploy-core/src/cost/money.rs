use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use rust_decimal::Decimal;

/// A currency, by its ISO 4217 code.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Currency {
    /// US dollar: what the clouds' list prices are in.
    #[default]
    #[serde(rename = "USD")]
    Usd,
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usd => "USD",
        })
    }
}

/// An amount of money, exact: never a binary fraction. Kept unrounded; printed to the cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    /// How much.
    pub amount: Decimal,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// US dollars.
    #[must_use]
    pub const fn usd(amount: Decimal) -> Self {
        Self { amount, currency: Currency::Usd }
    }

    /// US dollars from decimal text: `12.50`.
    ///
    /// # Errors
    /// A phrase: not a number, negative, or too large.
    pub fn parse(text: &str) -> Result<Self, String> {
        super::number::parse(text.trim()).map(Self::usd)
    }

    /// Rounded to whole cents, half away from zero, as bills are.
    #[must_use]
    pub fn cents(self) -> Self {
        let rounded =
            self.amount.round_dp_with_strategy(2, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
        Self { amount: rounded, ..self }
    }
}

impl fmt::Display for Money {
    /// `93.00`, without the currency.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.cents().amount)
    }
}
