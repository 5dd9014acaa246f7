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

const KIND: &str = super::RECORD;

/// A name record: its name is its own in the zone.
#[derive(Debug, Clone, Copy)]
pub struct Record;

/// What is wanted of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct RecordSpec<F: Form = Wanted> {
    /// Its name.
    pub name: String,
    /// Where it points.
    pub target: F::In<String>,
}

/// What is seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordObserved {
    /// Its name.
    pub name: String,
    /// Where it points.
    pub target: String,
}

impl ResourceKindDef for Record {
    type Spec<F: Form> = RecordSpec<F>;
    type Observed = RecordObserved;
    fn kind(&self) -> ResourceKind {
        super::kind(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn diff(&self, want: &Self::Spec<Wanted>, have: &Self::Observed) -> Change {
        Diff::new()
            .replace("name", want.name != have.name)
            .update("target", want.target.differs(&have.target))
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
    fn may_hold_data(&self) -> bool {
        false
    }
}

fn observed(want: &RecordSpec<Known>) -> RecordObserved {
    RecordObserved { name: want.name.clone(), target: want.target.clone() }
}

impl ResourceHandler for Record {
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
