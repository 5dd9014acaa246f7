//! Books as files: JSON or YAML, one entry a price, `schema: vrooli-deploy.prices/1`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Grade, Price, PriceBook, PriceSource};
use crate::cost::number::decimal;
use crate::diagnostics::{Checked, Code, Diagnostic, rules};
use crate::manifest::shape::nearest;
use crate::manifest::yaml::{Document, SourceFile, child};

/// What a book's `schema` says.
pub const BOOK_SCHEMA: &str = "vrooli-deploy.prices/1";
const FAMILY: &str = "vrooli-deploy.prices/";
const KEYS: [&str; 14] = [
    "$schema",
    "schema",
    "name",
    "provider",
    "currency",
    "generated",
    "about",
    "usage",
    "lines",
    "confidence_key",
    "sources",
    "entries",
    // Of the files that the books of the program are made from; what they say is in billing.json.
    "billing",
    "hours_per_month",
];
const ENTRY_KEYS: [&str; 10] =
    ["service", "sku", "region", "unit", "usd", "currency", "source", "as_of", "confidence", "note"];

/// Reads a book from a file.
pub fn read_file(path: &Path) -> Checked<PriceBook> {
    match SourceFile::read(path) {
        Ok(source) => parse(source),
        Err(diagnostic) => Checked { value: None, diagnostics: vec![*diagnostic] },
    }
}

/// Reads a book from text; `path` is what its places are named after, and its name if it has none.
pub fn read(path: &Path, text: String) -> Checked<PriceBook> {
    parse(SourceFile::new(path, text))
}

fn parse(source: SourceFile) -> Checked<PriceBook> {
    let Checked { value, diagnostics } = Document::parse(source);
    match value {
        Some(document) => {
            let mut reader = Reader { document: &document, found: diagnostics };
            let value = reader.book();
            Checked { value, diagnostics: reader.found }
        }
        None => Checked { value: None, diagnostics },
    }
}

struct Reader<'a> {
    document: &'a Document,
    found: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn refuse(&mut self, code: Code, at: &str, message: impl Into<String>) {
        let span = self.document.spans.value(at);
        self.found.push(code.diagnostic(message).at(span, "here"));
    }

    fn text(&mut self, map: &'a Map<String, Value>, at: &str, key: &str) -> Option<&'a str> {
        match map.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.refuse(rules::PRICE_BOOK, &child(at, key), format!("`{key}` must be a text"));
                None
            }
        }
    }

    /// A text that must be there.
    fn word(&mut self, map: &'a Map<String, Value>, at: &str, key: &str) -> Option<&'a str> {
        if map.get(key).is_none_or(Value::is_null) {
            let near = nearest(key, map.keys().map(String::as_str));
            let span = self.document.spans.value(at);
            let mut diagnostic = rules::PRICE_BOOK.diagnostic(format!("`{key}` is missing")).at(span, "here");
            if let Some(near) = near {
                diagnostic = diagnostic.help(format!("is `{near}` meant for it?"));
            }
            self.found.push(diagnostic);
            return None;
        }
        self.text(map, at, key)
    }

    fn book(&mut self) -> Option<PriceBook> {
        let Value::Object(map) = &self.document.value else {
            self.refuse(rules::PRICE_BOOK, "", "a price book is a map with `schema` and `entries`");
            return None;
        };
        match self.word(map, "", "schema") {
            Some(BOOK_SCHEMA) => {}
            Some(newer) if newer.starts_with(FAMILY) => {
                let message =
                    format!("this book has the form `{newer}`, and this program reads `{BOOK_SCHEMA}`");
                self.refuse(rules::PRICE_BOOK_VERSION, "/schema", message);
                return None;
            }
            Some(other) => {
                let message = format!("`{other}` is not a form of price book; known is `{BOOK_SCHEMA}`");
                self.refuse(rules::PRICE_BOOK, "/schema", message);
                return None;
            }
            None => return None,
        }
        for key in map.keys().filter(|key| !KEYS.contains(&key.as_str()) && !key.starts_with("x-")) {
            let near = nearest(key, KEYS);
            let span = self.document.spans.key(&child("", key));
            let mut diagnostic =
                rules::PRICE_BOOK.diagnostic(format!("a price book has no key `{key}`")).at(span, "here");
            if let Some(near) = near {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.found.push(diagnostic);
        }
        let provider = self.word(map, "", "provider");
        self.currency(map, "", true);
        let sources = self.sources(map);
        let Some(Value::Array(entries)) = map.get("entries") else {
            self.refuse(rules::PRICE_BOOK, "/entries", "`entries` must be a list of prices");
            return None;
        };
        let mut prices = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            prices.extend(self.price(entry, &format!("/entries/{index}"), &sources));
        }
        self.twins(entries);
        let path = &self.document.source.path;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.text(map, "", "name").map(ToOwned::to_owned).or(stem).unwrap_or_default();
        let lines = match map.get("lines") {
            Some(Value::Array(lines)) => {
                lines.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let grades = match map.get("confidence_key") {
            Some(Value::Object(grades)) => grades
                .iter()
                .filter_map(|(letter, meaning)| Some((letter.clone(), meaning.as_str()?.to_owned())))
                .collect(),
            _ => BTreeMap::new(),
        };
        let mut book = PriceBook::new(name, provider?, prices);
        book.generated = self.text(map, "", "generated").map(ToOwned::to_owned);
        book.about = self.text(map, "", "about").map(ToOwned::to_owned);
        book.usage = self.text(map, "", "usage").map(ToOwned::to_owned);
        book.lines = lines;
        book.grades = grades;
        book.sources = sources;
        let failed = self.found.iter().any(|d| d.severity == crate::diagnostics::Severity::Error);
        (!failed).then_some(book)
    }

    /// Sums of several currencies mean nothing, and rates of exchange are not ours to know.
    fn currency(&mut self, map: &'a Map<String, Value>, at: &str, needed: bool) {
        let currency = if needed { self.word(map, at, "currency") } else { self.text(map, at, "currency") };
        if let Some(currency) = currency
            && currency != "USD"
        {
            let span = self.document.spans.value(&child(at, "currency"));
            self.found.push(
                rules::WRONG_CURRENCY
                    .diagnostic(format!("a price in `{currency}` cannot be added to prices in USD"))
                    .at(span, "here")
                    .help("give prices in USD"),
            );
        }
    }

    fn sources(&mut self, map: &'a Map<String, Value>) -> BTreeMap<String, PriceSource> {
        let Some(Value::Object(entries)) = map.get("sources") else {
            self.refuse(
                rules::PRICE_BOOK,
                "/sources",
                "`sources` must be a map that says where each price comes from",
            );
            return BTreeMap::new();
        };
        let mut sources = BTreeMap::new();
        for (id, source) in entries {
            match serde_json::from_value::<PriceSource>(source.clone()) {
                Ok(source) => {
                    sources.insert(id.clone(), source);
                }
                Err(error) => {
                    self.refuse(
                        rules::PRICE_BOOK,
                        &child("/sources", id),
                        format!("the source `{id}` cannot be read: {error}"),
                    );
                }
            }
        }
        sources
    }

    fn price(
        &mut self,
        entry: &'a Value,
        at: &str,
        sources: &BTreeMap<String, PriceSource>,
    ) -> Option<Price> {
        let Value::Object(map) = entry else {
            self.refuse(rules::PRICE_BOOK, at, "a price is a map");
            return None;
        };
        self.currency(map, at, false);
        let service = self.word(map, at, "service");
        let sku = self.word(map, at, "sku");
        let unit = self.word(map, at, "unit");
        let source = self.word(map, at, "source");
        let grade = self.word(map, at, "confidence");
        if let Some(source) = source
            && !sources.contains_key(source)
        {
            let near = nearest(source, sources.keys().map(String::as_str));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message = format!("`sources` does not say what `{source}` is{help}");
            self.refuse(rules::PRICE_BOOK, &child(at, "source"), message);
        }
        let grade = grade.and_then(|letter| {
            let grade = Grade::of(letter);
            if grade.is_none() {
                let message = format!("`{letter}` is not a grade; they are A, B, C and D");
                self.refuse(rules::PRICE_BOOK, &child(at, "confidence"), message);
            }
            grade
        });
        let amount = match map.get("usd") {
            None => {
                self.word(map, at, "usd");
                None
            }
            Some(value) => match decimal(value) {
                Ok(amount) => Some(amount),
                Err(why) => {
                    self.refuse(rules::PRICE_BOOK, &child(at, "usd"), format!("`usd` {why}"));
                    None
                }
            },
        };
        let mut attributes = BTreeMap::new();
        for (name, value) in map {
            if ENTRY_KEYS.contains(&name.as_str()) || name == "from_first_unit" {
                continue;
            }
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Number(_) => {
                    decimal(value).map_or_else(|_| value.to_string(), |n| n.normalize().to_string())
                }
                Value::Bool(yes) => yes.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    self.refuse(
                        rules::PRICE_BOOK,
                        &child(at, name),
                        format!("`{name}` must be a text, a number, true or false"),
                    );
                    continue;
                }
            };
            attributes.insert(name.clone(), text);
        }
        let from_first_unit = match map.get("from_first_unit") {
            None => false,
            Some(Value::Bool(yes)) => *yes,
            Some(_) => {
                self.refuse(
                    rules::PRICE_BOOK,
                    &child(at, "from_first_unit"),
                    "`from_first_unit` must be true or false",
                );
                false
            }
        };
        Some(Price {
            service: service?.into(),
            sku: sku?.to_owned(),
            region: self.text(map, at, "region").unwrap_or("all").into(),
            unit: unit?.into(),
            amount: amount?,
            source: source?.into(),
            as_of: self.text(map, at, "as_of").map(Arc::from),
            grade: grade?,
            attributes: Arc::new(attributes),
            note: self.text(map, at, "note").map(Arc::from),
            from_first_unit,
        })
    }

    /// Two prices for the same thing: nobody could say which is meant.
    fn twins(&mut self, entries: &'a [Value]) {
        let told_apart = |name: &str| {
            !matches!(
                name,
                "usd" | "unit" | "source" | "as_of" | "confidence" | "note" | "currency" | "from_first_unit"
            )
        };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut twins = BTreeSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let Value::Object(map) = entry else { continue };
            let mut columns: Vec<String> =
                map.iter().filter(|(name, _)| told_apart(name)).map(|(n, v)| format!("{n}={v}")).collect();
            columns.sort();
            if let Some(first) = seen.insert(columns.join("\u{0}"), index) {
                twins.insert((first, index));
            }
        }
        for (first, second) in twins {
            let at = |index: usize| self.document.spans.value(&format!("/entries/{index}"));
            let (first, second) = (at(first), at(second));
            self.found.push(
                rules::PRICE_BOOK
                    .diagnostic("two prices for the same thing")
                    .at(second, "again here")
                    .at(first, "first here")
                    .help("keep one of the two, or give them a column that tells them apart"),
            );
        }
    }
}

/// Writes a book as JSON, the form that [`read`] reads. Numbers are text, so that they stay exact.
#[must_use]
pub fn write(book: &PriceBook) -> String {
    let mut map = Map::new();
    map.insert("schema".to_owned(), BOOK_SCHEMA.into());
    map.insert("name".to_owned(), book.name.clone().into());
    map.insert("provider".to_owned(), book.provider.clone().into());
    map.insert("currency".to_owned(), book.currency.to_string().into());
    for (key, value) in [("generated", &book.generated), ("about", &book.about), ("usage", &book.usage)] {
        if let Some(value) = value {
            map.insert(key.to_owned(), value.clone().into());
        }
    }
    if !book.lines.is_empty() {
        map.insert("lines".to_owned(), json!(book.lines));
    }
    map.insert("confidence_key".to_owned(), json!(book.grades));
    map.insert("sources".to_owned(), json!(book.sources));
    let entries = book.prices().iter().map(|price| {
        let mut entry = Map::new();
        entry.insert("service".to_owned(), (*price.service).into());
        entry.insert("sku".to_owned(), price.sku.clone().into());
        entry.insert("region".to_owned(), (*price.region).into());
        entry.insert("unit".to_owned(), (*price.unit).into());
        entry.insert("usd".to_owned(), price.amount.to_string().into());
        entry.insert("source".to_owned(), (*price.source).into());
        entry.insert("as_of".to_owned(), price.as_of.as_deref().map_or(Value::Null, Value::from));
        entry.insert("confidence".to_owned(), price.grade.letter().into());
        for (name, value) in price.attributes.iter() {
            entry.insert(name.clone(), value.clone().into());
        }
        if let Some(note) = &price.note {
            entry.insert("note".to_owned(), (**note).into());
        }
        if price.from_first_unit {
            entry.insert("from_first_unit".to_owned(), true.into());
        }
        Value::Object(entry)
    });
    map.insert("entries".to_owned(), entries.collect());
    format!("{:#}\n", Value::Object(map))
}
