//! What a folder of sources says of how it is built, read off a list of its files. Pure: whoever reads
//! the folder fills a [`SourceTree`].

pub mod command;
pub mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Files whose content says how a folder is built.
const MARKERS: &[&str] = &["package.json", "pnpm-workspace.yaml"];

/// The files of a folder, and what those say that tell how it is built. Paths are relative to the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTree {
    files: BTreeSet<PathBuf>,
    texts: BTreeMap<PathBuf, String>,
}

impl SourceTree {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Is it a file whose text is to be [`add`](Self::add)ed?
    #[must_use]
    pub fn is_marker(path: &Path) -> bool {
        path.file_name().is_some_and(|name| MARKERS.iter().any(|marker| name == *marker))
    }

    /// Adds a file, with its text if it is a marker that can be read.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: Option<String>) {
        let path = path.into();
        if let Some(text) = text {
            self.texts.insert(path.clone(), text);
        }
        self.files.insert(path);
    }

    /// Is there such a file?
    #[must_use]
    pub fn has_file(&self, path: &Path) -> bool {
        self.files.contains(path)
    }

    /// Is there such a file, or a folder with files in it?
    #[must_use]
    pub fn exists(&self, path: &Path) -> bool {
        // Paths are ordered by their parts: what lies in a folder follows it.
        self.files.range(path.to_path_buf()..).next().is_some_and(|next| next.starts_with(path))
    }

    /// The text of a marker.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// The folders below one (itself included) that hold a file of that name, in order; those that are
    /// made by builds are passed over.
    pub fn folders_with<'a>(&'a self, name: &'a str, below: &'a Path) -> impl Iterator<Item = &'a Path> {
        const MADE: &[&str] = &["node_modules", ".git", "target", "dist", "build"];
        let inside = self.files.iter().filter(move |file| file.starts_with(below));
        inside.filter_map(move |file| {
            let folder = file.parent()?;
            let made = |part: Component<'_>| MADE.iter().any(|made| part.as_os_str() == *made);
            let own = folder.strip_prefix(below).ok()?;
            (file.file_name()? == name && !own.components().any(made)).then_some(folder)
        })
    }
}

/// A path without `.` and `..`, as text: nothing of it need be there. What leads out of a relative path
/// keeps its `..`.
#[must_use]
pub fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            Component::ParentDir if plain.has_root() => {}
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_there_when_they_hold_a_file() {
        let mut tree = SourceTree::new();
        for file in ["a/b/c", "a-b", "x/node_modules/y/package.json", "x/package.json"] {
            tree.add(file, None);
        }
        assert!(
            tree.exists(Path::new("a/b"))
                && tree.exists(Path::new("a/b/c"))
                && !tree.has_file(Path::new("a"))
        );
        assert!(
            !tree.exists(Path::new("a/b/c/d")) && !tree.exists(Path::new("b")) && tree.exists(Path::new(""))
        );
        let folders: Vec<_> = tree.folders_with("package.json", Path::new("")).collect();
        assert_eq!(folders, [Path::new("x")]);
    }

    #[test]
    fn a_path_that_leads_out_shows_it() {
        assert_eq!(normal(Path::new("a/./b/../c")), Path::new("a/c"));
        assert_eq!(normal(Path::new("a/../../b")), Path::new("../b"));
        assert_eq!(normal(Path::new("/../b")), Path::new("/b"));
    }
}
