//! The crash matrix.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use vrooli_deploy_core::engine::{Decision, OutcomeKind};
use vrooli_deploy_tests::crash::Point;
use vrooli_deploy_tests::crash::{Scenario, count, points, survive};
use vrooli_deploy_tests::fakecloud::{FakeCloudOptions, Fault};
use vrooli_deploy_tests::session::{ReleaseWish, Wish};

fn quick() -> FakeCloudOptions {
    FakeCloudOptions { slow: Duration::from_secs(10), ..FakeCloudOptions::default() }
}

fn exhaust(scenario: &Scenario) {
    let options = quick();
    let (entries, calls) = count(scenario, &options);
    for point in points(entries, calls) {
        survive(scenario, &[point], &options);
    }
}

fn scenario(name: &'static str, before: Vec<Wish>, wish: Wish, outcome: OutcomeKind) -> Scenario {
    Scenario { name, before, wish, outcome, delete_data: false, floor: None }
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

#[test]
fn end_of_a_stack() {
    let mut scenario = scenario("destroy", vec![Wish::full()], Wish::gone(), OutcomeKind::Applied);
    scenario.delete_data = true;
    exhaust(&scenario);
}

#[test]
fn upgrade_whose_build_fails() {
    let release = ReleaseWish { build_fails: true, ..ReleaseWish::version("2") };
    let wish = Wish::small().release(release);
    exhaust(&scenario("upgrade unbuilt", vec![Wish::small()], wish, OutcomeKind::RolledBack));
}

#[test]
fn upgrade_that_dies_while_it_is_watched() {
    let release = ReleaseWish { watch: Some(10), ..ReleaseWish::version("2-dying") };
    let wish = Wish::small().release(release);
    exhaust(&scenario("upgrade dying", vec![Wish::small()], wish, OutcomeKind::RolledBack));
}

/// Four units of `api`, so that waves are seen.
fn four(version: &str, strategy: serde_json::Value) -> Wish {
    let mut release = ReleaseWish::version(version).by(strategy);
    release.services.insert("api", 4);
    Wish::small().release(release)
}

fn first() -> Wish {
    four("1", json!("blue-green"))
}

fn exchange(name: &'static str, wish: Wish, outcome: OutcomeKind, floor: u32) {
    let scenario = Scenario { floor: Some(floor), ..scenario(name, vec![first()], wish, outcome) };
    exhaust(&scenario);
}

#[test]
fn rolling_warm() {
    exchange("rolling warm", four("2", json!({"type": "rolling", "batch": 2})), OutcomeKind::Applied, 4);
}

fn whole(version: &str) -> Wish {
    let mut wish = four(version, json!({"type": "rolling", "batch": 1, "watch": "3s", "min_requests": 8}));
    if let Some(release) = &mut wish.release {
        release.whole = true;
    }
    wish
}

#[test]
fn rolling_where_instances_start_together() {
    exchange("rolling whole", whole("2"), OutcomeKind::Applied, 4);
}

#[test]
fn rolling_where_instances_start_together_that_is_worse() {
    exchange("rolling whole erring", whole("2-erring"), OutcomeKind::RolledBack, 4);
}

#[test]
fn rolling_in_place() {
    let wish = four("2", json!({"type": "rolling", "surge": 0, "batch": 2, "max_unavailable": 2}));
    exchange("rolling in place", wish, OutcomeKind::Applied, 2);
}

#[test]
fn rolling_in_place_with_room_for_one() {
    let wish = four("2", json!({"type": "rolling", "surge": 1, "batch": 2, "max_unavailable": 1}));
    exchange("rolling with a surge", wish, OutcomeKind::Applied, 3);
}

#[test]
fn rolling_in_place_that_fails_its_smoke_tests() {
    let wish = four("2-unsmoked", json!({"type": "rolling", "surge": 0, "batch": 2, "max_unavailable": 2}));
    exchange("rolling unsmoked", wish, OutcomeKind::RolledBack, 2);
}

#[test]
fn rolling_in_place_that_is_worse() {
    let wish = four(
        "2-erring",
        json!({"type": "rolling", "surge": 0, "batch": 2, "max_unavailable": 2, "watch": "3s", "min_requests": 8}),
    );
    exchange("rolling erring", wish, OutcomeKind::RolledBack, 2);
}

#[test]
fn canary() {
    let wish = four("2", json!({"type": "canary", "steps": [10, 50, 100], "watch": "3s", "min_requests": 8}));
    exchange("canary", wish, OutcomeKind::Applied, 4);
}

#[test]
fn canary_that_is_worse() {
    let wish =
        four("2-erring", json!({"type": "canary", "steps": [10, 50], "watch": "5s", "min_requests": 8}));
    exchange("canary erring", wish, OutcomeKind::RolledBack, 4);
}

fn held(version: &str) -> Wish {
    four(
        version,
        json!({"type": "canary", "watch": "3s", "min_requests": 8, "hold": true, "inconclusive": "extend"}),
    )
}

#[test]
fn canary_on_hold() {
    exchange("canary held", held("2"), OutcomeKind::OnHold, 4);
}

#[test]
fn promoted() {
    let wish = held("2").decided(Decision::Promote);
    exhaust(&scenario("promote", vec![first(), held("2")], wish, OutcomeKind::Applied));
}

#[test]
fn aborted() {
    // What is wanted is what there was.
    let wish = first().decided(Decision::Abort);
    exhaust(&scenario("abort", vec![first(), held("2")], wish, OutcomeKind::RolledBack));
}

#[test]
fn a_new_deployment_ends_a_hold() {
    let wish = four("3", json!("blue-green"));
    exhaust(&scenario("deploy over a hold", vec![first(), held("2")], wish, OutcomeKind::Applied));
}

#[test]
fn watched_and_worse() {
    let wish = four("2-erring", json!({"watch": "3s", "min_requests": 8}));
    exchange("watched erring", wish, OutcomeKind::RolledBack, 4);
}

#[test]
fn watched_and_as_good() {
    exchange("watched", four("2", json!({"watch": "3s", "min_requests": 8})), OutcomeKind::Applied, 4);
}

fn change() -> Scenario {
    let wish = Wish::full()
        .without("bucket/files")
        .with("instance/main", "size", json!("large"))
        .with("record/main", "name", json!("www.shop.example"))
        .release(ReleaseWish::version("2"));
    scenario("change, killed often", vec![Wish::full()], wish, OutcomeKind::Applied)
}

fn unwell() -> Scenario {
    let wish = Wish::full().release(ReleaseWish::version("1-unhealthy"));
    scenario("first unhealthy, killed often", vec![], wish, OutcomeKind::RolledBack)
}

fn point() -> impl Strategy<Value = Point> {
    let fault = prop_oneof![
        Just(Fault::BeforeSend),
        Just(Fault::AfterSend),
        Just(Fault::LostReply),
        (1_u64..25).prop_map(|s| Fault::Forwarded(Duration::from_secs(s))),
    ];
    prop_oneof![
        (0_u64..60).prop_map(Point::BeforeAppend),
        (0_u64..60).prop_map(Point::AfterAppend),
        (0_u64..90, fault).prop_map(|(n, fault)| Point::Call(n, fault)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Killed while recovering from being killed while recovering.
    #[test]
    fn killed_again_and_again(points in proptest::collection::vec(point(), 1..5), bad in any::<bool>()) {
        let scenario = if bad { unwell() } else { change() };
        survive(&scenario, &points, &quick());
    }
}
