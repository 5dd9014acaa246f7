//! The books that are part of the program. Each is read when it is first asked for.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::{PriceBook, compact, file};

/// A book that is part of the program.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedBook {
    /// Its name, for `--prices`.
    pub name: &'static str,
    /// The list prices of its provider, that are asked when no other book answers; others are
    /// asked only when they are chosen.
    pub list: bool,
    book: &'static LazyLock<Option<Arc<PriceBook>>>,
}

impl EmbeddedBook {
    /// It. `None` if the program was built with a damaged one, which a unit test excludes.
    #[must_use]
    pub fn book(&self) -> Option<&'static Arc<PriceBook>> {
        self.book.as_ref()
    }
}

static AWS: LazyLock<Option<Arc<PriceBook>>> =
    LazyLock::new(|| compact::read(include_str!("../data/aws.prices")).ok().map(Arc::new));
static DIGITALOCEAN: LazyLock<Option<Arc<PriceBook>>> =
    LazyLock::new(|| compact::read(include_str!("../data/digitalocean.prices")).ok().map(Arc::new));
static DOCUMENT: LazyLock<Option<Arc<PriceBook>>> = LazyLock::new(|| {
    let text = include_str!("../data/saas-workflow-document.json");
    let document = file::read(Path::new("saas-workflow-document.json"), text.to_owned());
    document.into_result().ok().map(|(book, _)| Arc::new(book))
});

static BOOKS: [EmbeddedBook; 3] = [
    EmbeddedBook { name: "aws", list: true, book: &AWS },
    EmbeddedBook { name: "digitalocean", list: true, book: &DIGITALOCEAN },
    EmbeddedBook { name: "saas-workflow-document", list: false, book: &DOCUMENT },
];

/// All books that are part of the program.
#[must_use]
pub fn embedded_books() -> &'static [EmbeddedBook] {
    &BOOKS
}

/// The book of that name that is part of the program.
#[must_use]
pub fn embedded(name: &str) -> Option<&'static Arc<PriceBook>> {
    BOOKS.iter().find(|book| book.name == name)?.book()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_book_can_be_read_and_bears_its_name() {
        for embedded in embedded_books() {
            let book = embedded.book().unwrap();
            assert_eq!(book.name, embedded.name);
            assert!(!book.prices().is_empty());
            for price in book.prices() {
                assert!(book.source(price).is_some(), "{} {}", price.service, price.sku);
            }
        }
        assert!(embedded("nothing").is_none());
    }
}
