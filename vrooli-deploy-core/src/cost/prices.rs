//! Books in layers: what the user gave is asked before what is part of the program.

use std::sync::Arc;

use super::billing::billing;
use super::book::{Answer, Price, PriceBook, embedded_books};
use super::{Decimal, PriceKey};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::shape::nearest;

/// The books that are asked, first come first served. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    layers: Vec<Arc<PriceBook>>,
    embedded: bool,
}

/// A price and its book.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) book: &'a PriceBook,
    pub(super) price: &'a Price,
}

/// The prices of a key: one, or several with the amount from which each counts.
#[derive(Debug, Clone)]
pub(super) struct Stepped<'a> {
    pub(super) steps: Vec<(Decimal, Found<'a>)>,
    /// Beyond it the last step is a guess.
    pub(super) until: Option<Decimal>,
}

impl<'a> Stepped<'a> {
    /// The first step: the only one, mostly.
    pub(super) fn first(&self) -> Option<Found<'a>> {
        self.steps.first().map(|(_, found)| *found)
    }
}

impl Prices {
    /// No books at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The list prices that are part of the program. Each provider's book is read when it is
    /// first asked.
    #[must_use]
    pub fn embedded() -> Self {
        Self { layers: Vec::new(), embedded: true }
    }

    /// The same, and this book is asked before them.
    #[must_use]
    pub fn with(mut self, book: Arc<PriceBook>) -> Self {
        self.layers.insert(0, book);
        self
    }

    /// Books that were put on top, the first asked first.
    pub fn layers(&self) -> impl Iterator<Item = &PriceBook> {
        self.layers.iter().map(|book| &**book)
    }

    /// The usage profile that the first book with one was written for.
    #[must_use]
    pub fn usage(&self) -> Option<&str> {
        self.layers.iter().find_map(|book| book.usage.as_deref())
    }

    /// Books of a provider, in the order in which they are asked.
    pub fn of<'a>(&'a self, provider: &'a str) -> impl Iterator<Item = &'a PriceBook> {
        let listed = embedded_books()
            .iter()
            .filter(move |book| self.embedded && book.list && book.name == provider)
            .filter_map(|book| book.book().map(|book| &**book));
        self.layers.iter().map(|book| &**book).filter(move |book| book.provider == provider).chain(listed)
    }

    /// What a key costs.
    ///
    /// # Errors
    /// `VD0401` to `VD0403`: nothing answers, not in that region, or several do. Names the key
    /// and the books.
    pub(super) fn find<'a>(&'a self, key: &'a PriceKey) -> Result<Stepped<'a>, Box<Diagnostic>> {
        let mut refused: Option<(&PriceBook, Answer<'a>)> = None;
        for book in self.of(&key.provider) {
            let steps = billing().steps(&key.provider, &key.service, &key.sku);
            if let Some(steps) = steps {
                let found: Vec<_> = steps
                    .steps
                    .iter()
                    .filter_map(|step| {
                        match book.answer(&PriceKey { sku: step.sku.clone(), ..key.clone() }) {
                            Answer::One(price) => Some((step.from, Found { book, price })),
                            _ => None,
                        }
                    })
                    .collect();
                if found.first().is_some_and(|(from, _)| from.is_zero()) {
                    return Ok(Stepped { steps: found, until: steps.until });
                }
            }
            // A book may know the name of all steps alone, or the first of them in other regions only.
            let first = steps.and_then(|steps| steps.steps.first()).map(|step| &step.sku);
            let answer = match book.answer(key) {
                Answer::Nothing => match first {
                    Some(sku) => book.answer(&PriceKey { sku: sku.clone(), ..key.clone() }),
                    None => Answer::Nothing,
                },
                answer => answer,
            };
            match answer {
                Answer::One(price) => {
                    let steps = vec![(Decimal::ZERO, Found { book, price })];
                    return Ok(Stepped { steps, until: None });
                }
                // The nearest miss is the one to tell.
                answer if refused.as_ref().is_none_or(|(_, before)| *before == Answer::Nothing) => {
                    refused = Some((book, answer));
                }
                _ => {}
            }
        }
        Err(Box::new(self.refusal(key, refused)))
    }

    fn refusal(&self, key: &PriceKey, refused: Option<(&PriceBook, Answer<'_>)>) -> Diagnostic {
        let asked = asked(key);
        let Some((book, answer)) = refused else {
            let known: Vec<&str> = embedded_books().iter().filter(|b| b.list).map(|b| b.name).collect();
            return rules::UNKNOWN_PRICE
                .diagnostic(format!("no price for {asked}: there is no price book of `{}`", key.provider))
                .help(format!(
                    "there are books of {}; give one of your own with `--prices FILE`",
                    known.join(", ")
                ));
        };
        let name = &book.name;
        match answer {
            Answer::Elsewhere(regions) => {
                let near = nearest(&key.region, regions.iter().copied());
                let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                rules::UNKNOWN_PRICE_REGION
                    .diagnostic(format!("no price for {asked}: book `{name}` has it in other regions only"))
                    .help(format!("{near}it has prices for {}", regions.join(", ")))
            }
            Answer::Otherwise(columns) => rules::UNKNOWN_PRICE
                .diagnostic(format!("no price for {asked}: book `{name}` has it with other columns only"))
                .help(format!("it has {}", columns.join(", "))),
            Answer::Several(columns) => rules::AMBIGUOUS_PRICE
                .diagnostic(format!("several prices for {asked} in book `{name}`"))
                .help(format!("they differ in {}", columns.join(", "))),
            Answer::One(_) | Answer::Nothing => {
                let products: Vec<&str> = self
                    .of(&key.provider)
                    .flat_map(|book| book.of_service(&key.service))
                    .map(|price| price.sku.as_str())
                    .collect();
                let diagnostic = rules::UNKNOWN_PRICE
                    .diagnostic(format!("no price for {asked}: book `{name}` does not have it"));
                let help = match nearest(&key.sku, products.iter().copied()) {
                    Some(near) => format!(
                        "did you mean `{near}`? `vrooli-deploy prices show {name} --service {}` lists what there is",
                        key.service
                    ),
                    None if products.is_empty() => {
                        format!(
                            "it has no prices of `{}`; give a book that has with `--prices FILE`",
                            key.service
                        )
                    }
                    None => format!(
                        "`vrooli-deploy prices show {name} --service {}` lists what there is; give a book that has it with `--prices FILE`",
                        key.service
                    ),
                };
                diagnostic.help(help)
            }
        }
    }
}

/// A key for people.
pub(super) fn asked(key: &PriceKey) -> String {
    let mut text = format!("`{}` `{}` `{}`", key.provider, key.service, key.sku);
    for (name, value) in &key.attributes {
        text.push_str(&format!(" {name}={value}"));
    }
    text.push_str(&format!(" in `{}`", key.region));
    text
}
