//! What is laid over a manifest: values files, its own `environments`, choices of a profile.
//!
//! Maps are merged key by key, `null` takes a key away, everything else is replaced; only the
//! lists under `drop` are united. Places travel with the values, so that a diagnostic about
//! the result points into the file that said it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::yaml::{Document, SourceFile, SpanIndex, child};
use crate::diagnostics::{Checked, Diagnostic, rules};
use crate::names::EnvironmentName;

/// The key under which a manifest or values file keeps what holds in one environment only.
pub(super) const ENVIRONMENTS: &str = "environments";

/// Something that is laid over a manifest.
#[derive(Debug, Clone)]
pub enum Layer {
    /// A values file: a part of a manifest, YAML or JSON, read when it is laid.
    File(PathBuf),
    /// A part of a manifest that was made, not read: it has no places.
    Made(Value),
}

/// What is laid over a manifest, the weakest first, and in which environment.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Which of the `environments` of manifest and values files hold; `None`: none of them.
    pub environment: Option<EnvironmentName>,
    /// The layers. Stronger than the manifest's own `environments`.
    pub layers: Vec<Layer>,
}

/// Takes `environments` out of a document and lays what holds in this environment over the rest.
pub(super) fn environments(
    document: &mut Document,
    environment: Option<&EnvironmentName>,
) -> Vec<Diagnostic> {
    let pointer = child("", ENVIRONMENTS);
    let Some(found) = document.value.as_object_mut().and_then(|map| map.shift_remove(ENVIRONMENTS)) else {
        return Vec::new();
    };
    let spans = document.spans.take(&pointer);
    let Value::Object(all) = found else {
        return vec![
            rules::OVERLAY
                .diagnostic(format!(
                    "`{ENVIRONMENTS}` must be a map from an environment to a part of a manifest"
                ))
                .at(spans.key(&pointer), "here"),
        ];
    };
    let mut diagnostics = Vec::new();
    for (name, part) in all {
        let at = child(&pointer, &name);
        if let Err(error) = EnvironmentName::new(name.as_str()) {
            diagnostics.push(rules::OVERLAY.diagnostic(error.to_string()).at(spans.key(&at), "here"));
        } else if !part.is_object() {
            diagnostics.push(
                rules::OVERLAY
                    .diagnostic(format!("what holds in `{name}` must be a map, a part of a manifest"))
                    .at(spans.key(&at), "here"),
            );
        } else if environment.is_some_and(|environment| environment.as_str() == name) {
            lay(document, part, &spans, &at);
        }
    }
    diagnostics
}

/// Reads a values file and lays it over a document.
pub(super) fn file(
    document: &mut Document,
    path: &Path,
    environment: Option<&EnvironmentName>,
) -> Vec<Diagnostic> {
    let source = match SourceFile::read(path) {
        Ok(source) => source,
        Err(diagnostic) => return vec![*diagnostic],
    };
    let Checked { value, mut diagnostics } = Document::parse(source);
    let Some(mut values) = value else {
        return diagnostics;
    };
    // An empty file says nothing.
    if values.value.is_null() {
        return diagnostics;
    }
    if !values.value.is_object() {
        diagnostics.push(
            rules::OVERLAY
                .diagnostic(format!("`{}` must be a map, a part of a manifest", path.display()))
                .at(values.spans.value(""), "here"),
        );
        return diagnostics;
    }
    diagnostics.extend(environments(&mut values, environment));
    let Document { value, spans, source, .. } = values;
    lay(document, value, &spans, "");
    document.overlays.push(source);
    diagnostics
}

/// Lays a part without places over a document.
pub(super) fn made(document: &mut Document, part: Value) {
    lay(document, part, &SpanIndex::default(), "");
}

/// Lays `part`, whose places are those under `from` in `spans`, over the document.
fn lay(document: &mut Document, part: Value, spans: &SpanIndex, from: &str) {
    merge(&mut document.value, &mut document.spans, "", part, spans, from);
}

fn merge(base: &mut Value, places: &mut SpanIndex, at: &str, part: Value, spans: &SpanIndex, from: &str) {
    match (base, part) {
        (Value::Object(base), Value::Object(part)) if !is_whole(at, &part) => {
            for (key, value) in part {
                let (here, there) = (child(at, &key), child(from, &key));
                if value.is_null() {
                    base.shift_remove(&key);
                    places.take(&here);
                } else if let Some(known) = base.get_mut(&key) {
                    merge(known, places, &here, value, spans, &there);
                } else {
                    base.insert(key, value);
                    places.place_under(&here, spans, &there);
                }
            }
        }
        (Value::Array(base), Value::Array(part)) if at == "/drop" => {
            for (index, item) in part.into_iter().enumerate() {
                if !base.contains(&item) {
                    let here = child(at, &base.len().to_string());
                    base.push(item);
                    places.place_under(&here, spans, &child(from, &index.to_string()));
                }
            }
        }
        (base, part) => {
            *base = part;
            places.take(at);
            places.place_under(at, spans, from);
        }
    }
}

/// A map that says one thing in its key (`from: {generate: …}`) is replaced, not merged.
fn is_whole(at: &str, part: &Map<String, Value>) -> bool {
    at.starts_with("/secrets/") && at.ends_with("/from") && part.len() == 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn laid(base: Value, part: Value) -> Value {
        let mut document = Document::without_places("m.yaml", base);
        made(&mut document, part);
        document.value
    }

    #[test]
    fn maps_are_merged_and_null_takes_away() {
        let base = json!({"a": {"b": 1, "c": [1, 2]}, "d": 2, "e": {"f": 1}});
        let part = json!({"a": {"c": [3], "x": {"y": 1}}, "d": null, "e": "text", "gone": null});
        assert_eq!(laid(base, part), json!({"a": {"b": 1, "c": [3], "x": {"y": 1}}, "e": "text"}));
    }

    #[test]
    fn what_is_dropped_is_united_and_a_source_is_replaced_whole() {
        assert_eq!(laid(json!({"drop": ["a"]}), json!({"drop": ["a", "b"]})), json!({"drop": ["a", "b"]}));
        let base = json!({"secrets": {"X": {"from": {"generate": {}}, "required": false}}});
        let part = json!({"secrets": {"X": {"from": {"environment": {"name": "Y"}}}}});
        assert_eq!(
            laid(base, part),
            json!({"secrets": {"X": {"from": {"environment": {"name": "Y"}}, "required": false}}})
        );
    }

    #[test]
    fn places_come_from_the_file_that_said_it() {
        let parse = |name: &str, text: &str| Document::parse(SourceFile::new(name, text)).value.unwrap();
        let mut document = parse("base.yaml", "a:\n  b: 1\n  c:\n    d: 2\n");
        let over = parse("over.yaml", "x: 1\n\n\na:\n  c:\n    d: 3\n    e: 4\n");
        lay(&mut document, over.value, &over.spans, "");
        for (pointer, file, line) in [
            ("/a/b", "base.yaml", 2),
            ("/a/c/d", "over.yaml", 6),
            ("/a/c/e", "over.yaml", 7),
            ("/a/c", "base.yaml", 3),
            ("/x", "over.yaml", 1),
        ] {
            let span = document.spans.key(pointer).unwrap();
            assert_eq!((span.file.to_str().unwrap(), span.line), (file, line), "{pointer}");
        }
        made(&mut document, json!({"a": {"b": 5}}));
        assert_eq!(document.spans.value("/a/b"), None, "what was made has no place, not another's");
    }
}
