//! Budgets: what somebody changed by hand, and an app with one.

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::provider::Change;
use vrooli_deploy_core::workspace::{RebuiltHow, Run, TargetOptions};
use vrooli_deploy_tests::moto::{self, census::Census};

use crate::desk::{Desk, root, said};
use crate::fixture::{AwsFixture, token};

/// The emulator's account.
const ACCOUNT: &str = "123456789012";

fn budgets(fixture: &AwsFixture, what: &str, mut form: Value) -> Value {
    form["AccountId"] = ACCOUNT.into();
    let target = format!("AWSBudgetServiceGateway.{what}");
    let said = moto::json(fixture.emulator.address(), "budgets", &target, &form.to_string()).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{what}: {said}");
    serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn alert(on: &str, percent: u32) -> Value {
    json!({
        "NotificationType": on, "ComparisonOperator": "GREATER_THAN", "Threshold": percent,
        "ThresholdType": "PERCENTAGE"
    })
}

/// What an account's one budget counts, and whom it tells of what.
fn told(fixture: &AwsFixture, name: &str) -> (Value, BTreeSet<String>) {
    let whole = budgets(fixture, "DescribeBudget", json!({ "BudgetName": name }))["Budget"].clone();
    let said = budgets(fixture, "DescribeNotificationsForBudget", json!({ "BudgetName": name }));
    let mut all = BTreeSet::new();
    for alert in said["Notifications"].as_array().unwrap() {
        let form = json!({ "BudgetName": name, "Notification": alert });
        let said = budgets(fixture, "DescribeSubscribersForNotification", form);
        for one in said["Subscribers"].as_array().unwrap() {
            let (on, at) =
                (alert["NotificationType"].as_str().unwrap(), alert["Threshold"].as_f64().unwrap());
            all.insert(format!("{on} {at} {}", one["Address"].as_str().unwrap()));
        }
    }
    (whole, all)
}

/// What is changed in a budget by hand is seen, and put back in place: what it counts, its limit, its alerts, and whom they tell.
pub(crate) async fn by_hand(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_those(|kind| kind == "aws.budget").await.map_err(said)?;
    let (sample, id, spec) = made.into_iter().next().ok_or("no budget was made")?;
    let name = spec["name"].as_str().unwrap();
    let (_, right) = told(&fixture, name);
    let pure = place.provider.kind(&sample.kind).map_err(said)?;
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let budget = |kind: &str, unit: &str, limit: &str, filters: Value| {
        json!({ "NewBudget": {
            "BudgetName": name, "BudgetType": kind, "TimeUnit": unit,
            "BudgetLimit": { "Amount": limit, "Unit": "USD" }, "CostFilters": filters
        } })
    };
    let ours = json!({ "TagKeyValue": ["user:vrooli:stack$conformance/default"] });
    let of_more = json!({
        "TagKeyValue": ["user:vrooli:stack$conformance/default", "user:vrooli:stack$shop/default"]
    });
    let on = |what: &str, form: Value| (what.to_owned(), form);
    let at_80 = json!({ "BudgetName": name, "Notification": alert("ACTUAL", 80) });
    let with = |more: Value| {
        let mut form = at_80.clone();
        form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        form
    };
    let topic = json!({ "SubscriptionType": "SNS", "Address": "arn:aws:sns:us-east-1:123456789012:costs" });
    let person = |address: &str| json!({ "SubscriptionType": "EMAIL", "Address": address });
    let absolute = json!({ "BudgetName": name, "Subscribers": [person("ops@example.com")], "Notification": {
        "NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80,
        "ThresholdType": "ABSOLUTE_VALUE"
    } });
    let mut further = at_80.clone();
    further["Notification"] = alert("ACTUAL", 120);
    further["Subscribers"] = json!([person("ops@example.com")]);
    for ((what, form), field) in [
        (on("UpdateBudget", budget("COST", "MONTHLY", "5000", ours.clone())), "monthly_usd"),
        (on("UpdateBudget", budget("COST", "ANNUALLY", "200", ours.clone())), "fixed_monthly"),
        (on("UpdateBudget", budget("COST", "MONTHLY", "200", json!({}))), "stack"),
        (on("UpdateBudget", budget("COST", "MONTHLY", "200", of_more)), "stack"),
        (on("DeleteNotification", at_80.clone()), "alerts"),
        (on("CreateNotification", absolute), "other_alerts"),
        (on("CreateNotification", further), "alerts"),
        (on("CreateSubscriber", with(json!({ "Subscriber": topic }))), "notify"),
        (on("CreateSubscriber", with(json!({ "Subscriber": person("x@example.com") }))), "notify"),
        (on("DeleteSubscriber", with(json!({ "Subscriber": person("ops@example.com") }))), "notify"),
    ] {
        budgets(&fixture, &what, form.clone());
        let see = async || {
            let found = place.provider.find(&cx, &sample.kind, &sample.key, Some(&id)).await;
            found.map_err(said)?.pop().ok_or(format!("after {what} it is gone"))
        };
        let have = see().await?.observed;
        match pure.diff(&spec, &have).map_err(said)? {
            Change::InPlace(fields) if fields.contains(&field.to_owned()) => {}
            other => return Err(format!("{what} {form} differs as {other:?}: {have}").into()),
        }
        place.provider.update(&cx, &sample.kind, &sample.key, &id, &have, &spec).await.map_err(said)?;
        let left = pure.diff(&spec, &see().await?.observed).map_err(said)?;
        let (whole, now) = told(&fixture, name);
        if left != Change::None || now != right || whole["CostFilters"] != ours {
            return Err(format!("{what} {form}: {left:?}, {whole}, {now:?} instead of {right:?}").into());
        }
    }
    place.empty().await.map_err(Failed::from)
}

/// Ten people are told, which is as many as AWS takes, and then ten others: never more, and never nobody.
pub(crate) async fn all_others(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let people = |from: u32| (from..from + 10).map(|n| format!("p{n}@example.com")).collect::<Vec<_>>();
    let mut made = place.make_those(|kind| kind == "aws.budget").await.map_err(said)?;
    let (sample, id, mut spec) = made.pop().ok_or("no budget was made")?;
    for from in [0, 20, 5] {
        spec["notify"] = json!(people(from));
        let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(&id)).await;
        let have = found.map_err(said)?.pop().ok_or("it is gone")?.observed;
        let made = place.provider.update(&place.cx(), &sample.kind, &sample.key, &id, &have, &spec).await;
        made.map_err(said)?;
        let (_, now) = told(&fixture, spec["name"].as_str().unwrap());
        if now.len() != 10 * spec["alerts"].as_array().unwrap().len() {
            return Err(format!("from {from}: {now:?}").into());
        }
        if !people(from).iter().all(|one| now.contains(&format!("ACTUAL 80 {one}"))) {
            return Err(format!("from {from}: {now:?}").into());
        }
    }
    place.empty().await.map_err(Failed::from)
}

/// An app with a budget: made, nothing to do, changed in place, its state lost and built again, nothing left.
pub(crate) async fn of_an_app(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let address = fixture.emulator.address();
    let census = || Census::take(address).map_err(said);
    let fresh = census()?;
    let mut desk = Desk::new(&place.proxy.url(), "thrifty", "budget.yaml").await;
    let outcome = desk.deploy().await.map_err(said)?.outcome;
    let drift = desk.workspace.drift(desk.stack()).await.map_err(said)?.differences;
    if outcome.kind != OutcomeKind::Applied || desk.steps().await.map_err(said)? != 0 || !drift.is_empty() {
        return Err(format!("{outcome:?}, {drift:?}").into());
    }
    let (whole, now) = told(&fixture, "thrifty-production");
    let all = |alerts: &[&str], people: &[&str]| -> BTreeSet<String> {
        let each =
            alerts.iter().flat_map(|on| people.iter().map(move |one| format!("{on} {one}@example.com")));
        each.collect()
    };
    if whole["BudgetLimit"]["Amount"] != "200.0"
        || whole["CostFilters"] != json!({ "TagKeyValue": ["user:vrooli:stack$thrifty/production"] })
        || now != all(&["ACTUAL 80", "ACTUAL 100"], &["ops", "cto", "oncall"])
    {
        return Err(format!("{whole}, {now:?}").into());
    }
    let values =
        ["budget.yaml", "budget-raised.yaml"].map(|file| root().join("tests/fixtures/aws").join(file));
    let raised = TargetOptions {
        environment: Some("production".parse().unwrap()),
        name: Some("thrifty".parse().unwrap()),
        values: values.to_vec(),
    };
    let example = root().join("examples/picker-wheel");
    desk.target = desk.workspace.resolve(example.to_str().unwrap(), &raised).await.map_err(said)?;
    if desk.steps().await.map_err(said)? != 1 {
        return Err("another budget is not one change".into());
    }
    let outcome = desk.deploy().await.map_err(said)?.outcome;
    let (whole, now) = told(&fixture, "thrifty-production");
    if outcome.kind != OutcomeKind::Applied
        || desk.steps().await.map_err(said)? != 0
        || whole["BudgetLimit"]["Amount"] != "350.5"
        || now != all(&["ACTUAL 50", "ACTUAL 100", "FORECASTED 100"], &["ops", "finance"])
    {
        return Err(format!("{outcome:?}, {whole}, {now:?}").into());
    }
    let mut lost = Desk::new(&place.proxy.url(), "thrifty", "budget.yaml").await;
    lost.target = lost.workspace.resolve(example.to_str().unwrap(), &raised).await.map_err(said)?;
    let options = Desk::rebuild_options(Some("thrifty/production"));
    let rebuilt = lost.workspace.rebuild(&lost.target, &options, &Run::new()).await.map_err(said)?;
    let known = |how: &RebuiltHow| matches!(how, RebuiltHow::Found | RebuiltHow::TakenOver);
    if rebuilt.things.iter().any(|thing| !known(&thing.how)) || lost.steps().await.map_err(said)? != 0 {
        return Err(format!("{:?}", rebuilt.things).into());
    }
    lost.destroy().await?;
    let difference = census()?.against(&fresh);
    if difference.is_none() { Ok(()) } else { Err(format!("{difference:?}").into()) }
}

/// What runs an app bears the tag by which its costs are counted: tasks get it from their service, machines from their group. Of a
/// group's other tags machines bear none: they are no resources.
pub(crate) async fn what_is_counted(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let runs = |kind: &str| ["aws.ecs-service", "aws.auto-scaling-group"].contains(&kind);
    place.make_those(runs).await.map_err(said)?;
    let address = fixture.emulator.address();
    let target = "AmazonEC2ContainerServiceV20141113.DescribeServices";
    let form = json!({ "cluster": "conformance-default", "services": ["conformance-default-app-blue"] });
    let said = moto::json(address, "ecs", target, &form.to_string()).unwrap();
    if !said.replace(' ', "").contains(r#""propagateTags":"SERVICE""#) {
        return Err(said.into());
    }
    let groups = moto::query(address, "autoscaling", "Action=DescribeAutoScalingGroups&Version=2011-01-01");
    let groups = groups.unwrap();
    let ours = groups.split("<Tags>").find(|tags| tags.contains("vrooli:stack")).ok_or("no group is ours")?;
    let tags = ours.split("</Tags>").next().unwrap_or_default();
    let keys = moto::elements(tags, "Key");
    let handed = moto::elements(tags, "PropagateAtLaunch");
    let handed: Vec<&String> =
        keys.iter().zip(&handed).filter(|(_, on)| *on == "true").map(|(key, _)| key).collect();
    if keys.len() != 5 || handed != ["vrooli:stack"] {
        return Err(groups.into());
    }
    place.empty().await.map_err(Failed::from)
}
