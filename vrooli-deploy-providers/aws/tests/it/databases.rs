//! Databases: what is kept, what is waited for, and what AWS says only by refusing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use libtest_mimic::Failed;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use vrooli_deploy_core::provider::{Change, Created, PhysicalId, ProviderError};
use vrooli_deploy_tests::conformance::Sample;
use vrooli_deploy_tests::fault_proxy::Fault;
use vrooli_deploy_tests::moto::corrections::{UNFINISHED, WAITS};
use vrooli_deploy_tests::moto::told as told_by;
use vrooli_deploy_tests::moto::wire::{action, refused};

use crate::fixture::{AwsFixture, token};
use crate::rig::{ids, network, query};
use crate::samples::samples;

const KIND: &str = "aws.db-instance";

fn said(error: ProviderError) -> String {
    error.to_string()
}

fn server(made: &[(Sample, PhysicalId, Value)]) -> &(Sample, PhysicalId, Value) {
    made.iter().find(|(sample, ..)| sample.kind.as_str() == KIND).unwrap()
}

/// What a database held is kept, and its protection does not keep it from a plan.
pub(crate) async fn last_snapshot(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let address = fixture.emulator.address();
    let snapshots = || {
        let said = query(address, "rds", "Action=DescribeDBSnapshots&Version=2014-10-31");
        ids(&said, "DBSnapshotIdentifier").into_iter().filter(|name| name.contains("-final-")).count()
    };
    let place = fixture.place().await;
    let made = place.make_all().await.map_err(said)?;
    let (sample, id, spec) = server(&made);
    let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(id)).await.map_err(said)?;
    let (mut want, have) = (spec.clone(), &found[0].observed);
    want["deletion_protection"] = true.into();
    let changed = place.provider.update(&place.cx(), &sample.kind, &sample.key, id, have, &want).await;
    changed.map_err(said)?;
    let before = snapshots();
    for _ in 0..2 {
        place.provider.delete(&place.cx(), &sample.kind, &sample.key, id).await.map_err(said)?;
    }
    if snapshots() != before + 1 {
        return Err(format!("{before} snapshots, and {} after it", snapshots()).into());
    }
    place.empty().await.map_err(Failed::from)
}

/// Its password is made once, kept by AWS, and told to the engine as a secret.
pub(crate) async fn password(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_all().await.map_err(said)?;
    let (sample, _, spec) = server(&made);
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let mut told = Vec::new();
    for _ in 0..2 {
        let created = place.provider.create(&cx, &sample.kind, &sample.key, spec).await.map_err(said)?;
        let Created::Read { observed, secrets, .. } = created else { return Err("it is not read".into()) };
        let of = |name: &str| {
            let secret = secrets.iter().find(|(output, _)| output.as_str() == name);
            secret.map(|(_, secret)| secret.expose().clone()).unwrap_or_default()
        };
        let (password, url) = (of("password"), of("url"));
        if password.len() < 16 || !url.contains(&format!(":{password}@")) {
            return Err(format!(
                "a password of {} characters, and {} secrets",
                password.len(),
                secrets.len()
            )
            .into());
        }
        if observed.to_string().contains(&password) {
            return Err("what is seen holds the password".into());
        }
        told.push(password);
    }
    if told[0] != told[1] {
        return Err("made again it has another password".into());
    }
    place.empty().await.map_err(Failed::from)
}

/// One that RDS makes and keeps is told to the engine as well, is in no list of what was seen, and is changed by nobody.
pub(crate) async fn kept_by_rds(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_all().await.map_err(said)?;
    let (sample, stored, spec) = server(&made);
    let mut by_hand = spec.clone();
    by_hand["name"] = "conformance-kept".into();
    let mut want = by_hand.clone();
    want.as_object_mut().unwrap().remove("password");
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let mut told = Vec::new();
    for _ in 0..2 {
        let created = place.provider.create(&cx, &sample.kind, &sample.key, &want).await.map_err(said)?;
        let Created::Read { observed, secrets, .. } = created else { return Err("it is not read".into()) };
        let mut all: Vec<String> = secrets.values().map(|secret| secret.expose().clone()).collect();
        all.sort_by_key(String::len);
        let [password, url] = &all[..] else { return Err(format!("{} secrets", all.len()).into()) };
        // It may hold what an URL would take for something else.
        let in_url = url.split_once("://vrooli:").and_then(|(_, rest)| rest.split_once('@'));
        let in_url =
            in_url.map(|(password, _)| percent_decode_str(password).decode_utf8_lossy().into_owned());
        if in_url.as_ref() != Some(password) || password.is_empty() {
            return Err("the URL has another password".into());
        }
        if observed.to_string().contains(password.as_str()) || !observed["managed_password"].is_string() {
            return Err("what is seen holds the password, or not who keeps it".into());
        }
        let kind = place.provider.kind(&sample.kind).map_err(said)?;
        if kind.diff(&want, &observed).map_err(said)? != Change::None {
            return Err(format!("it differs from what was wanted: {observed}").into());
        }
        // Another keeper is another password: whoever runs would lose the database.
        match kind.diff(&by_hand, &observed).map_err(said)? {
            Change::Replace(fields) if fields == ["managed_password"] => {}
            other => return Err(format!("{other:?}").into()),
        }
        told.push((password.clone(), observed["managed_password"].clone()));
    }
    if told[0] != told[1] {
        return Err("made again it has another password".into());
    }
    let form = json!({ "SecretId": told[0].1 });
    // Through the proxy: the emulator by itself changes none.
    let url = place.proxy.url();
    let through = url.trim_start_matches("http://").parse()?;
    let ask = move || told_by(through, "secretsmanager", "secretsmanager.DescribeSecret", &form);
    let secret = tokio::task::spawn_blocking(ask).await??;
    if secret["RotationEnabled"] != false {
        return Err(format!("AWS changes it at its own times: {secret}").into());
    }
    let of_the_other = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(stored)).await;
    if of_the_other.map_err(said)?.iter().any(|found| found.observed.get("managed_password").is_some()) {
        return Err("a stored password is kept by RDS".into());
    }
    place.empty().await.map_err(Failed::from)
}

/// AWS takes minutes, in which a server has no address: that is waited for, and a run that ended in
/// between is gone on with.
pub(crate) async fn half_made(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    UNFINISHED.store(2, Ordering::SeqCst);
    let made = place.make_all().await.map_err(said)?;
    let left = UNFINISHED.swap(0, Ordering::SeqCst);
    let (sample, id, spec) = server(&made);
    if left > 0 {
        return Err(format!("it was made {left} looks too early").into());
    }
    UNFINISHED.store(1, Ordering::SeqCst);
    let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, None).await.map_err(said)?;
    if !found.is_empty() {
        return Err(format!("one without an address is taken for made: {found:?}").into());
    }
    UNFINISHED.store(1, Ordering::SeqCst);
    let all = place.all().await.map_err(said)?;
    let (kind, seen) = all.iter().find(|(_, found)| found.id == *id).ok_or("it is not in the inventory")?;
    let outputs = place.outputs([(kind, seen)]).map_err(said)?;
    if outputs[&sample.key].contains_key("host") {
        return Err(format!("it has an address: {outputs:?}").into());
    }
    // Made again it is the same, waited for.
    UNFINISHED.store(1, Ordering::SeqCst);
    let cx = place.cx().with_token(Some(token(&sample.key)));
    let again = place.provider.create(&cx, &sample.kind, &sample.key, spec).await.map_err(said)?;
    match again {
        Created::Read { id: same, observed, .. } if same == *id && observed["host"] != "" => {}
        other => return Err(format!("{other:?}").into()),
    }
    place.empty().await.map_err(Failed::from)
}

/// AWS refuses to set at once what a server reads only when it starts.
pub(crate) async fn from_the_next_start(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    place.proxy.break_when(|request| {
        let body = String::from_utf8_lossy(&request.body);
        let at_once = body.split('&').any(|field| field.ends_with(".ApplyMethod=immediate"));
        let is = action(request) == "ModifyDBParameterGroup" && at_once && body.contains("max_connections");
        let words = "cannot use immediate apply method for static parameter";
        is.then(|| Fault::Refused(refused(request, "InvalidParameterCombination", words, 400)))
    });
    let mut sample = samples().into_iter().find(|one| one.kind.as_str() == "aws.db-parameter-group").unwrap();
    sample.spec["parameters"] = serde_json::json!({ "rds.force_ssl": "1", "max_connections": "50" });
    place.make(&sample, &sample.spec).await.map_err(said)?;
    let broken = place.proxy.broken();
    let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, None).await.map_err(said)?;
    // The two together, and then the one alone.
    if found[0].observed["parameters"] != sample.spec["parameters"] || broken != 2 {
        return Err(format!("{broken} refusals, {:?}", found[0].observed).into());
    }
    place.empty().await.map_err(Failed::from)
}

/// Another group of settings is read at a start, which is made; a server that reads them at once is left
/// running.
pub(crate) async fn started_again(fixture: Arc<AwsFixture>) -> Result<(), Failed> {
    let place = fixture.place().await;
    let made = place.make_all().await.map_err(said)?;
    let (sample, id, spec) = server(&made);
    let mut other = spec.clone();
    other["parameter_group"] = network().elsewhere.into();
    for (want, waits) in [(&other, true), (spec, false)] {
        WAITS.store(waits, Ordering::SeqCst);
        let found = place.provider.find(&place.cx(), &sample.kind, &sample.key, Some(id)).await;
        let have = found.map_err(said)?.pop().ok_or("it is gone")?.observed;
        let changed = place.provider.update(&place.cx(), &sample.kind, &sample.key, id, &have, want).await;
        let left = WAITS.swap(false, Ordering::SeqCst);
        changed.map_err(said)?;
        let starts = place.account.calls().get("rds:RebootDBInstance").copied().unwrap_or(0);
        if left || starts != 1 {
            return Err(format!("{starts} starts; does it wait still? {left}").into());
        }
    }
    place.empty().await.map_err(Failed::from)
}
