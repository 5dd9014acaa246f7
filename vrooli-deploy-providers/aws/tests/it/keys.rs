//! Keys of the user's own.

use std::sync::{Arc, Mutex};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{DestroyOptions, RebuiltHow, Run};
use vrooli_deploy_tests::moto::wire::action;
use vrooli_deploy_tests::moto::{self, census::Census};

use crate::desk::{Desk, said};
use crate::fixture::{AwsFixture, AwsPlace, Made, token};
use crate::rig::{ids, query};

fn kms(fixture: &AwsFixture, what: &str, form: &Value) -> Value {
    let target = format!("TrentService.{what}");
    moto::told(fixture.emulator.address(), "kms", &target, form).unwrap()
}

/// How many keys wait for their end: each bears its tags until then, and is asked for.
pub(crate) fn waiting(fixture: &AwsFixture) -> u64 {
    let all = kms(fixture, "ListKeys", &json!({}));
    let ids = all["Keys"].as_array().into_iter().flatten().map(|key| &key["KeyId"]);
    let states = ids.map(|id| kms(fixture, "DescribeKey", &json!({ "KeyId": id })));
    states.filter(|state| state["KeyMetadata"]["KeyState"] == "PendingDeletion").map(|_| 1).sum()
}

async fn made(place: &AwsPlace) -> Result<Made, Failed> {
    let made = place.make_those(|kind| kind == "aws.kms-key").await.map_err(said)?;
    made.into_iter().next().ok_or_else(|| "no key was made".into())
}

/// A run that ended before the key had its alias left one that the next completes; one that somebody switched off, or
/// whose alias is gone, is put right in place; and a deleted key waits for its end and is no orphan.
pub(crate) async fn half_made(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let (sample, id, spec) = made(&place).await?;
    let key = id.0.rsplit('/').next().unwrap_or_default();
    kms(&fixture, "DeleteAlias", &json!({ "AliasName": "alias/conformance-default-data" }));
    kms(&fixture, "DisableKey", &json!({ "KeyId": key }));
    kms(&fixture, "DisableKeyRotation", &json!({ "KeyId": key }));
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let see = || place.provider.find(&cx, &sample.kind, &sample.key, Some(&id));
    let broken = see().await.map_err(said)?.pop().ok_or("it is not found without its alias")?.observed;
    if broken["enabled"] != false || broken["rotated"] != false || broken["name"] != "" {
        return Err(format!("{broken}").into());
    }
    // The same make again is the one that goes on.
    let again = place.make(&sample, &spec).await.map_err(said)?;
    if again != id {
        return Err(format!("{id:?} was made a second time: {again:?}").into());
    }
    let right = see().await.map_err(said)?.pop().ok_or("it is gone")?.observed;
    if right["enabled"] != true || right["rotated"] != true || right["name"] != spec["name"] {
        return Err(format!("{right}").into());
    }
    place.provider.delete(&cx, &sample.kind, &sample.key, &id).await.map_err(said)?;
    let waiting = kms(&fixture, "DescribeKey", &json!({ "KeyId": key }));
    if waiting["KeyMetadata"]["KeyState"] != "PendingDeletion" || !see().await.map_err(said)?.is_empty() {
        return Err(format!("{waiting}").into());
    }
    place.empty().await.map_err(Failed::from)
}

/// An alias that stands for a stranger's key is not taken, and no key is left that could not get it.
pub(crate) async fn taken_alias(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let theirs = kms(&fixture, "CreateKey", &json!({}))["KeyMetadata"]["KeyId"].clone();
    let alias = json!({ "AliasName": "alias/conformance-default-data", "TargetKeyId": theirs });
    kms(&fixture, "CreateAlias", &alias);
    let keys = || kms(&fixture, "ListKeys", &json!({}))["Keys"].as_array().map_or(0, Vec::len);
    let before = keys();
    let made = place.make_those(|kind| kind == "aws.kms-key").await;
    let refused = made.err().ok_or("a stranger's alias was taken")?.to_string();
    kms(&fixture, "DeleteAlias", &json!({ "AliasName": "alias/conformance-default-data" }));
    kms(&fixture, "ScheduleKeyDeletion", &json!({ "KeyId": theirs }));
    if !refused.contains("alias of a key") || keys() != before {
        return Err(format!("{refused}; {} keys instead of {before}", keys()).into());
    }
    place.empty().await.map_err(Failed::from)
}

/// An app that is encrypted with a key of its own: database, cache, bucket and passwords all with the same one; nothing
/// differs afterwards; destroyed without its data it keeps the key, and with them everything goes.
pub(crate) async fn of_an_app(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let address = fixture.emulator.address();
    let census = || Census::take(address).map_err(said);
    let fresh = census()?;
    let desk = Desk::new(&place.proxy.url(), "keyed", "own-key.yaml").await;
    let outcome = desk.deploy().await.map_err(said)?.outcome;
    let drift = desk.workspace.drift(desk.stack()).await.map_err(said)?.differences;
    if outcome.kind != OutcomeKind::Applied || desk.steps().await.map_err(said)? != 0 || !drift.is_empty() {
        return Err(format!("{outcome:?}, {drift:?}").into());
    }
    let aliases = kms(&fixture, "ListAliases", &json!({}));
    let ours = aliases["Aliases"].as_array().into_iter().flatten();
    let ours = ours.filter(|one| one["AliasName"].as_str().is_some_and(|name| name.contains("keyed")));
    let [key] = ours.filter_map(|one| one["TargetKeyId"].as_str()).collect::<Vec<_>>()[..] else {
        return Err(format!("{aliases}").into());
    };
    let databases = query(address, "rds", "Action=DescribeDBInstances&Version=2014-10-31");
    let caches = query(address, "elasticache", "Action=DescribeReplicationGroups&Version=2015-02-02");
    let secrets = moto::told(address, "secretsmanager", "secretsmanager.ListSecrets", &json!({}));
    let secrets = secrets.map_err(said)?;
    let of_secrets = secrets["SecretList"].as_array().into_iter().flatten();
    let of_secrets =
        of_secrets.filter(|one| one["Name"].as_str().is_some_and(|name| name.starts_with("keyed/")));
    let mut used = ids(&databases, "KmsKeyId");
    used.extend(ids(&caches, "KmsKeyId"));
    used.extend(of_secrets.map(|one| one["KmsKeyId"].as_str().unwrap_or_default().to_owned()));
    let buckets = moto::get(address, "s3", "/").map_err(said)?;
    for bucket in ids(&buckets, "Name").iter().filter(|name| name.starts_with("keyed-")) {
        let said = moto::get(address, "s3", &format!("/{bucket}?encryption")).map_err(said)?;
        used.extend(ids(&said, "KMSMasterKeyID"));
    }
    // A database, a cache, a bucket and two passwords.
    if used.len() != 5 || used.iter().any(|one| !one.ends_with(key)) {
        return Err(format!("{key}: {used:?}").into());
    }
    let lost = Desk::new(&place.proxy.url(), "keyed", "own-key.yaml").await;
    let options = Desk::rebuild_options(Some("keyed/production"));
    let rebuilt = lost.workspace.rebuild(&lost.target, &options, &Run::new()).await.map_err(said)?;
    let known = |how: &RebuiltHow| matches!(how, RebuiltHow::Found | RebuiltHow::TakenOver);
    if rebuilt.things.iter().any(|thing| !known(&thing.how)) || lost.steps().await.map_err(said)? != 0 {
        return Err(format!("{:?}", rebuilt.things).into());
    }
    // First without its data, which stay with all that they stand on; then with them. Who was told last that the
    // database goes is the key: AWS encrypts its last snapshot with it.
    let change = lost.workspace.destroy(lost.stack(), &DestroyOptions::default(), &Run::new()).await;
    let outcome = change.map_err(said)?.apply().await.map_err(said)?.outcome;
    if outcome.kind != OutcomeKind::Applied || outcome.left_behind.is_empty() {
        return Err(format!("{outcome:?}").into());
    }
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let asks = Arc::clone(&asked);
    place.proxy.break_when(move |request| {
        asks.lock().unwrap().push(action(request));
        None
    });
    lost.destroy().await?;
    place.proxy.mend();
    let asked = asked.lock().unwrap();
    let last = |what: &str| asked.iter().rposition(|one| one == what);
    let order = ["DeleteDBInstance", "DeleteSubnet", "DeleteVpc"].map(last);
    if order.contains(&None) || !order.is_sorted() || last("ScheduleKeyDeletion") < order[0] {
        return Err(format!("{order:?} of {asked:?}").into());
    }
    let difference = census()?.against(&fresh);
    if difference.is_none() { Ok(()) } else { Err(format!("{difference:?}").into()) }
}
