//! What is wrong with the user's input: data, many at once, with places in their file.
//!
//! An operation that failed is an error, not a diagnostic. Codes are `VDxxxx`, never
//! re-used, each explained in `docs/errors/VDxxxx.md` (see [`explain`]).

pub mod format;
pub mod rules;

pub use rules::explain;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A message code, `VD0203`. The first two digits are the range: 01 syntax, 02 manifest,
/// 03 fitness, 04 cost, 05 plan, 06 apply and journal, 07 provider, 08 secrets, 09 render,
/// 10 state and lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VD{:04}", self.0)
    }
}

impl std::str::FromStr for Code {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("VD").or_else(|| text.strip_prefix("vd")).unwrap_or(text);
        if digits.len() == 4 {
            digits.parse().map(Code).map_err(|_| format!("`{text}` is not a code like VD0203"))
        } else {
            Err(format!("`{text}` is not a code like VD0203"))
        }
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How bad it is. An `Error` keeps the input from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Works, but is likely not what was meant.
    Warning,
    /// Cannot be used.
    Error,
}

/// A range of bytes in a file, with the line and column (from 1, columns in characters) of its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// First byte.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
    /// Line of the first byte, from 1.
    pub line: usize,
    /// Column of the first byte, from 1.
    pub column: usize,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A place in the input and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What about it; may be empty.
    pub text: String,
}

/// A replacement that would mend the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// What to replace.
    pub span: Span,
    /// With what.
    pub replacement: String,
}

/// One thing about the user's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Its code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// A phrase: lower-case start, names in backticks, no full stop.
    pub message: String,
    /// Places, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// A mechanical mend, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Diagnostic {
    /// A diagnostic without a place.
    #[must_use]
    pub fn new(code: Code, severity: Severity, message: impl Into<String>) -> Self {
        Self { code, severity, message: message.into(), labels: Vec::new(), help: None, fix: None }
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, span: Option<Span>, text: impl Into<String>) -> Self {
        if let Some(span) = span {
            self.labels.push(Label { span, text: text.into() });
        }
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = self.labels.first() {
            write!(f, "{}: ", label.span)?;
        }
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// A value and everything that was noticed on the way to it. `value` is `None` when an
/// error kept it from being made; all problems are collected, never only the first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Checked<T> {
    /// The value, if it could be made.
    pub value: Option<T>,
    /// What was noticed.
    pub diagnostics: Vec<Diagnostic>,
}

impl<T> Checked<T> {
    /// A value and nothing to say about it.
    pub fn ok(value: T) -> Self {
        Self { value: Some(value), diagnostics: Vec::new() }
    }

    /// True when a diagnostic is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// The value if there is one and nothing is an error; else the diagnostics.
    ///
    /// # Errors
    /// All diagnostics.
    pub fn into_result(self) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
        match self.value {
            Some(value) if !self.diagnostics.iter().any(|d| d.severity == Severity::Error) => {
                Ok((value, self.diagnostics))
            }
            _ => Err(self.diagnostics),
        }
    }
}
