//! Records bear no tags: one is ours when its zone is. It is written by `UPSERT`, which is the same
//! however often it is made.

use std::collections::BTreeMap;

use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, OpCtx, PhysicalId, ProviderError, Result};

use super::{DnsRecord, DnsRecordObserved, DnsRecordSpec};
use crate::kinds::hosted_zone::native::{marked, plain};
use crate::native::{Account, Look, Marks, Native, Seen, accept, unexpected};

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

/// All records of a zone; of one name and type only, if they are given. `None` without the zone.
async fn sets(
    account: &Account,
    cx: &OpCtx,
    zone: &str,
    one: Option<(&str, &str)>,
) -> Result<Vec<ResourceRecordSet>> {
    let global = account.global().await;
    let (mut all, mut next) = (Vec::new(), one.map(|(name, kind)| (name.to_owned(), RrType::from(kind))));
    loop {
        let (name, record_type) = next.take().unzip();
        let ask = global
            .route53
            .list_resource_record_sets()
            .hosted_zone_id(zone)
            .set_start_record_name(name)
            .set_start_record_type(record_type)
            .set_max_items(one.map(|_| 1))
            .send();
        let answer = account.read(cx, "route53:ListResourceRecordSets", ask).await;
        let Some(page) = accept(answer, ErrorKind::NotFound)? else { return Ok(all) };
        all.extend(page.resource_record_sets().iter().cloned());
        if let Some((name, kind)) = one {
            all.retain(|set| typed(set.name()) == name && set.r#type().as_str() == kind);
            return Ok(all);
        }
        next = page.next_record_name.zip(page.next_record_type);
        if next.is_none() {
            return Ok(all);
        }
    }
}

async fn write(
    account: &Account,
    cx: &OpCtx,
    zone: &str,
    action: ChangeAction,
    set: ResourceRecordSet,
) -> Result<()> {
    let global = account.global().await;
    let what = |_| unexpected("route53:ChangeResourceRecordSets", "change");
    let change = Change::builder().action(action).resource_record_set(set).build().map_err(what)?;
    let batch = ChangeBatch::builder().changes(change).build().map_err(what)?;
    let put = || {
        let put = global.route53.change_resource_record_sets().hosted_zone_id(zone);
        put.change_batch(batch.clone()).send()
    };
    account.put(cx, "route53:ChangeResourceRecordSets", put).await.map(drop)
}

/// Writes a record of its own for a certificate's proof, or another of ours.
pub(in crate::kinds) async fn upsert(
    account: &Account,
    cx: &OpCtx,
    want: &DnsRecordSpec<Known>,
) -> Result<()> {
    write(account, cx, &want.zone, ChangeAction::Upsert, wanted_set(want)?).await
}

/// Removes a record as it is now. One that is not there, or whose zone is not, is fine.
pub(in crate::kinds) async fn remove(
    account: &Account,
    cx: &OpCtx,
    zone: &str,
    one: (&str, &str),
) -> Result<()> {
    for set in sets(account, cx, zone, Some(one)).await? {
        match write(account, cx, zone, ChangeAction::Delete, set).await {
            // An earlier try had removed it.
            Err(error) if error.code() == Some("InvalidChangeBatch") => {}
            done => done?,
        }
    }
    Ok(())
}

impl Native for DnsRecord {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Seen<DnsRecordObserved>>> {
        let keys: BTreeMap<(&str, &str), &ResourceKey> = account
            .wanted(self, look)
            .filter_map(|(key, spec)| Some(((spec["name"].as_str()?, spec["record_type"].as_str()?), key)))
            .collect();
        let mut all = Vec::new();
        if keys.is_empty() {
            return Ok(all);
        }
        for (zone, _, marks) in marked(account, cx, Look::Stack).await? {
            if !marks.are_of(cx) {
                continue;
            }
            let one = match look {
                Look::Id(id) => match parts(id) {
                    Some((of, name, kind)) if of == zone => Some((name, kind)),
                    _ => continue,
                },
                _ => None,
            };
            for set in sets(account, cx, &zone, one).await? {
                let observed = observed(&zone, &set);
                let Some(key) = keys.get(&(&*observed.name, &*observed.record_type)) else { continue };
                all.push(Seen {
                    id: id_of(&zone, &observed.name, &observed.record_type),
                    marks: Marks::new(cx, key, None),
                    observed,
                });
            }
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &ResourceKey,
        want: &DnsRecordSpec<Known>,
    ) -> Result<PhysicalId> {
        let zones = marked(account, cx, Look::Stack).await?;
        if !zones.iter().any(|(id, _, marks)| *id == want.zone && marks.are_of(cx)) {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!("{}: the zone {} is not this stack's", want.name, want.zone),
            ));
        }
        upsert(account, cx, want).await?;
        Ok(id_of(&want.zone, &want.name, &want.record_type))
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &PhysicalId,
        _: &DnsRecordObserved,
        want: &DnsRecordSpec<Known>,
    ) -> Result<()> {
        upsert(account, cx, want).await
    }

    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        match parts(id) {
            Some((zone, name, kind)) => remove(account, cx, zone, (name, kind)).await,
            None => Ok(()),
        }
    }
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
