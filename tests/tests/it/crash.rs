//! The crash matrix.

use serde_json::json;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_tests::crash::{Scenario, count, points, survive};
use vrooli_deploy_tests::fakecloud::FakeCloudOptions;
use vrooli_deploy_tests::session::{ReleaseWish, Wish};

fn exhaust(scenario: &Scenario) {
    let options = FakeCloudOptions::default();
    let (entries, calls) = count(scenario, &options);
    for point in points(entries, calls) {
        survive(scenario, &[point], &options);
    }
}

fn scenario(name: &'static str, before: Vec<Wish>, wish: Wish, outcome: OutcomeKind) -> Scenario {
    Scenario { name, before, wish, outcome }
}

#[test]
fn first_deployment() {
    exhaust(&scenario("first", vec![], Wish::small(), OutcomeKind::Applied));
}

#[test]
fn first_deployment_of_everything() {
    exhaust(&scenario("full", vec![], Wish::full(), OutcomeKind::Applied));
}

#[test]
fn upgrade() {
    let wish = Wish::small().release(ReleaseWish::version("2"));
    exhaust(&scenario("upgrade", vec![Wish::small()], wish, OutcomeKind::Applied));
}

#[test]
fn first_deployment_that_is_not_well() {
    let wish = Wish::small().release(ReleaseWish::version("1-unhealthy"));
    exhaust(&scenario("first unhealthy", vec![], wish, OutcomeKind::RolledBack));
}

#[test]
fn upgrade_that_is_not_well() {
    let wish = Wish::small().release(ReleaseWish::version("2-unhealthy"));
    exhaust(&scenario("upgrade unhealthy", vec![Wish::small()], wish, OutcomeKind::RolledBack));
}

#[test]
fn upgrade_that_fails_its_smoke_tests() {
    let wish = Wish::small().release(ReleaseWish::version("2-unsmoked"));
    exhaust(&scenario("upgrade unsmoked", vec![Wish::small()], wish, OutcomeKind::RolledBack));
}

#[test]
fn replacement_update_and_delete_at_once() {
    let wish = Wish::full()
        .without("bucket/files")
        .with("instance/main", "size", json!("large"))
        .with("network/main", "label", json!("renamed"))
        .with("record/main", "name", json!("www.shop.example"))
        .release(ReleaseWish::version("2"));
    exhaust(&scenario("change", vec![Wish::full()], wish, OutcomeKind::Applied));
}

#[test]
fn resources_alone() {
    let wish = Wish::full().bare().with("bucket/files", "versioned", json!(true)).without("record/main");
    exhaust(&scenario("bare", vec![Wish::full().bare()], wish, OutcomeKind::Applied));
}
