//! What the importer knows about lifecycles, as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::manifest::crosswalk::embedded;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Patterns {
    pub environment: BTreeMap<String, String>,
    pub name_variable: String,
    pub never_run_phases: Vec<String>,
    pub run_phases: Vec<String>,
    pub dropped_steps: Vec<StepPattern>,
    /// Names are parts of commands here.
    pub dropped_commands: Vec<StepPattern>,
    pub resource_steps: StepPattern,
    pub resource_commands: Vec<String>,
    pub printing_commands: Vec<String>,
    pub foreground_build_commands: Vec<String>,
    pub platform_commands: Vec<String>,
    pub platform_paths: Vec<String>,
    pub killing_commands: Vec<String>,
    pub service_prefixes: Vec<String>,
    pub service_suffixes: Vec<String>,
    pub service_aliases: BTreeMap<String, String>,
    pub ports: PortPatterns,
    pub health: HealthPatterns,
    pub routes: RoutePatterns,
    pub layout: LayoutPatterns,
    pub heuristic_marks: Vec<String>,
    pub placeholder_models: Vec<String>,
    pub generic_types: Vec<String>,
    pub scenario_types: Vec<String>,
    pub scenario_prefix: String,
    pub known_scenarios: Vec<String>,
    pub initialization_folder: String,
    pub confirming_sources: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StepPattern {
    pub names: Vec<String>,
    pub reason: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct PortPatterns {
    pub aliases: BTreeMap<String, Vec<String>>,
    pub conventional_variables: BTreeMap<String, String>,
    pub fallback: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct HealthPatterns {
    pub default_path: String,
    pub default_for: Vec<String>,
    pub default_startup_grace_ms: u64,
    pub database_startup_grace_ms: u64,
    pub database_startup_why: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RoutePatterns {
    pub ui: String,
    pub api: String,
    pub api_path: String,
    pub ui_servers: Vec<String>,
    pub rewriting_markers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct LayoutPatterns {
    pub scenarios_folder: String,
    pub repository_marks: Vec<String>,
    pub context: String,
    pub include: Vec<String>,
}

pub(super) static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| embedded(include_str!("lifecycle.json")));

/// Does the word match a pattern with `*` at either end?
pub(super) fn matches(pattern: &str, word: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => word.contains(pattern.trim_matches('*')),
        (Some(end), None) => word.ends_with(end),
        (None, Some(start)) => word.starts_with(start),
        (None, None) => word == pattern,
    }
}

/// Does the word match one of the patterns?
pub(super) fn matches_any(patterns: &[String], word: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_can_be_read() {
        serde_json::from_str::<Patterns>(include_str!("lifecycle.json")).unwrap();
        assert!(!PATTERNS.dropped_steps.is_empty());
    }

    #[test]
    fn stars_stand_at_either_end() {
        assert!(matches("verify-*", "verify-auth") && !matches("verify-*", "auth-verify"));
        assert!(matches("*database*", "init-database-2") && matches("*-buckets", "make-buckets"));
        assert!(matches("a", "a") && !matches("a", "ab"));
    }
}
