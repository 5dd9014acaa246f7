//! What releases have that stays when the resources of their stack go: values that they are given, and what
//! tasks run as. A lost state is told of it, and it is deleted as what its kind makes.

use std::collections::BTreeMap;

use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{Marked, Result};

use super::arn::Arn;
use super::owner::by_arn;
use super::{Calls, Marks, SdkTag, together};

/// Whose it is: `<app>/<environment>`, and the state. They are not the marks of resources: those are the stack's,
/// and a plan of resources sees nothing of what releases have.
pub(crate) const FLEET: &str = "vrooli:fleet";
pub(crate) const OWNER: &str = "vrooli:fleet-owner";
pub(crate) const RELEASE: &str = "vrooli:release";
pub(crate) const DIGEST: &str = "vrooli:digest";
/// All of them.
pub(crate) const TAGS: &[&str] = &[FLEET, OWNER, RELEASE, DIGEST];

/// What their keys begin with. No manifest's resource has such a key.
const KEYS: &str = "release";
/// What AWS puts behind a secret's name in its ARN: a hyphen and six characters (API reference of Secrets Manager).
const SUFFIX: usize = 7;

/// The key of what has a name: `release/<name>`, without what a key may not hold.
fn key(name: &str) -> Option<ResourceKey> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '/');
    let name: String =
        name.chars().map(|c| c.to_ascii_lowercase()).map(|c| if fits(c) { c } else { '-' }).collect();
    ResourceKey::new(format!("{KEYS}/{name}")).ok()
}

/// The marks of what releases have, by its tags and its name. None of anything else.
pub(crate) fn marks<T: SdkTag>(all: &[T], name: &str) -> Option<Marks> {
    read(all.iter().filter_map(SdkTag::pair), name)
}

fn read<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>, name: &str) -> Option<Marks> {
    let tags: BTreeMap<&str, &str> = tags.into_iter().collect();
    Some(Marks {
        stack: (*tags.get(FLEET)?).to_owned(),
        owner: tags.get(OWNER)?.parse().ok()?,
        key: key(name)?,
        token: None,
        incarnation: None,
        notes: BTreeMap::new(),
    })
}

/// Are these the marks of what releases have?
pub(crate) fn is_of_releases(marks: &Marks) -> bool {
    marks.key.as_str().split('/').next() == Some(KEYS)
}

/// What it is called, by its ARN.
fn name(arn: Arn<'_>) -> Option<&str> {
    match arn.service {
        "secretsmanager" => {
            let name = arn.resource.strip_prefix("secret:")?;
            name.get(..name.len().checked_sub(SUFFIX)?)
        }
        "ecs" => arn.resource.strip_prefix("task-definition/")?.split(':').next(),
        _ => None,
    }
}

/// All of it in a region, of one stack or of any: each revision of a task definition by its own name.
async fn tagged(at: &Calls<'_>, stack: Option<&StackId>) -> Result<Vec<Marked>> {
    let stack = stack.map(StackId::to_string);
    at.bearing(FLEET, stack.as_deref(), |whole, tags| {
        let arn = Arn::read(whole)?;
        let marks = read(tags.iter().copied(), name(arn)?)?;
        Some(Marked {
            id: arn.id(whole),
            name: whole.to_owned(),
            kind: arn.kind(),
            stack: StackId::read(&marks.stack),
            key: Some(marks.key),
            owner: Some(marks.owner),
            incarnation: None,
            region: Some(arn.region.to_owned()),
            since: None,
        })
    })
    .await
}

/// All of it wherever it is looked, of one stack or of any.
pub(super) async fn all(on: &Calls<'_>, stack: Option<&StackId>) -> Result<Vec<Marked>> {
    let places = on.everywhere().await;
    Ok(together(places.iter().map(|at| tagged(at, stack))).await?.concat())
}

/// Makes the state of the context the owner of what another has of its stack.
pub(super) async fn take_over(on: &Calls<'_>) -> Result<()> {
    let all = all(on, Some(&on.cx.stack)).await?;
    let own = async |one: &Marked| {
        let at = on.at_id(&one.name).await;
        let (stack, owner) = (at.cx.stack.to_string(), at.cx.owner.to_string());
        by_arn(&at, &[(FLEET, stack), (OWNER, owner)], &one.name).await
    };
    together(all.iter().filter(|one| one.owner != Some(on.cx.owner)).map(own)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_and_a_name_tell_the_same_key() {
        let of = |arn: &str| key(name(Arn::read(arn).unwrap()).unwrap()).unwrap().to_string();
        let secret =
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/production/values/STRIPE_KEY-a1B2c3";
        assert_eq!(of(secret), "release/shop/production/values/stripe_key");
        assert_eq!(of(secret), key("shop/production/values/STRIPE_KEY").unwrap().to_string());
        let task = "arn:aws:ecs:us-east-1:123456789012:task-definition/shop-production-app:7";
        assert_eq!(of(task), "release/shop-production-app");
        assert_eq!(name(Arn::read("arn:aws:ecs:us-east-1:1:service/a/b").unwrap()), None);
    }

    #[test]
    fn a_stacks_own_are_none() {
        let own = [("vrooli:stack", "shop/default"), (OWNER, "not one")];
        assert_eq!(read(own, "shop"), None);
        let owner = uuid::Uuid::from_u128(3).to_string();
        let marks = read([(FLEET, "shop/default"), (OWNER, owner.as_str())], "shop").unwrap();
        assert!(is_of_releases(&marks) && marks.stack == "shop/default");
    }
}
