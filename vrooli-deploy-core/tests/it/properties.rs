//! What holds for every input.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use vrooli_deploy_core::manifest::yaml::{Document, SourceFile};
use vrooli_deploy_core::manifest::{DeploymentManifest, load_text};
use vrooli_deploy_core::requirements::{DeriveOptions, derive};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 ./:_#'\"{}$&*!|>%@-]{0,24}",
        Just("no".to_owned()),
        Just("1.0".to_owned()),
        Just("0x10".to_owned()),
        Just("~".to_owned()),
        Just("a\nb\n\n  c\t".to_owned()),
        Just("\u{1f3a1} ü\u{2028}".to_owned()),
        Just("- a: b".to_owned()),
    ]
}

fn label() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?"
}

fn variable() -> impl Strategy<Value = String> {
    "[A-Z][A-Z0-9_]{0,12}"
}

fn command() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| json!(format!("./a {text}"))),
        prop::collection::vec(text(), 0..3).prop_map(|mut words| {
            words.insert(0, "./a".to_owned());
            json!(words)
        }),
    ]
}

fn duration() -> impl Strategy<Value = String> {
    (1_u64..100_000).prop_map(|ms| vrooli_deploy_core::duration::format(Duration::from_millis(ms)))
}

fn service() -> impl Strategy<Value = Value> {
    (
        command(),
        prop::option::of(variable()),
        prop::option::of(duration()),
        prop::collection::btree_map(variable(), text(), 0..3),
        prop::option::of(prop_oneof![Just("allowed"), Just("exclusive")]),
        1_u32..4,
        any::<bool>(),
    )
        .prop_map(|(run, port, grace, env, overlap, count, critical)| {
            let mut service = json!({ "run": run, "env": env, "scaling": { "min": 1, "max": count } });
            if let Some(variable) = port {
                service["ports"] = json!({ "main": { "env_var": variable } });
                service["health"] = json!({ "path": "/health", "critical": critical });
                if let Some(grace) = grace {
                    service["health"]["startup_grace"] = json!(grace);
                }
            }
            if let Some(overlap) = overlap {
                service["overlap"] = json!(overlap);
            }
            service
        })
}

fn manifest() -> impl Strategy<Value = DeploymentManifest> {
    (
        label(),
        text(),
        prop::collection::btree_map(label(), service(), 0..4),
        prop::collection::btree_map(label(), (any::<bool>(), any::<bool>(), prop::option::of(text())), 0..4),
        prop::collection::btree_map(variable(), text(), 0..3),
        prop_oneof![Just(json!("canary")), Just(json!({ "type": "rolling", "drain": "90s" }))],
        text(),
    )
        .prop_map(|(name, version, services, resources, env, strategy, body)| {
            let resources: BTreeMap<String, Value> = resources
                .into_iter()
                .map(|(name, (enabled, required, purpose))| (name, json!({ "enabled": enabled, "required": required, "purpose": purpose })))
                .collect();
            let smoke: Vec<Value> = services
                .keys()
                .take(1)
                .map(|service| json!({ "service": service, "path": "/x", "method": "POST", "body": { "a": [1, 2.5, null, body] }, "expect": { "json": { "/a": true } } }))
                .collect();
            serde_json::from_value(json!({
                "schema_version": "v0.1", "target": "saas", "provider": "aws",
                "app": { "name": name, "version": version },
                "services": services, "env": env, "strategy": strategy, "smoke": smoke,
                "dependencies": { "resources": resources },
            }))
            .unwrap()
        })
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        text().prop_map(Value::from),
        Just(json!("${RESOURCE_PORTS[x")),
        Just(json!("{{X}}")),
        Just(json!("PASSWORD='a\" --token")),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![
                    text(),
                    Just("name".to_owned()),
                    Just("steps".to_owned()),
                    Just("run".to_owned()),
                    Just("required".to_owned())
                ],
                inner,
                0..4
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Replaces, removes or renames the value that the numbers lead to.
fn mutate(value: &mut Value, path: &[usize], replacement: Value) {
    match (path.split_first(), value) {
        (Some((step, rest)), Value::Object(map)) if !map.is_empty() => {
            let key = map.keys().nth(step % map.len()).unwrap().clone();
            if rest.is_empty() && step % 3 == 0 {
                map.remove(&key);
            } else {
                mutate(map.get_mut(&key).unwrap(), rest, replacement);
            }
        }
        (Some((step, rest)), Value::Array(items)) if !items.is_empty() => {
            let index = step % items.len();
            mutate(&mut items[index], rest, replacement);
        }
        (_, place) => *place = replacement,
    }
}

fn use_it(name: &str, text: String) {
    let checked = load_text(name.as_ref(), text);
    for diagnostic in &checked.diagnostics {
        for label in &diagnostic.labels {
            assert!(label.span.line >= 1 && label.span.column >= 1);
        }
    }
    if let Some(loaded) = checked.value {
        let requirements =
            derive(&loaded.manifest, &DeriveOptions { include_optional: true, ..DeriveOptions::default() });
        assert!(requirements.value.is_some());
        loaded.manifest.to_yaml().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn manifests_round_trip(manifest in manifest()) {
        for (name, written) in [("m.yaml", manifest.to_yaml().unwrap()), ("m.json", manifest.to_json().unwrap())] {
            let document = Document::parse(SourceFile::new(name, written.clone()));
            prop_assert!(document.diagnostics.is_empty(), "{:?}\n{}", document.diagnostics, written);
            let back: DeploymentManifest = serde_json::from_value(document.value.unwrap().value)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{written}")))?;
            prop_assert_eq!(&back, &manifest, "{}", written);
        }
    }

    #[test]
    fn any_json_is_refused_or_read(value in json_value()) {
        use_it("a/.vrooli/service.json", value.to_string());
        use_it("m.json", value.to_string());
        let mut shaped = json!({ "service": { "name": "a" }, "lifecycle": { "develop": {} }, "dependencies": {}, "ports": {} });
        for path in ["/lifecycle/develop/steps", "/lifecycle/health", "/dependencies/resources", "/dependencies/scenarios", "/deployment", "/ports"] {
            let (parent, key) = path.rsplit_once('/').unwrap();
            shaped.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        use_it("a/.vrooli/service.json", shaped.to_string());
    }

    #[test]
    fn any_text_is_refused_or_read(text in "\\PC{0,200}", yaml in "[a-z:\\- \\[\\]{}&*!|>'\"#\\n\\t]{0,120}") {
        for name in ["m.yaml", "m.json", "a/.vrooli/service.json"] {
            use_it(name, text.clone());
            use_it(name, yaml.clone());
        }
        let source = SourceFile::new("m.yaml", text.clone());
        prop_assert_eq!(source.masked().len(), source.text.len());
    }

    #[test]
    fn a_command_is_never_a_panic(run in "[A-Z_=a-z '\"$(){}:/@&|;?\\\\`ü-]{0,80}") {
        use_it("a/.vrooli/service.json", json!({
            "service": { "name": "a" },
            "lifecycle": { "setup": { "steps": [{ "name": "x", "run": run }] }, "develop": { "steps": [{ "name": "start-api", "run": run, "background": true }] } },
            "dependencies": { "resources": { "postgres": { "enabled": true } } },
        }).to_string());
    }
}

#[test]
fn mutated_real_files_are_refused_or_read() {
    let files: Vec<Value> =
        super::corpus::files().into_iter().map(|(_, text)| serde_json::from_str(&text).unwrap()).collect();
    if files.is_empty() {
        return;
    }
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let mutation = (prop::collection::vec(any::<usize>(), 1..7), json_value());
    runner
        .run(&(any::<usize>(), prop::collection::vec(mutation, 1..6)), |(index, mutations)| {
            let mut file = files[index % files.len()].clone();
            for (path, value) in mutations {
                mutate(&mut file, &path, value);
            }
            use_it("a/.vrooli/service.json", file.to_string());
            Ok(())
        })
        .unwrap();
}
