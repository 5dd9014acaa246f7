use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;
use vrooli_deploy_core::configuration::Configuration;
use vrooli_deploy_core::names::{ResourceKey, ResourceKind, StackId};
use vrooli_deploy_core::plan::Draft;
use vrooli_deploy_core::provider::{
    BuildRequest, Cancellation, Created, Found, Op, OpCtx, OpToken, OpenContext, PhysicalId, Provider,
    ProviderError, Retryability, Scope,
};
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_provider_aws::native::{Account, AccountOptions, provider};
use vrooli_deploy_tests::conformance::{Break, Place, ProviderFixture, Running, Sample};
use vrooli_deploy_tests::fakecloud::MemorySecrets;
use vrooli_deploy_tests::fault_proxy::{Fault, FaultProxy, Passing};
use vrooli_deploy_tests::moto::Emulator;
use vrooli_deploy_tests::moto::corrections::AS_AWS;
use vrooli_deploy_tests::moto::wire::{creates, refused};

use crate::rig::forget_snapshots;
use crate::samples::samples;

/// What the conformance suite makes everything with.
pub(crate) const OWNER: Uuid = Uuid::from_u128(1);
/// What its tokens are minted from.
pub(crate) const INCARNATION: Uuid = Uuid::from_u128(7);
pub(crate) const REGION: &str = "us-east-1";

/// AWS as the emulator plays it.
pub(crate) struct AwsFixture {
    pub(crate) emulator: Arc<Emulator>,
    /// There is one account: one trial at a time.
    turn: Arc<Mutex<()>>,
}

pub(crate) fn stack(app: &str) -> StackId {
    serde_json::from_value(json!({ "app": app, "environment": "default" })).unwrap()
}

impl AwsFixture {
    pub(crate) fn new(emulator: &Arc<Emulator>) -> Self {
        Self { emulator: Arc::clone(emulator), turn: Arc::default() }
    }

    pub(crate) async fn place(&self) -> AwsPlace {
        self.place_as(("AKIDEXAMPLE", "not-a-real-key"), samples()).await
    }

    /// The same by a user's keys, for a stack of these.
    pub(crate) async fn place_as(&self, keys: (&str, &str), of: Vec<Sample>) -> AwsPlace {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        forget_snapshots(self.emulator.address());
        let proxy = FaultProxy::start(self.emulator.address()).await.unwrap();
        proxy.set_correction(AS_AWS);
        let account = Arc::new(account_as(&proxy.url(), keys, of, BTreeMap::new()));
        AwsPlace { provider: provider(&account), account, proxy, _turn: turn }
    }
}

/// The account behind an endpoint, for a stack of all samples.
pub(crate) fn account(endpoint: &str) -> Account {
    account_that_knows(endpoint, BTreeMap::new())
}

/// The same where the state says what its resources are called.
pub(crate) fn account_that_knows(endpoint: &str, ids: BTreeMap<ResourceKey, PhysicalId>) -> Account {
    account_as(endpoint, ("AKIDEXAMPLE", "not-a-real-key"), samples(), ids)
}

fn account_as(
    endpoint: &str,
    (id, secret): (&str, &str),
    of: Vec<Sample>,
    ids: BTreeMap<ResourceKey, PhysicalId>,
) -> Account {
    let mut options = AccountOptions::default();
    options.endpoint = Some(endpoint.to_owned());
    options.keys = Some((id.to_owned(), Secret::new(secret.to_owned()), None));
    options.region = Some(REGION.to_owned());
    let (mut resources, mut kinds) = (Vec::new(), BTreeMap::new());
    for sample in of {
        let another = ResourceKey::new(format!("{}-another", sample.key)).unwrap();
        kinds.extend([&another, &sample.key].map(|key| (key.clone(), sample.kind.clone())));
        resources.extend(sample.another.map(|spec| (another, spec)));
        resources.push((sample.key, sample.spec));
    }
    let context = OpenContext {
        dir: std::env::temp_dir(),
        owner: OWNER,
        stack: stack("conformance"),
        secrets: Arc::new(MemorySecrets::default()),
        configuration: Configuration::default(),
        resources,
        kinds,
        ids,
        leaving: Default::default(),
    };
    Account::new(options, &context)
}

/// A sample, the id of what was made of it, and its spec with the ids of what it refers to.
pub(crate) type Made = (Sample, PhysicalId, Value);

/// The account, and what stands before it.
pub(crate) struct AwsPlace {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) account: Arc<Account>,
    pub(crate) proxy: FaultProxy,
    _turn: OwnedMutexGuard<()>,
}

impl AwsPlace {
    pub(crate) fn cx(&self) -> OpCtx {
        context("conformance", OWNER)
    }

    pub(crate) async fn all(&self) -> Result<Vec<(ResourceKind, Found<Value>)>, ProviderError> {
        let scope = Scope { stack: stack("conformance"), page: None };
        self.provider.inventory(&self.cx(), &scope).await
    }

    /// Makes a sample as the engine does: what is not clear is looked for, then made again.
    pub(crate) async fn make(&self, sample: &Sample, spec: &Value) -> Result<PhysicalId, ProviderError> {
        let cx = self.cx().with_token(Some(token(&sample.key)));
        let mut last = None;
        for _ in 0..6 {
            match self.provider.create(&cx, &sample.kind, &sample.key, spec).await {
                Ok(Created::Read { id, .. } | Created::Unread { id, .. }) => return Ok(id),
                Err(error) if error.retry() == Retryability::Never => return Err(error),
                Err(error) if error.retry() == Retryability::LookUpFirst => {
                    let found = self.provider.find(&cx, &sample.kind, &sample.key, None).await?;
                    if let Some(found) = found.into_iter().find(|found| found.token == cx.token) {
                        return Ok(found.id);
                    }
                    last = Some(error);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap())
    }

    /// What objects give to those that refer to them, by key.
    pub(crate) fn outputs<'a>(
        &self,
        all: impl IntoIterator<Item = (&'a ResourceKind, &'a Found<Value>)>,
    ) -> Result<Outputs, ProviderError> {
        let mut outputs = Outputs::new();
        for (kind, found) in all {
            let of = self.provider.kind(kind)?.outputs(&found.id, &found.observed)?;
            let of = of.into_iter();
            let of = of.map(|(name, value)| (name.to_string(), serde_json::to_value(value).unwrap()));
            let of = of.collect();
            outputs.insert(found.key.clone(), of);
        }
        Ok(outputs)
    }

    /// A sample's spec, with what those give that it refers to.
    pub(crate) fn known(sample: &Sample, outputs: &Outputs) -> Value {
        fn resolve(value: &mut Value, outputs: &Outputs) {
            if let (Some(key), Some(name)) =
                (value.get("$ref").and_then(Value::as_str), value.get("output").and_then(Value::as_str))
            {
                *value = outputs[&ResourceKey::new(key).unwrap()][name].clone();
                return;
            }
            match value {
                Value::Object(fields) => fields.values_mut().for_each(|value| resolve(value, outputs)),
                Value::Array(items) => items.iter_mut().for_each(|value| resolve(value, outputs)),
                _ => {}
            }
        }
        let mut spec = sample.spec.clone();
        resolve(&mut spec, outputs);
        spec
    }

    /// Makes one of each kind; what others refer to comes first.
    pub(crate) async fn make_all(&self) -> Result<Vec<Made>, ProviderError> {
        self.make_those(|_| true).await
    }

    /// The same of some kinds, and of what those refer to.
    pub(crate) async fn make_those(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Made>, ProviderError> {
        let mut samples = those(samples(), wanted);
        let depths = depths(&samples);
        samples.sort_by_key(|sample| depths[&sample.kind]);
        let (mut made, mut outputs) = (Vec::new(), Outputs::new());
        for sample in samples {
            let spec = Self::known(&sample, &outputs);
            let id = self.make(&sample, &spec).await?;
            let found = self.provider.find(&self.cx(), &sample.kind, &sample.key, Some(&id)).await?;
            outputs.extend(self.outputs(found.iter().map(|one| (&sample.kind, one)))?);
            made.push((sample, id, spec));
        }
        Ok(made)
    }

    /// Takes everything of ours away: what others refer to goes last.
    pub(crate) async fn empty(&self) -> Result<(), String> {
        self.proxy.mend();
        let told = |error: ProviderError| format!("cannot clean up: {error}");
        let mut all = self.all().await.map_err(told)?;
        let depths = depths(&samples());
        all.sort_by_key(|(kind, _)| Reverse(depths[kind]));
        if all.is_empty() {
            return Ok(());
        }
        for (kind, found) in &all {
            self.provider.delete(&self.cx(), kind, &found.key, &found.id).await.map_err(told)?;
        }
        let left = self.all().await.map_err(told)?;
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
    }
}

/// Output by name, by key.
pub(crate) type Outputs = BTreeMap<ResourceKey, BTreeMap<String, Value>>;

/// A sample and all that it refers to.
/// Those of some kinds, and what they refer to.
pub(crate) fn those(mut samples: Vec<Sample>, wanted: impl Fn(&str) -> bool) -> Vec<Sample> {
    let mut needed: BTreeSet<ResourceKey> = BTreeSet::new();
    for sample in samples.iter().filter(|sample| wanted(sample.kind.as_str())) {
        need(&samples, sample, &mut needed);
    }
    samples.retain(|sample| needed.contains(&sample.key));
    samples
}

fn need(samples: &[Sample], sample: &Sample, needed: &mut BTreeSet<ResourceKey>) {
    fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        into.extend(value.get("$ref").and_then(Value::as_str));
        match value {
            Value::Object(fields) => fields.values().for_each(|value| references(value, into)),
            Value::Array(items) => items.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }
    if needed.insert(sample.key.clone()) {
        let mut keys = Vec::new();
        references(&sample.spec, &mut keys);
        for other in samples.iter().filter(|one| keys.contains(&one.key.as_str())) {
            need(samples, other, needed);
        }
    }
}

/// Of each kind, how many others have to be there before it, one after the other.
fn depths(samples: &[Sample]) -> BTreeMap<ResourceKind, usize> {
    fn depth(samples: &[Sample], value: &Value) -> usize {
        if let Some(key) = value.get("$ref").and_then(Value::as_str) {
            let sample = samples.iter().find(|sample| sample.key.as_str() == key).unwrap();
            return 1 + depth(samples, &sample.spec);
        }
        match value {
            Value::Object(fields) => fields.values().map(|value| depth(samples, value)).max().unwrap_or(0),
            Value::Array(items) => items.iter().map(|value| depth(samples, value)).max().unwrap_or(0),
            _ => 0,
        }
    }
    samples.iter().map(|sample| (sample.kind.clone(), depth(samples, &sample.spec))).collect()
}

pub(crate) fn token(key: &ResourceKey) -> OpToken {
    OpToken::new(INCARNATION, key, 1)
}

pub(crate) fn context(app: &str, owner: Uuid) -> OpCtx {
    let deadline = Instant::now() + Duration::from_secs(300);
    OpCtx::new(stack(app), owner, 1, deadline, Cancellation::new()).with_incarnation(INCARNATION)
}

#[async_trait]
impl ProviderFixture for AwsFixture {
    async fn open(&self) -> Box<dyn Place> {
        Box::new(self.place().await)
    }

    fn samples(&self) -> Vec<Sample> {
        samples()
    }

    fn release(&self) -> Option<(BuildRequest, Draft)> {
        None
    }

    fn block_on(&self, trial: Running<'_>) -> Result<(), Failed> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failed::from(error.to_string()))?
            .block_on(trial)
    }
}

#[async_trait]
impl Place for AwsPlace {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider)
    }

    fn calls(&self) -> Option<u64> {
        Some(self.account.calls().values().sum())
    }

    fn break_next(&self, op: Op, how: Break) -> bool {
        let is = if op == Op::Create { creates } else { |_: &Passing| true };
        match how {
            Break::LostReply => self.proxy.break_next(Fault::LostReply, is),
            Break::Unreachable => self.proxy.break_next(Fault::NeverArrives, is),
            Break::Throttled => {
                let mut left = true;
                self.proxy.break_when(move |request| {
                    let refuse = left && is(request);
                    left &= !refuse;
                    refuse.then(|| {
                        Fault::Refused(refused(request, "ThrottlingException", "Rate exceeded", 400))
                    })
                });
            }
        }
        true
    }

    /// Records, and what scales a service, bear no tags. The emulator does not list tags of the others here; AWS does.
    fn untold(&self, kind: &ResourceKind) -> bool {
        let untold = [
            "aws.db-parameter-group",
            "aws.db-subnet-group",
            "aws.dns-record",
            "aws.ecr-repository",
            "aws.elastic-ip",
            "aws.launch-template",
            "aws.listener",
            "aws.listener-rule",
            "aws.service-scaling",
        ];
        untold.contains(&kind.as_str())
    }

    /// AWS measures processors that tasks have, and no task runs here.
    fn counts_later(&self, kind: &ResourceKind) -> bool {
        kind.as_str() == "aws.ecs-service"
    }

    async fn close(&self) -> Result<(), String> {
        self.empty().await
    }
}
