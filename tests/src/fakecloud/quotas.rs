//! How many objects of a kind there may be in the cloud, and are.

use std::collections::BTreeMap;

use async_trait::async_trait;
use vrooli_deploy_core::names::ResourceKind;
use vrooli_deploy_core::provider::{Added, ErrorKind, OpCtx, QuotaReading, QuotaSeen, Quotas, Result};

use super::cloud::FakeCloud;
use super::fault::CallRecord;

#[async_trait]
impl Quotas for FakeCloud {
    /// One call a kind that has a quota.
    async fn readings(&self, cx: &OpCtx, added: &[Added<'_>]) -> Result<Vec<QuotaReading>> {
        let mut kinds: BTreeMap<&ResourceKind, Vec<&Added<'_>>> = BTreeMap::new();
        let limited = |one: &&Added<'_>| self.world().quotas.contains_key(one.kind.as_str());
        for one in added.iter().filter(limited) {
            kinds.entry(one.kind).or_default().push(one);
        }
        let mut readings = Vec::new();
        for (kind, all) in kinds {
            let record = CallRecord {
                name: "list",
                kind: kind.to_string(),
                about: "quota".to_owned(),
                changes: false,
            };
            let asked = kind.to_string();
            let said = self.call(cx, record, move |world| {
                let limit = world.quotas.get(asked.as_str()).copied();
                Ok((limit, world.such(|object| object.kind == asked).count()))
            });
            let seen = match said.await {
                Ok((Some(limit), in_use)) => QuotaSeen::Known { limit: limit as f64, in_use: in_use as f64 },
                Ok((None, _)) => continue,
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => QuotaSeen::Unknown { why: error.to_string(), usual: None },
            };
            readings.push(QuotaReading {
                name: kind.to_string(),
                place: None,
                needed: all.len() as f64,
                keys: all.iter().map(|one| one.key.clone()).collect(),
                seen,
                raise: "ask whoever runs the fake cloud for more".to_owned(),
            });
        }
        Ok(readings)
    }
}
