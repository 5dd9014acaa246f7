//! What is to be said about the user's input.

use schemars::JsonSchema;
use serde::Serialize;

/// Something about the user's input.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DiagnosticLine {
    /// `VD0203`.
    pub(crate) code: String,
    /// `error`, `warning` or `info`.
    pub(crate) severity: String,
    /// What.
    pub(crate) message: String,
    /// Places, the main one first.
    pub(crate) places: Vec<PlaceLine>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

/// A place in a file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PlaceLine {
    /// The file.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// What about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) text: String,
}
