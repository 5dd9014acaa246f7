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

const KIND: &str = super::NETWORK;

/// A network: no token and no name, so nothing but its marks tells that it was made.
#[derive(Debug, Clone, Copy)]
pub struct Network;

/// What is wanted of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Its range.
    pub cidr: String,
    /// For people.
    pub label: String,
}

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkObserved {
    /// Its range.
    pub cidr: String,
    /// For people.
    pub label: String,
}

impl ResourceKindDef for Network {
    type Spec<F: Form> = NetworkSpec;
    type Observed = NetworkObserved;
    fn kind(&self) -> ResourceKind {
        super::kind(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change {
        Diff::new().replace("cidr", want.cidr != have.cidr).update("label", want.label != have.label).done()
    }
    fn bill(&self, _want: &Self::Spec<Wanted>) -> Vec<BillItem> {
        super::bill(KIND)
    }
    fn permissions(&self, op: Op, _want: &Self::Spec<Wanted>) -> Vec<Permission> {
        super::permissions(KIND, op)
    }
    fn ownership(&self, _key: &ResourceKey, _want: &Self::Spec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, _have: &Self::Observed) -> BTreeMap<OutputName, Value> {
        output(&[("id", json!(id))])
    }
    fn may_hold_data(&self) -> bool {
        false
    }
}

fn observed(want: &NetworkSpec) -> NetworkObserved {
    NetworkObserved { cidr: want.cidr.clone(), label: want.label.clone() }
}

impl ResourceHandler for Network {
    type Client = FakeCloud;
    fn create_token(&self) -> CreateToken {
        CreateToken::Marks
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
            name: None,
            stands_on: Vec::new(),
            ready_after: Duration::ZERO,
            native: false,
        };
        client.make(cx, key, make, &observed(want), BTreeMap::new()).await
    }
    calls!();
}
