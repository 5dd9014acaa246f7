//! Records bear no tags: one is ours when its zone is. It is written by `UPSERT`, which is the same
//! however often it is made.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{DnsRecord, DnsRecordObserved, DnsRecordSpec};
use crate::kinds::hosted_zone::native::{marked, plain};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, together, unexpected};

/// `<zone>/<name>/<type>`.
fn id_of(zone: &str, name: &str, record_type: &str) -> PhysicalId {
    PhysicalId(format!("{zone}/{name}/{record_type}"))
}

fn parts(id: &PhysicalId) -> Option<(&str, &str, &str)> {
    let mut parts = id.0.split('/');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// A name as it is typed: AWS writes a wildcard in octal.
fn typed(name: &str) -> String {
    plain(name).replace("\\052", "*")
}

fn observed(zone: &str, set: &ResourceRecordSet) -> DnsRecordObserved {
    let alias = set.alias_target();
    DnsRecordObserved {
        zone: zone.to_owned(),
        name: typed(set.name()),
        record_type: set.r#type().as_str().to_owned(),
        alias: alias.map(|alias| plain(alias.dns_name())),
        alias_zone: alias.map(|alias| alias.hosted_zone_id().to_owned()),
        values: set.resource_records().iter().map(|record| record.value().to_owned()).collect(),
        ttl_seconds: set.ttl().and_then(|seconds| seconds.try_into().ok()),
    }
}

fn wanted_set(want: &DnsRecordSpec<Known>) -> Result<ResourceRecordSet> {
    let what = || unexpected("route53:ChangeResourceRecordSets", "record");
    let alias = match (&want.alias, &want.alias_zone) {
        (Some(name), Some(zone)) => Some(
            AliasTarget::builder()
                .dns_name(name)
                .hosted_zone_id(zone)
                .evaluate_target_health(false)
                .build()
                .map_err(|_| what())?,
        ),
        (None, None) => None,
        _ => {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!("{}: an alias needs the name and the zone of what it stands for", want.name),
            ));
        }
    };
    let records: std::result::Result<Vec<_>, _> =
        want.values.iter().map(|value| ResourceRecord::builder().value(value).build()).collect();
    let records = records.map_err(|_| what())?;
    ResourceRecordSet::builder()
        .name(&want.name)
        .r#type(RrType::from(want.record_type.as_str()))
        .set_alias_target(alias)
        .set_resource_records((!records.is_empty()).then_some(records))
        .set_ttl(want.ttl_seconds.map(i64::from))
        .build()
        .map_err(|_| what())
}

/// All records of a zone; none without the zone.
async fn sets(on: &Calls<'_>, zone: &str) -> Result<Vec<ResourceRecordSet>> {
    let ask = || async {
        let ask = |next: Option<(String, RrType)>| {
            let (name, record_type) = next.unzip();
            let ask = on.region.route53.list_resource_record_sets().hosted_zone_id(zone);
            ask.set_start_record_name(name).set_start_record_type(record_type).send()
        };
        let pages = on.pages("route53:ListResourceRecordSets", ask, |page| {
            page.next_record_name.clone().zip(page.next_record_type.clone())
        });
        let pages = accept(pages.await, ErrorKind::NotFound)?.unwrap_or_default();
        Ok(pages.into_iter().flat_map(|page| page.resource_record_sets).collect())
    };
    on.once("records", zone, ask).await
}

/// One record of a zone.
async fn set(on: &Calls<'_>, zone: &str, name: &str, kind: &str) -> Result<Option<ResourceRecordSet>> {
    let ask = on.region.route53.list_resource_record_sets().hosted_zone_id(zone).max_items(1);
    let ask = ask.start_record_name(name).start_record_type(RrType::from(kind)).send();
    let page = on.find("route53:ListResourceRecordSets", ask).await?;
    let sets = page.map(|page| page.resource_record_sets).unwrap_or_default();
    Ok(sets.into_iter().find(|set| typed(set.name()) == name && set.r#type().as_str() == kind))
}

async fn write(on: &Calls<'_>, zone: &str, action: ChangeAction, set: ResourceRecordSet) -> Result<()> {
    let what = |_| unexpected("route53:ChangeResourceRecordSets", "change");
    let change = Change::builder().action(action).resource_record_set(set).build().map_err(what)?;
    let batch = ChangeBatch::builder().changes(change).build().map_err(what)?;
    let put = || {
        let put = on.region.route53.change_resource_record_sets().hosted_zone_id(zone);
        put.change_batch(batch.clone()).send()
    };
    on.put("route53:ChangeResourceRecordSets", put).await.map(drop)
}

/// Writes a record of its own for a certificate's proof, or another of ours.
pub(in crate::kinds) async fn upsert(on: &Calls<'_>, want: &DnsRecordSpec<Known>) -> Result<()> {
    write(on, &want.zone, ChangeAction::Upsert, wanted_set(want)?).await
}

/// Removes a record as it is now. One that is not there, or whose zone is not, is fine.
pub(in crate::kinds) async fn remove(on: &Calls<'_>, zone: &str, name: &str, kind: &str) -> Result<()> {
    let Some(set) = set(on, zone, name, kind).await? else { return Ok(()) };
    match write(on, zone, ChangeAction::Delete, set).await {
        // An earlier try had removed it.
        Err(error) if error.code() == Some("InvalidChangeBatch") => Ok(()),
        done => done,
    }
}

/// The keys of what the stack's records are called.
fn keys<'a>(on: &'a Calls<'_>, look: Look<'a>) -> BTreeMap<(&'a str, &'a str), &'a ResourceKey> {
    let names = on.account.wanted(&DnsRecord, look);
    names
        .filter_map(|(key, spec)| Some(((spec["name"].as_str()?, spec["record_type"].as_str()?), key)))
        .collect()
}

impl Native for DnsRecord {
    const TOKEN: CreateToken = CreateToken::Name;
    const GLOBAL: bool = true;

    async fn see(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<DnsRecordObserved>>> {
        let Some((zone, name, kind)) = parts(id) else { return Ok(None) };
        let Some(key) = keys(on, Look::Stack).get(&(name, kind)).copied() else { return Ok(None) };
        if !is_ours(on, zone).await? {
            return Ok(None);
        }
        let found = set(on, zone, name, kind).await?;
        Ok(found.map(|set| Seen {
            id: id.clone(),
            marks: Marks::new(on.cx, key, None),
            observed: observed(zone, &set),
        }))
    }

    async fn list(&self, on: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<DnsRecordObserved>>> {
        let keys = keys(on, look);
        let mut all = Vec::new();
        if keys.is_empty() {
            return Ok(all);
        }
        for (zone, _, marks) in marked(on, Look::Stack).await? {
            if !marks.are_of(on.cx) {
                continue;
            }
            for set in sets(on, &zone).await? {
                let observed = observed(&zone, &set);
                let Some(key) = keys.get(&(&*observed.name, &*observed.record_type)) else { continue };
                all.push(Seen {
                    id: id_of(&zone, &observed.name, &observed.record_type),
                    marks: Marks::new(on.cx, key, None),
                    observed,
                });
            }
        }
        Ok(all)
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let zones: BTreeSet<&str> = ids.iter().filter_map(|id| Some(parts(id)?.0)).collect();
        let _ = together(zones.into_iter().map(|zone| sets(at, zone))).await;
    }

    async fn make(&self, on: &Calls<'_>, _: &ResourceKey, want: &DnsRecordSpec<Known>) -> Result<PhysicalId> {
        if !is_ours(on, &want.zone).await? {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!("{}: the zone {} is not this stack's", want.name, want.zone),
            ));
        }
        upsert(on, want).await?;
        Ok(id_of(&want.zone, &want.name, &want.record_type))
    }

    async fn change(
        &self,
        on: &Calls<'_>,
        _: &PhysicalId,
        _: &DnsRecordObserved,
        want: &DnsRecordSpec<Known>,
    ) -> Result<()> {
        upsert(on, want).await
    }

    async fn remove(&self, on: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        match parts(id) {
            Some((zone, name, kind)) => remove(on, zone, name, kind).await,
            None => Ok(()),
        }
    }
}

/// Is the zone this stack's?
async fn is_ours(on: &Calls<'_>, zone: &str) -> Result<bool> {
    let zones = marked(on, Look::Stack).await?;
    Ok(zones.iter().any(|(id, _, marks)| id == zone && marks.are_of(on.cx)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_read_as_they_are_written() {
        let id = id_of("Z1", "app.example.com", "A");
        assert_eq!(parts(&id), Some(("Z1", "app.example.com", "A")));
        assert_eq!(typed("\\052.example.com."), "*.example.com");
    }
}
