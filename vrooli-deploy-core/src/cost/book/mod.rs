//! Price books: dated data. Each price says where it comes from, as of when, and how sure it is.

mod compact;
mod embedded;
mod file;

pub use embedded::{EmbeddedBook, embedded, embedded_books};
pub use file::{BOOK_SCHEMA, read, read_file, write};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Currency, Decimal, PriceKey};

pub use compact::{read as read_compact, write as write_compact};

/// How sure a price is. `D` is shown as approximate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Grade {
    /// Extracted by a machine from the provider's own list, or read on the provider's page.
    A,
    /// Derived from such a price by a stated rule, or quoted by several who agree.
    B,
    /// From a secondary source, or weakly derived.
    C,
    /// Not verified.
    D,
}

impl Grade {
    /// All of them, the surest first.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// The grade of that letter.
    #[must_use]
    pub fn of(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.letter() == letter)
    }

    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

/// Where prices of a book come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceSource {
    /// For people.
    pub what: String,
    /// When it was looked at, as its own words say: a date, a span, a year.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The version of it that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Under which licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// One price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The provider's service.
    pub service: Arc<str>,
    /// What is billed.
    pub sku: String,
    /// The region, or `all` or `global`.
    pub region: Arc<str>,
    /// One of what: `hour`, `month`, `GB`, `1k-requests`.
    pub unit: Arc<str>,
    /// Of one unit, in the book's currency. Never negative.
    pub amount: Decimal,
    /// Id of its source in [`PriceBook::sources`].
    pub source: Arc<str>,
    /// As of when. `None`: nobody knows.
    pub as_of: Option<Arc<str>>,
    /// How sure it is.
    pub grade: Grade,
    /// Further columns: `engine`, `deployment`, `vcpus`.
    pub attributes: Arc<BTreeMap<String, String>>,
    /// What else is to be known about it.
    pub note: Option<Arc<str>>,
    /// Counts from the first unit: nothing that other prices include is taken off.
    pub from_first_unit: bool,
}

impl Price {
    fn place(&self) -> (&str, &str) {
        (&self.service, &self.sku)
    }

    fn answers(&self, key: &PriceKey) -> bool {
        key.attributes.iter().all(|(name, value)| self.attributes.get(name) == Some(value))
    }

    /// Answers in any region.
    fn anywhere(&self) -> bool {
        matches!(&*self.region, "all" | "global")
    }
}

/// Prices of one provider, as of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceBook {
    /// What it is called.
    pub name: String,
    /// Whose prices.
    pub provider: String,
    /// What they are in.
    pub currency: Currency,
    /// When it was put together, as a date.
    pub generated: Option<String>,
    /// A sentence about it.
    pub about: Option<String>,
    /// The usage profile that its figures were written for.
    pub usage: Option<String>,
    /// The lines of an estimate that its source lists, where it lists some: a line that is not
    /// among them was left out there.
    pub lines: Vec<String>,
    /// What the grades mean here, by letter.
    pub grades: BTreeMap<String, String>,
    /// Where its prices come from, by id.
    pub sources: BTreeMap<String, PriceSource>,
    /// By service, product and region.
    prices: Vec<Price>,
}

/// What a book says to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// Exactly one price.
    One(&'a Price),
    /// The product is there, but not in the region; in these it is.
    Elsewhere(Vec<&'a str>),
    /// The product is there, but with other columns: these.
    Otherwise(Vec<String>),
    /// Several prices fit; these columns tell them apart.
    Several(Vec<String>),
    /// The book has no such product.
    Nothing,
}

impl PriceBook {
    /// A book of these prices.
    #[must_use]
    pub fn new(name: impl Into<String>, provider: impl Into<String>, mut prices: Vec<Price>) -> Self {
        prices.sort_by(|a, b| {
            a.place()
                .cmp(&b.place())
                .then_with(|| a.region.cmp(&b.region))
                .then_with(|| a.attributes.cmp(&b.attributes))
        });
        Self {
            name: name.into(),
            provider: provider.into(),
            currency: Currency::Usd,
            generated: None,
            about: None,
            usage: None,
            lines: Vec::new(),
            grades: BTreeMap::new(),
            sources: BTreeMap::new(),
            prices,
        }
    }

    /// All prices, by service, product and region.
    #[must_use]
    pub fn prices(&self) -> &[Price] {
        &self.prices
    }

    /// The source of a price of this book.
    #[must_use]
    pub fn source(&self, price: &Price) -> Option<&PriceSource> {
        self.sources.get(&*price.source)
    }

    pub(crate) fn of_product(&self, service: &str, sku: &str) -> &[Price] {
        let start = self.prices.partition_point(|price| price.place() < (service, sku));
        let rest = self.prices.get(start..).unwrap_or_default();
        let length = rest.partition_point(|price| price.place() == (service, sku));
        rest.get(..length).unwrap_or_default()
    }

    pub(crate) fn of_service(&self, service: &str) -> &[Price] {
        let start = self.prices.partition_point(|price| &*price.service < service);
        let rest = self.prices.get(start..).unwrap_or_default();
        let length = rest.partition_point(|price| &*price.service == service);
        rest.get(..length).unwrap_or_default()
    }

    pub(crate) fn answer(&self, key: &PriceKey) -> Answer<'_> {
        let product = self.of_product(&key.service, &key.sku);
        if product.is_empty() {
            return Answer::Nothing;
        }
        let fitting: Vec<&Price> = product.iter().filter(|price| price.answers(key)).collect();
        let exact: Vec<&Price> =
            fitting.iter().copied().filter(|price| *price.region == key.region).collect();
        // A region's own price comes before one for all regions.
        let found = if exact.is_empty() {
            fitting.iter().copied().filter(|price| price.anywhere()).collect()
        } else {
            exact
        };
        match found.as_slice() {
            [price] => Answer::One(price),
            [] if fitting.is_empty() => Answer::Otherwise(columns(product)),
            [] => {
                let mut regions: Vec<&str> = fitting.iter().map(|price| &*price.region).collect();
                regions.sort_unstable();
                regions.dedup();
                Answer::Elsewhere(regions)
            }
            several => Answer::Several(columns(several.iter().copied())),
        }
    }
}

/// The columns in which prices differ, as `name=value`.
fn columns<'a>(prices: impl IntoIterator<Item = &'a Price>) -> Vec<String> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for price in prices {
        for (name, value) in price.attributes.iter() {
            values.entry(name).or_default().push(value);
        }
    }
    let mut columns: Vec<String> = values
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(move |value| format!("{name}={value}")))
        .collect();
    columns.sort();
    columns.dedup();
    columns.truncate(12);
    columns
}
