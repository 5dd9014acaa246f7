//! The app's own source, as far as rules look at it: a few hundred files, line by line.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex_lite::Regex;
use serde::Deserialize;

use super::ByName;
use crate::diagnostics::Span;
use crate::manifest::crosswalk::embedded;

/// A file of the app's source.
pub(super) struct SourceText {
    pub(super) path: PathBuf,
    /// Relative to the app's folder, with `/`.
    pub(super) name: String,
    pub(super) text: String,
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    files: Files,
    comments: Vec<String>,
    local_hosts: Vec<String>,
    not_addresses: Vec<String>,
    asks_own_machine: Vec<String>,
    tls_off: Vec<String>,
    database_is_optional: Vec<String>,
    connection_variables: Vec<String>,
    tls_words: ByName<Vec<String>>,
    pool_variable: String,
    without_database: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Files {
    extensions: Vec<String>,
    skip_folders: Vec<String>,
    skip_suffixes: Vec<String>,
    at_most: usize,
    entries_at_most: usize,
    largest_bytes: u64,
}

/// What rules look for.
pub(super) struct Patterns {
    files: Files,
    comments: Vec<String>,
    pub(super) local_hosts: Vec<String>,
    pub(super) not_addresses: Vec<String>,
    pub(super) asks_own_machine: Vec<Regex>,
    pub(super) tls_off: Vec<Regex>,
    pub(super) database_is_optional: Vec<Regex>,
    pub(super) connection_variables: Vec<String>,
    pub(super) tls_words: ByName<Vec<String>>,
    pub(super) pool_variable: String,
    pub(super) without_database: Vec<String>,
}

pub(super) static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let data: Data = embedded(include_str!("data/patterns.json"));
    // A test reads every pattern: none is left out.
    let compile = |texts: &[String]| texts.iter().filter_map(|text| Regex::new(text).ok()).collect();
    Patterns {
        asks_own_machine: compile(&data.asks_own_machine),
        tls_off: compile(&data.tls_off),
        database_is_optional: compile(&data.database_is_optional),
        files: data.files,
        comments: data.comments,
        local_hosts: data.local_hosts,
        not_addresses: data.not_addresses,
        connection_variables: data.connection_variables,
        tls_words: data.tls_words,
        pool_variable: data.pool_variable,
        without_database: data.without_database,
    }
});

/// A line of source.
pub(super) struct Line<'a> {
    pub(super) file: &'a SourceText,
    pub(super) text: &'a str,
    offset: usize,
    number: usize,
}

impl Line<'_> {
    /// The line, without the white space around it.
    pub(super) fn span(&self) -> Span {
        let indent = self.text.len() - self.text.trim_start().len();
        Span {
            file: self.file.path.clone(),
            offset: self.offset + indent,
            length: self.text.trim().len(),
            line: self.number,
            column: self.text.get(..indent).map_or(0, |blank| blank.chars().count()) + 1,
        }
    }
}

impl SourceText {
    /// Its lines, without those that are comments.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut offset = 0;
        self.text.split_inclusive('\n').enumerate().filter_map(move |(index, raw)| {
            let line =
                Line { file: self, text: raw.trim_end_matches(['\n', '\r']), offset, number: index + 1 };
            offset += raw.len();
            let trimmed = line.text.trim_start();
            let comment = PATTERNS.comments.iter().any(|mark| trimmed.starts_with(mark.as_str()));
            (!comment && !trimmed.is_empty()).then_some(line)
        })
    }
}

/// Lines of all files that one of the patterns meets.
pub(super) fn found<'a>(sources: &'a [SourceText], patterns: &'a [Regex]) -> impl Iterator<Item = Line<'a>> {
    sources
        .iter()
        .flat_map(SourceText::lines)
        .filter(move |line| patterns.iter().any(|pattern| pattern.is_match(line.text)))
}

/// The app's source, in the order of the names. What cannot be read is no source.
pub(super) fn read_sources(root: &Path) -> Vec<SourceText> {
    let mut found = Vec::new();
    let mut left = PATTERNS.files.entries_at_most;
    walk(root, root, 0, &mut left, &mut found);
    found
}

/// Deeper folders hold what others wrote.
const DEEPEST: usize = 6;

fn walk(root: &Path, folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<SourceText>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let files = &PATTERNS.files;
    for path in paths {
        if found.len() >= files.at_most || *left == 0 {
            return;
        }
        *left -= 1;
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // A link may lead anywhere, and back.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            let skipped = name.starts_with('.') || files.skip_folders.iter().any(|skip| skip == name);
            if !skipped && depth < DEEPEST {
                walk(root, &path, depth + 1, left, found);
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let wanted = metadata.is_file()
            && metadata.len() <= files.largest_bytes
            && files.extensions.iter().any(|known| known == extension)
            && !files.skip_suffixes.iter().any(|suffix| name.ends_with(suffix.as_str()));
        if wanted && let Ok(text) = std::fs::read_to_string(&path) {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            found.push(SourceText { path, name, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_file_can_be_read() {
        let data: Data = serde_json::from_str(include_str!("data/patterns.json")).unwrap();
        for text in data.asks_own_machine.iter().chain(&data.tls_off).chain(&data.database_is_optional) {
            Regex::new(text).unwrap();
        }
        assert_eq!(PATTERNS.asks_own_machine.len(), data.asks_own_machine.len());
    }

    #[test]
    fn a_page_that_asks_its_own_machine_is_known_in_many_hands() {
        let meets = |line: &str| PATTERNS.asks_own_machine.iter().any(|pattern| pattern.is_match(line));
        for line in [
            "const target = `http://localhost:${API_PORT}`",
            "fetch(`http://localhost:${process.env.API_PORT}/api`)",
            "const url = 'http://localhost:' + API_PORT",
            "http.request({ host: 'localhost', port: API_PORT, method })",
            "let url = format!(\"http://127.0.0.1:{}\", self.api_port);",
            "TcpStream::connect((\"127.0.0.1\", api_port))",
            "fmt.Sprintf(\"http://localhost:%s\", os.Getenv(\"API_PORT\"))",
        ] {
            assert!(meets(line), "{line}");
        }
        for line in [
            "app.listen(API_PORT, () => console.log('up'))",
            "const target = process.env.API_URL",
            "http://localhost:8080",
        ] {
            assert!(!meets(line), "{line}");
        }
    }
}
