use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A path of a rendered file in its folder: parts of letters, digits and `-_.+@`, parted by `/`.
/// Cannot lead out of the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

/// A text that is no [`FilePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no path of a rendered file")]
pub struct FilePathError(pub String);

impl FilePath {
    /// Checks the text.
    ///
    /// # Errors
    /// [`FilePathError`] with the text.
    pub fn new(text: impl Into<String>) -> Result<Self, FilePathError> {
        let text = text.into();
        let part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.len() <= 200
                && !part.starts_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+@".contains(&b))
        };
        if text.split('/').all(part) { Ok(Self(text)) } else { Err(FilePathError(text)) }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders that it is in, the outermost first.
    fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FilePath {
    type Error = FilePathError;
    fn try_from(text: String) -> Result<Self, FilePathError> {
        Self::new(text)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

/// One rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// What is in it.
    pub text: String,
    /// Can it be run?
    pub executable: bool,
}

/// Two files want one place: the same path, or one is a folder of the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two files want the place `{0}`")]
pub struct Taken(pub FilePath);

/// Files by path. The same files have the same bytes in the same order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileTree(BTreeMap<FilePath, RenderedFile>);

impl FileTree {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    ///
    /// # Errors
    /// [`Taken`] when something is there.
    pub fn add(&mut self, path: FilePath, text: impl Into<String>) -> Result<(), Taken> {
        self.put(path, RenderedFile { text: text.into(), executable: false })
    }

    /// Adds a file that can be run.
    ///
    /// # Errors
    /// [`Taken`] when something is there.
    pub fn add_executable(&mut self, path: FilePath, text: impl Into<String>) -> Result<(), Taken> {
        self.put(path, RenderedFile { text: text.into(), executable: true })
    }

    fn put(&mut self, path: FilePath, file: RenderedFile) -> Result<(), Taken> {
        let is_folder = self.0.keys().any(|other| other.parents().any(|parent| parent == path.as_str()));
        let in_file = path.parents().any(|parent| self.0.keys().any(|other| other.as_str() == parent));
        if is_folder || in_file || self.0.contains_key(&path) {
            return Err(Taken(path));
        }
        self.0.insert(path, file);
        Ok(())
    }

    /// The files, in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&FilePath, &RenderedFile)> {
        self.0.iter()
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        let file = self.0.iter().find(|(name, _)| name.as_str() == path);
        file.map(|(_, file)| file.text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_files_never_want_one_place() {
        let path = |text: &str| FilePath::new(text).unwrap();
        let mut tree = FileTree::new();
        tree.add(path("a/b.yml"), "1").unwrap();
        assert_eq!(tree.add(path("a/b.yml"), "2"), Err(Taken(path("a/b.yml"))));
        assert_eq!(tree.add(path("a"), "2"), Err(Taken(path("a"))));
        assert_eq!(tree.add(path("a/b.yml/c"), "2"), Err(Taken(path("a/b.yml/c"))));
        tree.add_executable(path("a/b"), "3").unwrap();
        assert_eq!(tree.text("a/b.yml"), Some("1"));
        assert_eq!(tree.files().count(), 2);
    }

    proptest! {
        /// Whatever is taken for a path stays in its folder, wherever that is.
        #[test]
        fn no_path_leads_out_of_its_folder(text in "[a./\\\\~\\-\u{0} ]{0,12}") {
            if let Ok(path) = FilePath::new(text.as_str()) {
                let joined = std::path::Path::new("/root").join(path.as_str());
                prop_assert!(joined.starts_with("/root") && joined != std::path::Path::new("/root"));
                prop_assert!(joined.components().all(|part| part.as_os_str() != ".."));
                let odd = text.contains(['\\', '~', '\u{0}', ' ']);
                prop_assert!(!odd, "{text:?}");
            }
        }
    }
}
