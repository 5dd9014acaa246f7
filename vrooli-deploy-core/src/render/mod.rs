//! A stack as files for other tools. Pure: what is written comes from the stack alone, so that the
//! same stack gives the same bytes, and what is written out can be held against what is done.

pub mod dockerfile;
mod file_tree;
#[cfg(feature = "engine")]
mod folder;

use std::fmt::Debug;

use serde::Serialize;

use crate::diagnostics::Checked;
use crate::stack::Stack;

pub use file_tree::{FilePath, FilePathError, FileTree, RenderedFile, Taken};
#[cfg(feature = "engine")]
pub use folder::{FileState, FolderError, MARKER, WrittenFiles};

/// Writes a stack down for another tool. A provider brings those of its own kinds
/// ([`ProviderFactory::renderers`](crate::provider::ProviderFactory::renderers)).
pub trait Renderer: Debug + Send + Sync {
    /// What it is asked for by: `ansible`.
    fn format(&self) -> &'static str;
    /// What it writes, in a phrase.
    fn about(&self) -> &'static str;
    /// The files. Holds no secret, because a stack holds none. What cannot be written down is an
    /// error; what is left out, because this tool is not told of it, is a warning.
    fn render(&self, stack: &Stack) -> Checked<FileTree>;
}

/// Writes a value as YAML with three dashes before it, lists indented: what linters ask for.
///
/// # Errors
/// When it cannot be written, e.g. a map with keys that are no strings.
pub fn yaml<T: Serialize>(value: &T) -> Result<String, String> {
    Ok(format!("---\n{}", crate::manifest::yaml::write_with(value, false)?))
}
