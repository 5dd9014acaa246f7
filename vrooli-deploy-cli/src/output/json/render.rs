use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::render::{FilePath, FileState};

use crate::output::word;

/// A file that was rendered.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RenderedLine {
    /// Its path in the folder.
    pub(crate) path: String,
    /// `made`, `changed`, `unchanged`, `removed`, or `kept`: not rendered any more, but changed by
    /// somebody.
    pub(crate) state: String,
}

impl RenderedLine {
    pub(crate) fn new(path: &FilePath, state: FileState) -> Self {
        Self { path: path.to_string(), state: word(&state) }
    }
}
