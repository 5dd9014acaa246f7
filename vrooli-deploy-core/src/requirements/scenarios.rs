//! Other scenarios that an app needs, followed through the folders beside it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostics::{Diagnostic, Severity, rules};
use crate::import::service_json::scenario_dependencies;
use crate::manifest::yaml::{Document, SourceFile};
use crate::manifest::{DeploymentManifest, ScenarioDependency, Tier};
use crate::names::DependencyName;

/// How deep dependencies are followed. Vrooli's deepest chain has 17 nodes in all.
const MAX_DEPTH: usize = 64;

/// Follows the scenarios that an app needs to `../<name>/.vrooli/service.json`, as far as
/// they go, and says which are missing and which wait for each other.
///
/// `root` is the app's folder. A missing scenario is a warning on the local tier, where it
/// may be started later; elsewhere an error if it is required, else a remark. A circle of
/// required scenarios is an error that prints its path.
#[must_use]
pub fn check_scenarios(manifest: &DeploymentManifest, root: &Path, tier: Tier) -> Vec<Diagnostic> {
    let Some(siblings) = root.parent() else {
        return Vec::new();
    };
    let own = root
        .file_name()
        .and_then(|name| DependencyName::new(name.to_string_lossy()).ok())
        .or_else(|| DependencyName::new(manifest.app.name.as_str()).ok());
    let Some(own) = own else { return Vec::new() };
    let mut walk = Walk { siblings, tier, done: BTreeMap::new(), path: vec![own], found: Vec::new() };
    let wanted = manifest
        .dependencies
        .scenarios
        .iter()
        .filter(|(name, _)| !manifest.drop.contains(name))
        .map(|(name, dependency)| (name.clone(), dependency.clone()))
        .collect();
    walk.follow(wanted);
    walk.found
}

struct Walk<'a> {
    siblings: &'a Path,
    tier: Tier,
    done: BTreeMap<DependencyName, ()>,
    path: Vec<DependencyName>,
    found: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn follow(&mut self, dependencies: BTreeMap<DependencyName, ScenarioDependency>) {
        for (name, dependency) in dependencies {
            if !dependency.enabled {
                continue;
            }
            if let Some(from) = self.path.iter().position(|step| *step == name) {
                if dependency.required {
                    self.cycle(from, &name);
                }
                continue;
            }
            if self.done.contains_key(&name) || self.path.len() > MAX_DEPTH {
                continue;
            }
            let file = self.siblings.join(name.as_str()).join(".vrooli").join("service.json");
            if !file.is_file() {
                self.done.insert(name.clone(), ());
                self.missing(&name, dependency.required);
                continue;
            }
            // What an optional scenario needs is its own affair until somebody deploys it.
            if dependency.required
                && let Ok(source) = SourceFile::read(&file)
                && let Some(document) = Document::parse(source).value
            {
                self.path.push(name.clone());
                self.follow(scenario_dependencies(&document));
                self.path.pop();
            }
            self.done.insert(name, ());
        }
    }

    fn cycle(&mut self, from: usize, back: &DependencyName) {
        let mut names: Vec<&str> = self.path[from..].iter().map(DependencyName::as_str).collect();
        names.push(back.as_str());
        self.found.push(
            rules::SCENARIO_CYCLE
                .diagnostic(format!("scenarios need each other in a circle: {}", names.join(" → ")))
                .help("make one of them `\"required\": false`"),
        );
    }

    fn missing(&mut self, name: &DependencyName, required: bool) {
        let wanted_by = self.path.last().map(ToString::to_string).unwrap_or_default();
        let mut diagnostic = rules::SCENARIO_MISSING.diagnostic(format!(
            "`{wanted_by}` needs the scenario `{name}`, which is not at `{}`",
            self.siblings.join(name.as_str()).display()
        ));
        diagnostic.severity = match (self.tier, required) {
            (Tier::Local, _) => Severity::Warning,
            (_, true) => Severity::Error,
            (_, false) => Severity::Info,
        };
        let help = if required {
            "deploy it too, or make it `\"required\": false`"
        } else {
            "what uses it will not work"
        };
        self.found.push(diagnostic.help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(folder: &Path, name: &str, needs: &[(&str, bool)]) {
        let scenarios: serde_json::Map<_, _> = needs
            .iter()
            .map(|(name, required)| ((*name).to_owned(), serde_json::json!({ "required": required })))
            .collect();
        let text = serde_json::json!({ "service": { "name": name }, "lifecycle": {}, "dependencies": { "scenarios": scenarios } });
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
