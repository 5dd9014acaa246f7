//! Other scenarios that an app needs, followed through the folders beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{catalogue, satisfies};
use crate::diagnostics::{Diagnostic, Severity, Span, rules};
use crate::import::service_json::{declared_dependencies, declared_version};
use crate::manifest::places::Places;
use crate::manifest::yaml::{Document, SourceFile, SpanIndex, child};
use crate::manifest::{
    DependenciesConfig, DeploymentManifest, Dialect, LoadedManifest, ScenarioDependency, Tier,
};
use crate::names::DependencyName;

/// How deep dependencies are followed. Vrooli's deepest chain has 17 nodes in all.
const MAX_DEPTH: usize = 64;

/// What the range of versions is called, in `service.json` and in a manifest.
const RANGE: [&str; 2] = ["versionRange", "version_range"];

/// The scenarios that an app needs, and those that they need, as far as they go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioClosure {
    /// By name. The app itself is not among them.
    pub nodes: BTreeMap<DependencyName, ScenarioNode>,
    /// Circles of required scenarios, each as a path that ends where it begins.
    pub cycles: Vec<Vec<DependencyName>>,
}

/// A scenario that an app needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioNode {
    /// Does the app fail without it? True when a chain of requirements leads to it.
    pub required: bool,
    /// Is it there?
    pub present: bool,
    /// Its version, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// From the app to it: who needs whom.
    pub path: Vec<DependencyName>,
    /// Ranges of versions that it does not meet, and who wants them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mismatches: BTreeMap<DependencyName, String>,
    /// Resources that it needs itself, by the catalogue's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
}

/// The scenarios around an app that was loaded, and what is wrong with them. `None`: a
/// `service.json` that lies in no scenario's folder has nothing around it. `manifest` is the
/// loaded one with what was chosen for it (drops).
#[must_use]
pub fn scenarios_around(
    loaded: &LoadedManifest,
    manifest: &DeploymentManifest,
    tier: Tier,
) -> Option<(ScenarioClosure, Vec<Diagnostic>)> {
    let in_place = loaded.root.join(".vrooli").join("service.json").is_file();
    if loaded.dialect == Dialect::ServiceJson && !in_place {
        return None;
    }
    Some(resolve_scenarios(manifest, &loaded.root, tier, &loaded.spans))
}

/// Follows the scenarios that an app needs to `../<name>/.vrooli/service.json`, as far as
/// they go, and says which are missing, which have another version than is wanted, and which
/// wait for each other.
///
/// `root` is the app's folder. A missing scenario is a warning on the local tier, where it
/// may be started later; elsewhere an error if it is required, else a remark. The same holds
/// for a version. A circle of required scenarios is an error that prints its path. Each names
/// the line of the file that wants it: the app's (`spans` are its places) or another scenario's.
#[must_use]
pub fn resolve_scenarios(
    manifest: &DeploymentManifest,
    root: &Path,
    tier: Tier,
    spans: &SpanIndex,
) -> (ScenarioClosure, Vec<Diagnostic>) {
    let own = root
        .file_name()
        .and_then(|name| DependencyName::new(name.to_string_lossy()).ok())
        .or_else(|| DependencyName::new(manifest.app.name.as_str()).ok());
    let (Some(siblings), Some(own)) = (root.parent(), own) else {
        return Default::default();
    };
    let mut walk = Walk {
        siblings,
        tier,
        spans,
        files: BTreeMap::new(),
        closure: ScenarioClosure::default(),
        path: vec![own],
        found: Vec::new(),
    };
    let wanted = manifest
        .dependencies
        .scenarios
        .iter()
        .filter(|(name, _)| !manifest.drop.contains(name))
        .map(|(name, dependency)| (name.clone(), dependency.clone()))
        .collect();
    walk.follow(&wanted, true);
    (walk.closure, walk.found)
}

/// What a scenario's file says.
struct File {
    version: Option<String>,
    dependencies: DependenciesConfig,
    spans: SpanIndex,
}

struct Walk<'a> {
    siblings: &'a Path,
    tier: Tier,
    /// The places of the app's own file.
    spans: &'a SpanIndex,
    files: BTreeMap<DependencyName, Option<Rc<File>>>,
    closure: ScenarioClosure,
    path: Vec<DependencyName>,
    found: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn follow(&mut self, dependencies: &BTreeMap<DependencyName, ScenarioDependency>, required: bool) {
        for (name, dependency) in dependencies {
            if !dependency.enabled {
                continue;
            }
            if let Some(from) = self.path.iter().position(|step| step == name) {
                if dependency.required {
                    self.cycle(from, name);
                }
                continue;
            }
            if self.path.len() > MAX_DEPTH {
                continue;
            }
            let required = required && dependency.required;
            let file = self.file(name);
            let seen = self.closure.nodes.get(name).map(|node| node.required);
            self.node(name, required, file.as_deref());
            match &file {
                None if seen.is_none_or(|before| required && !before) => self.missing(name, required),
                None => {}
                Some(file) => {
                    self.version(name, dependency, required, file);
                    // What an optional scenario needs is its own affair until somebody deploys it.
                    if required && seen != Some(true) {
                        self.path.push(name.clone());
                        self.follow(&file.dependencies.scenarios, true);
                        self.path.pop();
                    }
                }
            }
        }
    }

    fn file(&mut self, name: &DependencyName) -> Option<Rc<File>> {
        if let Some(file) = self.files.get(name) {
            return file.clone();
        }
        let path = self.siblings.join(name.as_str()).join(".vrooli").join("service.json");
        let document = SourceFile::read(&path).ok().map(Document::parse);
        // A file that is there but cannot be read is a scenario all the same.
        let there = path.is_file();
        let file = match document.and_then(|parsed| parsed.value) {
            Some(document) => Some(Rc::new(File {
                version: declared_version(&document),
                dependencies: declared_dependencies(&document),
                spans: document.spans,
            })),
            None => there.then(|| {
                Rc::new(File {
                    version: None,
                    dependencies: DependenciesConfig::default(),
                    spans: SpanIndex::default(),
                })
            }),
        };
        self.files.insert(name.clone(), file.clone());
        file
    }

    fn node(&mut self, name: &DependencyName, required: bool, file: Option<&File>) {
        let path: Vec<DependencyName> = self.path.iter().chain([name]).cloned().collect();
        let node = self.closure.nodes.entry(name.clone()).or_insert_with(|| ScenarioNode {
            required,
            present: file.is_some(),
            version: file.and_then(|file| file.version.clone()),
            path,
            mismatches: BTreeMap::new(),
            resources: file.map(resources).unwrap_or_default(),
        });
        node.required |= required;
    }

    /// Where the scenario at the end of the path says that it needs another: the first of these
    /// parts of that, if one is there.
    fn place(&self, name: &DependencyName, parts: &[&str]) -> Option<Span> {
        let spans = match self.path.last() {
            Some(by) if self.path.len() > 1 => &self.files.get(by)?.as_ref()?.spans,
            _ => self.spans,
        };
        let spot = Places::new(Some(spans)).scenario(name);
        let part = |part: &&str| spans.place(&child(spot.field.as_deref()?, part))?.value.clone();
        parts.iter().find_map(part).or(spot.span)
    }

    fn cycle(&mut self, from: usize, back: &DependencyName) {
        let mut circle = self.path[from..].to_vec();
        circle.push(back.clone());
        let names: Vec<&str> = circle.iter().map(DependencyName::as_str).collect();
        self.found.push(
            rules::SCENARIO_CYCLE
                .diagnostic(format!("scenarios need each other in a circle: {}", names.join(" → ")))
                .at(self.place(back, &[]), "closes the circle")
                .help("make one of them `\"required\": false`"),
        );
        self.closure.cycles.push(circle);
    }

    fn wanted_by(&self) -> String {
        self.path.last().map(ToString::to_string).unwrap_or_default()
    }

    fn missing(&mut self, name: &DependencyName, required: bool) {
        let mut diagnostic = rules::SCENARIO_MISSING.diagnostic(format!(
            "`{}` needs the scenario `{name}`, which is not at `{}`",
            self.wanted_by(),
            self.siblings.join(name.as_str()).display()
        ));
        diagnostic.severity = self.severity(required);
        let help = if required {
            "deploy it too, or make it `\"required\": false`"
        } else {
            "what uses it will not work"
        };
        self.found.push(diagnostic.at(self.place(name, &[]), "wanted here").help(help));
    }

    fn version(&mut self, name: &DependencyName, wanted: &ScenarioDependency, required: bool, file: &File) {
        let Some(range) = &wanted.version_range else { return };
        let by = self.path.last().cloned();
        match file.version.as_deref().map(|version| (version, satisfies(range, version))) {
            Some((_, Some(true))) => {}
            Some((version, Some(false))) => {
                let mut diagnostic = rules::SCENARIO_VERSION.diagnostic(format!(
                    "`{}` needs `{name}` in a version {range}, but it has {version}",
                    self.wanted_by()
                ));
                diagnostic.severity = self.severity(required);
                let diagnostic = diagnostic.at(self.place(name, &RANGE), "wanted here");
                self.found.push(diagnostic.help("deploy a version that fits, or change `versionRange`"));
                if let (Some(node), Some(by)) = (self.closure.nodes.get_mut(name), by) {
                    node.mismatches.insert(by, range.clone());
                }
            }
            other => {
                let version = other.map_or("no version", |(version, _)| version);
                let diagnostic = rules::VERSION_UNREADABLE.diagnostic(format!(
                    "whether `{name}` ({version}) is {range}, as `{}` wants, cannot be told",
                    self.wanted_by()
                ));
                let diagnostic = diagnostic.at(self.place(name, &RANGE), "wanted here");
                self.found.push(diagnostic.help("write versions like `1.2.0` and ranges like `>=1.2`"));
            }
        }
    }

    const fn severity(&self, required: bool) -> Severity {
        match (self.tier, required) {
            (Tier::Local, _) => Severity::Warning,
            (_, true) => Severity::Error,
            (_, false) => Severity::Info,
        }
    }
}

/// What a scenario needs itself and cannot do without.
fn resources(file: &File) -> Vec<String> {
    let mut kinds: Vec<String> = file
        .dependencies
        .resources
        .iter()
        .filter(|(_, resource)| resource.enabled && resource.required && !resource.heuristic)
        .map(|(name, resource)| catalogue().canonical(resource.kind.as_deref().unwrap_or(name.as_str())))
        .map(str::to_owned)
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(folder: &Path, name: &str, needs: &[(&str, bool)]) {
        let scenarios: serde_json::Map<_, _> = needs
            .iter()
            .map(|(name, required)| ((*name).to_owned(), serde_json::json!({ "required": required })))
            .collect();
        let text = serde_json::json!({ "service": { "name": name, "version": "1.0.0" }, "lifecycle": {}, "dependencies": { "scenarios": scenarios } });
        let folder = folder.join(name).join(".vrooli");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("service.json"), text.to_string()).unwrap();
    }

    fn manifest(needs: &[(&str, bool)]) -> DeploymentManifest {
        let scenarios: serde_json::Map<_, _> = needs
            .iter()
            .map(|(name, required)| ((*name).to_owned(), serde_json::json!({ "required": required })))
            .collect();
        serde_json::from_value(serde_json::json!({
            "schema_version": "v0.1", "target": "saas", "provider": "aws",
            "app": { "name": "a" }, "dependencies": { "scenarios": scenarios },
        }))
        .unwrap()
    }

    fn check_scenarios(manifest: &DeploymentManifest, root: &Path, tier: Tier) -> Vec<Diagnostic> {
        resolve_scenarios(manifest, root, tier, &SpanIndex::default()).1
    }

    #[test]
    fn a_circle_prints_its_path() {
        let folder = tempfile::tempdir().unwrap();
        scenario(folder.path(), "b", &[("c", true)]);
        scenario(folder.path(), "c", &[("a", true), ("b", false)]);
        let found = check_scenarios(&manifest(&[("b", true)]), &folder.path().join("a"), Tier::Local);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].code, rules::SCENARIO_CYCLE);
        assert!(found[0].message.ends_with("a → b → c → a"), "{}", found[0].message);
    }

    #[test]
    fn what_is_wrong_has_the_line_of_the_file_that_says_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let folder = folder.path().join(name).join(".vrooli");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("service.json"), text).unwrap();
        };
        let file = |name: &str, needs: &str| {
            format!(
                "{{\n\"service\": {{\"name\": \"{name}\", \"version\": \"1.0.0\"}},\n\"lifecycle\": {{}},\n\
                 \"dependencies\": {{ \"scenarios\": {{\n{needs}\n}} }}\n}}"
            )
        };
        write(
            "a",
            &file(
                "a",
                "\"b\": {\"required\": true, \"versionRange\": \">=2\"},\n\"gone\": {\"required\": true}",
            ),
        );
        write("b", &file("b", "\"a\": {\"required\": true},\n\n\"lost\": {\"required\": true}"));
        let loaded = crate::manifest::load(&folder.path().join("a")).value.unwrap();
        let (_, found) = scenarios_around(&loaded, &loaded.manifest, Tier::Saas).unwrap();
        let places: Vec<_> = found
            .iter()
            .map(|found| {
                let span = &found.labels[0].span;
                let scenario = span.file.iter().nth_back(2).unwrap().to_string_lossy().into_owned();
                (found.code, scenario, span.line, span.column)
            })
            .collect();
        let at = |code, scenario: &str, line, column| (code, scenario.to_owned(), line, column);
        assert_eq!(
            places,
            [
                at(rules::SCENARIO_VERSION, "a", 5, 41),
                at(rules::SCENARIO_CYCLE, "b", 5, 1),
                at(rules::SCENARIO_MISSING, "b", 7, 1),
                at(rules::SCENARIO_MISSING, "a", 6, 1),
            ]
        );
    }

    #[test]
    fn versions_are_held_against_ranges_along_every_way() {
        let folder = tempfile::tempdir().unwrap();
        scenario(folder.path(), "b", &[("c", true)]);
        scenario(folder.path(), "c", &[]);
        let mut manifest = manifest(&[("b", true), ("c", true)]);
        let range = |manifest: &mut DeploymentManifest, name: &str, range: &str| {
            let wanted =
                manifest.dependencies.scenarios.iter_mut().find(|(n, _)| n.as_str() == name).unwrap().1;
            wanted.version_range = Some(range.to_owned());
        };
        range(&mut manifest, "b", ">=1.0.0");
        range(&mut manifest, "c", ">=2.0");
        let root = folder.path().join("a");
        let (closure, found) = resolve_scenarios(&manifest, &root, Tier::Saas, &SpanIndex::default());
        assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), [rules::SCENARIO_VERSION]);
        assert!(found[0].message.contains("`a` needs `c` in a version >=2.0, but it has 1.0.0"));
        let path = |name: &str| {
            let node = closure.nodes.iter().find(|(n, _)| n.as_str() == name).unwrap().1;
            node.path.iter().map(DependencyName::as_str).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((path("b"), path("c")), ("a b".to_owned(), "a b c".to_owned()));
        range(&mut manifest, "c", "soon");
        let (_, found) = resolve_scenarios(&manifest, &root, Tier::Saas, &SpanIndex::default());
        assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), [rules::VERSION_UNREADABLE]);
    }

    #[test]
    fn a_missing_scenario_weighs_by_tier_and_need() {
        let folder = tempfile::tempdir().unwrap();
        scenario(folder.path(), "b", &[("gone", true)]);
        let root = folder.path().join("a");
        let severities = |tier, needs: &[(&str, bool)]| -> Vec<Severity> {
            check_scenarios(&manifest(needs), &root, tier).iter().map(|found| found.severity).collect()
        };
        assert_eq!(severities(Tier::Saas, &[("b", true)]), [Severity::Error]);
        assert_eq!(severities(Tier::Local, &[("b", true)]), [Severity::Warning]);
        assert_eq!(severities(Tier::Saas, &[("gone", false)]), [Severity::Info]);
        assert_eq!(severities(Tier::Saas, &[("b", false)]), []);
    }
}
