//! The planner: pure, so no cloud is asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;
use vrooli_deploy_core::engine::{Entry, JournalRecord, Outcome, OutcomeKind, ResourceState, StackState};
use vrooli_deploy_core::names::ResourceKind;
use vrooli_deploy_core::plan::{
    AssembleInput, Inventory, Observed, Plan, PlanError, ResourceInput, ResourceOptions, ResourcePlan,
    StepAction, assemble, check, codes, compare, resources,
};
use vrooli_deploy_core::provider::{Found, PhysicalId};
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_tests::fakecloud::{FakeCloud, kinds};
use vrooli_deploy_tests::session::{Wish, key, resource, stack_id};

fn plan(wish: &Wish, state: &StackState, inventory: &Inventory) -> Result<ResourcePlan, PlanError> {
    plan_with(wish, state, inventory, &ResourceOptions::default())
}

fn plan_with(
    wish: &Wish,
    state: &StackState,
    inventory: &Inventory,
    options: &ResourceOptions,
) -> Result<ResourcePlan, PlanError> {
    let provider = FakeCloud::default().provider();
    resources(&ResourceInput {
        stack: &wish.stack(),
        state,
        inventory,
        incarnation: Uuid::from_u128(7),
        provider: &*provider,
        options,
    })
}

fn whole(wish: &Wish, state: &StackState, inventory: &Inventory) -> Plan {
    let resources = plan(wish, state, inventory).unwrap();
    assemble(AssembleInput {
        stack: stack_id(),
        provider: FakeCloud::default().provider().name().clone(),
        incarnation: Uuid::from_u128(7),
        command: "deploy".to_owned(),
        resource_steps: resources.steps,
        specs: resources.specs,
        release_steps: Vec::new(),
        release: None,
        current: None,
        notes: resources.notes,
        inventory,
    })
    .unwrap()
}

fn nothing() -> Inventory {
    Inventory::seen([])
}

fn seen(objects: &[(&str, &str, &str, serde_json::Value)]) -> Inventory {
    Inventory::seen(objects.iter().map(|(kind, at, id, observed)| {
        let found =
            Found { key: key(at), id: PhysicalId((*id).to_owned()), observed: observed.clone(), token: None };
        (ResourceKind::new(*kind).unwrap(), found)
    }))
}

fn state(objects: &[(&str, &str, &str, serde_json::Value)]) -> StackState {
    let mut state = StackState::default();
    for (kind, at, id, observed) in objects {
        state.generations.insert(key(at), 1);
        state.resources.insert(
            key(at),
            ResourceState {
                kind: ResourceKind::new(*kind).unwrap(),
                id: PhysicalId((*id).to_owned()),
                generation: 1,
                spec: observed.clone(),
                observed: observed.clone(),
                outputs: Default::default(),
                holds_data: *kind == kinds::DATABASE,
                needs: BTreeSet::new(),
                adopted: false,
            },
        );
    }
    state
}

fn alone(kind: &str, at: &str, spec: serde_json::Value) -> Wish {
    let mut wish = Wish::default();
    wish.resources.insert(key(at), resource(kind, spec));
    wish
}

fn ids(plan: &ResourcePlan) -> Vec<&str> {
    plan.steps.iter().map(|s| s.id.0.as_str()).collect()
}

fn bucket(name: &str, region: &str) -> serde_json::Value {
    json!({"name": name, "region": region, "versioned": false})
}

#[test]
fn what_is_referred_to_comes_first_and_the_same_input_gives_the_same_bytes() {
    let wish = Wish::full();
    let plan = whole(&wish, &StackState::default(), &nothing());
    let position = |id: &str| plan.steps.iter().position(|s| s.id.0 == id).unwrap();
    assert!(position("create:network/main") < position("create:subnet/main"));
    assert!(position("create:database/main") < position("create:instance/main"));
    let again = whole(&wish, &StackState::default(), &nothing());
    assert_eq!(serde_json::to_string(&plan).unwrap(), serde_json::to_string(&again).unwrap());
    assert_eq!(check(&plan, &StackState::default()), []);
}

#[test]
fn a_circle_is_refused_with_the_way_around() {
    let mut wish = Wish::full();
    wish.resources.get_mut(&key("network/main")).unwrap().after.insert(key("record/main"));
    let error = plan(&wish, &StackState::default(), &nothing()).unwrap_err();
    let PlanError::Cycle { path } = &error else { panic!("{error}") };
    assert_eq!(path.first(), path.last());
    assert!(path.len() > 3 && path.contains(&"network/main".to_owned()), "{path:?}");
    assert_eq!(error.code(), codes::CYCLE);
}

#[test]
fn a_reference_to_nothing_is_refused() {
    let missing =
        plan(&Wish::full().without("network/main"), &StackState::default(), &nothing()).unwrap_err();
    assert!(matches!(missing, PlanError::Missing { .. }), "{missing}");
    let wish = Wish::full().with("subnet/main", "network", json!({"$ref": "network/main", "output": "arn"}));
    let unknown = plan(&wish, &StackState::default(), &nothing()).unwrap_err();
    assert_eq!(unknown.to_string(), "`subnet/main` refers to output `arn` of `network/main`, which has: id");
}

#[test]
fn a_spec_that_does_not_fit_is_refused() {
    let wish =
        alone(kinds::NETWORK, "network/main", json!({"cidr": "10.0.0.0/8", "label": "", "colour": "red"}));
    let error = plan(&wish, &StackState::default(), &nothing()).unwrap_err();
    assert!(matches!(error, PlanError::Spec { .. }), "{error}");
    let wish = alone("fake.teapot", "teapot/main", json!({}));
    let error = plan(&wish, &StackState::default(), &nothing()).unwrap_err();
    assert_eq!(error.code(), codes::SPEC);
    assert!(
        matches!(error, PlanError::Kinds { .. }) && error.to_string().ends_with(": fake.teapot"),
        "{error}"
    );
}

#[test]
fn not_knowing_is_never_taken_for_absence() {
    let wish = alone(kinds::BUCKET, "bucket/a", bucket("a", "eu"));
    let error = plan(&wish, &StackState::default(), &Inventory::unseen("the network is down")).unwrap_err();
    assert!(matches!(error, PlanError::Unseen { .. }), "{error}");
    // What the state knows is planned by what was seen last, and that is said.
    let known = state(&[(kinds::BUCKET, "bucket/a", "b-1", bucket("a", "eu"))]);
    let plan = plan(&wish, &known, &Inventory::unseen("the network is down")).unwrap();
    assert!(plan.steps.is_empty());
    assert!(plan.notes[0].contains("the network is down"), "{:?}", plan.notes);
}

#[test]
fn an_object_in_no_state_is_taken_over_and_never_deleted_by_undo() {
    let wish = alone(kinds::BUCKET, "bucket/a", bucket("a", "eu"));
    let there =
        seen(&[(kinds::BUCKET, "bucket/a", "b-1", json!({"name": "a", "region": "eu", "versioned": true}))]);
    let plan = plan(&wish, &StackState::default(), &there).unwrap();
    assert_eq!(ids(&plan), ["adopt:bucket/a", "update:bucket/a"]);
    assert!(plan.steps.iter().all(|s| matches!(s.undo, vrooli_deploy_core::plan::Undo::Keep { .. })));
}

#[test]
fn data_is_kept_with_a_word_unless_asked() {
    let spec = json!({"subnet": "s", "size": "small", "version": "16"});
    let known = state(&[(kinds::DATABASE, "database/main", "db-1", spec.clone())]);
    let there = seen(&[(kinds::DATABASE, "database/main", "db-1", spec)]);
    let kept = plan(&Wish::default(), &known, &there).unwrap();
    assert!(kept.steps.is_empty());
    assert_eq!(kept.notes, ["`database/main` (db-1) is not wanted but kept: it holds data"]);
    let options = ResourceOptions { delete_data: true, ..ResourceOptions::default() };
    let asked = plan_with(&Wish::default(), &known, &there, &options).unwrap();
    assert_eq!(ids(&asked), ["delete:database/main"]);
    // Making it anew would lose it as well.
    let wish =
        alone(kinds::DATABASE, "database/main", json!({"subnet": "s", "size": "small", "version": "17"}));
    let error = plan(&wish, &known, &there).unwrap_err();
    assert_eq!(error.to_string(), "`database/main` holds data and would have to be made anew (version)");
}

#[test]
fn what_has_one_name_is_not_replaced_unless_the_plan_may_say_that_it_pauses() {
    let known = state(&[(kinds::BUCKET, "bucket/a", "b-1", bucket("a", "eu"))]);
    let there = seen(&[(kinds::BUCKET, "bucket/a", "b-1", bucket("a", "eu"))]);
    let wish = alone(kinds::BUCKET, "bucket/a", bucket("a", "us"));
    assert_eq!(plan(&wish, &known, &there).unwrap_err().code(), codes::DOWNTIME);
    let options = ResourceOptions { allow_downtime: true, ..ResourceOptions::default() };
    let plan = plan_with(&wish, &known, &there, &options).unwrap();
    assert_eq!(ids(&plan), ["delete:bucket/a", "create:bucket/a"]);
    assert!(plan.notes[0].contains("downtime"));
}

#[test]
fn what_a_replacement_that_failed_left_is_used_again() {
    // Generation 2 is in the state, the wish is what generation 1 was.
    let known = state(&[(kinds::BUCKET, "bucket/a", "b-2", bucket("b", "eu"))]);
    let there = seen(&[
        (kinds::BUCKET, "bucket/a", "b-1", bucket("a", "eu")),
        (kinds::BUCKET, "bucket/a", "b-2", bucket("b", "eu")),
    ]);
    let plan = plan(&alone(kinds::BUCKET, "bucket/a", bucket("a", "eu")), &known, &there).unwrap();
    assert_eq!(ids(&plan), ["adopt:bucket/a", "delete:bucket/a#b-2"]);
}

#[test]
fn an_object_that_a_retained_release_needs_is_kept() {
    let known = state(&[(kinds::BUCKET, "bucket/a", "b-1", bucket("a", "eu"))]);
    let there = seen(&[(kinds::BUCKET, "bucket/a", "b-1", bucket("a", "eu"))]);
    let options = ResourceOptions {
        needed: BTreeSet::from([PhysicalId("b-1".to_owned())]),
        ..ResourceOptions::default()
    };
    let plan = plan_with(&Wish::default(), &known, &there, &options).unwrap();
    assert!(plan.steps.is_empty());
    assert!(plan.notes[0].contains("rollback"), "{:?}", plan.notes);
}

#[test]
fn objects_that_nobody_knows_are_named_and_kept() {
    let there = seen(&[(kinds::BUCKET, "bucket/x", "b-9", bucket("x", "eu"))]);
    let plan = plan(&Wish::default(), &StackState::default(), &there).unwrap();
    assert!(plan.steps.is_empty());
    assert!(plan.notes[0].contains("b-9"));
}

#[test]
fn references_to_what_is_made_anew_are_known_after_apply() {
    let network = json!({"cidr": "10.0.0.0/8", "label": ""});
    let known = state(&[
        (kinds::NETWORK, "network/main", "n-1", network.clone()),
        (
            kinds::SUBNET,
            "subnet/main",
            "s-1",
            json!({"network": "n-1", "cidr": "10.1.0.0/16", "public": false}),
        ),
    ]);
    let there = seen(&[
        (kinds::NETWORK, "network/main", "n-1", network),
        (
            kinds::SUBNET,
            "subnet/main",
            "s-1",
            json!({"network": "n-1", "cidr": "10.1.0.0/16", "public": false}),
        ),
    ]);
    let mut wish = alone(kinds::NETWORK, "network/main", json!({"cidr": "10.0.0.0/9", "label": ""}));
    wish.resources.insert(
        key("subnet/main"),
        resource(
            kinds::SUBNET,
            json!({"network": {"$ref": "network/main", "output": "id"}, "cidr": "10.1.0.0/16", "public": false}),
        ),
    );
    let plan = plan(&wish, &known, &there).unwrap();
    assert_eq!(
        ids(&plan),
        ["create:network/main", "create:subnet/main", "delete:network/main", "delete:subnet/main"]
    );
    assert!(plan.steps[1].reason.contains("`network` is known after apply"), "{}", plan.steps[1].reason);
    // Unchanged network: its id is known now, and nothing differs.
    let wish = Wish {
        resources: wish
            .resources
            .into_iter()
            .map(|(k, mut r)| {
                if k == key("network/main") {
                    r.spec["cidr"] = json!("10.0.0.0/8");
                }
                (k, r)
            })
            .collect(),
        ..Wish::default()
    };
    let calm = super::plan::plan(&wish, &known, &there).unwrap();
    assert!(calm.steps.is_empty(), "{calm:#?}");
}

#[test]
fn the_digest_covers_decisions_and_nothing_that_moves_by_itself() {
    let wish = Wish::full();
    let plan = whole(&wish, &StackState::default(), &nothing());
    // Another incarnation: other tokens, the same decisions.
    let mut later = StackState::default();
    later.generations.insert(key("network/main"), 4);
    let counted = whole(&wish, &later, &nothing());
    assert_ne!(plan.steps[0].token, None);
    assert_eq!(plan.digest, counted.digest);
    let other =
        whole(&wish.clone().with("network/main", "label", json!("x")), &StackState::default(), &nothing());
    assert_ne!(plan.digest, other.digest);
}

#[test]
fn a_changed_world_is_told_in_words() {
    let wish = Wish::full();
    let saved = whole(&wish, &StackState::default(), &nothing());
    let there = seen(&[(kinds::BUCKET, "bucket/files", "b-1", bucket("shop-files", "eu"))]);
    let fresh = whole(&wish, &StackState::default(), &there);
    let told = compare(&saved, &fresh);
    assert_eq!(
        told,
        [
            "no longer needed: create bucket/files (it is not there yet)",
            "new: adopt bucket/files (it bears our marks and is in no state)"
        ]
    );
    assert_eq!(compare(&saved, &saved), Vec::<String>::new());
    let renamed = whole(&wish.with("network/main", "label", json!("x")), &StackState::default(), &nothing());
    assert_eq!(compare(&saved, &renamed), ["other than saved: create network/main (spec)"]);
}

#[test]
fn a_plan_that_breaks_a_rule_is_found_out() {
    let good = whole(&Wish::full(), &StackState::default(), &nothing());
    let broken = |change: &dyn Fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        check(&plan, &StackState::default()).iter().map(|f| f.code).collect::<Vec<_>>()
    };
    assert_eq!(broken(&|_| {}), []);
    assert!(broken(&|p| p.steps.swap(0, 4)).contains(&codes::UNSOUND));
    assert!(broken(&|p| p.steps[0].token = None).contains(&codes::UNSOUND));
    assert!(broken(&|p| p.steps[0].undo = vrooli_deploy_core::plan::Undo::Nothing).contains(&codes::UNSOUND));
    assert!(broken(&|p| p.steps[1].id = p.steps[0].id.clone()).contains(&codes::UNSOUND));
    assert!(broken(&|p| p.steps.retain(|s| s.id.0 != "create:network/main")).contains(&codes::UNSOUND));
    assert!(
        broken(&|p| {
            if let StepAction::Create { spec, .. } = &mut p.steps[0].action {
                spec["password"] = json!("hunter2");
            }
        })
        .contains(&codes::SECRET)
    );
    let mut circle = good.clone();
    let last = circle.steps[2].id.clone();
    circle.steps[0].after.insert(last);
    let (a, b) = (circle.steps[0].id.clone(), 2);
    circle.steps[b].after.insert(a);
    assert!(check(&circle, &StackState::default()).iter().any(|f| f.code == codes::CYCLE));
}

#[test]
fn a_delete_of_data_that_nobody_asked_for_is_found_out() {
    let spec = json!({"subnet": "s", "size": "small", "version": "16"});
    let known = state(&[(kinds::DATABASE, "database/main", "db-1", spec.clone())]);
    let there = seen(&[(kinds::DATABASE, "database/main", "db-1", spec)]);
    let options = ResourceOptions { delete_data: true, ..ResourceOptions::default() };
    let mut steps = plan_with(&Wish::default(), &known, &there, &options).unwrap().steps;
    if let StepAction::Delete { holds_data, .. } = &mut steps[0].action {
        *holds_data = false;
    }
    let mut plan = whole(&Wish::full(), &StackState::default(), &nothing());
    plan.steps = steps;
    assert_eq!(check(&plan, &known)[0].code, codes::PROTECTED);
}

#[test]
fn an_inventory_knows_the_difference_between_nothing_and_not_known() {
    let mut inventory = nothing();
    assert_eq!(inventory.get(&key("a")), &Observed::Absent);
    inventory.set(key("a"), Observed::Unknown { why: "x".to_owned() });
    assert_eq!(inventory.objects(&key("a")), []);
    assert!(matches!(inventory.get(&key("a")), Observed::Unknown { .. }));
}

#[test]
fn what_is_wanted_otherwise_but_takes_no_step_is_recorded_with_the_plan() {
    // What the kind does not look at: a release brings it, or nobody does anything about it.
    let there = json!({"name": "shop-files", "region": "eu", "versioned": false});
    let mut state = state(&[("fake.bucket", "bucket/files", "b-1", there.clone())]);
    let known = state.resources.get_mut(&key("bucket/files")).unwrap();
    known.spec = json!({"name": "shop-files", "region": "eu", "versioned": false, "said_otherwise": true});
    let wish = alone("fake.bucket", "bucket/files", bucket("shop-files", "eu"));
    let inventory = seen(&[("fake.bucket", "bucket/files", "b-1", there)]);
    let plan = whole(&wish, &state, &inventory);
    assert_eq!((plan.steps.len(), plan.specs.len()), (0, 1), "{plan:?}");
    assert_eq!(plan.specs[&key("bucket/files")], bucket("shop-files", "eu"));
    let known = state.resources.get_mut(&key("bucket/files")).unwrap();
    known.spec = bucket("shop-files", "eu");
    assert_eq!(whole(&wish, &state, &inventory).specs.len(), 0);
    // It is recorded when the plan is done, and not when it is undone.
    for (kind, recorded) in [(OutcomeKind::Applied, true), (OutcomeKind::RolledBack, false)] {
        let mut state = state.clone();
        let known = state.resources.get_mut(&key("bucket/files")).unwrap();
        known.spec = json!({"name": "shop-files"});
        let outcome = Outcome { kind, release: None, cause: None, left_behind: Vec::new() };
        let opened = Entry::PlanOpened { run: Uuid::from_u128(1), plan: plan.clone() };
        for (seq, entry) in (1..).zip([opened, Entry::PlanClosed { outcome }]) {
            state.apply(&JournalRecord { seq, fence: 1, at: Timestamp::UNIX_EPOCH, entry }).unwrap();
        }
        let spec = &state.resources[&key("bucket/files")].spec;
        assert_eq!(*spec == bucket("shop-files", "eu"), recorded, "{kind:?}: {spec}");
    }
}

#[test]
fn what_is_there_after_a_plan_is_what_was_there_with_its_steps() {
    let now = Stack { id: stack_id(), resources: BTreeMap::new() };
    let wish = Wish::full();
    let first = whole(&wish, &StackState::default(), &nothing());
    let after = first.after(&now);
    assert_eq!(after.resources.keys().collect::<Vec<_>>(), wish.resources.keys().collect::<Vec<_>>());
    assert!(after.resources.iter().all(|(key, resource)| resource.spec == wish.resources[key].spec));
    // One is made anew elsewhere: the old one goes, and the new one is there.
    let there = [("fake.bucket", "bucket/files", "b-1", bucket("shop-files", "eu"))];
    let wish = alone("fake.bucket", "bucket/files", bucket("shop-files-2", "us"));
    let mut known = state(&there);
    known.resources.get_mut(&key("bucket/files")).unwrap().holds_data = false;
    let plan = whole(&wish, &known, &seen(&there));
    assert!(plan.steps.iter().any(|step| matches!(step.action, StepAction::Delete { .. })), "{plan:?}");
    let after = plan.after(&after);
    assert_eq!(after.resources[&key("bucket/files")].spec["region"], "us");
    assert_eq!(after.resources.len(), Wish::full().resources.len());
}
