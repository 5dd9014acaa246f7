//! The installed PostgreSQL programs, wherever a distribution put them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde::Deserialize;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use super::version::VersionWish;
use crate::environment;
use crate::kinds::numbers::PortRange;
use crate::programs;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Known {
    folders: Vec<String>,
    oldest_major: u32,
    pub(super) accounts: Vec<String>,
    pub(super) locales: Vec<String>,
    pub(super) ports: PortRange,
    pub(super) role: String,
    pub(super) superuser: String,
    extension_packages: BTreeMap<String, BTreeMap<String, String>>,
}

pub(super) static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../../../data/postgres.json"), "postgres.json"));

/// The programs of one installed version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binaries {
    pub(super) major: u32,
    folder: PathBuf,
}

impl Binaries {
    /// One of the programs that come with a server.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The client, which some distributions keep elsewhere.
    pub(super) fn psql(&self) -> Result<PathBuf> {
        let beside = self.folder.join("psql");
        if programs::is_program(&beside) {
            return Ok(beside);
        }
        let variables = environment::of_this_process(&[]);
        programs::find("psql", environment::get(&variables, "PATH"))
            .ok_or_else(|| programs::missing("psql", "preparing a PostgreSQL database"))
    }
}

/// Every installed version, the newest last.
pub(super) fn installed() -> Vec<Binaries> {
    let variables = environment::of_this_process(&[]);
    let mut folders: Vec<PathBuf> = KNOWN.folders.iter().flat_map(|pattern| expand(pattern)).collect();
    if let Some(server) = programs::find("postgres", environment::get(&variables, "PATH"))
        && let Some(folder) = fs::canonicalize(server).ok().as_deref().and_then(Path::parent)
    {
        folders.push(folder.to_path_buf());
    }
    let folders: BTreeSet<PathBuf> =
        folders.into_iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    let complete = |folder: &PathBuf| {
        ["postgres", "initdb", "pg_ctl"].iter().all(|name| programs::is_program(&folder.join(name)))
    };
    let mut found: Vec<Binaries> = folders
        .into_iter()
        .filter(complete)
        .filter_map(|folder| Some(Binaries { major: major_of(&folder.join("postgres"))?, folder }))
        .filter(|binaries| binaries.major >= KNOWN.oldest_major)
        .collect();
    found.sort();
    found
}

/// Folders that fit a pattern with `*` in whole or part of one segment.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for segment in pattern.split('/').filter(|segment| !segment.is_empty()) {
        found = match segment.split_once('*') {
            None => {
                found.into_iter().map(|folder| folder.join(segment)).filter(|path| path.exists()).collect()
            }
            Some((start, end)) => found
                .into_iter()
                .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
                .filter(|entry| {
                    entry
                        .file_name()
                        .to_str()
                        .is_some_and(|name| name.starts_with(start) && name.ends_with(end))
                })
                .map(|entry| entry.path())
                .collect(),
        };
    }
    found
}

fn major_of(server: &Path) -> Option<u32> {
    let answer =
        Command::new(server).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    major_in(&String::from_utf8_lossy(&answer.stdout))
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-1)` → 15.
fn major_in(text: &str) -> Option<u32> {
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// The version to make a new server with: the newest that the app takes.
pub(super) fn choose(wish: VersionWish, what_for: &str) -> Result<Binaries> {
    let installed = installed();
    if installed.is_empty() {
        return Err(missing(what_for));
    }
    let majors: Vec<String> = installed.iter().map(|b| b.major.to_string()).collect();
    installed.into_iter().rev().find(|b| wish.takes(b.major)).ok_or_else(|| {
        ProviderError::new(
            ErrorKind::Missing,
            format!(
                "{what_for} asks for PostgreSQL {}, and installed is {}",
                wish.in_words(),
                majors.join(", ")
            ),
        )
        .with_help("install that version, or change `version` of the dependency")
    })
}

/// The version that data was made with.
pub(super) fn for_data(major: u32, what_for: &str) -> Result<Binaries> {
    let installed = installed();
    if installed.is_empty() {
        return Err(missing(what_for));
    }
    let majors: Vec<String> = installed.iter().map(|b| b.major.to_string()).collect();
    installed.into_iter().find(|b| b.major == major).ok_or_else(|| {
        ProviderError::new(
            ErrorKind::Missing,
            format!(
                "the data of {what_for} was made by PostgreSQL {major}, and installed is {}; a server reads only its own version's data",
                majors.join(", ")
            ),
        )
        .with_help(format!("install PostgreSQL {major} beside it, or dump the data there and restore it into a new deployment"))
    })
}

fn missing(what_for: &str) -> ProviderError {
    let message = format!("{what_for} needs a PostgreSQL server, and none is installed here");
    ProviderError::new(ErrorKind::Missing, message).with_help(programs::install("postgres"))
}

/// An extension that this server does not have: says which package brings it.
pub(super) fn extension_missing(name: &str, major: u32, what_for: &str) -> ProviderError {
    let packages = KNOWN.extension_packages.get(name).or_else(|| KNOWN.extension_packages.get(""));
    let advice = packages.and_then(programs::package_here).map_or_else(
        || format!("install the extension `{name}` for PostgreSQL {major}"),
        |(install, package)| {
            format!("install it: `{install} {}`", package.replace("{major}", &major.to_string()))
        },
    );
    ProviderError::new(
        ErrorKind::Missing,
        format!("{what_for} needs the extension `{name}`, and PostgreSQL {major} has no such extension here"),
    )
    .with_help(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../../../data/postgres.json"));
        assert!(!KNOWN.locales.is_empty() && !KNOWN.role.is_empty());
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(major_in("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major_in("postgres (PostgreSQL) 17beta1"), Some(17));
        assert_eq!(major_in("nonsense"), None);
    }

    #[test]
    fn patterns_expand_in_one_segment() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pgsql-15/bin", "pgsql-16/bin", "other/bin"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mut found = expand(&format!("{}/pgsql-*/bin", folder.path().display()));
        found.sort();
        assert_eq!(found, [folder.path().join("pgsql-15/bin"), folder.path().join("pgsql-16/bin")]);
    }
}
