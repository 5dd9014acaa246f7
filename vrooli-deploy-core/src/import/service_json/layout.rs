//! Where a scenario stands: alone, or in its repository with `packages/` beside.

use std::path::Path;

use super::patterns::PATTERNS;
use crate::manifest::BuildConfig;

/// The build's context. In `…/scenarios/<name>` of a repository it is the repository, with
/// the shared packages and this scenario alone, because builds refer to `../../packages`.
pub(super) fn context(root: Option<&Path>) -> BuildConfig {
    let patterns = &PATTERNS.layout;
    let mut build = BuildConfig { context: Some(".".to_owned()), ..BuildConfig::default() };
    let Some(root) = root else { return build };
    let Some(name) = root.file_name().and_then(|name| name.to_str()) else {
        return build;
    };
    let Some(scenarios) = root.parent() else {
        return build;
    };
    let in_scenarios = scenarios.file_name().is_some_and(|name| name == patterns.scenarios_folder.as_str());
    let repository = scenarios.parent();
    let marked = repository.is_some_and(|repository| {
        patterns.repository_marks.iter().any(|mark| repository.join(mark).is_dir())
    });
    if in_scenarios && marked {
        build.context = Some(patterns.context.clone());
        build.include = patterns.include.clone();
        build.include.push(format!("/{}/{}/", patterns.scenarios_folder, escaped(name)));
    }
    build
}

/// A name as gitignore's syntax takes it literally.
fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '!' | '#' | ' ') {
            text.push('\\');
        }
        text.push(c);
        text
    })
}
