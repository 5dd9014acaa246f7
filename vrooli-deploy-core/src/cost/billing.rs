//! How providers bill, as data: hours a month, prices with steps, what is free.

use std::sync::LazyLock;

use serde::Deserialize;

use super::Decimal;
use crate::manifest::crosswalk::embedded;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Billing {
    hours_per_month: Decimal,
    hours: Vec<Hours>,
    steps: Vec<Steps>,
    free: Vec<Free>,
}

/// A service whose month has other hours.
#[derive(Debug, Deserialize)]
struct Hours {
    provider: String,
    service: String,
    hours: Decimal,
    note: String,
}

/// A price that changes with the amount.
#[derive(Debug, Deserialize)]
pub(super) struct Steps {
    provider: String,
    service: String,
    /// The name of all of them.
    pub(super) sku: String,
    pub(super) steps: Vec<Step>,
    /// Beyond it the book does not say.
    #[serde(default)]
    pub(super) until: Option<Decimal>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) from: Decimal,
    pub(super) sku: String,
}

/// What a provider gives for nothing, to whom it is due; never taken off by itself.
#[derive(Debug, Deserialize)]
struct Free {
    provider: String,
    service: String,
    note: String,
}

static BILLING: LazyLock<Billing> = LazyLock::new(|| embedded(include_str!("data/billing.json")));

pub(super) fn billing() -> &'static Billing {
    &BILLING
}

impl Billing {
    /// Hours that are billed of something that runs all month, and what is to be known about it.
    pub(super) fn hours(&self, provider: &str, service: &str) -> (Decimal, Option<&str>) {
        self.hours
            .iter()
            .find(|hours| hours.provider == provider && hours.service == service)
            .map_or((self.hours_per_month, None), |hours| (hours.hours, Some(&hours.note)))
    }

    /// The steps of a product, by their common name or by that of the first.
    pub(super) fn steps(&self, provider: &str, service: &str, sku: &str) -> Option<&Steps> {
        self.steps.iter().find(|steps| {
            steps.provider == provider
                && steps.service == service
                && (steps.sku == sku || steps.steps.first().is_some_and(|first| first.sku == sku))
        })
    }

    /// What is free of a service.
    pub(super) fn free<'a>(&'a self, provider: &'a str, service: &'a str) -> impl Iterator<Item = &'a str> {
        self.free
            .iter()
            .filter(move |free| free.provider == provider && free.service == service)
            .map(|free| free.note.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::book;

    #[test]
    fn the_file_can_be_read_and_speaks_of_what_the_books_have() {
        let billing = billing();
        assert_eq!(billing.hours("aws", "ec2"), (Decimal::from(730), None));
        assert_eq!(billing.hours("digitalocean", "droplet").0, Decimal::from(672));
        for steps in &billing.steps {
            let book = book::embedded(&steps.provider).unwrap();
            let mut last = None;
            for step in &steps.steps {
                assert!(!book.of_product(&steps.service, &step.sku).is_empty(), "{}", step.sku);
                assert!(last.is_none_or(|last| last < step.from), "{}", step.sku);
                last = Some(step.from);
            }
            assert_eq!(steps.steps[0].from, Decimal::ZERO);
        }
        for (provider, service) in billing
            .free
            .iter()
            .map(|f| (&f.provider, &f.service))
            .chain(billing.hours.iter().map(|h| (&h.provider, &h.service)))
        {
            assert!(!book::embedded(provider).unwrap().of_service(service).is_empty(), "{service}");
        }
    }
}
