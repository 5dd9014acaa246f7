//! Documents and lists that tests hold to each other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use vrooli_deploy_core::{engine, plan};
use vrooli_deploy_tests::conformance::{CLAUSES, FakeCloudFixture, ProviderFixture, trials};

fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let full = root.join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{}: {e}", full.display()))
}

#[test]
fn the_document_lists_the_clauses_that_are_tried() {
    let text = document("docs/specs/provider.md");
    let written: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter_map(|title| title.split_once(' '))
        .map(|(id, rest)| (id.to_owned(), rest.to_owned()))
        .collect();
    let known: Vec<(String, String)> =
        CLAUSES.iter().map(|(id, rest)| ((*id).to_owned(), (*rest).to_owned())).collect();
    assert_eq!(written, known);
}

#[test]
fn every_clause_is_tried() {
    let fixture: Arc<dyn ProviderFixture> = Arc::new(FakeCloudFixture);
    let tried: BTreeSet<String> = trials(&fixture)
        .iter()
        .filter_map(|t| t.name().split_once('/').map(|(id, _)| id.to_owned()))
        .collect();
    let known: BTreeSet<String> = CLAUSES.iter().map(|(id, _)| (*id).to_owned()).collect();
    assert_eq!(tried, known);
}

#[test]
fn every_code_is_explained() {
    for (code, phrase) in plan::codes::ALL.iter().chain(engine::codes::ALL) {
        let text = document(&format!("docs/errors/{code}.md"));
        assert!(text.starts_with(&format!("# {code}: {phrase}\n")), "{code}: the title is not its phrase");
        for part in ["## Cause", "## Example", "## Fix"] {
            assert!(text.contains(part), "{code} has no `{part}`");
        }
    }
}
