//! What the kinds of EC2 have in common. They bear their marks from the first moment, are listed by
//! them, and most have nothing else that keeps them from being made twice.

use std::time::Duration;

use aws_sdk_ec2::types::{AttributeBooleanValue, Filter, ResourceType, Tag, TagSpecification};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{PhysicalId, Result};

use super::marks::{RESOURCE, STACK};
use super::{Calls, Look, Marks, Native, begun, made_once};

/// So long what a lost create has made may take to show. AWS says only that listings lag: seconds as a
/// rule, minutes at worst.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);

/// What an image begins with that a parameter names: AWS looks it up when a machine is made.
pub(crate) const BY_PARAMETER: &str = "resolve:ssm:";

/// The id of an object, with the region before it.
pub(crate) fn id_of(at: &Calls<'_>, plain: &str) -> PhysicalId {
    PhysicalId(format!("{}/{plain}", at.region.name))
}

/// EC2's own id of an object.
pub(crate) fn plain(id: &PhysicalId) -> &str {
    id.0.split_once('/').map_or(&*id.0, |(_, plain)| plain)
}

/// A filter.
pub(crate) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// What bears the marks that are looked for.
pub(crate) fn marked(at: &Calls<'_>, look: Look<'_>) -> Vec<Filter> {
    let mut filters = vec![filter(&format!("tag:{STACK}"), &at.cx.stack.to_string())];
    if let Look::Key(key) = look {
        filters.push(filter(&format!("tag:{RESOURCE}"), key.as_str()));
    }
    filters
}

/// The marks of what is made now, given in the create itself.
pub(crate) fn marks_for(at: &Calls<'_>, key: &ResourceKey, kind: ResourceType) -> Result<TagSpecification> {
    let tags: Vec<Tag> = Marks::as_tags(at.cx, key)?;
    Ok(TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build())
}

/// The same, with what EC2 itself does not keep of a spec.
pub(crate) fn noted_marks_for(
    at: &Calls<'_>,
    key: &ResourceKey,
    kind: ResourceType,
    note: (&'static str, String),
) -> Result<TagSpecification> {
    let tags: Vec<Tag> = Marks::with_note(at.cx, key, Some(note))?;
    Ok(TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build())
}

/// The tag of what is made beside an object and goes with it: it is the stack's, and no resource.
pub(crate) fn part_of_stack(at: &Calls<'_>, kind: ResourceType) -> TagSpecification {
    let tag = Tag::builder().key(STACK).value(at.cx.stack.to_string()).build();
    TagSpecification::builder().resource_type(kind).tags(tag).build()
}

/// Yes or no as attributes are set.
pub(crate) fn flag(value: bool) -> AttributeBooleanValue {
    AttributeBooleanValue::builder().value(value).build()
}

/// Text that is always there.
pub(crate) fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// Makes what takes no token. `create` gives EC2's id and what there is of it then.
pub(crate) async fn once<K: Native>(
    kind: &K,
    at: &Calls<'_>,
    key: &ResourceKey,
    create: impl Future<Output = Result<(String, K::Observed)>> + Send,
) -> Result<(PhysicalId, K::Observed)> {
    let create = async { create.await.map(|(plain, observed)| (id_of(at, &plain), observed)) };
    made_once(at, || begun(kind, at, key), create).await
}
