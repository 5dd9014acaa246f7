//! Reading a file whose author was not held to a schema: nothing is a decoding error,
//! everything odd is named and then used or left out.

use std::cell::RefCell;

use serde_json::Value;

use crate::diagnostics::{Code, Diagnostic, Severity, Span, rules};
use crate::manifest::shape::named;
use crate::manifest::yaml::Document;

/// The file, and what was noticed while reading it.
pub(super) struct Reader<'a> {
    document: &'a Document,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, found: RefCell::default() }
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }

    /// The value at a JSON pointer; null counts as absent.
    pub(super) fn get(&self, at: &str) -> Option<&'a Value> {
        self.document.value.pointer(at).filter(|value| !value.is_null())
    }

    /// The place of a value.
    pub(super) fn span(&self, at: &str) -> Option<Span> {
        self.document.spans.value(at)
    }

    /// The place of a key.
    pub(super) fn key_span(&self, at: &str) -> Option<Span> {
        self.document.spans.key(at)
    }

    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// Notes something about the value at a pointer.
    pub(super) fn note(&self, code: Code, at: &str, message: impl Into<String>, help: impl Into<String>) {
        self.push(code.diagnostic(message).at(self.span(at), "here").help(help));
    }

    /// The same with another severity than the code usually has.
    pub(super) fn note_as(
        &self,
        severity: Severity,
        code: Code,
        at: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let mut diagnostic = code.diagnostic(message).at(self.span(at), "here").help(help);
        diagnostic.severity = severity;
        self.push(diagnostic);
    }

    fn odd(&self, at: &str, wanted: &str) {
        self.note_as(
            Severity::Warning,
            rules::ODD_SHAPE,
            at,
            format!("{} is not {wanted}; it is ignored", named(at)),
            format!("write {wanted}, or remove it"),
        );
    }

    /// A text; numbers and switches are taken as they are written.
    pub(super) fn text(&self, at: &str) -> Option<String> {
        match self.get(at)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => {
                self.odd(at, "a text");
                None
            }
        }
    }

    /// A text that is not empty.
    pub(super) fn full_text(&self, at: &str) -> Option<String> {
        self.text(at).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// True or false; also as a text.
    pub(super) fn flag(&self, at: &str) -> Option<bool> {
        match self.get(at)? {
            Value::Bool(value) => Some(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => {
                self.odd(at, "true or false");
                None
            }
        }
    }

    /// A whole number that is not negative; also as a text.
    pub(super) fn number(&self, at: &str) -> Option<u64> {
        let value = match self.get(at)? {
            Value::Number(number) => number.as_u64().or_else(|| {
                // `30000.0`: whole and in range, so the conversion is exact.
                number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=9e15).contains(n)).map(|n| n as u64)
            }),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.odd(at, "a whole number");
        }
        value
    }

    /// A map's keys, in the order of the file. Anything else is named and gives none.
    pub(super) fn keys(&self, at: &str) -> Vec<&'a str> {
        match self.get(at) {
            Some(Value::Object(map)) => map.keys().map(String::as_str).collect(),
            Some(_) => {
                self.odd(at, "a map");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The number of items of a list. Anything else is named and gives 0.
    pub(super) fn count(&self, at: &str) -> usize {
        match self.get(at) {
            Some(Value::Array(items)) => items.len(),
            Some(_) => {
                self.odd(at, "a list");
                0
            }
            None => 0,
        }
    }

    /// One text or a list of texts.
    pub(super) fn texts(&self, at: &str) -> Vec<String> {
        match self.get(at) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => {
                let texts: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                if texts.len() != items.len() {
                    self.odd(at, "a list of texts");
                }
                texts
            }
            Some(_) => {
                self.odd(at, "a text or a list of texts");
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}
