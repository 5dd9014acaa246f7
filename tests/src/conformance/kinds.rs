//! Trials of a kind.

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;
use vrooli_deploy_core::names::{AppName, ResourceKey, ResourceKind, StackId};
use vrooli_deploy_core::provider::{
    Change, CreateToken, ErrorKind, Op, OpToken, Ownership, Retryability, Scope,
};

use super::ground::{Ground, told};
use super::{Break, Check, Sample, ensure, quotas, skip};

/// Clause, what is tried, and how.
pub(super) const CHECKS: &[(&str, &str, Check<Sample>)] = &[
    ("P1", "twice-with-one-token", |g, s| Box::pin(twice(g, s))),
    ("P1", "again-after-a-lost-reply", |g, s| Box::pin(lost_reply(g, s))),
    ("P2", "absent-is-empty", |g, s| Box::pin(absent(g, s))),
    ("P2", "unreachable-is-an-error", |g, s| Box::pin(unreachable(g, s))),
    ("P2", "found-by-key-and-by-id", |g, s| Box::pin(found(g, s))),
    ("P3", "deleted-twice", |g, s| Box::pin(deleted_twice(g, s))),
    ("P4", "deadline", |g, s| Box::pin(deadline(g, s))),
    ("P4", "cancelled", |g, s| Box::pin(cancelled(g, s))),
    ("P5", "read-back", |g, s| Box::pin(read_back(g, s))),
    ("P6", "throttled", |g, s| Box::pin(throttled(g, s))),
    ("P6", "ambiguous", |g, s| Box::pin(ambiguous(g, s))),
    ("P7", "no-secret-seen", |g, s| Box::pin(no_secret(g, s))),
    ("P8", "unknown-kind", |g, s| Box::pin(unknown_kind(g, s))),
    ("P8", "unknown-field", |g, s| Box::pin(unknown_field(g, s))),
    ("P8", "unresolved-reference", |g, s| Box::pin(unresolved(g, s))),
    ("P9", "after-create", |g, s| Box::pin(no_diff(g, s))),
    ("P9", "after-update", |g, s| Box::pin(no_diff_after_update(g, s))),
    ("P10", "owned", |g, s| Box::pin(owned(g, s))),
    ("P10", "not-seen-by-others", |g, s| Box::pin(not_seen_by_others(g, s))),
    ("P11", "listing", |g, s| Box::pin(listing(g, s))),
    ("P12", "told", |g, s| Box::pin(told_by_census(g, s))),
    ("P13", "counted", |g, s| Box::pin(quotas::counted(g, s))),
    ("P13", "not-asked", |g, s| Box::pin(quotas::not_asked(g, s))),
];

async fn twice(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let first = ground.make(sample).await?;
    let cx = ground.cx().with_token(Some(ground.token(&sample.key)));
    let again = ground.provider().create(&cx, &sample.kind, &sample.key, &first.spec).await.map_err(told)?;
    let (vrooli_deploy_core::provider::Created::Read { id, .. }
    | vrooli_deploy_core::provider::Created::Unread { id, .. }) = again;
    ensure(id == first.id, || format!("made {} and then {id} with one token", first.id))?;
    let listed = ground.listed(&sample.key).await?;
    ensure(listed == 1, || format!("{listed} objects are listed"))
}

async fn lost_reply(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let spec = ground.prepare(sample).await?;
    if !ground.place.break_next(Op::Create, Break::LostReply) {
        return skip("this place cannot lose a reply");
    }
    let provider = ground.provider();
    let cx = ground.cx().with_token(Some(ground.token(&sample.key)));
    // Lost: it may say so, or have looked and found it by itself.
    let _ = provider.create(&cx, &sample.kind, &sample.key, &spec).await;
    let native = provider.capabilities().kinds.get(&sample.kind).map(|k| (k.create_token, k.settle));
    if let Some((token, settle)) = native
        && token != CreateToken::Native
    {
        // What the engine does before it makes it again.
        tokio::time::sleep(settle).await;
    }
    ground.make(sample).await?;
    let listed = ground.listed(&sample.key).await?;
    ensure(listed == 1, || format!("{listed} objects are listed"))
}

async fn absent(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let found = ground.provider().find(&ground.cx(), &sample.kind, &sample.key, None).await.map_err(told)?;
    ensure(found.is_empty(), || format!("found {found:?} in an empty place"))
}

async fn unreachable(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    if !ground.place.break_next(Op::Find, Break::Unreachable) {
        return skip("this place is always reachable");
    }
    match ground.provider().find(&ground.cx(), &sample.kind, &sample.key, None).await {
        Err(_) => Ok(()),
        Ok(found) => Err(format!("it could not look, and answered {found:?}").into()),
    }
}

async fn found(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let made = ground.make(sample).await?;
    let provider = ground.provider();
    for id in [None, Some(&made.id)] {
        let found = provider.find(&ground.cx(), &sample.kind, &sample.key, id).await.map_err(told)?;
        let [one] = &found[..] else { return Err(format!("found {} objects", found.len()).into()) };
        ensure(one.id == made.id && one.key == sample.key, || format!("found {one:?}"))?;
        let token: Option<OpToken> = one.token;
        ensure(token.is_none() || token == Some(ground.token(&sample.key)), || {
            format!("its token is {token:?}")
        })?;
    }
    Ok(())
}

async fn deleted_twice(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let made = ground.make(sample).await?;
    let provider = ground.provider();
    for _ in 0..2 {
        provider.delete(&ground.cx(), &sample.kind, &sample.key, &made.id).await.map_err(told)?;
    }
    absent(ground, sample).await
}

async fn deadline(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let spec = ground.prepare(sample).await?;
    let mut cx = ground.cx().with_token(Some(ground.token(&sample.key)));
    cx.deadline = Instant::now().into_std();
    let made = ground.provider().create(&cx, &sample.kind, &sample.key, &spec).await;
    ensure(made.is_err(), || "it went on after its deadline".to_owned())?;
    let listed = ground.listed(&sample.key).await?;
    ensure(listed == 0, || "it was made after its deadline".to_owned())
}

async fn cancelled(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let spec = ground.prepare(sample).await?;
    let cx = ground.cx().with_token(Some(ground.token(&sample.key)));
    cx.cancellation.cancel();
    match ground.provider().create(&cx, &sample.kind, &sample.key, &spec).await {
        Err(error) => ensure(error.kind() == ErrorKind::Cancelled, || format!("it said {:?}", error.kind()))?,
        Ok(_) => return Err("it went on although it was cancelled".into()),
    }
    let listed = ground.listed(&sample.key).await?;
    ensure(listed == 0, || "it was made although it was cancelled".to_owned())
}

async fn read_back(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let made = ground.make(sample).await?;
    let found = ground
        .provider()
        .find(&ground.cx(), &sample.kind, &sample.key, Some(&made.id))
        .await
        .map_err(told)?;
    let [one] = &found[..] else { return Err("what was made cannot be found".into()) };
    match &made.observed {
        Some(observed) => {
            ensure(*observed == one.observed, || format!("create saw {observed}, find sees {}", one.observed))
        }
        None => Ok(()),
    }
}

async fn throttled(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let spec = ground.prepare(sample).await?;
    if !ground.place.break_next(Op::Create, Break::Throttled) {
        return skip("this place does not throttle");
    }
    let cx = ground.cx().with_token(Some(ground.token(&sample.key)));
    match ground.provider().create(&cx, &sample.kind, &sample.key, &spec).await {
        Err(error) => ensure(
            error.kind() == ErrorKind::RateLimited
                && error.retry() == Retryability::Safe
                && !error.message().is_empty(),
            || format!("it said {:?}, {:?}", error.kind(), error.retry()),
        ),
        // A layer may have waited and tried again.
        Ok(_) => Ok(()),
    }
}

async fn ambiguous(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let spec = ground.prepare(sample).await?;
    if !ground.place.break_next(Op::Create, Break::LostReply) {
        return skip("this place cannot lose a reply");
    }
    let cx = ground.cx().with_token(Some(ground.token(&sample.key)));
    match ground.provider().create(&cx, &sample.kind, &sample.key, &spec).await {
        Err(error) => {
            ensure(error.kind() == ErrorKind::Ambiguous && error.retry() == Retryability::LookUpFirst, || {
                format!("it said {:?}, {:?}", error.kind(), error.retry())
            })
        }
        Ok(_) => Ok(()),
    }
}

async fn no_secret(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let made = ground.make(sample).await?;
    let provider = ground.provider();
    let mut shown = format!("{} {:?}", made.id, made.observed);
    let found = provider.find(&ground.cx(), &sample.kind, &sample.key, None).await.map_err(told)?;
    shown.push_str(&format!("{found:?}"));
    for one in &found {
        let outputs =
            provider.kind(&sample.kind).and_then(|k| k.outputs(&one.id, &one.observed)).map_err(told)?;
        shown.push_str(&format!("{outputs:?}"));
    }
    shown.push_str(&format!("{:?}", provider.inventory(&ground.cx(), &ground.scope()).await.map_err(told)?));
    let leaked = made.secrets.iter().any(|secret| shown.contains(secret.as_str()));
    ensure(!leaked, || "a secret output is in what is observed".to_owned())
}

fn silent(ground: &Ground, before: Option<u64>) -> Result<(), Failed> {
    ensure(ground.place.calls() == before, || "a call left".to_owned())
}

async fn unknown_kind(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let kind =
        ResourceKind::new(format!("{}-unknown", sample.kind)).map_err(|e| Failed::from(e.to_string()))?;
    let (provider, before) = (ground.provider(), ground.place.calls());
    let Err(error) = provider.create(&ground.cx(), &kind, &sample.key, &sample.spec).await else {
        return Err("it made an unknown kind".into());
    };
    ensure(error.kind() == ErrorKind::Unsupported, || format!("it said {:?}", error.kind()))?;
    silent(ground, before)
}

async fn unknown_field(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    if !sample.strict {
        return skip("this kind takes any field");
    }
    let mut spec = ground.prepare(sample).await?;
    spec["no_such_field"] = json!(1);
    let (provider, before) = (ground.provider(), ground.place.calls());
    let checked = provider.kind(&sample.kind).map_err(told)?.check(&spec);
    ensure(checked.is_err(), || "its check took an unknown field".to_owned())?;
    let Err(error) = provider.create(&ground.cx(), &sample.kind, &sample.key, &spec).await else {
        return Err("it made an object with an unknown field".into());
    };
    ensure(error.kind() == ErrorKind::Unsupported, || format!("it said {:?}", error.kind()))?;
    silent(ground, before)
}

async fn unresolved(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    if sample.spec.to_string().contains("$ref") {
        let (provider, before) = (ground.provider(), ground.place.calls());
        let Err(error) = provider.create(&ground.cx(), &sample.kind, &sample.key, &sample.spec).await else {
            return Err("it took a reference for a value".into());
        };
        ensure(error.kind() == ErrorKind::Unsupported, || format!("it said {:?}", error.kind()))?;
        return silent(ground, before);
    }
    skip("this sample refers to nothing")
}

fn differs(ground: &Ground, sample: &Sample, spec: &Value, observed: &Value) -> Result<Change, Failed> {
    ground.provider().kind(&sample.kind).and_then(|kind| kind.diff(spec, observed)).map_err(told)
}

async fn seen(ground: &Ground, sample: &Sample) -> Result<Value, Failed> {
    let found = ground.provider().find(&ground.cx(), &sample.kind, &sample.key, None).await.map_err(told)?;
    found.into_iter().next().map(|one| one.observed).ok_or_else(|| "it is not there".into())
}

async fn no_diff(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let made = ground.make(sample).await?;
    let change = differs(ground, sample, &made.spec, &seen(ground, sample).await?)?;
    ensure(change == Change::None, || format!("what was just made differs: {change:?}"))
}

async fn no_diff_after_update(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let Some(mut changed) = sample.changed.clone() else {
        return skip("nothing of this kind changes in place");
    };
    let made = ground.make(sample).await?;
    ground.resolve(&mut changed).await?;
    let have = seen(ground, sample).await?;
    let change = differs(ground, sample, &changed, &have)?;
    ensure(matches!(change, Change::InPlace(_)), || {
        format!("the changed sample should change in place: {change:?}")
    })?;
    ground
        .provider()
        .update(&ground.cx(), &sample.kind, &sample.key, &made.id, &have, &changed)
        .await
        .map_err(told)?;
    let change = differs(ground, sample, &changed, &seen(ground, sample).await?)?;
    ensure(change == Change::None, || format!("what was just changed differs: {change:?}"))
}

async fn owned(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let provider = ground.provider();
    let ownership = provider
        .kind(&sample.kind)
        .and_then(|kind| kind.ownership(&sample.key, &sample.spec))
        .map_err(told)?;
    ensure(ownership != Ownership::DerivedName(String::new()), || "its derived name is empty".to_owned())?;
    ground.make(sample).await?;
    let all = provider.inventory(&ground.cx(), &ground.scope()).await.map_err(told)?;
    let ours = all.iter().any(|(kind, found)| *kind == sample.kind && found.key == sample.key);
    ensure(ours, || "an inventory does not show it under its key".to_owned())
}

async fn not_seen_by_others(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    ground.make(sample).await?;
    let app = AppName::new("somebody-else").map_err(|e| Failed::from(e.to_string()))?;
    let other = StackId { app, environment: ground.stack().environment };
    let cx = ground.cx_of(other.clone(), 1);
    let provider = ground.provider();
    let all = provider.inventory(&cx, &Scope { stack: other, page: None }).await.map_err(told)?;
    ensure(all.is_empty(), || format!("another stack sees {all:?}"))?;
    let found = provider.find(&cx, &sample.kind, &sample.key, None).await.map_err(told)?;
    ensure(found.is_empty(), || format!("another stack finds {found:?}"))
}

async fn told_by_census(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let Some(census) = ground.provider().census() else {
        return skip("nothing here lists marks of any stack");
    };
    let made = ground.make(sample).await?;
    // Whoever asks: it is not about their own.
    let app = AppName::new("somebody-else").map_err(|e| Failed::from(e.to_string()))?;
    let other = StackId { app, environment: ground.stack().environment };
    let nobody = ground.cx_of(other, 1).with_owner(Uuid::from_u128(2));
    let all = census.marked(&nobody).await.map_err(told)?;
    if ground.place.untold(&sample.kind) {
        return skip("what lists marks here does not tell this kind");
    }
    let one = all.iter().find(|one| one.id == made.id).ok_or("it is not told")?;
    ensure(one.kind.as_ref() == Some(&sample.kind), || format!("told as {:?}", one.kind))?;
    ensure(one.key.as_ref() == Some(&sample.key), || format!("told under {:?}", one.key))?;
    ensure(one.stack == Some(ground.stack()), || format!("told to be {:?}'s", one.stack))?;
    ensure(one.owner == Some(ground.cx().owner), || format!("told to be owned by {:?}", one.owner))
}

async fn listing(ground: &Ground, sample: &Sample) -> Result<(), Failed> {
    let (Some(another), Some(_)) = (sample.another.clone(), ground.place.calls()) else {
        return skip("calls cannot be counted here, or only one of this kind can stand");
    };
    ground.make(sample).await?;
    let count = || ground.place.calls().unwrap_or_default();
    let before = count();
    ground.listed(&sample.key).await?;
    let one = count() - before;
    let key = ResourceKey::new(format!("{}-another", sample.key)).map_err(|e| Failed::from(e.to_string()))?;
    let second = Sample { key: key.clone(), spec: another, ..sample.clone() };
    ground.make(&second).await?;
    let before = count();
    let listed = ground.listed(&key).await?;
    let two = count() - before;
    ensure(listed == 1, || "the second one is not listed".to_owned())?;
    ensure(one == two, || format!("{one} calls for one object, {two} for two"))
}
