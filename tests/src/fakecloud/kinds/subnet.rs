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

const KIND: &str = super::SUBNET;

/// A part of a network. Takes a token.
#[derive(Debug, Clone, Copy)]
pub struct Subnet;

/// What is wanted of a subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct SubnetSpec<F: Form = Wanted> {
    /// The network it is in.
    pub network: F::In<String>,
    /// Its range.
    pub cidr: String,
    /// Reached from outside?
    pub public: bool,
}

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubnetObserved {
    /// The network it is in.
    pub network: String,
    /// Its range.
    pub cidr: String,
    /// Reached from outside?
    pub public: bool,
}

impl ResourceKindDef for Subnet {
    type Spec<F: Form> = SubnetSpec<F>;
    type Observed = SubnetObserved;
    fn kind(&self) -> ResourceKind {
        super::kind(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change {
        Diff::new()
            .replace("network", want.network.differs(&have.network))
            .replace("cidr", want.cidr != have.cidr)
            .update("public", want.public != have.public)
            .done()
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

fn observed(want: &SubnetSpec<Known>) -> SubnetObserved {
    SubnetObserved { network: want.network.clone(), cidr: want.cidr.clone(), public: want.public }
}

impl ResourceHandler for Subnet {
    type Client = FakeCloud;
    fn create_token(&self) -> CreateToken {
        CreateToken::Native
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
            stands_on: vec![want.network.clone()],
            ready_after: Duration::ZERO,
            native: true,
        };
        client.make(cx, key, make, &observed(want), BTreeMap::new()).await
    }
    calls!();
}
