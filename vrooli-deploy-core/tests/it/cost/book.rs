//! The books of the program against the files that they are made from, which lie beside the
//! checkout. `UPDATE=1` makes them anew: look at the difference.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vrooli_deploy_core::cost::book::{self, Price};
use vrooli_deploy_core::cost::{Decimal, PriceBook};

fn raw(provider: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("VROOLI_DEPLOY_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let file = shared.join("data").join(format!("prices-{provider}.json"));
    if file.is_file() {
        return Some(file);
    }
    println!("skipped: no prices at {} (VROOLI_DEPLOY_SHARED says where they are)", file.display());
    None
}

fn number(value: &Value) -> Decimal {
    value.to_string().parse().unwrap()
}

/// Does the price say what the entry says, field by field?
fn same(price: &Price, entry: &serde_json::Map<String, Value>) -> bool {
    entry.iter().all(|(name, value)| match name.as_str() {
        "service" => value == &*price.service,
        "sku" => value == &*price.sku,
        "region" => value == &*price.region,
        "unit" => value == &*price.unit,
        "usd" => number(value) == price.amount,
        "source" => value == &*price.source,
        "as_of" => value.as_str() == price.as_of.as_deref(),
        "confidence" => value == price.grade.letter(),
        "note" => value.as_str() == price.note.as_deref(),
        other => match (value, price.attributes.get(other)) {
            (Value::Null, None) => true,
            (Value::Number(_), Some(text)) => number(value) == text.parse().unwrap(),
            (Value::String(value), Some(text)) => value == text,
            (Value::Bool(value), Some(text)) => value.to_string() == *text,
            _ => false,
        },
    })
}

#[test]
fn the_books_of_the_program_are_what_the_files_say() {
    for (provider, count) in [("aws", 4122), ("digitalocean", 208)] {
        let Some(file) = raw(provider) else { continue };
        if std::env::var_os("UPDATE").is_some() {
            let mut read = book::read_file(&file).into_result().unwrap().0;
            read.name = provider.to_owned();
            let target = format!("{}/src/cost/data/{provider}.prices", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(target, book::write_compact(&read)).unwrap();
            println!("written; compile again to test it");
            continue;
        }
        let embedded = book::embedded(provider).unwrap();
        let document: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let entries = document["entries"].as_array().unwrap();
        assert_eq!((entries.len(), embedded.prices().len()), (count, count), "{provider}");
        let mut by_product: HashMap<(&str, &str), Vec<&Price>> = HashMap::new();
        for price in embedded.prices() {
            by_product.entry((&price.service, &price.sku)).or_default().push(price);
        }
        for entry in entries {
            let product = (entry["service"].as_str().unwrap(), entry["sku"].as_str().unwrap());
            let entry = entry.as_object().unwrap();
            let twins: Vec<_> = by_product[&product].iter().filter(|price| same(price, entry)).collect();
            assert_eq!(twins.len(), 1, "{provider}: {entry:?}");
        }
        assert_eq!(document["generated"].as_str(), embedded.generated.as_deref());
        let sources = document["sources"].as_object().unwrap();
        assert_eq!(sources.len(), embedded.sources.len());
        for (id, source) in sources {
            let ours = serde_json::to_value(&embedded.sources[id]).unwrap();
            assert_eq!(&ours, source, "{id}");
        }
        for (letter, meaning) in document["confidence_key"].as_object().unwrap() {
            assert_eq!(meaning, &embedded.grades[letter]);
        }
    }
}

#[test]
fn a_book_that_is_written_reads_the_same() {
    for embedded in book::embedded_books() {
        let ours = embedded.book().unwrap();
        // The largest takes seconds with places, and says nothing that the others do not.
        if embedded.name != "aws" {
            let again = book::read(Path::new("again.json"), book::write(ours)).into_result().unwrap().0;
            assert_eq!(**ours, again);
        }
        let compact = book::read_compact(&book::write_compact(ours));
        // The compact form is for list prices: what only other books say has no place in it.
        if embedded.list {
            assert_eq!(**ours, compact.unwrap());
        }
    }
}

const GOOD: &str = r#"{
  "schema": "vrooli-deploy.prices/1",
  "provider": "digitalocean",
  "currency": "USD",
  "sources": {"mine": {"what": "an invoice", "as_of": "2026-10"}},
  "entries": [
    {"service": "droplet", "sku": "s-1vcpu-1gb", "unit": "month", "usd": "5.10", "source": "mine", "confidence": "A"}
  ]
}"#;

fn read(text: &str) -> vrooli_deploy_core::diagnostics::Checked<PriceBook> {
    book::read(Path::new("prices.json"), text.to_owned())
}

#[test]
fn a_book_of_one_s_own_takes_its_name_from_its_file() {
    let book = read(GOOD).into_result().unwrap().0;
    assert_eq!((book.name.as_str(), book.provider.as_str()), ("prices", "digitalocean"));
    assert_eq!(book.prices()[0].amount.to_string(), "5.10");
    assert_eq!(&*book.prices()[0].region, "all");
}

#[test]
fn a_damaged_book_is_refused_with_a_code_and_a_place() {
    for (from, to, code, line) in [
        ("prices/1", "prices/2", "VD0405", 2),
        ("vrooli-deploy.prices/1", "something", "VD0404", 2),
        ("\"USD\"", "\"EUR\"", "VD0406", 4),
        ("\"confidence\": \"A\"", "\"confidence\": \"A\", \"currency\": \"EUR\"", "VD0406", 7),
        ("\"5.10\"", "-5.1", "VD0404", 7),
        ("\"5.10\"", "\"-0.01\"", "VD0404", 7),
        ("\"5.10\"", "\"five\"", "VD0404", 7),
        ("\"5.10\"", "1e300", "VD0404", 7),
        ("\"confidence\": \"A\"", "\"confidence\": \"E\"", "VD0404", 7),
        ("\"source\": \"mine\"", "\"source\": \"min\"", "VD0404", 7),
        ("\"unit\": \"month\", ", "", "VD0404", 7),
        ("\"usd\"", "\"usdd\"", "VD0404", 7),
        ("\"provider\"", "\"provid\"", "VD0404", 1),
        ("\"entries\"", "\"entrys\"", "VD0404", 1),
        ("\"A\"}\n", "\"A\"}, 3\n", "VD0404", 7),
        (
            "\n  ]",
            ",\n {\"service\": \"droplet\", \"sku\": \"s-1vcpu-1gb\", \"unit\": \"month\", \"usd\": 6, \"source\": \"mine\", \"confidence\": \"A\"}]",
            "VD0404",
            8,
        ),
        ("\n  ]\n}", "", "VD0101", 7),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let checked = read(&text);
        assert!(checked.value.is_none(), "{from} -> {to}");
        let found: Vec<_> = checked
            .diagnostics
            .iter()
            .map(|d| (d.code.to_string(), d.labels.first().map_or(0, |label| label.span.line)))
            .collect();
        assert!(found.contains(&(code.to_owned(), line)), "{from} -> {to}: {found:?}");
    }
}
