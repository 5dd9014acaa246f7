//! Which files of a folder count: those of the sources, and those of what a build left.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::Deserialize;
use vrooli_deploy_core::provider::{Cancellation, ErrorKind, ProviderError, Result};

use crate::failure;

#[derive(Debug, Default, Deserialize)]
struct Known {
    never_copied: Vec<Pattern>,
    never_kept: Vec<Pattern>,
    only_programs_of: Vec<Pattern>,
}

/// One rule of the data file.
#[derive(Debug, Deserialize)]
struct Pattern {
    /// A name anywhere.
    #[serde(default)]
    name: Option<String>,
    /// Also names that go on with this.
    #[serde(default)]
    prefix_of: Option<String>,
    /// The end of a path.
    #[serde(default)]
    path: Option<String>,
    /// Only folders.
    #[serde(default)]
    folder: bool,
    /// Only where one of these lies beside it …
    #[serde(default)]
    beside: Vec<String>,
    /// … or in it.
    #[serde(default)]
    inside: Vec<String>,
}

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../../data/sources.json"), "sources.json"));

impl Pattern {
    fn takes(&self, absolute: &Path, is_folder: bool) -> bool {
        if self.folder && !is_folder {
            return false;
        }
        let name = absolute.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let named = match (&self.name, &self.path) {
            (Some(wanted), _) => match name.strip_prefix(wanted.as_bytes()) {
                Some([]) => true,
                Some(rest) => self.prefix_of.as_ref().is_some_and(|with| rest.starts_with(with.as_bytes())),
                None => false,
            },
            (None, Some(path)) => absolute.ends_with(path),
            (None, None) => false,
        };
        named && self.is_where_it_should(absolute)
    }

    fn is_where_it_should(&self, absolute: &Path) -> bool {
        if self.beside.is_empty() && self.inside.is_empty() {
            return true;
        }
        self.beside.iter().any(|name| absolute.with_file_name(name).exists())
            || self.inside.iter().any(|name| absolute.join(name).exists())
    }
}

/// Something that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the folder that was walked.
    pub(super) path: PathBuf,
    pub(super) kind: EntryKind,
    pub(super) stamp: Stamp,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKind {
    Folder,
    File { executable: bool },
    Link { target: PathBuf },
}

/// What tells that a file was not written since: as much as the file system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i128,
    /// Nanoseconds since 1970.
    pub(super) changed: i128,
    pub(super) inode: u64,
}

impl Stamp {
    pub(super) fn of(meta: &fs::Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            size: meta.size(),
            modified: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            changed: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }
}

/// What of a folder counts.
#[derive(Debug)]
pub(super) struct Rules {
    base: PathBuf,
    never: &'static [Pattern],
    only_programs_of: &'static [Pattern],
    /// Left out whatever it is called: our own state, when it lies in the sources.
    skip: Option<PathBuf>,
    exclude: Gitignore,
    include: Option<Include>,
}

#[derive(Debug)]
struct Include {
    patterns: Gitignore,
    /// Literal starts of the patterns; `None` when one may match anywhere.
    starts: Option<Vec<PathBuf>>,
    /// Always taken.
    root: PathBuf,
}

impl Rules {
    /// Of the sources of a build: `root` is relative to the context, and always taken.
    pub(super) fn of_sources(
        context: &Path,
        root: &Path,
        include: &[String],
        exclude: &[String],
        state: &Path,
    ) -> Result<Self> {
        let include = if include.is_empty() {
            None
        } else {
            Some(Include {
                patterns: patterns(context, include)?,
                starts: include.iter().map(|pattern| literal_start(pattern)).collect(),
                root: root.to_path_buf(),
            })
        };
        Ok(Self {
            base: context.to_path_buf(),
            never: &KNOWN.never_copied,
            only_programs_of: &[],
            skip: fs::canonicalize(state).ok().filter(|state| state.starts_with(context)),
            exclude: patterns(context, exclude)?,
            include,
        })
    }

    /// Of what a build left in its work copy.
    pub(super) fn of_artefact(work: &Path) -> Self {
        Self {
            base: work.to_path_buf(),
            never: &KNOWN.never_kept,
            only_programs_of: &KNOWN.only_programs_of,
            skip: None,
            exclude: Gitignore::empty(),
            include: None,
        }
    }

    fn leaves_out(&self, relative: &Path, absolute: &Path, is_folder: bool) -> bool {
        self.skip.as_deref() == Some(absolute)
            || self.never.iter().any(|pattern| pattern.takes(absolute, is_folder))
            || self.exclude.matched(relative, is_folder).is_ignore()
    }

    fn takes(&self, relative: &Path, is_folder: bool) -> bool {
        self.include.as_ref().is_none_or(|include| {
            relative.starts_with(&include.root)
                || include.patterns.matched_path_or_any_parents(relative, is_folder).is_ignore()
        })
    }

    /// Can something in that folder be taken?
    fn goes_into(&self, relative: &Path) -> bool {
        self.include.as_ref().is_none_or(|include| {
            let leads_to = |start: &PathBuf| relative.starts_with(start) || start.starts_with(relative);
            leads_to(&include.root)
                || include.starts.as_ref().is_none_or(|starts| starts.iter().any(leads_to))
        })
    }
}

fn patterns(base: &Path, lines: &[String]) -> Result<Gitignore> {
    let mut builder = GitignoreBuilder::new(base);
    let wrong = |error: ignore::Error| {
        ProviderError::new(
            ErrorKind::Config,
            format!("a pattern of the build's files cannot be read: {error}"),
        )
        .with_help("patterns are written as in `.gitignore`")
    };
    for line in lines {
        builder.add_line(None, line).map_err(wrong)?;
    }
    builder.build().map_err(wrong)
}

/// The folders that an anchored pattern names before its first wildcard; `None` when the
/// pattern may match at any depth.
fn literal_start(pattern: &str) -> Option<PathBuf> {
    let pattern = pattern.strip_prefix('!').unwrap_or(pattern);
    let anchored = pattern.trim_end_matches('/').contains('/');
    let parts = pattern.split('/').filter(|part| !part.is_empty());
    anchored.then(|| parts.take_while(|part| !part.contains(['*', '?', '[', '\\'])).collect())
}

/// Everything that counts, in the order of the paths' bytes.
pub(super) fn walk(rules: &Rules, cancellation: &Cancellation) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        if cancellation.is_cancelled() {
            return Err(failure::cancelled("reading the sources"));
        }
        let absolute = rules.base.join(&folder);
        let children = fs::read_dir(&absolute).map_err(failure::at("read", &absolute))?;
        for child in children {
            let child = child.map_err(failure::at("read", &absolute))?;
            let (relative, absolute) = (folder.join(child.file_name()), child.path());
            let meta = match child.metadata() {
                Ok(meta) => meta,
                // Gone while we looked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failure::io("read", &absolute, &error)),
            };
            let is_folder = meta.is_dir();
            if rules.leaves_out(&relative, &absolute, is_folder) {
                continue;
            }
            if is_folder && rules.only_programs_of.iter().any(|pattern| pattern.takes(&absolute, true)) {
                programs_of(&rules.base, &relative, &mut entries)?;
                continue;
            }
            if is_folder && rules.goes_into(&relative) {
                open.push(relative.clone());
            }
            if rules.takes(&relative, is_folder)
                && let Some(entry) = entry(relative, &absolute, &meta)?
            {
                entries.push(entry);
            }
        }
    }
    entries.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(entries)
}

fn entry(relative: PathBuf, absolute: &Path, meta: &fs::Metadata) -> Result<Option<Entry>> {
    let kind = if meta.is_dir() {
        EntryKind::Folder
    } else if meta.is_symlink() {
        EntryKind::Link { target: fs::read_link(absolute).map_err(failure::at("read", absolute))? }
    } else if meta.is_file() {
        EntryKind::File { executable: meta.mode() & 0o111 != 0 }
    } else {
        // Sockets, pipes and devices belong to whoever runs, not to what is built.
        return Ok(None);
    };
    Ok(Some(Entry { path: relative, kind, stamp: Stamp::of(meta) }))
}

/// Of a compiler's folder only the finished programs: executable files beside cargo's lock.
fn programs_of(base: &Path, folder: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    /// `target/<profile>` and `target/<triple>/<profile>`.
    const DEPTH: usize = 2;
    let mut open = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let absolute = base.join(&folder);
        let is_profile = absolute.join(".cargo-lock").exists();
        for child in fs::read_dir(&absolute).map_err(failure::at("read", &absolute))? {
            let child = child.map_err(failure::at("read", &absolute))?;
            let meta = child.metadata().map_err(failure::at("read", &absolute))?;
            let relative = folder.join(child.file_name());
            if meta.is_dir() && !is_profile && depth < DEPTH {
                open.push((relative, depth + 1));
            } else if is_profile
                && meta.is_file()
                && meta.mode() & 0o111 != 0
                && let Some(entry) = entry(relative, &child.path(), &meta)?
            {
                entries.push(entry);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn files(rules: &Rules) -> Vec<String> {
        walk(rules, &Cancellation::new())
            .unwrap()
            .into_iter()
            .filter(|entry| entry.kind != EntryKind::Folder)
            .map(|entry| entry.path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../../data/sources.json"));
    }

    #[test]
    fn secrets_history_and_caches_are_not_copied() {
        let tree = tree(&[
            ".git/HEAD",
            "a/.git",
            "api/main.go",
            ".env",
            ".env.local",
            ".envrc",
            "ui/node_modules/x/index.js",
            ".vrooli/service.json",
            ".vrooli/secrets.json",
            "api/Cargo.toml",
            "api/target/debug/x",
            "src/target/mod.rs",
        ]);
        let rules =
            Rules::of_sources(tree.path(), Path::new(""), &[], &[], Path::new("/nonexistent")).unwrap();
        assert_eq!(
            files(&rules),
            [".envrc", ".vrooli/service.json", "api/Cargo.toml", "api/main.go", "src/target/mod.rs"]
        );
    }

    #[test]
    fn include_and_exclude_are_relative_to_the_context() {
        let tree = tree(&[
            "packages/a/x.js",
            "packages/b/x.js",
            "scenarios/s/main.go",
            "scenarios/t/main.go",
            "scenarios/s/big.bin",
            "top",
        ]);
        let rules = Rules::of_sources(
            tree.path(),
            Path::new("scenarios/s"),
            &["packages/a/".to_owned()],
            &["*.bin".to_owned()],
            Path::new("/nonexistent"),
        )
        .unwrap();
        assert_eq!(files(&rules), ["packages/a/x.js", "scenarios/s/main.go"]);
        assert!(!rules.goes_into(Path::new("scenarios/t")));
    }

    #[test]
    fn our_own_state_is_no_source() {
        let tree = tree(&["a", "state/apps/x/work/a"]);
        let state = tree.path().join("state");
        let context = fs::canonicalize(tree.path()).unwrap();
        let rules = Rules::of_sources(&context, Path::new(""), &[], &[], &state).unwrap();
        assert_eq!(files(&rules), ["a"]);
    }

    #[test]
    fn of_a_target_folder_programs_are_kept() {
        let tree = tree(&[
            "api/Cargo.toml",
            "api/target/release/.cargo-lock",
            "api/target/release/server",
            "api/target/release/server.d",
            "api/target/release/deps/server-1",
            "node_modules/x/i.js",
            "node_modules/.cache/y",
        ]);
        for program in ["api/target/release/server", "api/target/release/deps/server-1"] {
            fs::set_permissions(tree.path().join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert_eq!(
            files(&Rules::of_artefact(tree.path())),
            ["api/Cargo.toml", "api/target/release/server", "node_modules/x/i.js"]
        );
    }
}
