//! Names of zones are not unique: ours is recognised by its caller reference, which is made from
//! its token, even before it bears tags.

use aws_sdk_route53::types::{HostedZone as Zone, ResourceTagSet, Tag, TagResourceType};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, OpToken, PhysicalId, Result, Retryability};

use super::{HostedZone, HostedZoneObserved, HostedZoneSpec};
use crate::native::{Calls, Look, Marks, Native, Seen, together, unexpected};

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

async fn zones(on: &Calls<'_>) -> Result<Vec<Zone>> {
    let ask = || async {
        let ask = |next| on.region.route53.list_hosted_zones().set_marker(next).send();
        let pages = on.pages("route53:ListHostedZones", ask, |page| page.next_marker.clone()).await?;
        let zones = pages.into_iter().flat_map(|page| page.hosted_zones);
        Ok(zones.filter(|zone| zone.caller_reference().starts_with(REFERENCE)).collect())
    };
    on.once("zones", "", ask).await
}

async fn tags(on: &Calls<'_>, ids: &[String]) -> Result<Vec<ResourceTagSet>> {
    let ask = || async {
        let ask = on.region.route53.list_tags_for_resources().resource_type(TagResourceType::Hostedzone);
        let ask = ask.set_resource_ids(Some(ids.to_vec())).send();
        Ok(on.read("route53:ListTagsForResources", ask).await?.resource_tag_sets)
    };
    on.once("tags of zones", &ids.join(","), ask).await
}

/// The servers of a zone; `None` without it.
async fn servers(on: &Calls<'_>, id: &str) -> Result<Option<Vec<String>>> {
    let ask = || async {
        let answer =
            on.find("route53:GetHostedZone", on.region.route53.get_hosted_zone().id(id).send()).await?;
        Ok(answer.map(|answer| answer.delegation_set.map(|set| set.name_servers).unwrap_or_default()))
    };
    on.once("servers of a zone", id, ask).await
}

/// Zones that we made, for whatever stack: id, domain, caller reference, and marks unless a run died
/// before they were set.
pub(crate) async fn ours(on: &Calls<'_>) -> Result<Vec<(String, String, String, Option<Marks>)>> {
    let zones = zones(on).await?;
    let mut all = Vec::new();
    for batch in zones.chunks(BATCH) {
        let mut ids: Vec<String> = batch.iter().map(|zone| short(zone.id()).to_owned()).collect();
        ids.sort();
        let tags = tags(on, &ids).await?;
        for zone in batch {
            let id = short(zone.id());
            let tags = tags.iter().find(|set| set.resource_id() == Some(id));
            let marks = Marks::of(tags.map(|set| set.tags()).unwrap_or_default());
            all.push((id.to_owned(), plain(zone.name()), zone.caller_reference().to_owned(), marks));
        }
    }
    Ok(all)
}

/// Zones that may be the stack's: id, domain and marks.
pub(in crate::kinds) async fn marked(on: &Calls<'_>, look: Look<'_>) -> Result<Vec<(String, String, Marks)>> {
    let with_marks = |(id, domain, caller, marks): (String, String, String, Option<Marks>)| {
        let by_name = || {
            on.account
                .wanted(&HostedZone, look)
                .find_map(|(key, _)| Marks::by_name(on.cx, key, |token| reference(token) == caller))
        };
        // A half-made one is passed over where a create looks for its own: made again it is completed.
        let marks = if matches!(look, Look::Key(_)) { marks } else { marks.or_else(by_name) };
        marks.map(|marks| (id, domain, marks))
    };
    Ok(ours(on).await?.into_iter().filter_map(with_marks).collect())
}

/// A zone with its own servers.
async fn seen(
    on: &Calls<'_>,
    (id, domain, marks): (String, String, Marks),
) -> Result<Option<Seen<HostedZoneObserved>>> {
    let servers = servers(on, &id).await?;
    Ok(servers.map(|name_servers| Seen {
        id: PhysicalId(id),
        marks,
        observed: HostedZoneObserved { domain, name_servers },
    }))
}

async fn tag(on: &Calls<'_>, id: &str, key: &ResourceKey) -> Result<()> {
    let tags: Vec<Tag> = Marks::as_tags(on.cx, key)?;
    let put = || {
        let put = on.region.route53.change_tags_for_resource().resource_type(TagResourceType::Hostedzone);
        put.resource_id(id).set_add_tags(Some(tags.clone())).send()
    };
    on.put("route53:ChangeTagsForResource", put).await.map(drop)
}

impl Native for HostedZone {
    const TOKEN: CreateToken = CreateToken::Native;
    const GLOBAL: bool = true;

    async fn see(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<HostedZoneObserved>>> {
        let zones = marked(on, Look::Stack).await?;
        match zones.into_iter().find(|(known, ..)| *known == id.0) {
            Some(zone) => seen(on, zone).await,
            None => Ok(None),
        }
    }

    async fn list(&self, on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<HostedZoneObserved>>> {
        let mut all = Vec::new();
        for zone in marked(on, look).await? {
            if look.wants(on.cx, &zone.2) {
                all.extend(seen(on, zone).await?);
            }
        }
        Ok(all)
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let known: Vec<String> = ids.iter().map(|id| id.0.clone()).collect();
        let _ = tokio::join!(zones(at), tags(at, &known), together(known.iter().map(|id| servers(at, id))));
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &HostedZoneSpec) -> Result<PhysicalId> {
        let token = on.cx.token.ok_or_else(|| unexpected("route53:CreateHostedZone", "token"))?;
        let reference = reference(token);
        let known = zones(on).await?;
        let id = match known.iter().find(|zone| zone.caller_reference() == reference) {
            Some(zone) => short(zone.id()).to_owned(),
            None => {
                let make = on.region.route53.create_hosted_zone().name(&want.domain);
                let make = make.caller_reference(&reference).send();
                let made = on.change("route53:CreateHostedZone", make).await?;
                let zone = made.hosted_zone.ok_or_else(|| unexpected("route53:CreateHostedZone", "zone"))?;
                short(zone.id()).to_owned()
            }
        };
        let id = PhysicalId(id);
        match tag(on, &id.0, key).await {
            // Nobody would find one without tags again. One that holds names is refused by Route 53.
            Err(error) if error.retry() == Retryability::Never => {
                let left = self.remove(on, &id).await.err().map(|_| id.0);
                Err(left.into_iter().fold(error, |error, id| error.with_context("left", id)))
            }
            tagged => tagged.map(|()| id),
        }
    }

    /// One with names that somebody else entered is refused by Route 53.
    async fn remove(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = on.region.route53.delete_hosted_zone().id(&id.0).send();
        on.remove("route53:DeleteHostedZone", gone).await
    }
}
