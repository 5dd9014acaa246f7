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
use vrooli_deploy_core::secrets::SecretRef;
use vrooli_deploy_core::stack::Input;

use super::{calls, output};
use crate::fakecloud::client::Make;
use crate::fakecloud::cloud::FakeCloud;

const KIND: &str = super::INSTANCE;

/// A machine. Takes a token, and a secret by reference.
#[derive(Debug, Clone, Copy)]
pub struct Instance;

/// What is wanted of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct InstanceSpec<F: Form = Wanted> {
    /// Where it is.
    pub subnet: F::In<String>,
    /// How big.
    pub size: String,
    /// What it logs in to the database with.
    pub password: F::In<SecretRef>,
}

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceObserved {
    /// Where it is.
    pub subnet: String,
    /// How big.
    pub size: String,
    /// Tells whether the secret changed, and nothing else.
    pub password_hash: String,
}

impl ResourceKindDef for Instance {
    type Spec<F: Form> = InstanceSpec<F>;
    type Observed = InstanceObserved;
    fn kind(&self) -> ResourceKind {
        super::kind(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["address"]
    }
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change {
        Diff::new()
            .replace("subnet", want.subnet.differs(&have.subnet))
            .update("size", want.size != have.size)
            .update("password", differs(&want.password, &have.password_hash))
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
        output(&[("address", json!(format!("{id}.internal")))])
    }
    fn may_hold_data(&self) -> bool {
        false
    }
}

fn observed(want: &InstanceSpec<Known>) -> InstanceObserved {
    InstanceObserved {
        subnet: want.subnet.clone(),
        size: want.size.clone(),
        password_hash: want.password.hash.clone(),
    }
}

impl ResourceHandler for Instance {
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
            stands_on: vec![want.subnet.clone()],
            ready_after: Duration::from_secs(20).min(client.options().slow),
            native: true,
        };
        client.make(cx, key, make, &observed(want), BTreeMap::new()).await
    }
    calls!();
}

fn differs(want: &Input<SecretRef>, have: &str) -> bool {
    match want {
        Input::Ref(_) => true,
        Input::Value(secret) => secret.hash != have,
    }
}
