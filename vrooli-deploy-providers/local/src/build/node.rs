//! What Node projects need that their steps do not say: local packages that nobody built,
//! and an install that a workspace above swallows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use ignore::gitignore::GitignoreBuilder;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::manifest::Command;
use vrooli_deploy_core::provider::Result;

use super::hashes::hexadecimal;
use super::source::Source;
use super::step::Stage;
use crate::{environment, failure, files, programs};

/// How deep below the app's folder its own packages are looked for.
const DEPTH: usize = 4;
const WORKSPACE_FILE: &str = "pnpm-workspace.yaml";

/// A command with `--ignore-workspace` where pnpm would otherwise install nothing: in a
/// folder below a workspace that does not list it. `None` when nothing is to be changed.
pub(super) fn outside_workspace(command: &Command, folder: &Path, work: &Path) -> Option<Command> {
    match command {
        Command::Exec(words) => {
            let at = install_word(words.iter().map(String::as_str))?;
            is_unlisted(folder, work).then(|| {
                let mut words = words.clone();
                words.insert(at + 1, "--ignore-workspace".to_owned());
                Command::Exec(words)
            })
        }
        Command::Shell(text) => {
            let mut changed = String::with_capacity(text.len());
            let mut here = folder.to_path_buf();
            let mut any = false;
            for (part, separator) in parts(text) {
                let words: Vec<&str> =
                    part.split_whitespace().skip_while(|word| word.contains('=')).collect();
                if words.first() == Some(&"cd")
                    && let Some(to) = words.get(1).map(|to| to.trim_matches(['"', '\'']))
                {
                    here = normal(&here.join(to));
                }
                let install = install_word(words.iter().copied()).and_then(|at| words.get(at));
                match install {
                    Some(word) if is_unlisted(&here, work) => {
                        any = true;
                        // The word is a slice of the part, so its place is known.
                        let end =
                            (word.as_ptr() as usize).saturating_sub(part.as_ptr() as usize) + word.len();
                        changed.push_str(part.get(..end).unwrap_or(part));
                        changed.push_str(" --ignore-workspace");
                        changed.push_str(part.get(end..).unwrap_or_default());
                    }
                    _ => changed.push_str(part),
                }
                changed.push_str(separator);
            }
            any.then_some(Command::Shell(changed))
        }
    }
}

/// The index of `install` in a call of pnpm that is about this folder alone.
fn install_word<'a>(words: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    let wide = [
        "--ignore-workspace",
        "-w",
        "--workspace-root",
        "-r",
        "--recursive",
        "--filter",
        "-F",
        "-C",
        "--dir",
    ];
    if words.clone().next() != Some("pnpm")
        || words.clone().any(|word| wide.contains(&word) || word.starts_with("--filter="))
    {
        return None;
    }
    let (at, word) = words.enumerate().skip(1).find(|(_, word)| !word.starts_with('-'))?;
    matches!(word, "install" | "i").then_some(at)
}

/// Splits a shell text at its operators; each part with the operator after it.
fn parts(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let rest = text.get(at..).unwrap_or_default();
        let operator =
            ["&&", "||", ";", "|", "\n", "(", ")"].into_iter().find(|operator| rest.starts_with(operator));
        match operator {
            Some(operator) => {
                found.push((text.get(start..at).unwrap_or_default(), operator));
                at += operator.len();
                start = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    found.push((text.get(start..).unwrap_or_default(), ""));
    found
}

#[derive(Debug, Default, Deserialize)]
struct Workspace {
    #[serde(default)]
    packages: Vec<String>,
}

/// The workspace above a folder, within the work copy.
fn workspace_above(folder: &Path, work: &Path) -> Option<(PathBuf, Workspace)> {
    folder.ancestors().take_while(|above| above.starts_with(work)).find_map(|above| {
        let text = fs::read_to_string(above.join(WORKSPACE_FILE)).ok()?;
        let workspace = serde_saphyr::from_str(&text).unwrap_or_default();
        Some((above.to_path_buf(), workspace))
    })
}

impl Workspace {
    fn lists(&self, relative: &Path) -> bool {
        if relative.as_os_str().is_empty() {
            return true;
        }
        let mut builder = GitignoreBuilder::new("/");
        for pattern in &self.packages {
            let (not, pattern) = pattern.strip_prefix('!').map_or(("", pattern.as_str()), |rest| ("!", rest));
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            // A pattern that cannot be read lists nothing.
            let _ = builder.add_line(None, &format!("{not}/{pattern}"));
        }
        builder.build().is_ok_and(|patterns| patterns.matched(relative, true).is_ignore())
    }
}

fn is_unlisted(folder: &Path, work: &Path) -> bool {
    workspace_above(folder, work).is_some_and(|(above, workspace)| {
        folder.strip_prefix(&above).is_ok_and(|relative| !workspace.lists(relative))
    })
}

/// Builds the local packages that the app's own packages depend on, those first that
/// others need: each that has a build script and whose sources hold no finished build.
pub(super) async fn build_local_packages(stage: &mut Stage<'_>, source: &Source, work: &Path) -> Result<()> {
    let mut packages = Packages { work, found: BTreeMap::new(), order: Vec::new(), notes: Vec::new() };
    for folder in own_packages(&work.join(&source.root)) {
        packages.visit(&folder, &mut BTreeSet::new());
    }
    for note in std::mem::take(&mut packages.notes) {
        stage.console.line(&note);
    }
    let stamps_file = work.with_extension("packages");
    let mut stamps: BTreeMap<String, String> =
        fs::read(&stamps_file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    for folder in packages.order {
        let Some(package) = packages.found.get(&folder) else {
            continue;
        };
        let Ok(relative) = folder.strip_prefix(work) else {
            continue;
        };
        let is_source = |entry: &Path| source.entries.iter().any(|(known, _)| known.path == entry);
        let Some(entry) = package.entry() else {
            continue;
        };
        if package.build.is_none() || is_source(&normal(&relative.join(&entry))) {
            continue;
        }
        let stamp = stamp(source, relative);
        let name = relative.display().to_string();
        if folder.join(&entry).exists() && stamps.get(&name) == Some(&stamp) {
            continue;
        }
        stage.console.line(&format!("`{name}` is used by the app and nobody built it: building it first"));
        let (tool, install) = installer(stage, &folder, work);
        if package.has_dependencies {
            stage.run(&format!("{name}: install"), &Command::Exec(install), &folder).await?;
        }
        let build = [tool, "run", "build"].map(str::to_owned).to_vec();
        stage.run(&format!("{name}: build"), &Command::Exec(build), &folder).await?;
        if !folder.join(&entry).exists() {
            stage.console.line(&format!(
                "warning: `{name}` was built, and its `main` ({}) is still not there",
                entry.display()
            ));
        }
        stamps.insert(name, stamp);
        let text = serde_json::to_vec(&stamps).unwrap_or_default();
        files::write_atomic(&stamps_file, &text).map_err(failure::at("write", &stamps_file))?;
    }
    Ok(())
}

/// How a package's dependencies are installed: as its lock file says.
fn installer(stage: &mut Stage<'_>, folder: &Path, work: &Path) -> (&'static str, Vec<String>) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let workspace = workspace_above(folder, work);
    let listed = workspace.as_ref().is_some_and(|(above, workspace)| {
        folder.strip_prefix(above).is_ok_and(|relative| workspace.lists(relative))
    });
    let wants_pnpm = folder.join("pnpm-lock.yaml").exists() || listed;
    if wants_pnpm {
        if programs::find("pnpm", environment::get(&stage.variables, "PATH")).is_none() {
            stage.console.line(&format!(
                "warning: `{}` has a lock file of pnpm, which is not installed: installed with npm, versions not pinned ({})",
                folder.strip_prefix(work).unwrap_or(folder).display(),
                programs::install("pnpm")
            ));
            return ("npm", words(&["npm", "install", "--no-audit", "--no-fund"]));
        }
        let mut install = words(&["pnpm", "install"]);
        if folder.join("pnpm-lock.yaml").exists() {
            install.push("--frozen-lockfile".to_owned());
        }
        if workspace.is_some() && !listed {
            install.push("--ignore-workspace".to_owned());
        }
        return ("pnpm", install);
    }
    if folder.join("yarn.lock").exists()
        && programs::find("yarn", environment::get(&stage.variables, "PATH")).is_some()
    {
        return ("yarn", words(&["yarn", "install", "--frozen-lockfile"]));
    }
    if folder.join("package-lock.json").exists() || folder.join("npm-shrinkwrap.json").exists() {
        return ("npm", words(&["npm", "ci", "--no-audit", "--no-fund"]));
    }
    ("npm", words(&["npm", "install", "--no-audit", "--no-fund"]))
}

/// Changes when a source of the package does.
fn stamp(source: &Source, relative: &Path) -> String {
    let mut hasher = Sha256::new();
    for (entry, hash) in source.entries.iter().filter(|(entry, _)| entry.path.starts_with(relative)) {
        hasher.update(entry.path.as_os_str().as_encoded_bytes());
        hasher.update([0]);
        hasher.update(hash.unwrap_or_default());
    }
    hexadecimal(&hasher.finalize().into())
}

#[derive(Debug)]
struct Package {
    main: Option<String>,
    build: Option<String>,
    has_dependencies: bool,
    /// Name and what the range says.
    dependencies: Vec<(String, String)>,
}

impl Package {
    fn read(folder: &Path) -> Option<Self> {
        let text = fs::read(folder.join("package.json")).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        let text_of = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let mut dependencies = Vec::new();
        for group in ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"] {
            for (name, range) in value.get(group).and_then(Value::as_object).into_iter().flatten() {
                dependencies.push((name.clone(), range.as_str().unwrap_or_default().to_owned()));
            }
        }
        let main = text_of("/main")
            .or_else(|| {
                value.get("exports").and_then(|exports| first_file(exports.get(".").unwrap_or(exports)))
            })
            .or_else(|| text_of("/module"));
        Some(Self {
            main,
            build: text_of("/scripts/build"),
            has_dependencies: !dependencies.is_empty(),
            dependencies,
        })
    }

    /// The file that whoever imports the package gets; `None` when it says none.
    fn entry(&self) -> Option<PathBuf> {
        self.main.as_ref().map(|main| PathBuf::from(main.trim_start_matches("./")))
    }
}

/// The first file that a (nested) value of `exports` names for programs, not for types.
fn first_file(exports: &Value) -> Option<String> {
    match exports {
        Value::String(file) => Some(file.clone()),
        Value::Object(conditions) => conditions
            .iter()
            .filter(|(condition, _)| *condition != "types")
            .find_map(|(_, value)| first_file(value)),
        _ => None,
    }
}

struct Packages<'a> {
    work: &'a Path,
    found: BTreeMap<PathBuf, Package>,
    /// Those that are needed come before those that need them.
    order: Vec<PathBuf>,
    notes: Vec<String>,
}

impl Packages<'_> {
    /// Visits what a package depends on; `path` is how we came here, against cycles.
    fn visit(&mut self, folder: &Path, path: &mut BTreeSet<PathBuf>) {
        let Some(package) = Package::read(folder) else {
            return;
        };
        for (name, range) in &package.dependencies {
            let Some(target) = self.local(folder, name, range) else {
                continue;
            };
            if !target.starts_with(self.work) {
                self.notes.push(format!(
                    "warning: `{name}` lies outside of the build's context and is not there: set `build.context` higher"
                ));
                continue;
            }
            if self.found.contains_key(&target) || !path.insert(target.clone()) {
                continue;
            }
            self.visit(&target, path);
            path.remove(&target);
            if let Some(package) = Package::read(&target) {
                self.found.insert(target.clone(), package);
                self.order.push(target);
            } else {
                self.notes.push(format!(
                    "warning: `{name}` is a package at `{}`, and there is none",
                    target.strip_prefix(self.work).unwrap_or(&target).display()
                ));
            }
        }
    }

    fn local(&self, folder: &Path, name: &str, range: &str) -> Option<PathBuf> {
        for scheme in ["file:", "link:", "portal:"] {
            if let Some(path) = range.strip_prefix(scheme) {
                let target = normal(&folder.join(path));
                // An archive is finished as it is.
                return (!target.is_file()).then_some(target);
            }
        }
        range.starts_with("workspace:").then(|| self.in_workspace(folder, name)).flatten()
    }

    fn in_workspace(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let (above, workspace) = workspace_above(folder, self.work)?;
        let entries = walkdir::WalkDir::new(&above)
            .max_depth(DEPTH)
            .into_iter()
            .filter_entry(|entry| entry.file_name() != "node_modules" && entry.file_name() != ".git");
        entries
            .flatten()
            .filter(|entry| entry.file_name() == "package.json")
            .filter_map(|entry| entry.path().parent().map(Path::to_path_buf))
            .filter(|folder| folder.strip_prefix(&above).is_ok_and(|relative| workspace.lists(relative)))
            .find(|folder| {
                let text = fs::read(folder.join("package.json")).unwrap_or_default();
                serde_json::from_slice::<Value>(&text)
                    .is_ok_and(|value| value.get("name").and_then(Value::as_str) == Some(name))
            })
    }
}

fn own_packages(root: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(root)
        .max_depth(DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| {
            !["node_modules", ".git", "target", "dist", "build"].iter().any(|name| entry.file_name() == *name)
        })
        .flatten()
        .filter(|entry| entry.file_name() == "package.json")
        .filter_map(|entry| entry.path().parent().map(Path::to_path_buf))
        .collect()
}

/// A path without `.` and `..`, as text: nothing of it need be there.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(workspace: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("scenarios/s/ui")).unwrap();
        fs::write(folder.path().join(WORKSPACE_FILE), workspace).unwrap();
        folder
    }

    #[test]
    fn an_install_that_a_workspace_would_swallow_is_kept_from_it() {
        let work = work("packages:\n  - 'packages/*'\n");
        let root = work.path().join("scenarios/s");
        let shell = |text: &str| match outside_workspace(&Command::Shell(text.to_owned()), &root, work.path())
        {
            Some(Command::Shell(text)) => Some(text),
            _ => None,
        };
        assert_eq!(
            shell("cd ui && pnpm install --frozen-lockfile && pnpm run build").as_deref(),
            Some("cd ui && pnpm install --ignore-workspace --frozen-lockfile && pnpm run build")
        );
        assert_eq!(shell("(cd ui; CI=1 pnpm i)").as_deref(), Some("(cd ui; CI=1 pnpm i --ignore-workspace)"));
        assert_eq!(shell("cd ui && pnpm install --ignore-workspace"), None);
        assert_eq!(shell("cd ui && npm install"), None);
        assert_eq!(shell("cd ../../packages/x && pnpm install"), None);
        let exec = Command::Exec(["pnpm", "install"].map(str::to_owned).to_vec());
        assert!(outside_workspace(&exec, &root.join("ui"), work.path()).is_some());
    }

    #[test]
    fn a_workspace_that_lists_the_folder_is_used() {
        let work = work("packages:\n  - packages/*\n  - scenarios/*/ui\n");
        let install = Command::Shell("cd ui && pnpm install".to_owned());
        assert_eq!(outside_workspace(&install, &work.path().join("scenarios/s"), work.path()), None);
    }

    #[test]
    fn exports_are_read_when_there_is_no_main() {
        let exports = serde_json::json!({ "types": "./dist/i.d.ts", "import": { "default": "./dist/i.js" } });
        assert_eq!(first_file(&exports).as_deref(), Some("./dist/i.js"));
    }

    #[test]
    fn packages_are_built_in_the_order_in_which_they_are_needed() {
        let work = work("packages: []\n");
        let write = |folder: &str, text: &str| {
            fs::create_dir_all(work.path().join(folder)).unwrap();
            fs::write(work.path().join(folder).join("package.json"), text).unwrap();
        };
        write(
            "scenarios/s/ui",
            r#"{"dependencies":{"a":"file:../../../packages/a","out":"file:../../../../out"}}"#,
        );
        write("packages/a", r#"{"name":"a","main":"dist/i.js","dependencies":{"b":"file:../b"}}"#);
        write("packages/b", r#"{"name":"b","dependencies":{"a":"file:../a"}}"#);
        let mut packages =
            Packages { work: work.path(), found: BTreeMap::new(), order: Vec::new(), notes: Vec::new() };
        for folder in own_packages(&work.path().join("scenarios/s")) {
            packages.visit(&folder, &mut BTreeSet::new());
        }
        assert_eq!(packages.order, [work.path().join("packages/b"), work.path().join("packages/a")]);
        assert_eq!(packages.notes.len(), 1, "{:?}", packages.notes);
    }
}
