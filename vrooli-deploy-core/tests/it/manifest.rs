//! The manifest's own language: what is wrong is said with its place and the next step.

use std::fs;

use vrooli_deploy_core::diagnostics::{Code, Diagnostic, Severity, rules};
use vrooli_deploy_core::manifest::{Dialect, StrategyKind, Tier, load, load_text};

const HEAD: &str = "schema_version: v0.1\ntarget: saas\nprovider: digitalocean\napp: {name: toy}\n";

fn found(text: &str) -> Vec<Diagnostic> {
    load_text("m.yaml".as_ref(), text).diagnostics
}

/// The only diagnostic above a remark that a manifest with this body has.
fn only(body: &str) -> Diagnostic {
    let mut all: Vec<_> =
        found(&format!("{HEAD}{body}")).into_iter().filter(|d| d.code != rules::NO_SERVICE).collect();
    assert_eq!(all.len(), 1, "{body}: {all:?}");
    all.remove(0)
}

fn place(diagnostic: &Diagnostic) -> (usize, usize) {
    (diagnostic.labels[0].span.line, diagnostic.labels[0].span.column)
}

/// A body without its `§`, and the line and column where that stood.
fn unmarked(marked: &str) -> (String, (usize, usize)) {
    let before = format!("{HEAD}{}", &marked[..marked.find('§').unwrap()]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    (marked.replace('§', ""), (line, column))
}

#[test]
fn the_documented_manifest_is_read() {
    let text = r#"{
      "schema_version": "v0.1", "target": "saas", "provider": "digitalocean",
      "app": {"name": "picker-wheel", "version": "1.0.0", "domain": "picker-wheel.example.com"},
      "infrastructure": {
        "compute": {"type": "droplet", "size": "s-2vcpu-4gb", "count": 2},
        "database": {"type": "managed-postgres", "size": "db-s-1vcpu-1gb"},
        "cache": {"type": "managed-redis", "size": "db-s-1vcpu-1gb"},
        "storage": {"type": "spaces", "region": "nyc3"}
      },
      "networking": {"load_balancer": true, "ssl": "letsencrypt", "cdn": true}
    }"#;
    let checked = load_text("m.json".as_ref(), text);
    assert!(checked.diagnostics.iter().all(|d| d.code == rules::NO_SERVICE), "{:?}", checked.diagnostics);
    let manifest = checked.value.unwrap().manifest;
    assert_eq!(manifest.infrastructure.compute.unwrap().count, Some(2));
}

#[test]
fn words_that_people_use_are_understood() {
    for (target, tier) in [
        ("4", Tier::Saas),
        ("tier-4-saas", Tier::Saas),
        ("cloud", Tier::Saas),
        ("1", Tier::Local),
        ("on-prem", Tier::Enterprise),
    ] {
        let text = format!(
            "schema_version: v0.1\ntarget: {target}\nprovider: do\napp: {{name: a}}\nstrategy: canary\n"
        );
        let checked = load_text("m.yaml".as_ref(), text);
        let manifest = checked.value.unwrap().manifest;
        assert_eq!(manifest.target, tier);
        assert_eq!(manifest.provider.as_str(), "digitalocean");
        assert_eq!(manifest.strategy.kind, StrategyKind::Canary);
    }
}

#[test]
fn unknown_words_have_suggestions() {
    for (text, code, near) in [
        (
            "schema_version: v0.1\ntarget: sass\nprovider: aws\napp: {name: a}\n",
            rules::UNKNOWN_TIER,
            "`saas`",
        ),
        (
            "schema_version: v0.1\ntarget: saas\nprovider: asw\napp: {name: a}\n",
            rules::UNKNOWN_PROVIDER,
            "`aws`",
        ),
        (
            "schema_version: v0.1\ntarget: saas\nprovider: aws\napp: {name: a}\nstrategy: {type: cannary}\n",
            rules::UNKNOWN_STRATEGY,
            "`canary`",
        ),
        (
            "schema_version: v0.1\ntarget: saas\nprovider: aws\napp: {name: a}\nstrategy: blue\n",
            rules::UNKNOWN_STRATEGY,
            "`blue-green`",
        ),
    ] {
        let checked = load_text("m.yaml".as_ref(), text);
        assert!(checked.value.is_none(), "never a silent default");
        assert_eq!(checked.diagnostics.len(), 1, "said once: {:?}", checked.diagnostics);
        assert_eq!(checked.diagnostics[0].code, code);
        assert!(checked.diagnostics[0].help.as_ref().unwrap().contains(near));
        assert!(checked.diagnostics[0].fix.is_some());
    }
}

#[test]
fn unknown_keys_warn_with_the_nearest() {
    let diagnostic = only("services:\n  api:\n    run: ./api\n    prots: {}\n");
    assert_eq!((diagnostic.code, diagnostic.severity), (rules::UNKNOWN_KEY, Severity::Warning));
    assert_eq!(place(&diagnostic), (8, 5));
    assert!(diagnostic.help.unwrap().contains("`ports`"));
    let fix = diagnostic.fix.unwrap();
    assert_eq!((fix.replacement.as_str(), fix.span.length), ("ports", 5));
    assert!(
        found(&format!("{HEAD}x-mine: 1\nservices: {{api: {{run: a, x-note: b}}}}\n")).is_empty(),
        "x- is for the user"
    );
}

#[test]
fn wrong_shapes_have_places() {
    for (marked, code) in [
        ("services:\n  api:\n    run: ./api\n    needs: §ui\n", rules::WRONG_TYPE),
        ("services:\n  §api:\n    dir: a\n", rules::MISSING_FIELD),
        ("services:\n  §Api:\n    run: a\n", rules::INVALID_VALUE),
        ("services:\n  api:\n    run: a\n    stop_grace: §10\n", rules::WRONG_TYPE),
        ("services:\n  api:\n    run: a\n    stop_grace: §soon\n", rules::INVALID_VALUE),
        ("services:\n  api:\n    run: §{}\n", rules::WRONG_TYPE),
        ("services:\n  api:\n    run: a\n    overlap: §never\n", rules::INVALID_VALUE),
        ("services:\n  api:\n    run: a\n    ports: {api: {port: §70000}}\n", rules::INVALID_VALUE),
        ("services:\n  api:\n    run: a\n    scaling: {min: §0}\n", rules::INVALID_VALUE),
        ("env:\n  LEVEL: §3\n", rules::WRONG_TYPE),
        ("env:\n  §1A: x\n", rules::INVALID_VALUE),
        ("secrets:\n  KEY:\n    §from: {enviroment: {name: KEY}}\n", rules::MISSING_FIELD),
        ("secrets:\n  KEY:\n    from: {§environment: {}}\n", rules::MISSING_FIELD),
        ("strategy: {type: canary, canary_percent: §100}\n", rules::INVALID_VALUE),
        ("infrastructure:\n  compute: {type: droplet, count: §99999999999}\n", rules::INVALID_VALUE),
        ("infrastructure:\n  §budget: {monthly_usd: \"200\"}\n", rules::MISSING_FIELD),
        ("infrastructure:\n  budget: {monthly_usd: §200, notify: [a@example.com]}\n", rules::WRONG_TYPE),
        ("infrastructure:\n  budget: {monthly_usd: \"200\", notify: [§ops]}\n", rules::INVALID_VALUE),
        (
            "infrastructure:\n  budget: {monthly_usd: \"200\", notify: [a@example.com], at: [§0]}\n",
            rules::INVALID_VALUE,
        ),
        (
            "dependencies: {resources: {postgres: {initialization: [{file: a.sql, type: §tables}]}}}\n",
            rules::INVALID_VALUE,
        ),
    ] {
        let (body, at) = unmarked(marked);
        let diagnostic = only(&body);
        assert_eq!((diagnostic.code, place(&diagnostic)), (code, at), "{body}: {diagnostic}");
    }
}

#[test]
fn a_budget_tells_at_eighty_and_a_hundred_percent_unless_it_says_else() {
    let read = |more: &str| {
        let body = format!(
            "infrastructure: {{budget: {{monthly_usd: \"12.50\", notify: [ops@example.com]{more}}}}}\n"
        );
        let checked = load_text("m.yaml".as_ref(), format!("{HEAD}{body}"));
        assert!(checked.diagnostics.iter().all(|d| d.code == rules::NO_SERVICE), "{:?}", checked.diagnostics);
        checked.value.unwrap().manifest.infrastructure.budget.unwrap()
    };
    let plain = read("");
    assert_eq!((plain.at.iter().copied().collect::<Vec<_>>(), plain.forecast), (vec![80, 100], false));
    assert_eq!(plain.monthly().unwrap().to_string(), "12.50");
    let forecast = read(", at: [], forecast: true");
    assert!(forecast.at.is_empty() && forecast.forecast);
}

#[test]
fn all_problems_are_found_at_once() {
    let codes: Vec<Code> = found("schema_version: v0.1\ntarget: moon\nprovider: x\nbuild: []\n")
        .iter()
        .map(|d| d.code)
        .collect();
    assert_eq!(
        codes,
        [rules::UNKNOWN_TIER, rules::UNKNOWN_PROVIDER, rules::WRONG_TYPE, rules::MISSING_FIELD]
    );
}

#[test]
fn meanings_are_checked() {
    let api = "services:\n  api:\n    run: ./api\n    ports: {api: {env_var: API_PORT}}\n";
    let budget = |of: &str| format!("infrastructure: {{budget: {{{of}}}}}\n");
    for (marked, code) in [
        (
            "services:\n  a: {run: a, ports: {p: {port: 80}}}\n  b: {run: b, ports: {p: {port: §80}}}\n"
                .to_owned(),
            rules::PORT,
        ),
        ("services:\n  a: {run: a, ports: {p: {env_var: P}, q: {env_var: §P}}}\n".to_owned(), rules::PORT),
        ("services:\n  a: {run: a, ports: {p: {port: §0}}}\n".to_owned(), rules::PORT),
        ("services:\n  a: {run: a, ports: {p: {range: §9-1}}}\n".to_owned(), rules::PORT),
        (format!("{api}    health: {{path: /h, port: §apl}}\n"), rules::UNKNOWN_REFERENCE),
        (format!("{api}    health: {{path: §h}}\n"), rules::INVALID_VALUE),
        (format!("{api}    routes: [{{path: §x}}]\n"), rules::ROUTE),
        (format!("{api}    routes: [{{path: /x/}}, {{path: §/x}}]\n"), rules::ROUTE),
        ("services:\n  a: {run: a, routes: [§{path: /}]}\n".to_owned(), rules::UNKNOWN_REFERENCE),
        (format!("{api}    needs: [§ui]\n"), rules::UNKNOWN_REFERENCE),
        (format!("{api}smoke: [{{service: §apo, path: /}}]\n"), rules::UNKNOWN_REFERENCE),
        (format!("{api}smoke: [{{service: api, path: §x}}]\n"), rules::INVALID_VALUE),
        (format!("{api}    scaling: §{{min: 3, max: 2}}\n"), rules::SCALING),
        (format!("{api}    dir: §../x\n"), rules::PATH_OUTSIDE),
        ("services:\n  a:\n    run: §[]\n".to_owned(), rules::INVALID_VALUE),
        ("build: {context: §../x}\n".to_owned(), rules::BUILD_CONTEXT),
        (budget("monthly_usd: §\"0\", notify: [a@example.com]"), rules::INVALID_VALUE),
        (budget("monthly_usd: §\"-1\", notify: [a@example.com]"), rules::INVALID_VALUE),
        (budget("monthly_usd: §\"much\", notify: [a@example.com]"), rules::INVALID_VALUE),
        (budget("monthly_usd: \"200\", notify: §[]"), rules::INVALID_VALUE),
        (budget("monthly_usd: \"200\", notify: [a@example.com], at: §[]"), rules::INVALID_VALUE),
        (
            "dependencies: {resources: {postgres: {initialization: [{file: §/x.sql, type: schema}]}}}\n"
                .to_owned(),
            rules::PATH_OUTSIDE,
        ),
        ("drop: [§redis]\n".to_owned(), rules::DROP_WITHOUT_TARGET),
        ("§app: {name: \"{{APP}}\"}\n".to_owned(), rules::DUPLICATE_KEY),
    ] {
        let (body, at) = unmarked(&marked);
        let all = found(&format!("{HEAD}{body}"));
        let diagnostic = all.iter().find(|d| d.code == code).unwrap_or_else(|| panic!("{body}: {all:?}"));
        assert_eq!(place(diagnostic), at, "{body}: {diagnostic}");
    }
}

#[test]
fn a_circle_of_needs_prints_its_path() {
    let diagnostic =
        only("services:\n  a: {run: a, needs: [b]}\n  b: {run: b, needs: [c]}\n  c: {run: c, needs: [b]}\n");
    assert_eq!(diagnostic.code, rules::NEEDS_CYCLE);
    assert!(diagnostic.message.ends_with("b → c → b"), "{}", diagnostic.message);
}

#[test]
fn what_merely_looks_like_a_secret_can_be_said_to_be_none() {
    let body = "env: {PUBLIC_API_KEY: pk_live_0123456789abcdef01234567}\n";
    let refused = only(body);
    assert_eq!(refused.code, rules::PLAIN_SECRET);
    assert!(refused.help.unwrap().contains("not_secret: [PUBLIC_API_KEY]"));
    let all = found(&format!("{HEAD}{body}not_secret: [PUBLIC_API_KEY]\n"));
    assert!(all.iter().all(|d| d.code == rules::NO_SERVICE), "{all:?}");
    // By name, not for everything.
    assert_eq!(only(&format!("{body}not_secret: [OTHER]\n")).code, rules::PLAIN_SECRET);
}

#[test]
fn a_secret_in_a_plain_value_is_refused_and_not_repeated() {
    for value in [
        "DB_PASSWORD: canary-1",
        "DATABASE_URL: postgres://u:canary-1@h/d",
        "X: sk_live_canary-1-0123456789",
        "API_TOKEN: 12345678",
    ] {
        let all = found(&format!("{HEAD}services: {{a: {{run: a}}}}\nenv:\n  {value}\n"));
        assert!(all.iter().any(|d| d.severity == Severity::Error), "{value}");
        let text = format!("{all:?}");
        assert!(!text.contains("canary") && !text.contains("12345678"), "{text}");
    }
    for run in ["DB_PASSWORD=canary-1 ./a", "[./a, --api-key, canary-1]"] {
        let diagnostic = only(&format!("services:\n  a:\n    run: {run}\n"));
        assert_eq!(diagnostic.code, rules::PLAIN_SECRET, "{run}");
        assert!(!format!("{diagnostic:?}").contains("canary"));
    }
    assert!(
        found(&format!(
            "{HEAD}services: {{a: {{run: a}}}}\nenv: {{TOKEN_TTL: \"60\", A: \"${{DB_PASSWORD}}\"}}\n"
        ))
        .is_empty()
    );
}

#[test]
fn other_versions_and_other_languages_are_refused_by_name() {
    let newer = found("schema_version: v9.0\ntarget: moon\n");
    assert_eq!(newer.len(), 1, "a newer manifest gives no misleading errors");
    assert_eq!(newer[0].code, rules::SCHEMA_VERSION);
    assert!(newer[0].help.as_ref().unwrap().contains("update"));
    for (text, name) in [
        ("apiVersion: v1\nkind: Service\n", "Kubernetes"),
        ("services:\n  web:\n    image: nginx\n", "Compose"),
        ("deployment:\n  name: a\n  pattern: small-saas\n", "pattern language"),
    ] {
        let all = found(text);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].code, rules::FOREIGN_DIALECT);
        assert!(all[0].message.contains(name));
    }
}

#[test]
fn a_folder_is_read_in_the_documented_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let code = |at: &std::path::Path| load(at).diagnostics.iter().map(|d| d.code).collect::<Vec<_>>();
    assert_eq!(code(path), [rules::NOTHING_TO_DEPLOY]);
    assert_eq!(code(&path.join("gone")), [rules::UNREADABLE]);

    fs::write(path.join("compose.yaml"), "services: {web: {image: nginx}}\n").unwrap();
    assert_eq!(code(path), [rules::FOREIGN_DIALECT]);

    fs::create_dir(path.join(".vrooli")).unwrap();
    let service_json = r#"{"service": {"name": "a"}, "lifecycle": {"develop": {"steps": [{"name": "start-api", "run": "./a", "background": true}]}}}"#;
    fs::write(path.join(".vrooli/service.json"), service_json).unwrap();
    assert_eq!(
        load(path).value.unwrap().dialect,
        Dialect::ServiceJson,
        "a compose file beside it is the developer's own"
    );

    fs::write(path.join("deployment.yaml"), "deployment: {pattern: small-saas}\n").unwrap();
    let checked = load(path);
    assert_eq!(checked.value.unwrap().dialect, Dialect::ServiceJson);
    assert!(
        checked.diagnostics.iter().any(|d| d.code == rules::SEVERAL_MANIFESTS),
        "what is not read is named"
    );

    fs::write(path.join("manifest.yml"), format!("{HEAD}services: {{api: {{run: ./b}}}}\n")).unwrap();
    let loaded = load(path).value.unwrap();
    assert_eq!((loaded.dialect, loaded.file), (Dialect::Manifest, path.join("manifest.yml")));

    fs::write(path.join("deployment.yaml"), "schema_version: v0.1\ntarget: [\n").unwrap();
    assert_eq!(
        load(path).diagnostics.last().unwrap().code,
        rules::SYNTAX,
        "a broken manifest is not passed over"
    );

    fs::write(path.join("deployment.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(code(path), [rules::UNREADABLE]);
}

#[test]
fn a_declared_file_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.yaml");
    let body = "services: {api: {run: ./a}}\ndependencies: {resources: {postgres: {initialization: [{file: s.sql, type: schema}]}}}\n";
    fs::write(&path, format!("{HEAD}{body}")).unwrap();
    let checked = load(&path);
    assert_eq!(
        checked.diagnostics.iter().map(|d| (d.code, d.severity)).collect::<Vec<_>>(),
        [(rules::FILE_MISSING, Severity::Error)]
    );
    fs::write(folder.path().join("s.sql"), "").unwrap();
    assert!(load(&path).diagnostics.is_empty());
}
