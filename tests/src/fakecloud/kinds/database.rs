use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, CreateToken, Created, Diff, Form, Found, Known, Op, OpCtx, Ownership, Page, Permission,
    PhysicalId, ResourceHandler, ResourceKindDef, Result, Scope, Wanted,
};
use vrooli_deploy_core::secrets::Secret;

use super::{calls, output};
use crate::fakecloud::client::Make;
use crate::fakecloud::cloud::FakeCloud;

const KIND: &str = super::DATABASE;

/// A database: slow to come up, named once, and tells its password once. Its name comes from its token, so that two generations can stand side by side.
#[derive(Debug, Clone, Copy)]
pub struct Database;

/// What is wanted of a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct DatabaseSpec<F: Form = Wanted> {
    /// Where it is.
    pub subnet: F::In<String>,
    /// How big.
    pub size: String,
    /// Version of its engine.
    pub version: String,
}

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseObserved {
    /// Where it is.
    pub subnet: String,
    /// How big.
    pub size: String,
    /// Version of its engine.
    pub version: String,
}

impl ResourceKindDef for Database {
    type Spec<F: Form> = DatabaseSpec<F>;
    type Observed = DatabaseObserved;
    fn kind(&self) -> ResourceKind {
        super::kind(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["url", "password"]
    }
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change {
        Diff::new()
            .replace("subnet", want.subnet.differs(&have.subnet))
            .replace("version", want.version != have.version)
            .update("size", want.size != have.size)
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
    fn outputs(&self, id: &PhysicalId, have: &Self::Observed) -> BTreeMap<OutputName, Value> {
        output(&[("url", json!(format!("postgres://app@{id}/{}", have.version)))])
    }
}

fn observed(want: &DatabaseSpec<Known>) -> DatabaseObserved {
    DatabaseObserved { subnet: want.subnet.clone(), size: want.size.clone(), version: want.version.clone() }
}

impl ResourceHandler for Database {
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
        let name = cx.token.map_or_else(|| key.to_string(), |token| format!("db-{}", token.0.simple()));
        let output = super::output_name("password");
        let password = Secret::new(format!("hunter2-{}", Uuid::new_v4().simple()));
        let make = Make {
            kind: KIND,
            name: Some(name),
            stands_on: vec![want.subnet.clone()],
            ready_after: client.options().slow,
            native: false,
        };
        client.make(cx, key, make, &observed(want), BTreeMap::from([(output, password)])).await
    }
    calls!();
}
