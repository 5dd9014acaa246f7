//! A handful of lowered stacks, whole. `UPDATE=1` records them anew; read the difference.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::corpus::scenarios;
use super::example;
use super::lowered::{bill, lower_plain, manifest, with_compute};

fn compare(
    name: &str,
    provider: &str,
    document: &vrooli_deploy_core::manifest::DeploymentManifest,
    environment: &str,
) {
    let checked = lower_plain(document, provider, environment);
    let stack = checked.value.unwrap();
    let said: Vec<String> =
        checked.diagnostics.iter().map(|one| format!("{:?} {one}", one.severity)).collect();
    let items: Vec<Value> = bill(provider, &stack)
        .into_iter()
        .map(|item| {
            let price = &item.price;
            let attributes = price.attributes.values().map(|value| format!(" {value}")).collect::<String>();
            json!({
                "line": item.line, "what": item.what, "quantity": item.quantity,
                "price": format!("{}/{}{attributes} in {}", price.service, price.sku, price.region),
            })
        })
        .collect();
    let actual = json!({ "stack": stack, "diagnostics": said, "bill": items });
    let path =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens")).join(format!("{name}.json"));
    let text = format!("{}\n", serde_json::to_string_pretty(&actual).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(recorded == text, "{} differs from what is lowered; UPDATE=1 records it anew", path.display());
}

#[test]
fn the_workflow_documents_example() {
    let loaded = manifest(&example::workflow());
    compare("workflow-digitalocean", "digitalocean", &loaded.manifest, "default");
}

#[test]
fn picker_wheel_everywhere() {
    let Some((_, picker)) = scenarios().into_iter().find(|(name, _)| name == "picker-wheel") else { return };
    let mut named = picker.clone();
    named.app.domain = Some("picker-wheel.example.com".to_owned());
    compare("picker-wheel-fargate", "aws", &with_compute(picker.clone(), "fargate"), "default");
    let mut production = with_compute(named.clone(), "fargate");
    production.infrastructure.budget =
        serde_json::from_value(json!({ "monthly_usd": "300", "notify": ["ops@example.com"] })).unwrap();
    compare("picker-wheel-fargate-production", "aws", &production, "production");
    compare("picker-wheel-ec2", "aws", &with_compute(picker.clone(), "ec2"), "default");
    let mut group = with_compute(picker.clone(), "ec2");
    group.infrastructure.compute.as_mut().unwrap().count = Some(2);
    compare("picker-wheel-ec2-group", "aws", &group, "production");
    compare("picker-wheel-droplet", "digitalocean", &with_compute(named, "droplet"), "default");
    compare("picker-wheel-app-platform", "digitalocean", &with_compute(picker, "app-platform"), "default");
}

/// A worker, a cache, buckets, and something that no cloud offers.
#[test]
fn social_media_scheduler_on_both() {
    let Some((_, social)) = scenarios().into_iter().find(|(name, _)| name == "social-media-scheduler") else {
        return;
    };
    compare("social-media-scheduler-fargate", "aws", &with_compute(social.clone(), "fargate"), "default");
    let mut group = with_compute(social.clone(), "ec2");
    let compute = group.infrastructure.compute.as_mut().unwrap();
    (compute.count, compute.size) = (Some(2), Some("t4g.large".to_owned()));
    compare("social-media-scheduler-ec2-group", "aws", &group, "default");
    compare("social-media-scheduler-droplet", "digitalocean", &with_compute(social, "droplet"), "default");
}
