use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, CreateToken, Created, Diff, Form, Found, Known, Op, OpCtx, Ownership, Page, Permission,
    PhysicalId, ResourceHandler, ResourceKindDef, Result, Scope, Wanted,
};

use super::{calls, output};
use crate::fakecloud::client::Make;
use crate::fakecloud::cloud::FakeCloud;

const KIND: &str = super::BUCKET;

/// A bucket: its name is its own, all over the cloud, so two of it cannot stand side by side.
#[derive(Debug, Clone, Copy)]
pub struct Bucket;

/// What is wanted of a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Keeps old versions?
    pub versioned: bool,
}

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketObserved {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Keeps old versions?
    pub versioned: bool,
}

impl ResourceKindDef for Bucket {
    type Spec<F: Form> = BucketSpec;
    type Observed = BucketObserved;
    fn kind(&self) -> ResourceKind {
        super::kind(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn takes_up_data(&self) -> bool {
        true
    }
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change {
        Diff::new()
            .replace("name", want.name != have.name)
            .replace("region", want.region != have.region)
            .update("versioned", want.versioned != have.versioned)
            .done()
    }
    fn bill(&self, _want: &Self::Spec<Wanted>) -> Vec<BillItem> {
        super::bill(KIND)
    }
    fn permissions(&self, op: Op, _want: &Self::Spec<Wanted>) -> Vec<Permission> {
        super::permissions(KIND, op)
    }
    fn ownership(&self, _key: &ResourceKey, want: &Self::Spec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, _id: &PhysicalId, have: &Self::Observed) -> BTreeMap<OutputName, Value> {
        output(&[("name", json!(have.name))])
    }
}

fn observed(want: &BucketSpec) -> BucketObserved {
    BucketObserved { name: want.name.clone(), region: want.region.clone(), versioned: want.versioned }
}

impl ResourceHandler for Bucket {
    type Client = FakeCloud;
    fn create_token(&self) -> CreateToken {
        CreateToken::Name
    }
    async fn create(
        &self,
        client: &FakeCloud,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &Self::Spec<Known>,
    ) -> Result<Created<Self::Observed>> {
        let make = Make {
            kind: KIND,
            name: Some(want.name.clone()),
            stands_on: Vec::new(),
            ready_after: Duration::ZERO,
            native: false,
        };
        client.make(cx, key, make, &observed(want), BTreeMap::new()).await
    }
    calls!();
}
