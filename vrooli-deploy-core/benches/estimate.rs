//! How long the cost of a scenario takes: the first with the books to read, and each that follows.
//! `cargo bench -p vrooli-deploy-core --bench estimate`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, printed")]

use std::time::{Duration, Instant};

use serde_json::json;
use vrooli_deploy_core::cost::{Bill, BillItem, Level, Prices, UsageProfile, estimate};
use vrooli_deploy_core::manifest::load_text;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::requirements::{DeriveOptions, derive};

/// A service with a database, a cache, a bucket and what stands in front of it.
fn bill() -> Bill {
    let item = |line: &str,
                service: &str,
                sku: &str,
                quantity: serde_json::Value,
                columns: serde_json::Value| {
        let item: BillItem = serde_json::from_value(json!({
            "line": line, "what": sku, "quantity": quantity,
            "price": {"provider": "aws", "service": service, "sku": sku, "region": "us-east-1", "attributes": columns}
        }))
        .unwrap();
        (ResourceKey::new("bench/item").unwrap(), item)
    };
    let running = json!({"running": "1"});
    let used = |metric: &str| json!({"usage": {"metric": metric, "factor": "1"}});
    let none = json!({});
    let items = vec![
        item("compute", "fargate", "vcpu-hour-linux-x86", running.clone(), none.clone()),
        item("compute", "fargate", "gb-hour-linux-x86", running.clone(), none.clone()),
        item(
            "database",
            "rds",
            "db.t4g.medium",
            running.clone(),
            json!({"engine": "postgres", "deployment": "multi-az"}),
        ),
        item("cache", "elasticache", "cache.t4g.small", running.clone(), json!({"engine": "redis"})),
        item("storage", "s3", "standard-storage", used("storage_gb"), none.clone()),
        item("bandwidth", "data-transfer", "internet-egress", used("egress_gb"), none.clone()),
        item("load_balancer", "alb", "alb-hour", running.clone(), none.clone()),
        item("nat", "nat-gateway", "hour", running, none.clone()),
        item("nat", "nat-gateway", "data-processed", used("nat_gb"), none.clone()),
        item("logs", "logs", "ingest", used("logs_gb"), none),
    ];
    Bill { provider: "aws".to_owned(), items, ..Bill::default() }
}

const SCENARIO: &str = r#"{
  "service": {"name": "bench"},
  "dependencies": {"resources": {"postgres": {"type": "postgres", "enabled": true, "required": true}}},
  "lifecycle": {"develop": {"steps": [{"name": "start-api", "run": "cd api && ./bench-api", "background": true}]}}
}"#;

fn main() {
    let bill = bill();
    let price = || {
        let usage = UsageProfile::named("web-app").unwrap();
        estimate(&bill, usage, &Prices::embedded()).value.unwrap().total(Level::Expected)
    };
    let start = Instant::now();
    let total = price();
    println!("first estimate, book read: {:?} ({total} USD)", start.elapsed());
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            let loaded = load_text("bench/.vrooli/service.json".as_ref(), SCENARIO.to_owned()).value.unwrap();
            let requirements = derive(&loaded.manifest, &DeriveOptions::default());
            assert_eq!(price(), total);
            drop(requirements);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("import, requirements and estimate: p50 {:?}, p99 {:?}", times[100], times[197]);
}
