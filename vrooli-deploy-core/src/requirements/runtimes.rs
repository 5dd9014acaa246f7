//! What a service is written in, as far as its command and its build tell.

use std::sync::LazyLock;

use serde::Deserialize;

use super::Size;
use crate::manifest::crosswalk::embedded;
use crate::manifest::{Command, DeploymentManifest, ServiceConfig};

#[derive(Debug, Default, Deserialize)]
struct Runtimes {
    skip: Vec<String>,
    runtimes: Vec<Runtime>,
}

/// What a service is written in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Runtime {
    /// Its name: `go`, `node`.
    pub name: String,
    programs: Vec<String>,
    built_with: Vec<String>,
    /// What a service written in it takes, where that was measured.
    #[serde(default)]
    pub size: Option<Size>,
}

static RUNTIMES: LazyLock<Runtimes> = LazyLock::new(|| embedded(include_str!("data/runtimes.json")));

/// What a service is written in: by the program that its command starts, else, if that
/// program is its own, by what builds it. `None` when neither tells.
#[must_use]
pub fn runtime(manifest: &DeploymentManifest, service: &ServiceConfig) -> Option<&'static Runtime> {
    let program = program(&service.run)?;
    let name = program.rsplit('/').next().unwrap_or(&program);
    let by_program = RUNTIMES.runtimes.iter().find(|runtime| runtime.programs.iter().any(|p| p == name));
    if by_program.is_some() {
        return by_program;
    }
    let builds: Vec<String> =
        service.build.iter().chain(&manifest.build.steps).map(|step| text(&step.run)).collect();
    // A step that names the program speaks louder than one that does not.
    let named = builds.iter().filter(|build| build.contains(name));
    let all = builds.iter();
    named.chain(all).find_map(|build| {
        RUNTIMES.runtimes.iter().find(|runtime| runtime.built_with.iter().any(|command| says(build, command)))
    })
}

/// Does a line hold these words, beginning with a word? `cargo build` does not say `go build`.
fn says(line: &str, words: &str) -> bool {
    line.match_indices(words)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_'))
}

fn text(command: &Command) -> String {
    match command {
        Command::Shell(line) => line.clone(),
        Command::Exec(arguments) => arguments.join(" "),
    }
}

/// The program that a command starts: of a shell line the first word of its last part that
/// is no assignment and no word that only hands on.
fn program(command: &Command) -> Option<String> {
    let plain = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        !word.is_empty()
            && !word.starts_with('-')
            && !RUNTIMES.skip.iter().any(|skip| skip == name)
            && !word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
    };
    match command {
        Command::Exec(arguments) => arguments.iter().map(String::as_str).find(plain).map(str::to_owned),
        Command::Shell(line) => {
            let parts: Vec<&str> = line
                .split(['\n', ';', '|', '&'])
                .map(str::trim)
                .filter(|part| !part.is_empty() && !part.starts_with('#'))
                .collect();
            parts
                .iter()
                .rev()
                .filter_map(|part| {
                    part.split_whitespace().map(|word| word.trim_matches(['"', '\'', '(', ')'])).find(plain)
                })
                .find(|word| !matches!(*word, "cd" | "export" | "echo" | "wait" | "true" | "sleep"))
                .map(str::to_owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(run: &str, build: &str) -> Option<&'static str> {
        let manifest: DeploymentManifest = serde_json::from_value(serde_json::json!({
            "schema_version": "v0.1", "target": "local", "provider": "local", "app": { "name": "a" },
            "build": { "steps": [{ "name": "b", "run": build }] },
            "services": { "s": { "run": run } },
        }))
        .unwrap();
        runtime(&manifest, manifest.services.values().next()?).map(|runtime| runtime.name.as_str())
    }

    #[test]
    fn what_real_commands_start() {
        serde_json::from_str::<Runtimes>(include_str!("data/runtimes.json")).unwrap();
        assert_eq!(name("cd ui && node server.js", ""), Some("node"));
        assert_eq!(name("cd ui && npx serve -s dist -l ${UI_PORT}", "go build"), Some("node"));
        assert_eq!(name("cd api && ./x-api", "cd api && go build -o x-api ."), Some("go"));
        assert_eq!(name("cd api && API_PORT=${API_PORT:-15100} exec ./x-api", "cargo build"), Some("rust"));
        assert_eq!(name("./x-api", "make"), None);
        assert_eq!(name("cd api && ./x > log 2>&1 &", "go build"), Some("go"));
    }
}
