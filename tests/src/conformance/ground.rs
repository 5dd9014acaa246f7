use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;
use vrooli_deploy_core::names::{AppName, EnvironmentName, OutputName, ResourceKey, StackId};
use vrooli_deploy_core::provider::{
    Cancellation, Created, OpCtx, OpToken, PhysicalId, Provider, ProviderError, Scope,
};
use vrooli_deploy_core::secrets::SecretStore as _;

use super::{Place, Sample, ensure};
use crate::fakecloud::MemorySecrets;

/// Who owns what the suite makes.
pub(super) const OWNER: Uuid = Uuid::from_u128(1);

/// What a trial stands on: an empty place, and what the trial has made in it.
pub(super) struct Ground {
    pub(super) place: Box<dyn Place>,
    samples: Vec<Sample>,
    secrets: MemorySecrets,
    /// Outputs of what was made, secrets as references, by key.
    outputs: Mutex<BTreeMap<ResourceKey, BTreeMap<String, Value>>>,
}

/// Something that was made.
pub(super) struct Made {
    pub(super) id: PhysicalId,
    pub(super) observed: Option<Value>,
    /// Values of secret outputs, to look for them where they must not be.
    pub(super) secrets: Vec<String>,
    /// The spec with references resolved.
    pub(super) spec: Value,
}

pub(super) fn told(error: ProviderError) -> Failed {
    Failed::from(format!("{:?}: {error}", error.kind()))
}

impl Ground {
    pub(super) fn new(place: Box<dyn Place>, samples: Vec<Sample>) -> Self {
        Self { place, samples, secrets: MemorySecrets::default(), outputs: Mutex::default() }
    }

    pub(super) fn provider(&self) -> Arc<dyn Provider> {
        self.place.provider()
    }

    #[expect(clippy::unwrap_used, reason = "literals")]
    pub(super) fn stack(&self) -> StackId {
        StackId {
            app: AppName::new("conformance").unwrap(),
            environment: EnvironmentName::new("default").unwrap(),
        }
    }

    pub(super) fn cx(&self) -> OpCtx {
        self.cx_of(self.stack(), 1)
    }

    pub(super) fn cx_of(&self, stack: StackId, fence: u64) -> OpCtx {
        let deadline = (Instant::now() + Duration::from_secs(1800)).into_std();
        OpCtx::new(stack, OWNER, fence, deadline, Cancellation::new())
    }

    pub(super) fn token(&self, key: &ResourceKey) -> OpToken {
        OpToken::new(Uuid::from_u128(7), key, 1)
    }

    pub(super) fn scope(&self) -> Scope {
        Scope { stack: self.stack(), page: None }
    }

    /// Makes what a sample refers to, then gives its spec with references resolved.
    pub(super) async fn prepare(&self, sample: &Sample) -> Result<Value, Failed> {
        let mut spec = sample.spec.clone();
        self.resolve(&mut spec).await?;
        Ok(spec)
    }

    /// Resolves references in a spec, making what they refer to.
    pub(super) async fn resolve(&self, spec: &mut Value) -> Result<(), Failed> {
        let mut open = vec![spec];
        while let Some(value) = open.pop() {
            if let (Some(key), Some(output)) =
                (value.get("$ref").and_then(Value::as_str), value.get("output").and_then(Value::as_str))
            {
                let key = ResourceKey::new(key).map_err(|e| Failed::from(e.to_string()))?;
                *value = self.output(&key, output).await?;
                continue;
            }
            match value {
                Value::Object(fields) => open.extend(fields.values_mut()),
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        Ok(())
    }

    async fn output(&self, key: &ResourceKey, output: &str) -> Result<Value, Failed> {
        if !self.outputs.lock().await.contains_key(key) {
            let sample = self
                .samples
                .iter()
                .find(|s| s.key == *key)
                .ok_or_else(|| Failed::from(format!("no sample has the key `{key}`")))?;
            Box::pin(self.make(sample)).await?;
        }
        let outputs = self.outputs.lock().await;
        let value = outputs.get(key).and_then(|all| all.get(output)).cloned();
        value.ok_or_else(|| Failed::from(format!("`{key}` has no output `{output}`")))
    }

    /// Makes a sample and what it refers to.
    pub(super) async fn make(&self, sample: &Sample) -> Result<Made, Failed> {
        let spec = self.prepare(sample).await?;
        let cx = self.cx().with_token(Some(self.token(&sample.key)));
        let created = self.provider().create(&cx, &sample.kind, &sample.key, &spec).await.map_err(told)?;
        self.remember(sample, spec, created).await
    }

    async fn remember(&self, sample: &Sample, spec: Value, created: Created<Value>) -> Result<Made, Failed> {
        let (id, observed, secrets) = match created {
            Created::Read { id, observed, secrets } => (id, Some(observed), secrets),
            Created::Unread { id, secrets } => (id, None, secrets),
        };
        let provider = self.provider();
        let kind = provider.kind(&sample.kind).map_err(told)?;
        let mut outputs = BTreeMap::new();
        if let Some(observed) = &observed {
            for (name, value) in kind.outputs(&id, observed).map_err(told)? {
                let value = serde_json::to_value(value).map_err(|e| Failed::from(e.to_string()))?;
                outputs.insert(name.to_string(), value);
            }
        }
        let mut values = Vec::new();
        for (name, secret) in &secrets {
            values.push(secret.expose().clone());
            let reference = self
                .secrets
                .put(&format!("{}/{}/{name}", self.stack(), sample.key), secret)
                .map_err(|e| Failed::from(e.to_string()))?;
            let reference = serde_json::to_value(reference).map_err(|e| Failed::from(e.to_string()))?;
            outputs.insert(name.to_string(), reference);
        }
        let known = kind.output_names();
        for name in outputs.keys() {
            let named = OutputName::new(name.as_str()).is_ok() && known.contains(&name.as_str());
            ensure(named, || format!("output `{name}` is not among {known:?}"))?;
        }
        self.outputs.lock().await.insert(sample.key.clone(), outputs);
        Ok(Made { id, observed, secrets: values, spec })
    }

    /// How many objects of a key there are, by listing.
    pub(super) async fn listed(&self, key: &ResourceKey) -> Result<usize, Failed> {
        let all = self.provider().inventory(&self.cx(), &self.scope()).await.map_err(told)?;
        Ok(all.iter().filter(|(_, found)| found.key == *key).count())
    }
}
