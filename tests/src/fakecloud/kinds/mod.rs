//! The fake cloud's kinds: one file each, every way of being idempotent among them.

mod bucket;
mod database;
mod instance;
mod network;
mod record;
mod subnet;

use std::collections::BTreeMap;

use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, PriceKey, Quantity};
use vrooli_deploy_core::names::{OutputName, ResourceKind};
use vrooli_deploy_core::provider::{Op, Permission};

pub use bucket::{Bucket, BucketObserved, BucketSpec};
pub use database::{Database, DatabaseObserved, DatabaseSpec};
pub use instance::{Instance, InstanceObserved, InstanceSpec};
pub use network::{Network, NetworkObserved, NetworkSpec};
pub use record::{Record, RecordObserved, RecordSpec};
pub use subnet::{Subnet, SubnetObserved, SubnetSpec};

/// Name of [`Network`].
pub const NETWORK: &str = "fake.network";
/// Name of [`Subnet`].
pub const SUBNET: &str = "fake.subnet";
/// Name of [`Database`].
pub const DATABASE: &str = "fake.database";
/// Name of [`Instance`].
pub const INSTANCE: &str = "fake.instance";
/// Name of [`Bucket`].
pub const BUCKET: &str = "fake.bucket";
/// Name of [`Record`].
pub const RECORD: &str = "fake.record";

#[expect(clippy::expect_used, reason = "literals of this module")]
fn kind(name: &str) -> ResourceKind {
    ResourceKind::new(name).expect("a valid kind")
}

#[expect(clippy::expect_used, reason = "literals of this module")]
fn output_name(name: &str) -> OutputName {
    OutputName::new(name).expect("a valid output name")
}

fn output(values: &[(&str, Value)]) -> BTreeMap<OutputName, Value> {
    values.iter().map(|(name, value)| (output_name(name), value.clone())).collect()
}

fn bill(kind: &str) -> Vec<BillItem> {
    vec![BillItem {
        line: Line::Compute,
        what: kind.to_owned(),
        price: PriceKey {
            provider: "fakecloud".to_owned(),
            service: kind.to_owned(),
            sku: kind.to_owned(),
            region: "all".to_owned(),
            attributes: BTreeMap::new(),
        },
        quantity: Quantity::Running(Decimal::ONE),
        includes: Vec::new(),
        per_release: false,
    }]
}

fn permissions(kind: &str, op: Op) -> Vec<Permission> {
    let action = match op {
        Op::Find | Op::List => "Describe",
        Op::Create => "Create",
        Op::Update => "Modify",
        Op::Delete => "Delete",
    };
    vec![Permission { action: format!("{kind}:{action}"), resource: "*".to_owned() }]
}

/// The calls that are the same for every kind of this cloud.
macro_rules! calls {
    () => {
        fn settle(&self) -> Duration {
            Duration::from_secs(30)
        }
        async fn find(
            &self,
            client: &FakeCloud,
            cx: &OpCtx,
            key: &ResourceKey,
            id: Option<&PhysicalId>,
        ) -> Result<Vec<Found<Self::Observed>>> {
            client.find(cx, KIND, key, id).await
        }
        async fn list(&self, client: &FakeCloud, cx: &OpCtx, scope: &Scope) -> Result<Page<Self::Observed>> {
            client.list(cx, KIND, scope).await
        }
        async fn update(
            &self,
            client: &FakeCloud,
            cx: &OpCtx,
            key: &ResourceKey,
            id: &PhysicalId,
            _have: &Self::Observed,
            want: &Self::Spec<Known>,
        ) -> Result<Created<Self::Observed>> {
            client.change(cx, KIND, key, id, &observed(want)).await
        }
        async fn delete(
            &self,
            client: &FakeCloud,
            cx: &OpCtx,
            key: &ResourceKey,
            id: &PhysicalId,
        ) -> Result<()> {
            client.delete(cx, KIND, key, id).await
        }
    };
}
use calls;
