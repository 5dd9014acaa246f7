//! What cannot be had is refused at its place, with the nearest thing that can.

use serde_json::{Value, json};
use vrooli_deploy_core::diagnostics::{Code, Diagnostic, Severity, rules};
use vrooli_deploy_core::names::StackId;

use super::lowered::{check_diagnostic, check_stack, factory, lower, lower_plain, manifest};
use super::no_secrets::NoSecrets;

fn app(infrastructure: Value) -> Value {
    json!({
        "schema_version": "v0.1", "target": "saas", "provider": "aws",
        "app": { "name": "shop" },
        "infrastructure": infrastructure,
        "services": {
            "api": { "run": "./api", "ports": { "api": {} }, "routes": [{ "path": "/api" }] },
            "ui": { "run": "node server.js", "ports": { "ui": {} }, "routes": [{ "path": "/" }] }
        },
        "dependencies": { "resources": { "postgres": { "extensions": ["pgcrypto"] } } }
    })
}

fn said(provider: &str, document: &Value) -> Vec<Diagnostic> {
    let loaded = manifest(document);
    let checked = lower(&loaded.manifest, &loaded.spans, provider, "default");
    checked.diagnostics.iter().for_each(check_diagnostic);
    checked.diagnostics
}

fn find(provider: &str, document: &Value, code: Code) -> Diagnostic {
    let all = said(provider, document);
    all.iter().find(|one| one.code == code).unwrap_or_else(|| panic!("{code} is said: {all:?}")).clone()
}

#[test]
fn unknown_names_get_the_nearest_known_one_and_a_place() {
    let cases = [
        ("aws", json!({ "region": "us-east1" }), rules::UNKNOWN_REGION, "`us-east-1`"),
        ("aws", json!({ "compute": { "type": "fargat" } }), rules::COMPUTE_TYPE, "`fargate`"),
        (
            "aws",
            json!({ "compute": { "type": "fargate", "size": "512/1025" } }),
            rules::UNKNOWN_SIZE,
            "`512/1024`",
        ),
        (
            "aws",
            json!({ "compute": { "type": "ec2", "size": "t3.smal" } }),
            rules::UNKNOWN_SIZE,
            "`t3.small`",
        ),
        (
            "aws",
            json!({ "database": { "type": "managed-postgres", "size": "db.t4.micro" } }),
            rules::UNKNOWN_SIZE,
            "db.t4g.micro",
        ),
        ("aws", json!({ "database": { "type": "managed-mysql" } }), rules::PART_TYPE, "managed-postgres"),
        ("aws", json!({ "storage": { "type": "spaces" } }), rules::PART_TYPE, "s3"),
        ("digitalocean", json!({ "region": "nyc9" }), rules::UNKNOWN_REGION, "nyc"),
        (
            "digitalocean",
            json!({ "compute": { "type": "droplet", "size": "s-2vcpu-4g" } }),
            rules::UNKNOWN_SIZE,
            "`s-2vcpu-4gb`",
        ),
        ("digitalocean", json!({ "cache": { "type": "memcached" } }), rules::PART_TYPE, "managed-redis"),
        (
            "digitalocean",
            json!({ "database": { "type": "managed-pg", "version": "9.6" } }),
            rules::ENGINE_VERSION,
            "default",
        ),
        (
            "digitalocean",
            json!({ "storage": { "type": "spaces", "region": "nyc1" } }),
            rules::UNKNOWN_REGION,
            "nyc3",
        ),
    ];
    for (provider, infrastructure, code, near) in cases {
        let found = find(provider, &app(infrastructure.clone()), code);
        assert_eq!(found.severity, Severity::Error, "{found}");
        assert!(found.help.as_deref().unwrap().contains(near), "{infrastructure}: {:?}", found.help);
        assert!(found.to_string().starts_with("deployment.json:"), "{found} has a place");
    }
}

#[test]
fn counts_are_held_against_what_a_size_can() {
    let infrastructure =
        json!({ "compute": { "type": "app-platform", "size": "apps-s-1vcpu-0.5gb", "count": 2 } });
    let found = find("digitalocean", &app(infrastructure), rules::COUNT);
    assert!(found.help.unwrap().contains("apps-s-1vcpu-1gb"));
    // Without a size one is chosen that can.
    let mut document = app(json!({ "compute": { "type": "app-platform", "count": 2 } }));
    let loaded = manifest(&document);
    let stack = lower_plain(&loaded.manifest, "digitalocean", "default").into_result().unwrap().0;
    let component = &stack.resources[&"compute/app".parse().unwrap()].spec["components"][0];
    assert_eq!(
        (component["size"].as_str(), component["count"].as_u64()),
        (Some("apps-s-1vcpu-1gb"), Some(2))
    );
    // One that follows the load has processors of its own.
    document["services"]["api"]["scaling"] = json!({ "min": 2, "max": 5 });
    let loaded = manifest(&document);
    let stack = lower_plain(&loaded.manifest, "digitalocean", "default").into_result().unwrap().0;
    let component = &stack.resources[&"compute/app".parse().unwrap()].spec["components"][0];
    assert!(
        component["size"].as_str().unwrap().starts_with("apps-d-") && component["most"] == 5,
        "{component}"
    );
    // A stand-by needs a size that can have one.
    let infrastructure = json!({ "database": { "type": "managed-pg", "size": "db-s-1vcpu-1gb" } });
    let loaded = manifest(&app(infrastructure));
    let checked = lower_plain(&loaded.manifest, "digitalocean", "production");
    assert!(
        checked.diagnostics.iter().any(|one| one.code == rules::COUNT && one.severity == Severity::Warning)
    );
}

#[test]
fn a_size_is_chosen_by_what_is_needed_and_that_is_said() {
    let all = said("digitalocean", &app(json!({})));
    let sizes: Vec<&str> =
        all.iter().filter(|one| one.code == rules::SIZE_CHOSEN).map(|one| one.message.as_str()).collect();
    assert!(sizes.iter().any(|said| said.contains("db-s-2vcpu-4gb") && said.contains("4 GiB")), "{sizes:?}");
    assert!(sizes.iter().any(|said| said.contains("s-1vcpu-2gb")), "{sizes:?}");
    let all = said("aws", &app(json!({})));
    assert!(all.iter().any(|one| one.message.contains("db.t4g.medium")), "{all:?}");
    assert!(all.iter().any(|one| one.code == rules::CONNECTIONS && one.message.contains("450")), "{all:?}");
}

#[test]
fn extensions_are_held_against_the_lists() {
    let mut document = app(json!({}));
    document["dependencies"]["resources"]["postgres"]["extensions"] =
        json!(["timescaledb", "vector", "my_own"]);
    for (provider, errors) in [("aws", 1), ("digitalocean", 0)] {
        let all = said(provider, &document);
        let found: Vec<_> = all.iter().filter(|one| one.code == rules::EXTENSION).collect();
        assert_eq!(found.iter().filter(|one| one.severity == Severity::Error).count(), errors, "{found:?}");
        assert!(found.iter().any(|one| one.severity == Severity::Warning && one.message.contains("my_own")));
        assert!(!found.iter().any(|one| one.message.contains("vector")));
    }
}

#[test]
fn certificates_content_networks_and_balancers_are_honoured() {
    let mut document = app(json!({}));
    document["networking"] = json!({ "ssl": "letsencrypt", "cdn": true });
    let tls = find("aws", &document, rules::TLS);
    assert!(
        tls.severity == Severity::Info && tls.message.contains("ACM") || tls.message.contains("domain"),
        "{tls}"
    );
    assert!(
        said("aws", &document).iter().any(|one| one.code == rules::TLS && one.message.contains("app.domain"))
    );
    let cdn = find("digitalocean", &document, rules::CDN);
    assert!(cdn.message.contains("Spaces"), "{cdn}");
    document["networking"]["ssl"] = json!("none");
    document["app"]["domain"] = json!("shop.example.com");
    let loaded = manifest(&document);
    let stack = lower_plain(&loaded.manifest, "aws", "default").into_result().unwrap().0;
    assert!(!stack.resources.keys().any(|key| key.as_str().contains("certificate")), "none was asked for");
    document["networking"]["ssl"] = json!("managed");
    let loaded = manifest(&document);
    let stack = lower_plain(&loaded.manifest, "aws", "default").into_result().unwrap().0;
    for key in ["front/certificate", "front/listener-https", "front/cdn", "dns/zone", "dns/app"] {
        assert!(stack.resources.contains_key(&key.parse().unwrap()), "{key}");
    }
    document["networking"]["ssl"] = json!("zerossl");
    assert_eq!(find("digitalocean", &document, rules::TLS).severity, Severity::Error);
}

#[test]
fn the_parts_that_a_stack_needs_stand_in_one_region() {
    let infrastructure =
        json!({ "region": "us-east-1", "database": { "type": "rds", "region": "eu-west-1" } });
    let found = find("aws", &app(infrastructure), rules::REGION_MISMATCH);
    assert_eq!(found.severity, Severity::Error);
    let infrastructure = json!({ "region": "us-east-1", "storage": { "type": "s3", "region": "eu-west-1" } });
    let found = find("aws", &app(infrastructure), rules::REGION_MISMATCH);
    assert_eq!(found.severity, Severity::Warning);
}

#[test]
fn production_is_built_larger() {
    let loaded = manifest(&app(json!({})));
    let lowered = |environment| {
        let stack = lower_plain(&loaded.manifest, "aws", environment).into_result().unwrap().0;
        check_stack("aws", &stack);
        stack
    };
    let (small, production) = (lowered("staging"), lowered("production"));
    let spec = |stack: &vrooli_deploy_core::stack::Stack, key: &str| {
        stack.resources[&key.parse().unwrap()].spec.clone()
    };
    assert_eq!(spec(&small, "database/postgres")["multi_az"], false);
    assert_eq!(spec(&production, "database/postgres")["multi_az"], true);
    assert_eq!(spec(&production, "database/postgres")["deletion_protection"], true);
    assert_eq!(spec(&small, "compute/app/blue")["public_address"], true);
    assert_eq!(spec(&production, "compute/app/blue")["public_address"], false);
    let nats = |stack: &vrooli_deploy_core::stack::Stack| {
        stack.resources.values().filter(|one| one.kind.as_str() == "aws.nat-gateway").count()
    };
    assert_eq!((nats(&small), nats(&production)), (0, 3));
}

#[test]
fn opening_says_that_the_native_half_is_missing() {
    use std::sync::Arc;
    use vrooli_deploy_core::provider::{ErrorKind, OpenContext};

    let context = OpenContext {
        dir: std::path::PathBuf::new(),
        owner: uuid::Uuid::nil(),
        stack: StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() },
        configuration: vrooli_deploy_core::configuration::Configuration::default(),
        resources: Vec::new(),
        ids: Default::default(),
        kinds: Default::default(),
        leaving: Default::default(),
        secrets: Arc::new(NoSecrets),
    };
    let without = if cfg!(feature = "aws-native") { &["digitalocean"][..] } else { &["aws", "digitalocean"] };
    for &provider in without {
        let error = factory(provider).open(&context).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, Some("VD0778")), "{provider}");
        assert!(error.to_string().contains(provider), "{error}");
    }
}

#[test]
fn keys_of_ones_own_are_made_on_aws_and_refused_where_there_are_none() {
    let keyed =
        app(json!({ "encryption": "customer-managed", "storage": { "type": "s3", "region": "eu-west-1" } }));
    for provider in ["digitalocean", "bare-metal"] {
        let diagnostic = find(provider, &keyed, rules::CUSTOMER_KEY);
        assert_eq!(diagnostic.severity, Severity::Error);
        assert!(diagnostic.message.contains("does not encrypt with a key of yours"), "{diagnostic:?}");
    }
    let stack = |document: &Value| {
        let loaded = manifest(document);
        lower(&loaded.manifest, &loaded.spans, "aws", "default").value.unwrap()
    };
    let of_kind = |stack: &vrooli_deploy_core::stack::Stack, kind: &str| -> Vec<String> {
        let all = stack.resources.iter().filter(|(_, resource)| resource.kind.as_str() == kind);
        all.map(|(key, _)| key.to_string()).collect()
    };
    let with = stack(&keyed);
    // A key is of one region, and the bucket stands in another.
    assert_eq!(of_kind(&with, "aws.kms-key"), ["encryption/eu-west-1", "encryption/main"]);
    let key = |of: &str| with.resources[&of.parse().unwrap()].spec["kms_key"]["$ref"].clone();
    assert_eq!(key("database/postgres"), "encryption/main");
    assert_eq!(key("database/postgres/password"), "encryption/main");
    for bucket in of_kind(&with, "aws.bucket") {
        assert_eq!(key(&bucket), "encryption/eu-west-1");
    }
    assert!(of_kind(&stack(&app(json!({}))), "aws.kms-key").is_empty());
}

#[test]
fn a_password_is_kept_by_rds_and_by_nobody_else() {
    let kept = |part: &str, kind: &str| app(json!({ part: { "type": kind, "password": "managed" } }));
    let database = kept("database", "managed-postgres");
    for provider in ["digitalocean", "bare-metal"] {
        let diagnostic = find(provider, &database, rules::NO_MANAGED_PASSWORD);
        assert_eq!(diagnostic.severity, Severity::Error);
        assert!(diagnostic.message.contains("keeps no password of a database"), "{diagnostic:?}");
    }
    find("aws", &kept("cache", "managed-redis"), rules::NO_MANAGED_PASSWORD);
    let stack = |document: &Value| {
        let loaded = manifest(document);
        lower(&loaded.manifest, &loaded.spans, "aws", "default").value.unwrap()
    };
    let (with, without) = (stack(&database), stack(&app(json!({}))));
    let (server, secret) =
        ("database/postgres".parse().unwrap(), "database/postgres/password".parse().unwrap());
    assert_eq!((with.resources[&server].spec.get("password"), with.resources.get(&secret)), (None, None));
    assert_eq!(without.resources[&server].spec["password"]["$ref"], "database/postgres/password");
    assert!(without.resources.contains_key(&secret));
}

#[test]
fn a_budget_is_made_on_aws_and_refused_where_there_are_none() {
    let told = json!({ "monthly_usd": "200", "notify": ["ops@example.com", "a@example.com"], "at": [50], "forecast": true });
    let with = app(json!({ "budget": told }));
    for provider in ["digitalocean", "bare-metal"] {
        let diagnostic = find(provider, &with, rules::NO_BUDGET);
        assert_eq!(diagnostic.severity, Severity::Error);
        assert!(diagnostic.message.contains("tells nobody"), "{diagnostic:?}");
    }
    assert_eq!(find("local", &with, rules::NO_BUDGET).severity, Severity::Warning, "nothing is billed there");
    let stack = |document: &Value| {
        let loaded = manifest(document);
        lower(&loaded.manifest, &loaded.spans, "aws", "default").value.unwrap()
    };
    let key = "budget/main".parse().unwrap();
    let stack_with = stack(&with);
    let spec = &stack_with.resources[&key].spec;
    assert_eq!(spec["monthly_usd"], "200");
    assert_eq!(spec["stack"], format!("{}/default", stack_with.id.app));
    assert_eq!(spec["notify"], json!(["a@example.com", "ops@example.com"]));
    assert_eq!(
        spec["alerts"],
        json!([{ "on": "actual", "percent": 50 }, { "on": "forecast", "percent": 100 }])
    );
    assert!(!stack(&app(json!({}))).resources.contains_key(&key));
    // AWS has so many alerts for a budget, and so many addresses for an alert.
    let addresses: Vec<String> = (0..11).map(|n| format!("a{n}@example.com")).collect();
    for (many, what) in [
        (
            json!({ "monthly_usd": "9", "notify": ["a@example.com"], "at": [1, 2, 3, 4, 5], "forecast": true }),
            "6 alerts",
        ),
        (json!({ "monthly_usd": "9", "notify": addresses }), "11 addresses"),
    ] {
        let diagnostic = find("aws", &app(json!({ "budget": many })), rules::COUNT);
        assert!(diagnostic.message.contains(what), "{diagnostic:?}");
    }
}
