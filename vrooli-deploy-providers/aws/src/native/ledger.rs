//! What AWS itself keeps of a stack: its tags. A lost state is built again from them and the manifest,
//! and an owner is changed by writing them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;
use vrooli_deploy_core::names::{OutputName, ReleaseNumber, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    AnyKind, ErrorKind, Found, Ledger, OpCtx, PhysicalId, PlaceRecord, Provider as _, ProviderError,
    ProviderSet, Result, Scope,
};
use vrooli_deploy_core::secrets::{Secret, SecretRef};
use vrooli_deploy_core::stack::Input;

use super::census::marked;
use super::fleet::Kept;
use super::of_releases;
use super::owner::own;
use super::{Account, Calls, Look, secret_output};
use crate::kinds::cache::{self, Cache};
use crate::kinds::db_instance::{self, DbInstance};
use crate::kinds::secret::native::current;

/// So long new tags may take to show in what is listed. AWS says only that they come with a delay.
const SHOWN: Duration = Duration::from_secs(40);
/// So many objects are written at once.
const AT_ONCE: usize = 8;

/// What an account keeps of a stack.
#[derive(Debug)]
pub(super) struct AwsLedger {
    pub(super) account: Arc<Account>,
    /// What carries releases, if there is anything.
    pub(super) releases: Option<Arc<dyn Kept>>,
    /// All kinds, to look for what is there.
    pub(super) kinds: ProviderSet,
}

type Object = (ResourceKind, Found<Value>);

impl AwsLedger {
    async fn inventory(&self, cx: &OpCtx) -> Result<Vec<Object>> {
        self.kinds.inventory(cx, &Scope { stack: cx.stack.clone(), page: None }).await
    }

    /// Owners of what is the stack's, what their tokens were minted from, and where it is.
    async fn owners(&self, cx: &OpCtx) -> Result<BTreeMap<Uuid, (BTreeSet<Uuid>, BTreeSet<String>)>> {
        let on = Calls::new(&self.account, cx).await;
        let mut owners: BTreeMap<Uuid, (BTreeSet<Uuid>, BTreeSet<String>)> = BTreeMap::new();
        for one in marked(&on, Some(&cx.stack)).await? {
            let Some(owner) = one.owner else { continue };
            let (incarnations, regions) = owners.entry(owner).or_default();
            incarnations.extend(one.incarnation);
            regions.extend(one.region);
        }
        Ok(owners)
    }

    /// Objects of other owners, and those that a killed run left without marks: a name made from a token
    /// tells them, as long as anything else says what it was minted from.
    async fn not_ours(&self, cx: &OpCtx) -> Result<Vec<Object>> {
        let mut all: BTreeMap<PhysicalId, Object> = BTreeMap::new();
        for (owner, (incarnations, _)) in self.owners(cx).await? {
            let theirs = cx.clone().with_owner(owner).with_incarnation(Uuid::nil());
            let plain = self.inventory(&theirs).await?;
            let known: BTreeSet<PhysicalId> = plain.iter().map(|(_, found)| found.id.clone()).collect();
            if owner != cx.owner {
                all.extend(plain.into_iter().map(|one| (one.1.id.clone(), one)));
            }
            for incarnation in incarnations {
                let found = self.inventory(&theirs.clone().with_incarnation(incarnation)).await?;
                let half_made = found.into_iter().filter(|(_, found)| !known.contains(&found.id));
                all.extend(half_made.map(|one| (one.1.id.clone(), one)));
            }
        }
        Ok(all.into_values().collect())
    }

    /// What the secret holds that a database or a cache has its password from, as the manifest has it.
    async fn password(
        &self,
        cx: &OpCtx,
        key: &ResourceKey,
        kind: &dyn AnyKind,
    ) -> Result<Option<Secret<String>>> {
        let wanted = self.account.wanted(kind, Look::Key(key)).next();
        let secret = wanted.and_then(|(_, spec)| serde_json::from_value(spec["password"].clone()).ok());
        let arn = match secret {
            Some(Input::Value(arn)) => arn,
            Some(Input::Ref(of)) => {
                let kind = AnyKind::kind(&crate::kinds::secret::Secret);
                let found = self.kinds.find(cx, &kind, &of.key, None).await?;
                let Some(found) = found.into_iter().next() else { return Ok(None) };
                found.id.0
            }
            None => return Ok(None),
        };
        let at = Calls::new(&self.account, cx).await.at_id(&arn).await;
        current(&at, &arn).await
    }
}

fn read<T: DeserializeOwned>(key: &ResourceKey, observed: &Value) -> Result<T> {
    serde_json::from_value(observed.clone()).map_err(|error| {
        ProviderError::new(ErrorKind::Unexpected, format!("what was seen of `{key}` does not fit: {error}"))
    })
}

#[async_trait]
impl Ledger for AwsLedger {
    /// One for each owner: AWS keeps no leases.
    async fn records(&self, cx: &OpCtx) -> Result<Vec<PlaceRecord>> {
        let record = |(owner, (_, regions)): (Uuid, (_, BTreeSet<String>))| PlaceRecord {
            place: match regions.is_empty() {
                true => "AWS".to_owned(),
                false => format!("AWS {}", regions.into_iter().collect::<Vec<_>>().join(", ")),
            },
            owner,
            fence: 0,
            taken: None,
            specs: BTreeMap::new(),
        };
        Ok(self.owners(cx).await?.into_iter().map(record).collect())
    }

    async fn take_over(&self, cx: &OpCtx) -> Result<()> {
        // First: once the resources are ours nothing says that something is left to be taken over.
        let on = &Calls::new(&self.account, cx).await;
        of_releases::take_over(on).await?;
        let all = self.not_ours(cx).await?;
        let write = all.iter().map(|(kind, found)| own(on, kind.as_str(), &found.key, &found.id));
        let writes: Vec<_> = write.collect();
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        if all.is_empty() {
            return Ok(());
        }
        // Whoever looks next believes what is listed.
        let shown = || async {
            // Answers that were had before are not had again.
            self.account.changing();
            let seen: BTreeSet<PhysicalId> =
                self.inventory(cx).await?.into_iter().map(|(_, found)| found.id).collect();
            Ok(all.iter().all(|(_, found)| seen.contains(&found.id)).then_some(()))
        };
        on.until(SHOWN, shown).await?.ok_or_else(|| {
            ProviderError::new(ErrorKind::Ambiguous, "AWS does not yet list all that was taken over as ours")
                .with_help("run it again in a minute: it goes on from there")
        })
    }

    async fn values(&self, cx: &OpCtx, release: ReleaseNumber) -> Result<Vec<(SecretRef, Secret<String>)>> {
        match &self.releases {
            Some(releases) => releases.values(cx, release).await,
            None => Ok(Vec::new()),
        }
    }

    /// Passwords of databases and caches are in managed secrets, and are read from there.
    async fn remember(
        &self,
        cx: &OpCtx,
        (key, kind): (&ResourceKey, &ResourceKind),
        observed: &Value,
        _: &BTreeMap<OutputName, Secret<String>>,
    ) -> Result<Option<BTreeMap<OutputName, Secret<String>>>> {
        let is_cache = *kind == AnyKind::kind(&Cache);
        if !is_cache && *kind != AnyKind::kind(&DbInstance) {
            return Ok(None);
        }
        let known: &dyn AnyKind = if is_cache { &Cache } else { &DbInstance };
        let own = observed.get("managed_password").and_then(Value::as_str);
        let password = match own {
            Some(arn) => {
                let at = Calls::new(&self.account, cx).await.at_id(arn).await;
                Some(db_instance::native::own_password(&at, arn).await?)
            }
            None => self.password(cx, key, known).await?,
        };
        let Some(password) = password else { return Ok(Some(BTreeMap::new())) };
        let url = if is_cache {
            cache::native::url(&read(key, observed)?, &password)
        } else {
            db_instance::native::url(&read(key, observed)?, &password)
        };
        Ok(Some(BTreeMap::from([secret_output("password", password)?, secret_output("url", url)?])))
    }
}
