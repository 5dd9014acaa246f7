//! Properties of random stacks.

use proptest::prelude::*;
use serde_json::json;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_tests::crash::{Scenario, on_virtual_time, survive};
use vrooli_deploy_tests::fakecloud::{FakeCloud, FakeCloudOptions, kinds};
use vrooli_deploy_tests::session::{Session, Wish, key, resource, verify};

/// Networks, subnets in them, machines without a database's password in those, buckets.
fn stack() -> impl Strategy<Value = Wish> {
    let network = (0_u8..3, any::<bool>(), proptest::collection::vec(any::<bool>(), 0..3));
    (proptest::collection::vec(network, 0..4), 0_u8..4, any::<bool>()).prop_map(
        |(networks, buckets, versioned)| {
            let mut wish = Wish::default();
            for (n, (cidr, label, subnets)) in networks.into_iter().enumerate() {
                let spec =
                    json!({"cidr": format!("10.{cidr}.0.0/16"), "label": if label { "a" } else { "b" }});
                wish.resources.insert(key(&format!("network/n{n}")), resource(kinds::NETWORK, spec));
                for (s, public) in subnets.into_iter().enumerate() {
                    let spec = json!({
                        "network": {"$ref": format!("network/n{n}"), "output": "id"},
                        "cidr": format!("10.0.{s}.0/24"),
                        "public": public,
                    });
                    wish.resources.insert(key(&format!("subnet/n{n}-{s}")), resource(kinds::SUBNET, spec));
                }
            }
            for b in 0..buckets {
                let spec = json!({"name": format!("bucket-{b}"), "region": "eu", "versioned": versioned});
                wish.resources.insert(key(&format!("bucket/{b}")), resource(kinds::BUCKET, spec));
            }
            wish
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// From any stack to any other: the plan after apply is empty, the world is what is wanted.
    #[test]
    fn any_stack_becomes_any_other(first in stack(), second in stack()) {
        on_virtual_time(async {
            let session = Session::new(FakeCloud::default());
            for wish in [&first, &second, &first] {
                let outcome = session.run(wish).await.unwrap();
                verify(&session, wish, &outcome).await;
                assert!(session.plan(wish).await.unwrap().is_empty(), "plan after apply is empty");
            }
        });
    }

    /// The same plan, whatever was planned before it in the same process.
    #[test]
    fn the_same_input_gives_the_same_bytes(wish in stack()) {
        on_virtual_time(async {
            let session = Session::new(FakeCloud::default());
            let one = serde_json::to_string(&session.plan(&wish).await.unwrap()).unwrap();
            let two = serde_json::to_string(&session.plan(&wish).await.unwrap()).unwrap();
            assert_eq!(one, two);
        });
    }

    /// Killed anywhere on the way from one random stack to another.
    #[test]
    fn any_change_survives_a_crash(first in stack(), second in stack(), at in 0_u64..60, before in any::<bool>()) {
        let point = if before {
            vrooli_deploy_tests::crash::Point::BeforeAppend(at)
        } else {
            vrooli_deploy_tests::crash::Point::AfterAppend(at)
        };
        let outcome = OutcomeKind::Applied;
        // A scenario begins with a stack that was applied; an empty one is no run.
        let before = if first.resources.is_empty() { vec![] } else { vec![first] };
        let scenario = Scenario { name: "random", before, wish: second, outcome, delete_data: false, floor: None };
        survive(&scenario, &[point], &FakeCloudOptions::default());
    }
}
