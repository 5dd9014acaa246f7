use std::collections::BTreeMap;

use uuid::Uuid;
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{OpCtx, OpToken, Result};

use super::tags::SdkTag;

/// The stack: `<app>/<environment>`.
pub(crate) const STACK: &str = "vrooli:stack";
pub(crate) const RESOURCE: &str = "vrooli:resource";
pub(crate) const OWNER: &str = "vrooli:owner";
const TOKEN: &str = "vrooli:token";
const INCARNATION: &str = "vrooli:incarnation";
/// All of them.
pub(crate) const MARKS: &[&str] = &[STACK, RESOURCE, OWNER, TOKEN, INCARNATION];
/// So many generations of a resource are recognised by a name that was made from a token.
const GENERATIONS: u32 = 32;

/// What ties an object to its stack: tags that it is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marks {
    /// `<app>/<environment>`.
    pub(crate) stack: String,
    /// The state that made it.
    pub(crate) owner: Uuid,
    pub(crate) key: ResourceKey,
    pub(crate) token: Option<OpToken>,
    /// What the token was minted from, where it is written.
    pub(crate) incarnation: Option<Uuid>,
    /// What AWS itself does not keep of a spec, by tag.
    pub(crate) notes: BTreeMap<String, String>,
}

impl Marks {
    /// The tags of what is made now.
    pub(crate) fn tags(cx: &OpCtx, key: &ResourceKey) -> Vec<(&'static str, String)> {
        let mut tags =
            vec![(STACK, cx.stack.to_string()), (RESOURCE, key.to_string()), (OWNER, cx.owner.to_string())];
        if let Some(token) = cx.token {
            tags.push((TOKEN, token.0.to_string()));
        }
        if !cx.incarnation.is_nil() {
            tags.push((INCARNATION, cx.incarnation.to_string()));
        }
        tags
    }

    /// The same as a service takes them.
    pub(crate) fn as_tags<T: SdkTag>(cx: &OpCtx, key: &ResourceKey) -> Result<Vec<T>> {
        Self::with_note(cx, key, None)
    }

    /// The same, with what AWS itself does not keep of a spec.
    pub(crate) fn with_note<T: SdkTag>(
        cx: &OpCtx,
        key: &ResourceKey,
        note: Option<(&'static str, String)>,
    ) -> Result<Vec<T>> {
        Self::tags(cx, key).into_iter().chain(note).map(|(name, value)| T::new(name, value)).collect()
    }

    /// The marks among an object's tags, as a service gives them.
    pub(crate) fn of<T: SdkTag>(tags: &[T]) -> Option<Self> {
        Self::read(tags.iter().filter_map(SdkTag::pair))
    }

    /// The same as a map.
    pub(crate) fn tag_map(cx: &OpCtx, key: &ResourceKey) -> std::collections::HashMap<String, String> {
        Self::tags(cx, key).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The marks among an object's tags. `None` where it is not ours, or its marks were spoilt.
    pub(crate) fn read<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let tags: BTreeMap<&str, &str> = tags.into_iter().collect();
        Some(Self {
            stack: (*tags.get(STACK)?).to_owned(),
            owner: tags.get(OWNER)?.parse().ok()?,
            key: ResourceKey::new(*tags.get(RESOURCE)?).ok()?,
            token: tags.get(TOKEN).and_then(|token| token.parse().ok()).map(OpToken),
            incarnation: tags.get(INCARNATION).and_then(|incarnation| incarnation.parse().ok()),
            notes: tags
                .iter()
                .filter(|(name, _)| name.starts_with("vrooli:") && !MARKS.contains(name))
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    /// The marks of what has none yet, because a run died before it could set them, but bears a name
    /// made from one of the resource's tokens.
    pub(crate) fn by_name(cx: &OpCtx, key: &ResourceKey, is_named: impl Fn(OpToken) -> bool) -> Option<Self> {
        let tokens = (0..GENERATIONS).map(|generation| OpToken::new(cx.incarnation, key, generation));
        let token = cx.token.into_iter().chain(tokens).find(|token| is_named(*token))?;
        Some(Self::new(cx, key, Some(token)))
    }

    /// The marks of what can bear none, and belongs to something that does.
    pub(crate) fn new(cx: &OpCtx, key: &ResourceKey, token: Option<OpToken>) -> Self {
        Self {
            stack: cx.stack.to_string(),
            owner: cx.owner,
            key: key.clone(),
            token,
            incarnation: None,
            notes: BTreeMap::new(),
        }
    }

    /// Was it made for this stack, by this state?
    pub(crate) fn are_of(&self, cx: &OpCtx) -> bool {
        self.stack == cx.stack.to_string() && self.owner == cx.owner
    }

    /// The same for one resource.
    pub(crate) fn are(&self, cx: &OpCtx, key: &ResourceKey) -> bool {
        self.are_of(cx) && self.key == *key
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use vrooli_deploy_core::names::StackId;
    use vrooli_deploy_core::provider::Cancellation;

    use super::*;

    fn context(owner: u128) -> OpCtx {
        let stack = StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() };
        OpCtx::new(stack, Uuid::from_u128(owner), 1, Instant::now(), Cancellation::new())
    }

    #[test]
    fn tags_are_read_back_and_another_owner_is_not_us() {
        let key: ResourceKey = "logs/app".parse().unwrap();
        let token = OpToken::new(Uuid::from_u128(9), &key, 1);
        let cx = context(1).with_token(Some(token)).with_incarnation(Uuid::from_u128(9));
        let tags = Marks::tags(&cx, &key);
        assert_eq!(tags.len(), 5);
        let marks = Marks::read(tags.iter().map(|(name, value)| (*name, value.as_str()))).unwrap();
        assert_eq!(marks.token, Some(token));
        assert!(marks.are(&cx, &key) && !marks.are(&context(2), &key));
        assert!(!marks.are(&cx, &"logs/other".parse().unwrap()));
        assert_eq!(Marks::read([(STACK, "shop/default")]), None, "half of the marks are none");
    }
}
