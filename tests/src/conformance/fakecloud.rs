use std::sync::Arc;

use async_trait::async_trait;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use vrooli_deploy_core::plan::{Draft, ReleaseSource};
use vrooli_deploy_core::provider::{BuildRequest, ErrorKind, Op, Provider};

use super::{Break, Place, ProviderFixture, Running, Sample};
use crate::crash::on_virtual_time;
use crate::fakecloud::{FakeCloud, Fault, kinds};
use crate::session::{ReleaseWish, Wish};

/// The fake cloud as a subject of the suite, and the model of a fixture.
#[derive(Debug, Clone, Copy, Default)]
pub struct FakeCloudFixture;

struct FakePlace(FakeCloud);

#[async_trait]
impl ProviderFixture for FakeCloudFixture {
    async fn open(&self) -> Box<dyn Place> {
        let cloud = FakeCloud::default();
        // Subnets and records have no limit.
        let limited = [kinds::NETWORK, kinds::DATABASE, kinds::INSTANCE, kinds::BUCKET];
        cloud.world().quotas.extend(limited.map(|kind| (kind, 50)));
        Box::new(FakePlace(cloud))
    }

    fn samples(&self) -> Vec<Sample> {
        let with = |spec: &Value, field: &str, value: Value| {
            let mut spec = spec.clone();
            spec[field] = value;
            Some(spec)
        };
        Wish::full()
            .resources
            .into_iter()
            .map(|(key, resource)| {
                let spec = resource.spec;
                let (changed, another) = match resource.kind.as_str() {
                    "fake.network" => (with(&spec, "label", json!("other")), Some(spec.clone())),
                    "fake.subnet" => (with(&spec, "public", json!(true)), Some(spec.clone())),
                    "fake.bucket" => {
                        (with(&spec, "versioned", json!(true)), with(&spec, "name", json!("another")))
                    }
                    "fake.record" => {
                        (with(&spec, "target", json!("elsewhere")), with(&spec, "name", json!("another")))
                    }
                    _ => (with(&spec, "size", json!("large")), Some(spec.clone())),
                };
                Sample { kind: resource.kind, key, spec, changed, another, strict: true }
            })
            .collect()
    }

    fn release(&self) -> Option<(BuildRequest, Draft)> {
        let wish = ReleaseWish { env: Vec::new(), ..ReleaseWish::version("1") };
        match wish.source() {
            ReleaseSource::Build { request, draft, .. } => Some((*request, *draft)),
            ReleaseSource::Staged { .. } => None,
        }
    }

    fn block_on(&self, trial: Running<'_>) -> Result<(), Failed> {
        on_virtual_time(trial)
    }
}

#[async_trait]
impl Place for FakePlace {
    fn provider(&self) -> Arc<dyn Provider> {
        self.0.provider()
    }

    fn calls(&self) -> Option<u64> {
        Some(self.0.count())
    }

    fn break_next(&self, op: Op, how: Break) -> bool {
        let name = match op {
            Op::Find => "describe",
            Op::List => "list",
            Op::Create => "create",
            Op::Update => "update",
            Op::Delete => "delete",
        };
        let fault = match how {
            Break::LostReply => Fault::LostReply,
            Break::Throttled => Fault::Refuse(ErrorKind::RateLimited, "too many calls".to_owned()),
            Break::Unreachable => Fault::Refuse(ErrorKind::Unavailable, "not reachable".to_owned()),
        };
        self.0.fail_next(name, None, fault);
        true
    }

    async fn close(&self) -> Result<(), String> {
        let world = self.0.world();
        if world.violations.is_empty() { Ok(()) } else { Err(world.violations.join("; ")) }
    }
}
