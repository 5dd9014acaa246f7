use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{uri, whole_text};
use crate::diagnostics::{Diagnostic, Severity, Span};

/// A SARIF 2.1.0 log with one run, as code hosts and editors read it.
#[must_use]
pub fn sarif(diagnostics: &[Diagnostic]) -> String {
    let codes: BTreeSet<_> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| match code.rule() {
            Some(rule) => json!({
                "id": code.to_string(),
                "name": rule.name,
                "shortDescription": { "text": rule.name },
                "help": { "text": rule.docs, "markdown": rule.docs },
                "defaultConfiguration": { "level": level(rule.severity) },
            }),
            None => json!({ "id": code.to_string() }),
        })
        .collect();
    let results: Vec<Value> = diagnostics.iter().map(result).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "vrooli-deploy",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    let mut text = format!("{log:#}");
    text.push('\n');
    text
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn result(diagnostic: &Diagnostic) -> Value {
    let mut labels = diagnostic.labels.iter();
    let mut result = json!({
        "ruleId": diagnostic.code.to_string(),
        "level": level(diagnostic.severity),
        "message": { "text": whole_text(diagnostic) },
        "locations": labels.next().map(|label| location(&label.span, &label.text)).into_iter().collect::<Vec<_>>(),
    });
    let related: Vec<Value> = labels.map(|label| location(&label.span, &label.text)).collect();
    if !related.is_empty() {
        result["relatedLocations"] = Value::Array(related);
    }
    if let Some(fix) = &diagnostic.fix {
        result["fixes"] = json!([{ "artifactChanges": [{
            "artifactLocation": { "uri": uri(&fix.span) },
            "replacements": [{
                "deletedRegion": { "byteOffset": fix.span.offset, "byteLength": fix.span.length },
                "insertedContent": { "text": fix.replacement },
            }],
        }]}]);
    }
    result
}

fn location(span: &Span, text: &str) -> Value {
    let mut location = json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(span) },
        "region": {
            "startLine": span.line,
            "startColumn": span.column,
            "byteOffset": span.offset,
            "byteLength": span.length,
        },
    }});
    if !text.is_empty() {
        location["message"] = json!({ "text": text });
    }
    location
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::diagnostics::{Fix, Span, rules};

    #[test]
    fn a_result_names_its_rule_and_place() {
        let span = Span { file: "a/b.yaml".into(), offset: 10, length: 3, line: 2, column: 4 };
        let mut diagnostic = rules::UNKNOWN_KEY
            .diagnostic("m")
            .at(Some(span.clone()), "here")
            .at(Some(span.clone()), "and here");
        diagnostic.fix = Some(Fix { span, replacement: "x".into() });
        let log: Value = serde_json::from_str(&super::sarif(&[diagnostic])).unwrap();
        let result = &log["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "VD0201");
        assert_eq!(result["level"], "warning");
        assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
        assert_eq!(result["relatedLocations"][0]["message"]["text"], "and here");
        assert_eq!(
            result["fixes"][0]["artifactChanges"][0]["replacements"][0]["deletedRegion"]["byteLength"],
            3
        );
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][0]["id"], "VD0201");
    }
}
