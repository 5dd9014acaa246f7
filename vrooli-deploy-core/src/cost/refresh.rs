//! Prices from a provider's own interface. What is fetched is read here; who fetches is the
//! caller's: this half has no network.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::Decimal;
use super::book::{Grade, Price, PriceBook, PriceSource};
use super::number::decimal;
use crate::diagnostics::{Code, rules};

/// A provider's interface for prices: something that answers GET requests.
#[async_trait]
pub trait PriceApi: Send + Sync {
    /// Asks for a path with its query, and says status and body.
    ///
    /// # Errors
    /// Why there is no answer, for a person.
    async fn get(&self, path: &str) -> Result<PriceReply, String>;
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceReply {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// Prices could not be refreshed. What was there stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The provider has no interface for prices, or this build cannot reach it.
    #[error("{message}")]
    NoApi {
        /// Which, and why.
        message: String,
        /// What to do instead.
        help: String,
    },
    /// There was no answer, or a refusal.
    #[error("{provider} did not give its prices: {message}")]
    Unreachable {
        /// Who was asked.
        provider: String,
        /// Its own words, or the network's.
        message: String,
        /// The status of a refusal.
        status: Option<u16>,
    },
    /// The answer makes no sense.
    #[error("the answer of {provider} is no list of prices: {message}")]
    Answer {
        /// Who was asked.
        provider: String,
        /// What is wrong.
        message: String,
    },
}

impl RefreshError {
    /// The message's code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NoApi { .. } => rules::NO_PRICE_API,
            Self::Unreachable { .. } => rules::PRICES_UNREACHABLE,
            Self::Answer { .. } => rules::PRICES_ANSWER,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoApi { help, .. } => Some(help.clone()),
            Self::Unreachable { status: Some(401 | 403), .. } => {
                Some("give a token that may read sizes: `vrooli-deploy configure do_token`, or the variable DIGITALOCEAN_TOKEN".to_owned())
            }
            Self::Unreachable { .. } => Some("try again later; the prices that were there stay".to_owned()),
            Self::Answer { .. } => Some("the prices that were there stay".to_owned()),
        }
    }
}

const DIGITALOCEAN: &str = "digitalocean";
/// Pages that are asked for at most: there are about 150 sizes, and 200 fit a page.
const MOST_PAGES: u32 = 50;
const PER_PAGE: u32 = 200;

#[derive(Deserialize)]
struct SizesPage {
    sizes: Vec<SizeEntry>,
    #[serde(default)]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    #[serde(default)]
    pages: Pages,
}

#[derive(Default, Deserialize)]
struct Pages {
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct SizeEntry {
    slug: String,
    price_monthly: Value,
    price_hourly: Value,
    memory: u64,
    vcpus: u64,
    disk: u64,
    transfer: Value,
    #[serde(default)]
    description: String,
    #[serde(default = "yes")]
    available: bool,
}

fn yes() -> bool {
    true
}

/// All droplet sizes as DigitalOcean sells them now: `GET /v2/sizes`, page by page. `today` is
/// the date that the prices get.
///
/// # Errors
/// See [`RefreshError`].
pub async fn refresh_digitalocean(api: &dyn PriceApi, today: &str) -> Result<PriceBook, RefreshError> {
    let mut prices = Vec::new();
    // Where to go on is counted here, not taken from the answer: the token goes to one host only.
    for page in 1..=MOST_PAGES {
        let path = format!("/v2/sizes?page={page}&per_page={PER_PAGE}");
        let unreachable = |message: String, status| RefreshError::Unreachable {
            provider: DIGITALOCEAN.to_owned(),
            message,
            status,
        };
        let reply = api.get(&path).await.map_err(|why| unreachable(why, None))?;
        if !(200..300).contains(&reply.status) {
            let message = format!("{} {}", reply.status, words(&reply.body));
            return Err(unreachable(message.trim_end().to_owned(), Some(reply.status)));
        }
        let (found, more) = sizes(&reply.body, today)?;
        prices.extend(found);
        if !more {
            return digitalocean_book(prices, today);
        }
    }
    Err(answer(format!("more than {MOST_PAGES} pages")))
}

/// The provider's own words: its message, else the start of what it sent.
fn words(body: &str) -> String {
    let message = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|value| value.get("message").and_then(Value::as_str).map(ToOwned::to_owned));
    message.unwrap_or_else(|| body.chars().filter(|c| !c.is_control()).take(200).collect())
}

fn answer(message: impl Into<String>) -> RefreshError {
    RefreshError::Answer { provider: DIGITALOCEAN.to_owned(), message: message.into() }
}

/// One page of sizes, and whether there are more.
fn sizes(body: &str, today: &str) -> Result<(Vec<Price>, bool), RefreshError> {
    let page: SizesPage = serde_json::from_str(body).map_err(|error| answer(error.to_string()))?;
    let date: Arc<str> = today.into();
    let prices = page.sizes.into_iter().map(|size| {
        let number = |name: &str, value: &Value| {
            decimal(value).map_err(|why| answer(format!("size `{}`: `{name}` {why}", size.slug)))
        };
        if size.slug.is_empty() || size.slug.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(answer(format!("`{}` is no name of a size", size.slug.escape_debug())));
        }
        let monthly = number("price_monthly", &size.price_monthly)?;
        let hourly = number("price_hourly", &size.price_hourly)?;
        let transfer = number("transfer", &size.transfer)?;
        let attributes: BTreeMap<String, String> = [
            ("description", size.description),
            ("memory_mb", size.memory.to_string()),
            ("vcpus", size.vcpus.to_string()),
            ("disk_gb", size.disk.to_string()),
            // The interface sends binary fractions of 32 bits: what follows the fifth digit is noise.
            ("hourly", hourly.round_dp(5).normalize().to_string()),
            ("transfer_tb", transfer.round_dp(3).normalize().to_string()),
            ("available", size.available.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        Ok(Price {
            service: "droplet".into(),
            sku: size.slug,
            region: "all".into(),
            unit: "month".into(),
            amount: monthly.round_dp(2),
            source: "do-api".into(),
            as_of: Some(Arc::clone(&date)),
            grade: Grade::A,
            attributes: Arc::new(attributes),
            note: None,
            from_first_unit: false,
        })
    });
    Ok((prices.collect::<Result<_, _>>()?, page.links.pages.next.is_some()))
}

fn digitalocean_book(mut prices: Vec<Price>, today: &str) -> Result<PriceBook, RefreshError> {
    // A page that changed between two requests may show a size twice.
    prices.sort_by(|a, b| a.sku.cmp(&b.sku));
    prices.dedup_by(|a, b| a.sku == b.sku);
    if prices.iter().all(|price| price.amount == Decimal::ZERO) {
        return Err(answer("no size has a price"));
    }
    let mut book = PriceBook::new("digitalocean-api", DIGITALOCEAN, prices);
    book.generated = Some(today.to_owned());
    book.about = Some("Droplet sizes from DigitalOcean's own interface.".to_owned());
    book.grades.insert("A".to_owned(), "the provider's own interface".to_owned());
    let source = PriceSource {
        what: "GET /v2/sizes".to_owned(),
        as_of: Some(today.to_owned()),
        ..PriceSource::default()
    };
    book.sources.insert("do-api".to_owned(), source);
    Ok(book)
}
