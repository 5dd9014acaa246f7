//! Names of zones are not unique: ours is recognised by its caller reference, which is made from
//! its token, even before it bears tags.

use aws_sdk_route53::types::{HostedZone as Zone, Tag, TagResourceType};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, OpCtx, OpToken, PhysicalId, Result};

use super::{HostedZone, HostedZoneObserved, HostedZoneSpec};
use crate::native::{Account, Look, Marks, Native, Regional, Seen, accept, unexpected};

/// What our caller references begin with.
const REFERENCE: &str = "vrooli-deploy:";
/// As many zones as tags are asked for at once.
const BATCH: usize = 10;

fn reference(token: OpToken) -> String {
    format!("{REFERENCE}{}", token.0)
}

fn short(id: &str) -> &str {
    id.trim_start_matches("/hostedzone/")
}

/// The domain as it is typed: AWS ends it with a dot.
pub(in crate::kinds) fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_owned()
}

async fn zones(account: &Account, cx: &OpCtx, global: &Regional) -> Result<Vec<Zone>> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = global.route53.list_hosted_zones().set_marker(next.take()).send();
        let page = account.read(cx, "route53:ListHostedZones", ask).await?;
        let ours = page.hosted_zones().iter().filter(|zone| zone.caller_reference().starts_with(REFERENCE));
        all.extend(ours.cloned());
        next = page.next_marker().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}

/// Zones that may be the stack's, with their marks.
pub(in crate::kinds) async fn marked(
    account: &Account,
    cx: &OpCtx,
    look: Look<'_>,
) -> Result<Vec<(String, String, Marks)>> {
    let global = account.global().await;
    let zones = zones(account, cx, &global).await?;
    let mut all = Vec::new();
    for batch in zones.chunks(BATCH) {
        let ask = global
            .route53
            .list_tags_for_resources()
            .resource_type(TagResourceType::Hostedzone)
            .set_resource_ids(Some(batch.iter().map(|zone| short(zone.id()).to_owned()).collect()))
            .send();
        let answer = account.read(cx, "route53:ListTagsForResources", ask).await?;
        for zone in batch {
            let id = short(zone.id());
            let tags = answer.resource_tag_sets().iter().find(|set| set.resource_id() == Some(id));
            let tags = tags.map(|set| set.tags()).unwrap_or_default();
            let marks = Marks::read(tags.iter().filter_map(|tag| Some((tag.key()?, tag.value()?))));
            let by_name = || {
                account.wanted(&HostedZone, look).find_map(|(key, _)| {
                    Marks::by_name(cx, key, |token| reference(token) == zone.caller_reference())
                })
            };
            // A half-made one is passed over where a create looks for its own: made again it is completed.
            let marks = if matches!(look, Look::Key(_)) { marks } else { marks.or_else(by_name) };
            all.extend(marks.map(|marks| (id.to_owned(), plain(zone.name()), marks)));
        }
    }
    Ok(all)
}

/// The zone's own servers.
async fn servers(account: &Account, cx: &OpCtx, id: &str) -> Result<Option<Vec<String>>> {
    let ask = account.global().await.route53.get_hosted_zone().id(id).send();
    let answer = account.read(cx, "route53:GetHostedZone", ask).await;
    let Some(answer) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    Ok(Some(answer.delegation_set().map(|set| set.name_servers().to_vec()).unwrap_or_default()))
}

async fn tag(account: &Account, cx: &OpCtx, id: &str, key: &ResourceKey) -> Result<()> {
    let global = account.global().await;
    let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
    let tags: Vec<Tag> = Marks::tags(cx, key).into_iter().map(tag).collect();
    let put = || {
        let put = global.route53.change_tags_for_resource().resource_type(TagResourceType::Hostedzone);
        put.resource_id(id).set_add_tags(Some(tags.clone())).send()
    };
    account.put(cx, "route53:ChangeTagsForResource", put).await.map(drop)
}

impl Native for HostedZone {
    const TOKEN: CreateToken = CreateToken::Native;

    async fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Seen<HostedZoneObserved>>> {
        let mut all = Vec::new();
        for (id, domain, marks) in marked(account, cx, look).await? {
            let skipped = match look {
                Look::Stack => !marks.are_of(cx),
                Look::Key(key) => !marks.are(cx, key),
                Look::Id(wanted) => wanted.0 != id,
            };
            if skipped {
                continue;
            }
            let Some(name_servers) = servers(account, cx, &id).await? else { continue };
            all.push(Seen {
                id: PhysicalId(id),
                marks,
                observed: HostedZoneObserved { domain, name_servers },
            });
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &HostedZoneSpec,
    ) -> Result<PhysicalId> {
        let global = account.global().await;
        let token = cx.token.ok_or_else(|| unexpected("route53:CreateHostedZone", "token"))?;
        let reference = reference(token);
        let known = zones(account, cx, &global).await?;
        let id = match known.iter().find(|zone| zone.caller_reference() == reference) {
            Some(zone) => short(zone.id()).to_owned(),
            None => {
                let make = global
                    .route53
                    .create_hosted_zone()
                    .name(&want.domain)
                    .caller_reference(&reference)
                    .send();
                let made = account.change(cx, "route53:CreateHostedZone", make).await?;
                let zone = made.hosted_zone.ok_or_else(|| unexpected("route53:CreateHostedZone", "zone"))?;
                short(zone.id()).to_owned()
            }
        };
        tag(account, cx, &id, key).await?;
        Ok(PhysicalId(id))
    }

    /// Nothing of a zone changes in place.
    async fn change(
        &self,
        _: &Account,
        _: &OpCtx,
        _: &PhysicalId,
        _: &HostedZoneObserved,
        _: &HostedZoneSpec,
    ) -> Result<()> {
        Ok(())
    }

    /// One with names that somebody else entered is refused by Route 53.
    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let gone = account.global().await.route53.delete_hosted_zone().id(&id.0).send();
        accept(account.change(cx, "route53:DeleteHostedZone", gone).await, ErrorKind::NotFound).map(drop)
    }
}
