//! What Node projects need that their steps do not say: local packages that nobody built,
//! and an install that a workspace above swallows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::command::parts;
use super::{SourceTree, normal};
use crate::manifest::Command;

const PACKAGE_FILE: &str = "package.json";
const WORKSPACE_FILE: &str = "pnpm-workspace.yaml";
/// How deep below the app's folder its own packages are looked for.
const DEPTH: usize = 3;

/// A command with `--ignore-workspace` where pnpm would otherwise install nothing: in a
/// folder below a workspace that does not list it. `None` when nothing is to be changed.
#[must_use]
pub fn outside_workspace(command: &Command, folder: &Path, tree: &SourceTree) -> Option<Command> {
    match command {
        Command::Exec(words) => {
            let at = install_word(words.iter().map(String::as_str))?;
            is_unlisted(folder, tree).then(|| {
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
                    Some(word) if is_unlisted(&here, tree) => {
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

#[derive(Debug, Default, Deserialize)]
struct Workspace {
    #[serde(default)]
    packages: Vec<String>,
}

/// The workspace above a folder, within the tree.
fn workspace_above<'a>(folder: &'a Path, tree: &SourceTree) -> Option<(&'a Path, Workspace)> {
    folder.ancestors().find_map(|above| {
        let text = tree.text(&above.join(WORKSPACE_FILE))?;
        Some((above, serde_saphyr::from_str(text).unwrap_or_default()))
    })
}

impl Workspace {
    fn lists(&self, relative: &Path) -> bool {
        if relative.as_os_str().is_empty() {
            return true;
        }
        let Some(path) = relative.to_str() else { return false };
        let path: Vec<&str> = path.split('/').collect();
        // The last pattern that fits decides.
        let fitting = self.packages.iter().rev().find_map(|pattern| {
            let (listed, pattern) =
                pattern.strip_prefix('!').map_or((true, pattern.as_str()), |rest| (false, rest));
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            let pattern: Vec<&str> = pattern.split('/').collect();
            fits(&pattern, &path).then_some(listed)
        });
        fitting.unwrap_or(false)
    }
}

/// Does a path fit a pattern of pnpm's: `*` within a part, `**` for any parts?
fn fits(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|at| fits(rest, path.get(at..).unwrap_or_default())),
        ([part, rest @ ..], [name, names @ ..]) => part_fits(part, name) && fits(rest, names),
        _ => false,
    }
}

fn part_fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .any(|at| name.get(at..).is_some_and(|left| part_fits(rest, left)))
        }),
    }
}

fn is_unlisted(folder: &Path, tree: &SourceTree) -> bool {
    workspace_above(folder, tree).is_some_and(|(above, workspace)| {
        folder.strip_prefix(above).is_ok_and(|relative| !workspace.lists(relative))
    })
}

/// A package of the sources that the app's own packages depend on, and that has to be built first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPackage {
    /// Where it lies.
    pub folder: PathBuf,
    /// The file that whoever imports it gets, relative to it.
    pub entry: PathBuf,
    /// Does it depend on anything that has to be installed?
    pub has_dependencies: bool,
}

/// The local packages that the app's own packages depend on and nobody built: those that have a build
/// script and whose sources hold no finished build. Those first that others need; and what is odd about
/// any, a sentence each.
#[must_use]
pub fn local_packages(tree: &SourceTree, root: &Path) -> (Vec<LocalPackage>, Vec<String>) {
    let mut packages = Packages { tree, found: BTreeMap::new(), order: Vec::new(), notes: Vec::new() };
    let own = tree.folders_with(PACKAGE_FILE, root);
    for folder in own.filter(|folder| depth(folder, root) <= DEPTH) {
        packages.visit(folder, &mut BTreeSet::new());
    }
    let Packages { mut found, order, notes, .. } = packages;
    let needed = order.into_iter().filter_map(|folder| {
        let package = found.remove(&folder)?;
        let entry = package.entry()?;
        let built = package.build.is_none() || tree.has_file(&normal(&folder.join(&entry)));
        (!built).then_some(LocalPackage { folder, entry, has_dependencies: package.has_dependencies })
    });
    (needed.collect(), notes)
}

fn depth(folder: &Path, root: &Path) -> usize {
    folder.components().count().saturating_sub(root.components().count())
}

/// How a package's dependencies are installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installer {
    /// The program that also runs its scripts.
    pub tool: &'static str,
    /// The whole command.
    pub words: Vec<String>,
    /// It has a lock file of this tool, which is not there: versions are not pinned.
    pub unpinned: Option<&'static str>,
}

/// How a package's dependencies are installed: as its lock file says, by a tool that is there.
pub fn installer(tree: &SourceTree, folder: &Path, is_there: impl Fn(&str) -> bool) -> Installer {
    let has = |name: &str| tree.has_file(&folder.join(name));
    let made = |words: &[&str], tool| Installer {
        tool,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        unpinned: None,
    };
    let npm = &["npm", "install", "--no-audit", "--no-fund"];
    let workspace = workspace_above(folder, tree);
    let listed = workspace.as_ref().is_some_and(|(above, workspace)| {
        folder.strip_prefix(above).is_ok_and(|relative| workspace.lists(relative))
    });
    if has("pnpm-lock.yaml") || listed {
        if !is_there("pnpm") {
            return Installer { unpinned: Some("pnpm"), ..made(npm, "npm") };
        }
        let mut install = vec!["pnpm", "install"];
        if has("pnpm-lock.yaml") {
            install.push("--frozen-lockfile");
        }
        if workspace.is_some() && !listed {
            install.push("--ignore-workspace");
        }
        return made(&install, "pnpm");
    }
    if has("yarn.lock") && is_there("yarn") {
        return made(&["yarn", "install", "--frozen-lockfile"], "yarn");
    }
    if has("package-lock.json") || has("npm-shrinkwrap.json") {
        return made(&["npm", "ci", "--no-audit", "--no-fund"], "npm");
    }
    made(npm, "npm")
}

/// The tool and version that a package says it is managed with: `pnpm@10.4.1`.
#[must_use]
pub fn package_manager(tree: &SourceTree, folder: &Path) -> Option<String> {
    let value: Value = serde_json::from_str(tree.text(&folder.join(PACKAGE_FILE))?).ok()?;
    let said = value.get("packageManager")?.as_str()?;
    // `pnpm@10.4.1+sha512.…`
    Some(said.split('+').next().unwrap_or(said).to_owned())
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
    fn read(tree: &SourceTree, folder: &Path) -> Option<Self> {
        let value: Value = serde_json::from_str(tree.text(&folder.join(PACKAGE_FILE))?).ok()?;
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
    tree: &'a SourceTree,
    found: BTreeMap<PathBuf, Package>,
    /// Those that are needed come before those that need them.
    order: Vec<PathBuf>,
    notes: Vec<String>,
}

impl Packages<'_> {
    /// Visits what a package depends on; `path` is how we came here, against cycles.
    fn visit(&mut self, folder: &Path, path: &mut BTreeSet<PathBuf>) {
        let Some(package) = Package::read(self.tree, folder) else {
            return;
        };
        for (name, range) in &package.dependencies {
            let Some(target) = self.local(folder, name, range) else {
                continue;
            };
            if target.starts_with("..") || target.has_root() {
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
            if let Some(package) = Package::read(self.tree, &target) {
                self.found.insert(target.clone(), package);
                self.order.push(target);
            } else {
                self.notes.push(format!(
                    "warning: `{name}` is a package at `{}`, and there is none",
                    target.display()
                ));
            }
        }
    }

    fn local(&self, folder: &Path, name: &str, range: &str) -> Option<PathBuf> {
        for scheme in ["file:", "link:", "portal:"] {
            if let Some(path) = range.strip_prefix(scheme) {
                let target = normal(&folder.join(path));
                // An archive is finished as it is.
                return (!self.tree.has_file(&target)).then_some(target);
            }
        }
        range.starts_with("workspace:").then(|| self.in_workspace(folder, name)).flatten()
    }

    fn in_workspace(&self, folder: &Path, name: &str) -> Option<PathBuf> {
        let (above, workspace) = workspace_above(folder, self.tree)?;
        let listed =
            |folder: &&Path| folder.strip_prefix(above).is_ok_and(|relative| workspace.lists(relative));
        let named = |folder: &&Path| {
            let text = self.tree.text(&folder.join(PACKAGE_FILE)).unwrap_or_default();
            serde_json::from_str::<Value>(text)
                .is_ok_and(|value| value.get("name").and_then(Value::as_str) == Some(name))
        };
        let mut all = self.tree.folders_with(PACKAGE_FILE, above);
        all.find(|folder| listed(folder) && named(folder)).map(Path::to_path_buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> SourceTree {
        let mut tree = SourceTree::new();
        for (path, text) in files {
            tree.add(*path, Some((*text).to_owned()));
        }
        tree
    }

    #[test]
    fn an_install_that_a_workspace_would_swallow_is_kept_from_it() {
        let tree = tree(&[(WORKSPACE_FILE, "packages:\n  - 'packages/*'\n")]);
        let root = Path::new("scenarios/s");
        let shell = |text: &str| match outside_workspace(&Command::Shell(text.to_owned()), root, &tree) {
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
        assert!(outside_workspace(&exec, &root.join("ui"), &tree).is_some());
    }

    #[test]
    fn a_workspace_that_lists_the_folder_is_used() {
        let tree = tree(&[(WORKSPACE_FILE, "packages:\n  - packages/*\n  - scenarios/*/ui\n")]);
        let install = Command::Shell("cd ui && pnpm install".to_owned());
        assert_eq!(outside_workspace(&install, Path::new("scenarios/s"), &tree), None);
    }

    #[test]
    fn patterns_of_a_workspace_fit_whole_paths() {
        let lists = |patterns: &[&str], path: &str| {
            let packages = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            Workspace { packages }.lists(Path::new(path))
        };
        assert!(lists(&["packages/*"], "packages/a") && !lists(&["packages/*"], "packages/a/b"));
        assert!(lists(&["packages/**"], "packages/a/b") && lists(&["./apps/web-*/"], "apps/web-x"));
        assert!(
            !lists(&["packages/*", "!packages/old"], "packages/old") && !lists(&[], "a") && lists(&[], "")
        );
    }

    #[test]
    fn exports_are_read_when_there_is_no_main() {
        let exports = serde_json::json!({ "types": "./dist/i.d.ts", "import": { "default": "./dist/i.js" } });
        assert_eq!(first_file(&exports).as_deref(), Some("./dist/i.js"));
    }

    #[test]
    fn packages_are_built_in_the_order_in_which_they_are_needed() {
        let tree = tree(&[
            (
                "scenarios/s/ui/package.json",
                r#"{"dependencies":{"a":"file:../../../packages/a","out":"file:../../../../out"}}"#,
            ),
            (
                "packages/a/package.json",
                r#"{"name":"a","main":"dist/i.js","scripts":{"build":"x"},"dependencies":{"b":"file:../b"}}"#,
            ),
            (
                "packages/b/package.json",
                r#"{"name":"b","main":"b.js","scripts":{"build":"x"},"dependencies":{"a":"file:../a"}}"#,
            ),
        ]);
        let (packages, notes) = local_packages(&tree, Path::new("scenarios/s"));
        let folders: Vec<&Path> = packages.iter().map(|package| package.folder.as_path()).collect();
        assert_eq!(folders, [Path::new("packages/b"), Path::new("packages/a")]);
        assert_eq!(notes.len(), 1, "{notes:?}");
    }

    #[test]
    fn the_lock_file_says_how_to_install() {
        let tree = tree(&[
            (WORKSPACE_FILE, "packages: []"),
            ("ui/pnpm-lock.yaml", ""),
            ("web/package-lock.json", ""),
        ]);
        let words = |folder: &str, pnpm| {
            let made = installer(&tree, Path::new(folder), |tool| pnpm || tool != "pnpm");
            (made.words.join(" "), made.unpinned)
        };
        assert_eq!(words("ui", true), ("pnpm install --frozen-lockfile --ignore-workspace".to_owned(), None));
        assert_eq!(words("ui", false), ("npm install --no-audit --no-fund".to_owned(), Some("pnpm")));
        assert_eq!(words("web", true).0, "npm ci --no-audit --no-fund");
    }
}
