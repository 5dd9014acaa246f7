//! What is billed, and what it comes to: every figure with its price, source, date and grade.

use std::collections::{BTreeMap, BTreeSet};

use super::book::Grade;
use super::usage::{Figure, Level, Levels};
use super::{BillItem, Currency, Decimal, Line, Money};
use crate::diagnostics::Span;
use crate::names::ResourceKey;

/// Everything of a stack that is billed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bill {
    /// Who bills.
    pub provider: String,
    /// What a provider bills for, by the resource that causes it.
    pub items: Vec<(ResourceKey, BillItem)>,
    /// Machines that are the user's own.
    pub servers: Vec<Server>,
    /// Where each line was asked for in the user's file, for messages.
    pub places: BTreeMap<Line, Span>,
    /// Where the region was chosen.
    pub region_place: Option<Span>,
    /// What else is to be known about it.
    pub notes: Vec<String>,
}

/// A machine of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its host name or address.
    pub host: String,
    /// What it costs a month. `None`: nobody said, and an estimate says that.
    pub monthly: Option<Money>,
}

/// What a stack costs a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// Who bills.
    pub provider: String,
    /// What all amounts are in.
    pub currency: Currency,
    /// The usage profile.
    pub usage: String,
    /// The parts, in the order of [`Line`].
    pub lines: Vec<EstimateLine>,
    /// What it stands on whose cost nobody knows. Not in the total.
    pub unknown: Vec<UnknownCost>,
    /// The books that were used, with their dates.
    pub books: Vec<BookUsed>,
    /// Figures of the usage profile that matter here.
    pub(super) figures: BTreeMap<Figure, Levels<Decimal>>,
    /// What holds at every level of usage.
    pub(super) notes: Vec<String>,
}

/// A part of an estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EstimateLine {
    /// What it is part of.
    pub line: Line,
    /// The resource that causes it.
    pub resource: String,
    /// For people.
    pub what: String,
    /// How many units a month, without what is included elsewhere.
    pub quantity: Levels<Decimal>,
    /// One of what.
    pub unit: String,
    /// What one costs: a step each, with the amount from which it counts.
    pub prices: Vec<PriceStep>,
    /// Rounded to the cent. The total is the sum of these.
    pub amount: Levels<Money>,
    /// What else is to be known about it.
    pub notes: Vec<String>,
}

/// A price that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceStep {
    /// The amount from which it counts.
    pub from: Decimal,
    /// Of one unit.
    pub price: Decimal,
    /// What is billed, as its book spells it: `droplet s-1vcpu-1gb`.
    pub product: String,
    /// Name of the book.
    pub book: String,
    /// Id of its source in the book.
    pub source: String,
    /// What that is.
    pub source_text: String,
    /// As of when.
    pub as_of: Option<String>,
    /// How sure it is.
    pub grade: Grade,
}

/// Something that is there and whose cost nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCost {
    /// What.
    pub what: String,
    /// How to say it.
    pub help: String,
}

/// A book that was used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BookUsed {
    /// Its name.
    pub name: String,
    /// When it was put together.
    pub generated: Option<String>,
}

impl EstimateLine {
    /// How sure it is: as sure as its least sure price. `None` when no book was asked.
    #[must_use]
    pub fn grade(&self) -> Option<Grade> {
        self.prices.iter().map(|step| step.grade).max()
    }

    /// Is it approximate (grade D)?
    #[must_use]
    pub fn approximate(&self) -> bool {
        self.grade() == Some(Grade::D)
    }
}

impl Estimate {
    /// The total: the sum of the lines, to the cent.
    #[must_use]
    pub fn total(&self, level: Level) -> Money {
        self.add(self.lines.iter(), level)
    }

    /// What one line comes to.
    #[must_use]
    pub fn sum(&self, line: Line, level: Level) -> Money {
        self.add(self.lines.iter().filter(|part| part.line == line), level)
    }

    fn add<'a>(&self, lines: impl Iterator<Item = &'a EstimateLine>, level: Level) -> Money {
        // No sum can overflow: `estimate` has added all lines before.
        let amount = lines.map(|part| part.amount.at(level).amount).sum();
        Money { amount, currency: self.currency }
    }

    /// The lines that there are.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<Line> {
        self.lines.iter().map(|part| part.line).collect()
    }

    /// Is a figure in it approximate?
    #[must_use]
    pub fn approximate(&self, level: Level) -> bool {
        self.lines.iter().any(|part| part.approximate() && !part.amount.at(level).amount.is_zero())
    }

    /// Is the cost of everything known?
    #[must_use]
    pub fn complete(&self) -> bool {
        self.unknown.is_empty()
    }

    /// What was assumed, what is free and not taken off, what is approximate, what is unknown.
    #[must_use]
    pub fn notes(&self, level: Level) -> Vec<String> {
        let mut notes: Vec<String> =
            self.figures.iter().map(|(figure, values)| figure.note(*values.at(level))).collect();
        notes.extend(self.notes.iter().cloned());
        let (all, unsure) = (
            self.lines.iter().filter(|part| !part.prices.is_empty()).count(),
            self.lines.iter().filter(|part| part.approximate()).count(),
        );
        if unsure > 0 {
            notes.push(format!("{unsure} of {all} prices are not verified (grade D) and shown with ~"));
        }
        for book in &self.books {
            let date = book.generated.as_deref().unwrap_or("an unknown day");
            notes.push(format!(
                "Prices of book `{}`, put together on {date}; no discounts, no taxes",
                book.name
            ));
        }
        for unknown in &self.unknown {
            notes.push(format!("{}: unknown, and not in the total; {}", unknown.what, unknown.help));
        }
        notes
    }
}
