//! The form in which books are part of the program: a tenth of the JSON's size, read in a
//! millisecond. `UPDATE=1 cargo test -p vrooli-deploy-core --test it price_book` makes it anew
//! from the JSON that lies beside the checkout.
//!
//! Lines of columns with tabs between them. The first word of a line says what it is:
//!
//! ```text
//! vrooli-deploy.prices.compact/1
//! book      NAME      PROVIDER   CURRENCY  GENERATED
//! grade     LETTER    MEANING
//! source    ID        AS_OF      WHAT      url=…     commit=…   licence=…
//! group     SERVICE   REGION     UNIT      GRADE     SOURCE     AS_OF      name=value …
//! +         SKU       AMOUNT     name=value …
//! ```
//! A price has the columns of the group above it and its own. `-` stands for what is not
//! known, `=` for the date of the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Grade, Price, PriceBook, PriceSource};
use crate::cost::Decimal;

const HEAD: &str = "vrooli-deploy.prices.compact/1";
/// A note is a column like others, but is not asked for.
const NOTE: &str = "note";

/// Reads the compact form.
///
/// # Errors
/// The line that cannot be read, counted from 1, and why.
pub fn read(text: &str) -> Result<PriceBook, String> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEAD) {
        return Err(format!("line 1: not `{HEAD}`"));
    }
    let mut book = PriceBook::new("", "", Vec::new());
    let mut prices = Vec::new();
    let mut group: Option<Price> = None;
    for (index, line) in lines {
        let mut columns = line.split('\t');
        let fail = |why: &str| format!("line {}: {why}", index + 1);
        let mut next = || columns.next().ok_or_else(|| fail("a column is missing"));
        match next()? {
            "+" => {
                let group = group.as_ref().ok_or_else(|| fail("a price before any group"))?;
                let sku = next()?.to_owned();
                let amount: Decimal = next()?.parse().map_err(|_| fail("not an amount"))?;
                if amount.is_sign_negative() {
                    return Err(fail("a negative amount"));
                }
                let mut price = Price { sku, amount, ..group.clone() };
                let mut own = None;
                for column in columns {
                    let (name, value) = column.split_once('=').ok_or_else(|| fail("not name=value"))?;
                    if name == NOTE {
                        price.note = Some(value.into());
                    } else {
                        own.get_or_insert_with(|| BTreeMap::clone(&group.attributes))
                            .insert(name.to_owned(), value.to_owned());
                    }
                }
                if let Some(own) = own {
                    price.attributes = Arc::new(own);
                }
                prices.push(price);
            }
            "group" => {
                let (service, region, unit, grade, source) = (next()?, next()?, next()?, next()?, next()?);
                let as_of = match next()? {
                    "=" => book.sources.get(source).and_then(|source| source.as_of.as_deref()).map(Arc::from),
                    "-" => None,
                    date => Some(date.into()),
                };
                if !book.sources.contains_key(source) {
                    return Err(fail("an unknown source"));
                }
                let mut attributes = BTreeMap::new();
                let mut note = None;
                for column in columns {
                    let (name, value) = column.split_once('=').ok_or_else(|| fail("not name=value"))?;
                    if name == NOTE {
                        note = Some(value.into());
                    } else {
                        attributes.insert(name.to_owned(), value.to_owned());
                    }
                }
                group = Some(Price {
                    service: service.into(),
                    sku: String::new(),
                    region: region.into(),
                    unit: unit.into(),
                    amount: Decimal::ZERO,
                    source: source.into(),
                    as_of,
                    grade: Grade::of(grade).ok_or_else(|| fail("not a grade"))?,
                    attributes: Arc::new(attributes),
                    note,
                    from_first_unit: false,
                });
            }
            "source" => {
                let id = next()?.to_owned();
                let as_of = Some(next()?).filter(|date| *date != "-").map(ToOwned::to_owned);
                let mut source = PriceSource { what: next()?.to_owned(), as_of, ..PriceSource::default() };
                for column in columns {
                    let (name, value) = column.split_once('=').ok_or_else(|| fail("not name=value"))?;
                    let value = Some(value.to_owned());
                    match name {
                        "url" => source.url = value,
                        "commit" => source.commit = value,
                        "licence" => source.licence = value,
                        _ => return Err(fail("an unknown column of a source")),
                    }
                }
                book.sources.insert(id, source);
            }
            "grade" => {
                book.grades.insert(next()?.to_owned(), next()?.to_owned());
            }
            "book" => {
                book.name = next()?.to_owned();
                book.provider = next()?.to_owned();
                if next()? != "USD" {
                    return Err(fail("a currency other than USD"));
                }
                book.generated = Some(next()?).filter(|date| *date != "-").map(ToOwned::to_owned);
            }
            _ => return Err(fail("an unknown word")),
        }
    }
    let read = PriceBook::new(std::mem::take(&mut book.name), std::mem::take(&mut book.provider), prices);
    Ok(PriceBook { generated: book.generated, grades: book.grades, sources: book.sources, ..read })
}

/// Writes the compact form. Tabs and line breaks in texts become spaces.
#[must_use]
pub fn write(book: &PriceBook) -> String {
    let clean = |text: &str| text.replace(['\t', '\n', '\r'], " ");
    let or_unknown = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), clean);
    let mut lines = vec![HEAD.to_owned()];
    lines.push(format!(
        "book\t{}\t{}\t{}\t{}",
        clean(&book.name),
        clean(&book.provider),
        book.currency,
        or_unknown(book.generated.as_deref())
    ));
    for (letter, meaning) in &book.grades {
        lines.push(format!("grade\t{letter}\t{}", clean(meaning)));
    }
    for (id, source) in &book.sources {
        let mut line =
            format!("source\t{id}\t{}\t{}", or_unknown(source.as_of.as_deref()), clean(&source.what));
        for (name, value) in [("url", &source.url), ("commit", &source.commit), ("licence", &source.licence)]
        {
            if let Some(value) = value {
                line.push_str(&format!("\t{name}={}", clean(value)));
            }
        }
        lines.push(line);
    }
    // Columns that few values share belong to the price, the others to its group.
    let shared: &[&str] = &["os", "tenancy", "engine", "deployment"];
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for price in book.prices() {
        let date = price.as_of.as_deref();
        let of_source = book.source(price).and_then(|source| source.as_of.as_deref());
        let date = if date.is_some() && date == of_source { "=".to_owned() } else { or_unknown(date) };
        let mut group = format!(
            "group\t{}\t{}\t{}\t{}\t{}\t{date}",
            price.service, price.region, price.unit, price.grade, price.source
        );
        let mut line = format!("+\t{}\t{}", price.sku, price.amount.normalize());
        for (name, value) in price.attributes.iter() {
            let column = format!("\t{name}={}", clean(value));
            if shared.contains(&name.as_str()) { group.push_str(&column) } else { line.push_str(&column) }
        }
        if let Some(note) = &price.note {
            group.push_str(&format!("\t{NOTE}={}", clean(note)));
        }
        groups.entry(group).or_default().push(line);
    }
    for (group, prices) in groups {
        lines.push(group);
        lines.extend(prices);
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: &str = "vrooli-deploy.prices.compact/1\nbook\tx\tx\tUSD\t2026-01-02\ngrade\tA\tsure\n\
        source\ts\t2026\twhere\turl=http://x\n\
        group\tvm\tall\tmonth\tA\ts\t=\tengine=pg\tnote=mind\n+\tsmall\t4.5\tvcpus=2\n";

    #[test]
    fn what_is_written_reads_the_same() {
        let book = read(BOOK).unwrap();
        let price = &book.prices()[0];
        assert_eq!((price.as_of.as_deref(), price.note.as_deref()), (Some("2026"), Some("mind")));
        assert_eq!(price.attributes.len(), 2);
        assert_eq!(write(&book), BOOK);
        assert_eq!(read(&write(&book)).unwrap(), book);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (bad, line) in [
            ("x", 1),
            ("vrooli-deploy.prices.compact/1\nwhat", 2),
            ("vrooli-deploy.prices.compact/1\n+\tx\t1", 2),
            ("vrooli-deploy.prices.compact/1\nsource\ts\t-\tx\ngroup\tvm\tall\tmonth\tE\ts\t-", 3),
            ("vrooli-deploy.prices.compact/1\nsource\ts\t-\tx\ngroup\tvm\tall\tmonth\tA\tt\t-", 3),
            ("vrooli-deploy.prices.compact/1\nsource\ts\t-\tx\ngroup\tvm\tall\tmonth\tA\ts\t-\n+\tx\t-1", 4),
            ("vrooli-deploy.prices.compact/1\nbook\tx\tx\tEUR\t-", 2),
        ] {
            let why = read(bad).unwrap_err();
            assert!(why.starts_with(&format!("line {line}: ")), "{why}");
        }
    }
}
