//! A page that was built and is dead: scripts and styles that it names and that are not
//! there. Every health check answers 200 all the same, so somebody must look.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where builds put pages, and how deep below the app's folder they are looked for.
const OUTPUTS: [&str; 4] = ["dist", "build", "out", "public"];
const DEPTH: usize = 4;
/// Beyond this it is no longer a quick look.
const FILES: usize = 500;
const SIZE: u64 = 8 << 20;

/// A warning for each thing that a page under `root` needs and that is not there.
pub(super) fn missing(root: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for output in outputs(root) {
        let mut check = Check { output: &output, seen: BTreeSet::new(), missing: BTreeSet::new() };
        check.page(&output.join("index.html"));
        let shown = output.strip_prefix(root).unwrap_or(&output).display();
        for (wanted, by) in check.missing {
            warnings.push(format!("warning: the page in `{shown}` needs `{wanted}` (named in `{by}`), which the build did not make: the page may stay empty"));
        }
    }
    warnings
}

fn outputs(root: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(root)
        .max_depth(DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| {
            !["node_modules", ".git", "target"].iter().any(|name| entry.file_name() == *name)
        })
        .flatten()
        .filter(|entry| entry.file_type().is_dir() && OUTPUTS.iter().any(|name| entry.file_name() == *name))
        .map(walkdir::DirEntry::into_path)
        .filter(|folder| folder.join("index.html").is_file())
        .collect()
}

struct Check<'a> {
    output: &'a Path,
    seen: BTreeSet<PathBuf>,
    missing: BTreeSet<(String, String)>,
}

impl Check<'_> {
    fn page(&mut self, page: &Path) {
        let Some(text) = read(page) else { return };
        for (tag, attribute) in [("<script", "src"), ("<link", "href")] {
            for reference in attributes(&text, tag, attribute) {
                self.follow(reference, page, tag == "<script");
            }
        }
        for specifier in inline_modules(&text).iter().flat_map(|module| imports(module)) {
            if is_path(specifier) {
                self.follow(specifier, page, true);
            }
        }
    }

    fn follow(&mut self, reference: &str, from: &Path, is_script: bool) {
        let path = reference.split(['?', '#']).next().unwrap_or_default();
        if path.is_empty()
            || path.contains("://")
            || path.starts_with("//")
            || path.starts_with("data:")
            || path.contains("${")
        {
            return;
        }
        match self.find(path, from) {
            Some(file) if is_script && self.seen.len() < FILES && self.seen.insert(file.clone()) => {
                let Some(text) = read(&file) else { return };
                for specifier in imports(&text).into_iter().filter(|specifier| is_path(specifier)) {
                    self.follow(specifier, &file, true);
                }
            }
            Some(_) => {}
            // Something that a server makes has no ending of a script or a style.
            None if [".js", ".mjs", ".css"].iter().any(|end| path.ends_with(end)) => {
                let by = from.strip_prefix(self.output).unwrap_or(from).display().to_string();
                self.missing.insert((reference.to_owned(), by));
            }
            None => {}
        }
    }

    /// The file that a server of this folder would answer with: it may serve its parent
    /// beside it, and a built page may be meant for a path below `/`.
    fn find(&self, path: &str, from: &Path) -> Option<PathBuf> {
        let candidates: Vec<PathBuf> = match path.strip_prefix('/') {
            Some(path) => {
                let below = path.split_once('/').map(|(_, rest)| self.output.join(rest));
                let beside = self.output.parent().map(|parent| parent.join(path));
                [Some(self.output.join(path)), below, beside].into_iter().flatten().collect()
            }
            None => from.parent().map(|folder| folder.join(path)).into_iter().collect(),
        };
        candidates.into_iter().find(|file| file.is_file())
    }
}

fn read(file: &Path) -> Option<String> {
    (fs::metadata(file).ok()?.len() <= SIZE)
        .then(|| fs::read(file).ok())
        .flatten()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn is_path(specifier: &str) -> bool {
    specifier.starts_with("./") || specifier.starts_with("../") || specifier.starts_with('/')
}

/// Values of an attribute in tags of a name.
fn attributes<'a>(text: &'a str, tag: &str, attribute: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(tag) {
        let inside = text.get(at + tag.len()..).unwrap_or_default();
        let inside = inside.split('>').next().unwrap_or_default();
        if tag == "<link" && !inside.contains("stylesheet") && !inside.contains("modulepreload") {
            continue;
        }
        let value = inside.match_indices(attribute).find_map(|(at, _)| {
            let before = inside.get(..at)?;
            let after = inside.get(at + attribute.len()..)?.trim_start().strip_prefix('=')?.trim_start();
            before.ends_with(char::is_whitespace).then_some(after)
        });
        let quoted = value.and_then(|value| {
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            value.get(1..)?.split(quote).next()
        });
        found.extend(quoted);
    }
    found
}

/// Texts of modules that are written in the page itself.
fn inline_modules(text: &str) -> Vec<&str> {
    text.match_indices("<script")
        .filter_map(|(at, _)| {
            let (tag, rest) = text.get(at..)?.split_once('>')?;
            (tag.contains("module") && !tag.contains("src")).then(|| rest.split("</script").next()).flatten()
        })
        .collect()
}

/// What a module imports, by a quick look at its text.
fn imports(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for word in ["from", "import"] {
        for (at, _) in text.match_indices(word) {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.')) {
                continue;
            }
            let rest = text.get(at + word.len()..).unwrap_or_default().trim_start();
            let rest =
                if word == "import" { rest.strip_prefix('(').unwrap_or(rest).trim_start() } else { rest };
            let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
                continue;
            };
            let specifier = rest.get(1..).and_then(|rest| rest.split(quote).next()).unwrap_or_default();
            if specifier.len() < 512 && !specifier.contains('\n') {
                found.push(specifier);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        missing(folder.path())
    }

    #[test]
    fn what_a_page_imports_must_be_there() {
        let html = r#"<html><link rel="stylesheet" href="/assets/a.css"><script type="module" src="./assets/main.js?v=1"></script><script src="https://cdn/x.js"></script></html>"#;
        let warnings = page(&[
            ("ui/dist/index.html", html),
            ("ui/dist/assets/a.css", ""),
            (
                "ui/dist/assets/main.js",
                "import{a}from\"./bridge.js\";import('./lazy.js');import x from 'react'",
            ),
            ("ui/dist/assets/lazy.js", ""),
        ]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("./bridge.js") && warnings[0].contains("assets/main.js"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_whole_page_is_not_warned_of() {
        let html = r#"<script src="/app/script.js"></script><script src="/config.json"></script><script src="/bridge/index.js"></script>
            <script type="module">import { b } from "./b.js"</script>"#;
        let warnings = page(&[
            ("ui/dist/index.html", html),
            ("ui/dist/script.js", ""),
            ("ui/bridge/index.js", ""),
            ("ui/dist/b.js", ""),
        ]);
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}
