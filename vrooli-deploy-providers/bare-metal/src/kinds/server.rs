//! `bare-metal.server`: a machine that is there already, and what it is for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

/// The kind `bare-metal.server`.
#[derive(Debug, Clone, Copy)]
pub struct Server;

/// What is wanted of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// Host name or address.
    pub host: String,
    /// `app`, `database` or `cache`.
    pub role: String,
    /// Does it run the app?
    pub runs_app: bool,
    /// Resources of the app that it runs, `postgres`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// What it costs a month in US dollars, as the user says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub monthly_usd: Option<Decimal>,
}

/// What is seen of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerObserved {
    /// Host name or address.
    pub host: String,
    /// Is it prepared to run the app?
    pub runs_app: bool,
    /// Resources of the app that it runs.
    pub resources: Vec<String>,
    /// Its address, one of a private network before any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl ResourceKindDef for Server {
    type Spec<F: Form> = ServerSpec;
    type Observed = ServerObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("bare-metal.server")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["host", "address"]
    }
    fn diff(&self, want: &ServerSpec, have: &ServerObserved) -> Change {
        // What a server is called and costs changes nothing on it.
        let ServerSpec { host, role: _, runs_app, resources, monthly_usd: _ } = want;
        Diff::new()
            .replace("host", *host != have.host)
            .update("runs_app", *runs_app != have.runs_app)
            .update("resources", *resources != have.resources)
            .done()
    }
    fn bill(&self, _: &ServerSpec) -> Vec<BillItem> {
        // Nobody's price book knows a server of one's own: what it costs stands in the manifest,
        // and an estimate reads it there.
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &ServerSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &ServerSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &ServerObserved) -> BTreeMap<OutputName, Value> {
        let address = have.address.as_ref().unwrap_or(&have.host);
        super::outputs([("host", have.host.clone().into()), ("address", address.clone().into())])
    }
}

mod prepared {
    use super::{Server, ServerObserved, ServerSpec};
    use crate::ground::{HostSurvey, Place, Prepared};

    impl Prepared for Server {
        type Plain = ServerSpec;
        const WORD: &'static str = "server";
        const RANK: u8 = 0;

        fn host(want: &ServerSpec) -> &str {
            &want.host
        }
        fn name(_: &ServerSpec, _: &Place) -> String {
            "record".to_owned()
        }
        fn items(_: &ServerSpec, _: &Place) -> Vec<Vec<String>> {
            Vec::new()
        }
        fn observe(want: &ServerSpec, _: &Place, seen: &HostSurvey) -> ServerObserved {
            // The record is all there is of it.
            ServerObserved {
                host: want.host.clone(),
                runs_app: want.runs_app,
                resources: want.resources.clone(),
                address: seen.address.clone(),
            }
        }
        fn check(_: &ServerSpec, _: &Place) -> Result<(), String> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrooli_deploy_core::provider::AnyKind;

    use super::*;

    fn spec(monthly_usd: Option<&str>) -> Value {
        json!({ "host": "a.example.com", "role": "app", "runs_app": true, "resources": ["postgres"], "monthly_usd": monthly_usd })
    }

    #[test]
    fn differences_are_answered() {
        let have = json!({ "host": "a.example.com", "runs_app": true, "resources": ["postgres"] });
        let diff = |field: &str, value: Value| {
            let mut have = have.clone();
            have[field] = value;
            AnyKind::diff(&Server, &spec(None), &have).unwrap()
        };
        assert_eq!(AnyKind::diff(&Server, &spec(None), &have).unwrap(), Change::None);
        assert_eq!(diff("host", json!("b")), Change::Replace(vec!["host".to_owned()]));
        assert_eq!(diff("runs_app", json!(false)), Change::InPlace(vec!["runs_app".to_owned()]));
        assert_eq!(diff("resources", json!([])), Change::InPlace(vec!["resources".to_owned()]));
    }
}
