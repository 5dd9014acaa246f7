//! The example of the workflow document, phases 5 and 6, through the real providers.

use serde_json::{Value, json};

use crate::script::Place;

const MANIFEST: &str = r#"{
  "schema_version": "v0.1",
  "target": "saas",
  "provider": "digitalocean",
  "app": { "name": "picker-wheel", "version": "1.0.0", "domain": "picker-wheel.example.com" },
  "infrastructure": {
    "compute": { "type": "droplet", "size": "s-2vcpu-4gb", "count": 2 },
    "database": { "type": "managed-postgres", "size": "db-s-1vcpu-1gb" },
    "cache": { "type": "managed-redis", "size": "db-s-1vcpu-1gb" },
    "storage": { "type": "spaces", "region": "nyc3" }
  },
  "networking": { "load_balancer": true, "ssl": "letsencrypt", "cdn": true }
}"#;

/// The manifest with and without its load balancer, or `None` after saying that this build
/// cannot price it.
fn place() -> Option<Place> {
    let place = Place::new();
    std::fs::write(place.dir().join("with.json"), MANIFEST).unwrap();
    let without = MANIFEST.replace("\"load_balancer\": true", "\"load_balancer\": false");
    std::fs::write(place.dir().join("without.json"), without).unwrap();
    let (_, _, last) = run(&place, &["with.json"]);
    if last["error"]["code"] == "VD0701" {
        println!("skipped: this build has no provider `digitalocean`");
        return None;
    }
    Some(place)
}

/// What `estimate-cost --json` says: exit code, the estimate and the last line.
fn run(place: &Place, arguments: &[&str]) -> (i32, Value, Value) {
    let output = place.program().args(["estimate-cost", "--json"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let estimate = lines.iter().find(|line| line["type"] == "estimate").cloned().unwrap_or_default();
    (output.status.code().unwrap(), estimate, lines.last().cloned().unwrap())
}

#[test]
fn the_workflow_document_s_example_sums_to_what_its_lines_say() {
    let Some(place) = place() else { return };
    let document = ["--prices", "saas-workflow-document"];
    for (file, book, database, bandwidth, total) in [
        ("with.json", &[][..], 15.15, 0.0, 95.15),
        ("without.json", &[][..], 15.15, 0.0, 83.15),
        ("with.json", &document[..], 15.0, 10.0, 105.0),
        ("without.json", &document[..], 15.0, 10.0, 93.0),
    ] {
        let (exit, estimate, _) = run(&place, &[&[file], book].concat());
        assert_eq!(exit, 0);
        let monthly = &estimate["monthly_estimate"];
        let lines =
            ["compute", "database", "cache", "storage", "bandwidth", "total"].map(|key| &monthly[key]);
        assert_eq!(json!(lines), json!([48.0, database, 15.0, 5.0, bandwidth, total]), "{file} {book:?}");
        assert_eq!(estimate["profile_id"], "picker-wheel");
        assert_eq!((&estimate["provider"], &estimate["currency"]), (&json!("digitalocean"), &json!("USD")));
        let notes = estimate["notes"].as_array().unwrap();
        for note in ["Bandwidth estimate based on 500GB/month", "Storage estimate based on 100GB"] {
            assert!(notes.contains(&json!(note)), "{notes:?}");
        }
        let sum: f64 = estimate["lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["amount"]["expected"].as_str().unwrap().parse::<f64>().unwrap())
            .sum();
        assert!((sum - total).abs() < 0.001, "{sum}");
        for line in estimate["lines"].as_array().unwrap() {
            let price = &line["prices"][0];
            assert!(price["source_text"].is_string() && price["grade"].is_string(), "{line}");
        }
    }
}

#[test]
fn verbose_says_line_by_line_where_the_document_differs() {
    let Some(place) = place() else { return };
    let output = place.program().args(["estimate-cost", "with.json", "--verbose"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "database  15.15 here, 15.00 there",
        "bandwidth  0.00 here, 10.00 there",
        "load_balancer  12.00 here, not listed there",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_budget_is_a_gate_and_providers_stand_side_by_side() {
    let Some(place) = place() else { return };
    assert_eq!(run(&place, &["with.json", "--max-monthly", "95.15"]).0, 0);
    let (exit, estimate, last) = run(&place, &["with.json", "--max-monthly", "80"]);
    assert_eq!((exit, &last["error"]["code"]), (7, &json!("VD0420")));
    let fits = &estimate["budget"]["fits"];
    assert_eq!(fits["changes"].as_array().unwrap().len(), 1, "{fits}");
    assert!(fits["total"].as_str().unwrap().parse::<f64>().unwrap() <= 80.0, "{fits}");
    let (_, estimate, _) = run(&place, &["with.json", "--compare", "aws,do,metal"]);
    let columns: Vec<&str> =
        estimate["compare"].as_array().unwrap().iter().map(|c| c["provider"].as_str().unwrap()).collect();
    assert_eq!(columns, ["digitalocean", "aws", "bare-metal"]);
    assert_eq!(estimate["compare"][0]["monthly_estimate"]["total"], 95.15);
    assert!(estimate["compare"][2]["monthly_estimate"].is_null(), "no servers are named");
}

/// What a reader of the recorded session sees: today's totals, and the document's own.
#[test]
fn the_recorded_workflow_shows_all_four_totals() {
    let recorded = include_str!("../scripts/workflow.txt");
    let after = |command: &str| {
        let (_, after) = recorded.split_once(&format!("$ vrooli-deploy {command}\n")).expect(command);
        after.split("\n$ ").next().unwrap().to_owned()
    };
    let document = "estimate-cost profile-1 --prices saas-workflow-document";
    assert!(after("estimate-cost profile-1 --quiet").contains("|   total  83.15  83.15  "));
    assert!(after("estimate-cost profile-1 --verbose").contains("|   total  95.15  95.15  "));
    let without = after(&format!("{document} --json"));
    assert!(without.contains(r#""total":93.0}"#), "{without}");
    let with = after(&format!("{document} --quiet"));
    assert!(with.contains("|   total  ~105.00  ~105.00  ~105.00"), "{with}");
}
