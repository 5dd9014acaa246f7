//! Sizes from DigitalOcean's interface, as its OpenAPI description shapes them.

use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use vrooli_deploy_core::cost::{PriceApi, PriceBook, PriceReply, RefreshError, book, refresh_digitalocean};

/// Answers from a list, and remembers what was asked.
struct Recorded {
    replies: Vec<Result<PriceReply, String>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl PriceApi for Recorded {
    async fn get(&self, path: &str) -> Result<PriceReply, String> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(path.to_owned());
        self.replies[asked.len() - 1].clone()
    }
}

fn refresh(replies: Vec<Result<PriceReply, String>>) -> (Result<PriceBook, RefreshError>, Vec<String>) {
    let api = Recorded { replies, asked: Mutex::default() };
    // Nothing in it waits.
    let result = refresh_digitalocean(&api, "2026-11-21").now_or_never().unwrap();
    (result, api.asked.into_inner().unwrap())
}

fn size(slug: &str, monthly: f64) -> Value {
    json!({
        "slug": slug, "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0,
        "price_monthly": monthly, "price_hourly": 0.00743999984115362,
        "regions": ["ams2", "nyc3"], "available": true, "description": "Basic"
    })
}

fn page(sizes: &[Value], next: bool) -> Result<PriceReply, String> {
    let pages = if next {
        json!({"next": "http://elsewhere.invalid/v2/sizes?page=2"})
    } else {
        json!({"first": "http://elsewhere.invalid/v2/sizes?page=1"})
    };
    let body = json!({"sizes": sizes, "links": {"pages": pages}, "meta": {"total": 2}}).to_string();
    Ok(PriceReply { status: 200, body })
}

#[test]
fn sizes_become_a_book_page_by_page() {
    let replies = vec![page(&[size("s-1vcpu-1gb", 6.0)], true), page(&[size("s-9vcpu-9gb", 24.5)], false)];
    let (book, asked) = refresh(replies);
    let book = book.unwrap();
    assert_eq!(asked, ["/v2/sizes?page=1&per_page=200", "/v2/sizes?page=2&per_page=200"]);
    let price = &book.prices()[1];
    assert_eq!((price.sku.as_str(), price.amount.to_string().as_str()), ("s-9vcpu-9gb", "24.5"));
    assert_eq!(price.attributes["hourly"], "0.00744");
    assert_eq!(price.attributes["transfer_tb"], "1");
    assert_eq!(price.as_of.as_deref(), Some("2026-11-21"));
    let again = book::read("digitalocean-api.json".as_ref(), book::write(&book)).into_result().unwrap().0;
    assert_eq!(again, book);
}

#[test]
fn a_refusal_keeps_the_provider_s_own_words() {
    let body = r#"{"id": "unauthorized", "message": "Unable to authenticate you."}"#.to_owned();
    let (result, _) = refresh(vec![Ok(PriceReply { status: 401, body })]);
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "digitalocean did not give its prices: 401 Unable to authenticate you.");
    assert!(error.help().unwrap().contains("DIGITALOCEAN_TOKEN"));
    let (result, _) = refresh(vec![Err("connection refused".to_owned())]);
    assert_eq!(result.unwrap_err().code().to_string(), "VD0431");
}

#[test]
fn an_answer_that_makes_no_sense_is_refused_whole() {
    let wrong = |sizes: Value| Ok(PriceReply { status: 200, body: json!({"sizes": sizes}).to_string() });
    let mut text = size("s", 6.0);
    text["price_monthly"] = json!("six");
    for reply in [
        Ok(PriceReply { status: 200, body: "<html>".to_owned() }),
        Ok(PriceReply { status: 200, body: "{}".to_owned() }),
        wrong(json!([])),
        wrong(json!([size("s-1vcpu-1gb", -6.0)])),
        wrong(json!([size("s 1", 6.0)])),
        wrong(json!([size("s\n1", 6.0)])),
        wrong(json!([text])),
        wrong(json!([{"slug": "s"}])),
    ] {
        assert_eq!(refresh(vec![reply.clone()]).0.unwrap_err().code().to_string(), "VD0432", "{reply:?}");
    }
    let endless = vec![page(&[size("s-1vcpu-1gb", 6.0)], true); 60];
    let (result, asked) = refresh(endless);
    assert_eq!((result.unwrap_err().code().to_string().as_str(), asked.len()), ("VD0432", 50));
}
