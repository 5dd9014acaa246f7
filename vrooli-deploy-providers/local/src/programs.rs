//! Programs that others installed: where they lie, and which package brings one that is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError};

#[derive(Debug, Default, Deserialize)]
struct Known {
    distributions: Vec<Distribution>,
    tools: BTreeMap<String, Tool>,
}

#[derive(Debug, Deserialize)]
struct Distribution {
    ids: Vec<String>,
    install: String,
}

#[derive(Debug, Deserialize)]
struct Tool {
    packages: BTreeMap<String, String>,
    #[serde(default)]
    site: Option<String>,
    #[serde(default)]
    command: Option<String>,
    #[serde(default)]
    implies: Vec<String>,
    #[serde(default)]
    also: Vec<String>,
}

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../data/tools.json"), "tools.json"));

/// Is it a tool that we know the package of?
pub(crate) fn is_known(name: &str) -> bool {
    KNOWN.tools.contains_key(name)
}

/// Looks a program up on a path list, as a shell would.
pub(crate) fn find(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

/// Is it a file that may be executed?
pub(crate) fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The known tools that a text names, with those that they call in turn.
pub(crate) fn named_in(text: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).collect();
    while let Some(word) = open.pop() {
        if let Some((name, tool)) = KNOWN.tools.get_key_value(word)
            && found.insert(name.as_str())
        {
            open.extend(tool.implies.iter().map(String::as_str));
        }
    }
    found
}

/// Files beside the program itself that decide which version of it runs.
pub(crate) fn also_read(name: &str) -> &'static [String] {
    KNOWN.tools.get(name).map_or(&[], |tool| &tool.also)
}

/// A tool is not there: says which package brings it on this distribution.
pub(crate) fn missing(name: &str, what_for: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Missing, format!("`{name}` is not installed, and {what_for} needs it"))
        .with_help(install(name))
}

/// How to install a tool here.
pub(crate) fn install(name: &str) -> String {
    advice(name, &distribution_ids())
}

fn advice(name: &str, ids: &[String]) -> String {
    let Some(tool) = KNOWN.tools.get(name) else {
        return format!("install `{name}` and put it on the PATH");
    };
    let mut ways = Vec::new();
    if let Some((install, package)) = package(&tool.packages, ids) {
        ways.push(format!("`{install} {package}`"));
    }
    if let Some(command) = &tool.command {
        ways.push(format!("`{command}`"));
    }
    if let Some(site) = &tool.site {
        ways.push(format!("see {site}"));
    }
    if ways.is_empty() {
        return format!("install `{name}` and put it on the PATH");
    }
    format!("install it: {}", ways.join(", or "))
}

/// The package among those of several distributions that fits this one, with the command
/// that installs it.
pub(crate) fn package_here(packages: &BTreeMap<String, String>) -> Option<(String, String)> {
    package(packages, &distribution_ids()).map(|(install, package)| (install.to_owned(), package.to_owned()))
}

fn package<'a>(packages: &'a BTreeMap<String, String>, ids: &[String]) -> Option<(&'static str, &'a str)> {
    ids.iter().find_map(|id| {
        let distribution = KNOWN.distributions.iter().find(|d| d.ids.contains(id))?;
        let package = distribution.ids.iter().find_map(|id| packages.get(id))?;
        Some((distribution.install.as_str(), package.as_str()))
    })
}

/// This distribution's id and those it is like, the nearest first.
fn distribution_ids() -> Vec<String> {
    if cfg!(target_os = "macos") {
        return vec!["macos".to_owned()];
    }
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    parse_ids(&text)
}

fn parse_ids(os_release: &str) -> Vec<String> {
    let field = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
            .unwrap_or_default()
    };
    let like = field("ID_LIKE");
    let mut ids = vec![field("ID")];
    ids.extend(like.split_whitespace().map(str::to_owned));
    // `opensuse-leap` and its kin.
    let families: Vec<String> =
        ids.iter().filter_map(|id| id.split_once('-').map(|(family, _)| family.to_owned())).collect();
    ids.extend(families);
    ids.retain(|id| !id.is_empty());
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../data/tools.json"));
    }

    #[test]
    fn steps_name_their_tools() {
        let names: Vec<_> = named_in("cd api && go mod download && go build -o x .").into_iter().collect();
        assert_eq!(names, ["go"]);
        let names: Vec<_> = named_in("cd ui && npm install").into_iter().collect();
        assert_eq!(names, ["node", "npm"]);
        assert!(named_in("cat cargo.txt").is_empty());
    }

    #[test]
    fn the_package_is_that_of_the_distribution() {
        let ids = parse_ids("NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n");
        assert!(advice("go", &ids).contains("apt-get install golang-go"), "{}", advice("go", &ids));
        let ids = parse_ids("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n");
        assert!(advice("redis-server", &ids).contains("zypper install redis"));
        assert!(advice("pnpm", &parse_ids("ID=debian")).contains("npm install -g pnpm"));
        assert!(advice("go", &[]).contains("https://go.dev"));
    }
}
