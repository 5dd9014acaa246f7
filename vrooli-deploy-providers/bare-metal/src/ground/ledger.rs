//! What servers keep of a stack, from which a lost state is built again, and taking over what
//! another state owns.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use vrooli_deploy_core::names::{OutputName, ReleaseNumber, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::wire::FleetSeen;
use vrooli_deploy_core::provider::{
    ErrorKind, Ledger, OpCtx, PlaceRecord, ProviderError, ResourceKindDef as _, Result,
};
use vrooli_deploy_core::secrets::{Secret, SecretRef};

use super::{HostSurvey, Prepared, Servers};
use crate::fleet::BareMetalFleet;
use crate::kinds::postgres::Postgres;
use crate::kinds::redis::Redis;

/// What the servers of a stack keep.
#[derive(Debug)]
pub(crate) struct ServersLedger {
    pub(crate) servers: Arc<Servers>,
    pub(crate) fleet: Arc<BareMetalFleet>,
}

/// The highest lease that was seen on a host, by its record or by what serves apps there.
fn fence(survey: &HostSurvey) -> u64 {
    let seen = survey.fleet.as_ref().and_then(|text| serde_json::from_str::<FleetSeen>(text).ok());
    survey.fence.max(seen.map_or(0, |seen| seen.fence))
}

#[async_trait]
impl Ledger for ServersLedger {
    async fn records(&self, cx: &OpCtx) -> Result<Vec<PlaceRecord>> {
        let surveys = self.servers.survey_all(cx, &cx.stack).await?;
        let record = |(host, survey): (crate::host::HostName, Arc<HostSurvey>)| {
            let record = survey.record.as_ref()?;
            let specs = record.resources.iter().map(|(key, one)| (key.clone(), one.spec.clone()));
            Some(PlaceRecord {
                place: host.to_string(),
                owner: record.owner,
                fence: fence(&survey),
                taken: survey.taken.clone(),
                specs: specs.collect(),
            })
        };
        Ok(surveys.into_iter().filter_map(record).collect())
    }

    async fn take_over(&self, cx: &OpCtx) -> Result<()> {
        // In order, and each is held before the next: of two who come at once one gets all.
        for (host, survey) in self.servers.survey_all(cx, &cx.stack).await? {
            if survey.record.is_some() {
                self.servers.queue(&host).take_over(cx).await?;
            }
        }
        Ok(())
    }

    async fn values(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<Vec<(SecretRef, Secret<String>)>> {
        self.fleet.kept_values(cx, release).await
    }

    async fn remember(
        &self,
        cx: &OpCtx,
        (key, kind): (&ResourceKey, &ResourceKind),
        observed: &Value,
        had_back: &BTreeMap<OutputName, Secret<String>>,
    ) -> Result<Option<BTreeMap<OutputName, Secret<String>>>> {
        if *kind == Postgres.kind() {
            self.secrets_of(&Postgres, cx, key, observed, had_back).map(Some)
        } else if *kind == Redis.kind() {
            self.secrets_of(&Redis, cx, key, observed, had_back).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl ServersLedger {
    /// All secret outputs of a server whose password was had back, which is kept from then on.
    fn secrets_of<K: Prepared>(
        &self,
        _: &K,
        cx: &OpCtx,
        key: &ResourceKey,
        observed: &Value,
        had_back: &BTreeMap<OutputName, Secret<String>>,
    ) -> Result<BTreeMap<OutputName, Secret<String>>> {
        let told = |name: &str| had_back.iter().find(|(known, _)| known.as_str() == name).map(|(_, v)| v);
        let told = told("password").cloned().or_else(|| password_in(told("url")?));
        let Some(password) = self.servers.keep_password(&cx.stack, key, told)? else {
            return Ok(BTreeMap::new());
        };
        let unexpected =
            |words: String| ProviderError::new(ErrorKind::Unexpected, format!("`{key}`: {words}"));
        let observed: K::Observed =
            serde_json::from_value(observed.clone()).map_err(|error| unexpected(error.to_string()))?;
        let named = |(name, secret)| {
            Ok((OutputName::new(name).map_err(|error| unexpected(error.to_string()))?, secret))
        };
        K::secrets(&observed, &password).into_iter().map(named).collect()
    }
}

/// The password in a URL as we write them: `scheme://user:password@host…`, nothing escaped.
fn password_in(url: &Secret<String>) -> Option<Secret<String>> {
    let (_, rest) = url.expose().split_once("://")?;
    let (who, _) = rest.split_once('@')?;
    let (_, password) = who.split_once(':')?;
    (!password.is_empty()).then(|| Secret::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_out_of_a_url() {
        let password = |url: &str| password_in(&Secret::new(url.to_owned())).map(|p| p.expose().clone());
        assert_eq!(
            password("postgres://vrooli:s3cret@10.0.0.7:5433/shop?sslmode=require").as_deref(),
            Some("s3cret")
        );
        assert_eq!(password("redis://:s3cret@[fd00::7]:6390/0").as_deref(), Some("s3cret"));
        assert_eq!(password("postgres://vrooli@10.0.0.7/shop"), None);
        assert_eq!(password("nonsense"), None);
    }
}
