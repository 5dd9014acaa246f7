//! What a user sees when nothing fails: deploy, change, drift, destroy.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use vrooli_deploy_core::engine::{
    ApplyOptions, Engine, Event, EventSink, EventStream, OutcomeKind, RecoverOptions, StackState,
};
use vrooli_deploy_core::plan::{Plan, Step, StepAction};
use vrooli_deploy_core::state::Lease;
use vrooli_deploy_tests::crash::on_virtual_time;
use vrooli_deploy_tests::fakecloud::{FakeCloud, FakeCloudOptions, kinds};
use vrooli_deploy_tests::session::{ReleaseWish, Session, Wish, key, resource, stack_id, verify};

fn session() -> Session {
    Session::new(FakeCloud::default())
}

async fn applied(session: &Session, wish: &Wish) {
    let outcome = session.run(wish).await.unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Applied, "{outcome:#?}");
    verify(session, wish, &outcome).await;
}

#[test]
fn a_first_deployment_makes_everything_and_the_next_changes_nothing() {
    on_virtual_time(async {
        let session = session();
        let wish = Wish::full();
        applied(&session, &wish).await;
        assert!(session.plan(&wish).await.unwrap().is_empty(), "plan after apply is empty");
        let before = session.state().await.unwrap().seq;
        let outcome = session.run(&wish).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::NoChange);
        assert_eq!(session.state().await.unwrap().seq, before, "nothing is written when nothing is done");
    });
}

#[test]
fn an_upgrade_moves_traffic_only_to_what_runs() {
    on_virtual_time(async {
        let session = session();
        applied(&session, &Wish::full()).await;
        applied(&session, &Wish::full().release(ReleaseWish::version("2"))).await;
        let world = session.cloud.world();
        let ledger: Vec<_> = world.fleets[&stack_id()].ledger.keys().cloned().collect();
        assert_eq!(ledger, ["002.sql", "schema.sql"]);
    });
}

#[test]
fn a_replacement_stands_beside_the_old_one_until_commit() {
    on_virtual_time(async {
        let session = session();
        applied(&session, &Wish::full()).await;
        let old = session.state().await.unwrap().resources[&key("record/main")].id.clone();
        let wish =
            Wish::full().with("record/main", "name", json!("www.example")).release(ReleaseWish::version("2"));
        let plan = session.plan(&wish).await.unwrap();
        let position = |id: &str| plan.steps.iter().position(|s| s.id.0 == id).unwrap();
        assert!(position("create:record/main") < position("commit:r2"));
        assert!(position("commit:r2") < position("delete:record/main"));
        applied(&session, &wish).await;
        assert!(!session.cloud.world().objects.contains_key(&old));
    });
}

#[test]
fn what_another_hand_changed_is_named_and_mended() {
    on_virtual_time(async {
        let session = session();
        applied(&session, &Wish::full()).await;
        let id = session.state().await.unwrap().resources[&key("network/main")].id.clone();
        session.cloud.world().objects.get_mut(&id).unwrap().fields["label"] = json!("theirs");
        let plan = session.plan(&Wish::full()).await.unwrap();
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].reason, "`label` was changed by another hand");
        applied(&session, &Wish::full()).await;
    });
}

#[test]
fn what_another_hand_deleted_is_made_anew_with_a_new_token() {
    on_virtual_time(async {
        let session = session();
        applied(&session, &Wish::full()).await;
        let id = session.state().await.unwrap().resources[&key("record/main")].id.clone();
        session.cloud.world().delete(&id).unwrap();
        let plan = session.plan(&Wish::full()).await.unwrap();
        let [step] = &plan.steps[..] else { panic!("{:#?}", plan.steps) };
        assert!(matches!(step.action, StepAction::Create { generation: 2, .. }), "{step:#?}");
        applied(&session, &Wish::full()).await;
    });
}

#[test]
fn a_lost_state_is_found_again_by_marks_and_secrets_with_it() {
    on_virtual_time(async {
        let mut session = session();
        let wish = Wish::full();
        applied(&session, &wish).await;
        // Another journal, the same owner and secrets: everything bears our marks.
        session.store = vrooli_deploy_core::state::MemoryStore::new(uuid::Uuid::from_u128(1));
        session.cloud.world().fleets.clear();
        let plan = session.plan(&wish).await.unwrap();
        let made: Vec<_> = plan
            .steps
            .iter()
            .filter(|s| matches!(s.action, StepAction::Create { .. }))
            .map(|s| &s.id)
            .collect();
        assert!(made.is_empty(), "nothing is made twice: {made:?}");
        applied(&session, &wish).await;
    });
}

#[test]
fn an_end_keeps_the_database_and_what_it_stands_on() {
    on_virtual_time(async {
        let mut session = session();
        applied(&session, &Wish::full()).await;
        let outcome = session.run(&Wish::gone()).await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Applied);
        let mut left: Vec<&str> = session.cloud.world().of(&stack_id()).map(|o| o.kind).collect();
        left.sort_unstable();
        assert_eq!(left, [kinds::DATABASE, kinds::NETWORK, kinds::SUBNET]);
        assert_eq!(session.run(&Wish::gone()).await.unwrap().kind, OutcomeKind::NoChange);
        session.options.delete_data = true;
        assert_eq!(session.run(&Wish::gone()).await.unwrap().kind, OutcomeKind::Applied);
        assert_eq!(session.cloud.world().of(&stack_id()).count(), 0);
    });
}

#[test]
fn what_kept_data_stand_on_goes_after_them_when_the_state_has_forgotten_both() {
    on_virtual_time(async {
        let mut session = session();
        applied(&session, &Wish::full()).await;
        session.run(&Wish::gone()).await.unwrap();
        // As a destroy ends that kept data.
        session.store = vrooli_deploy_core::state::MemoryStore::new(uuid::Uuid::from_u128(1));
        session.options.delete_data = true;
        let plan = session.plan(&Wish::gone()).await.unwrap();
        let of = |wanted: &str| {
            let is = |step: &&Step| matches!(&step.action, StepAction::Delete { kind, .. } if kind.as_str() == wanted);
            plan.steps.iter().find(is).unwrap()
        };
        let [database, subnet, network] = [kinds::DATABASE, kinds::SUBNET, kinds::NETWORK].map(of);
        assert!(database.after.is_empty());
        assert!(subnet.after.contains(&database.id), "{:#?}", plan.steps);
        assert!(network.after.contains(&subnet.id), "{:#?}", plan.steps);
        assert_eq!(session.run(&Wish::gone()).await.unwrap().kind, OutcomeKind::Applied);
        assert_eq!(session.cloud.world().of(&stack_id()).count(), 0);
    });
}

#[test]
fn a_twin_that_appears_late_is_deleted_by_the_next_plan() {
    on_virtual_time(async {
        let session = session();
        applied(&session, &Wish::full()).await;
        {
            let mut world = session.cloud.world();
            let mut twin = world.of(&stack_id()).find(|o| o.kind == kinds::NETWORK).unwrap().clone();
            twin.id = vrooli_deploy_core::provider::PhysicalId("network-twin".to_owned());
            twin.made = 999;
            world.objects.insert(twin.id.clone(), twin);
        }
        let plan = session.plan(&Wish::full()).await.unwrap();
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].id.0, "delete:network/main#network-twin");
        applied(&session, &Wish::full()).await;
    });
}

#[test]
fn a_throttled_provider_is_asked_more_slowly_and_nothing_fails() {
    on_virtual_time(async {
        let options = FakeCloudOptions { throttle: Some((8, 2)), ..FakeCloudOptions::default() };
        let mut session = Session::new(FakeCloud::new(options));
        session.concurrency = 32;
        applied(&session, &Wish::full()).await;
        assert!(session.events().iter().any(|e| matches!(e, Event::StepRetried { .. })));
    });
}

#[test]
fn steps_that_need_nothing_of_each_other_run_side_by_side() {
    on_virtual_time(async {
        let mut wish = Wish::full().bare();
        wish.resources.clear();
        for n in 0..10 {
            wish.resources.insert(
                key(&format!("network/n{n}")),
                resource(kinds::NETWORK, json!({"cidr": "10.0.0.0/8", "label": ""})),
            );
        }
        let time = |concurrency| {
            let wish = wish.clone();
            async move {
                let mut session = session();
                session.concurrency = concurrency;
                let begun = tokio::time::Instant::now();
                applied(&session, &wish).await;
                begun.elapsed()
            }
        };
        let (alone, together) = (time(1).await, time(10).await);
        assert!(together < alone / 4, "{together:?} against {alone:?}");
    });
}

#[test]
fn an_apply_takes_little_more_than_its_longest_path() {
    // Each waits for the one before; nothing takes longer than its calls do.
    const PATH: [&str; 4] = ["network/main", "subnet/main", "database/main", "record/main"];
    // Made and read back; and what takes no token is looked for first.
    const CALLS: u32 = 2 * 4 + 1;
    const GROUPS: u32 = 15;
    const LATENCY: Duration = Duration::from_millis(250);
    on_virtual_time(async {
        let target = json!({"$ref": "database/main", "output": "url"});
        let one = Wish::full().bare().with("record/main", "target", target);
        let mut wish = Wish { resources: BTreeMap::new(), ..Wish::default() };
        let named = |name: &str, group: u32| name.replace("/main", &format!("/main-{group}"));
        for group in 0..GROUPS {
            for name in PATH {
                let like = &one.resources[&key(name)];
                let spec = named(&like.spec.to_string(), group).replace("shop.", &format!("shop-{group}."));
                let spec = serde_json::from_str(&spec).unwrap();
                wish.resources.insert(key(&named(name, group)), resource(like.kind.as_str(), spec));
            }
        }
        let quick = FakeCloudOptions {
            latency: LATENCY,
            lag: Duration::ZERO,
            slow: Duration::ZERO,
            ..FakeCloudOptions::default()
        };
        let mut session = Session::new(FakeCloud::new(quick));
        session.concurrency = session.cloud.provider().at_once();
        let plan = session.plan(&wish).await.unwrap();
        let (lease, mut state) = (session.lease().await.unwrap(), session.state().await.unwrap());
        let options = ApplyOptions { cancellation: session.cancellation.clone(), detach: false };
        let before = session.cloud.calls().len();
        let begun = tokio::time::Instant::now();
        let applied = session.engine().apply(&*lease, &mut state, plan, options, &EventSink::default()).await;
        let took = begun.elapsed();
        assert_eq!(applied.unwrap().kind, OutcomeKind::Applied);
        assert_eq!(state.resources.len(), PATH.len() * GROUPS as usize);

        let calls = session.cloud.calls().split_off(before);
        assert_eq!(calls.len(), (CALLS * GROUPS) as usize);
        let path = LATENCY * CALLS;
        assert!(took >= path, "{took:?} is less than can be");
        assert!(took <= path * 6 / 5, "{took:?}, and the longest path takes {path:?}");
    });
}

#[test]
fn events_tell_the_whole_story_in_order() {
    on_virtual_time(async {
        let session = session();
        applied(&session, &Wish::small()).await;
        let events = session.events();
        assert!(matches!(events.first(), Some(Event::PlanStarted { .. })));
        assert!(matches!(events.last(), Some(Event::Finished { .. })));
        let started = events.iter().filter(|e| matches!(e, Event::StepStarted { .. })).count();
        let succeeded = events.iter().filter(|e| matches!(e, Event::StepSucceeded { .. })).count();
        assert_eq!(started, succeeded);
        assert!(events.contains(&Event::StepOutput {
            step: vrooli_deploy_core::plan::StepId("build:r1".to_owned()),
            line: "building".to_owned()
        }));
    });
}

#[test]
fn a_stream_gives_every_event_and_then_ends() {
    on_virtual_time(async {
        let (sink, mut stream) = EventStream::channel();
        sink.send(&Event::PlanStarted { steps: 1 });
        drop(sink);
        assert_eq!(stream.next().await, Some(Event::PlanStarted { steps: 1 }));
        assert_eq!(stream.next().await, None);
    });
}

#[test]
fn a_run_that_is_cancelled_comes_back_at_once_and_the_next_one_finishes() {
    on_virtual_time(async {
        let mut session = session();
        let wish = Wish::full();
        let cancellation = session.cancellation.clone();
        let begun = tokio::time::Instant::now();
        let (outcome, ()) = tokio::join!(session.run(&wish), async {
            // In the middle of the five minutes that the database takes.
            tokio::time::sleep(Duration::from_secs(60)).await;
            cancellation.cancel();
        });
        assert_eq!(outcome.unwrap().kind, OutcomeKind::Interrupted);
        assert!(begun.elapsed() < Duration::from_secs(62), "{:?}", begun.elapsed());
        session.cancellation = vrooli_deploy_core::provider::Cancellation::new();
        applied(&session, &wish).await;
    });
}

/// Programs run it as a task, so what it gives must be `Send`. Compiled, never run.
fn _runs_as_a_task(engine: &Engine, lease: &dyn Lease, state: &mut StackState, plan: Plan) {
    fn sent(_: impl Send) {}
    let (recover, sink) = (RecoverOptions::default(), EventSink::default());
    sent(engine.recover(lease, state, &recover, &sink));
    sent(engine.apply(lease, state, plan, ApplyOptions::default(), &sink));
}
