//! `digitalocean.app`: an app on App Platform. What a release changes (images, variables, running count) is the fleet's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Decimal, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use crate::catalogue::catalogue;

use super::Actions;
use crate::bill::{allowance, item, running, usage_from};

/// The kind `digitalocean.app`.
#[derive(Debug, Clone, Copy)]
pub struct App;

/// A part of an app: containers of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Does it serve requests?
    pub role: Role,
    /// Size of a container, `apps-s-1vcpu-1gb`.
    pub size: String,
    /// How many containers run at first, and are billed.
    pub count: u32,
    /// How many may run, where their number follows the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

/// What a component does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It serves requests.
    Service,
    /// It works by itself.
    Worker,
}

/// The order says nothing, and how many run is the fleet's.
fn components_differ(want: &[Component], have: &[Component]) -> bool {
    let same = |want: &Component, have: &Component| {
        let Component { name, role, size, count: _, most } = want;
        (name, role, size, most) == (&have.name, &have.role, &have.size, &have.most)
    };
    want.len() != have.len() || want.iter().any(|want| !have.iter().any(|have| same(want, have)))
}

/// What is wanted of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct AppSpec<F: Form = Wanted> {
    /// Its name, unique in the account, at most 32 characters.
    pub name: String,
    /// Region of App Platform, `nyc`.
    pub region: String,
    /// A host name of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The network that it reaches databases through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<F::In<String>>,
    /// What it consists of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
}

/// What is seen of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppObserved {
    /// Its name, unique in the account, at most 32 characters.
    pub name: String,
    /// Region of App Platform, `nyc`.
    pub region: String,
    /// A host name of one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The network that it reaches databases through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// What it consists of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// Where it is reached.
    pub url: String,
}

impl ResourceKindDef for App {
    type Spec<F: Form> = AppSpec<F>;
    type Observed = AppObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("digitalocean.app")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "url"]
    }
    fn diff(&self, want: &AppSpec<Wanted>, have: &AppObserved) -> Change {
        let AppSpec { name, region, domain, vpc, components } = want;
        Diff::new()
            .replace("name", *name != have.name)
            .replace("region", *region != have.region)
            .update("domain", *domain != have.domain)
            .update("vpc", super::id_differs(vpc.as_ref(), have.vpc.as_ref()))
            .update("components", components_differ(components, &have.components))
            .done()
    }
    fn bill(&self, want: &AppSpec<Wanted>) -> Vec<BillItem> {
        let mut items = Vec::new();
        for component in &want.components {
            let what = format!("{} × {} ({})", component.count, component.size, component.name);
            let place = ("app-platform", component.size.as_str(), want.region.as_str());
            let mut containers = item(Line::Compute, what, place, running(component.count));
            let transfer = catalogue().container(&component.size).map(|size| size.transfer_gb);
            containers.includes.extend(transfer.map(|gb| allowance("app-transfer", gb)));
            items.push(containers);
        }
        let place = ("app-platform", "egress-overage", want.region.as_str());
        let sent = usage_from(Metric::EgressGb, Decimal::ONE, "app-transfer");
        items.push(item(Line::Bandwidth, "sent to the internet by the app", place, sent));
        items
    }
    fn permissions(&self, op: Op, _: &AppSpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["app:read"],
            create: &["app:create", "registry:read", "vpc:read"],
            update: &["app:update"],
            delete: &["app:delete"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, want: &AppSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &AppObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into()), ("url", have.url.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"name": "app-default", "region": "nyc", "domain": "app.example.com", "vpc": "id-1", "components": [{"name": "app", "role": "service", "size": "apps-s-1vcpu-1gb", "count": 1}]});
        let have = json!({"name": "app-default", "region": "nyc", "domain": "app.example.com", "vpc": "id-1", "components": [{"name": "app", "role": "service", "size": "apps-s-1vcpu-1gb", "count": 1}], "url": "https://app-abc.ondigitalocean.app"});
        let answers = [
            ("name", json!("other"), Answer::Replace),
            ("region", json!("ams"), Answer::Replace),
            ("domain", json!(null), Answer::Update),
            ("vpc", json!("id-2"), Answer::Update),
            (
                "components",
                json!([{"name": "app", "role": "service", "size": "apps-s-1vcpu-2gb", "count": 1}]),
                Answer::Update,
            ),
            ("url", json!("https://x.ondigitalocean.app"), Answer::Nothing),
        ];
        check_kind(&super::App, &want, &have, &answers).unwrap();
    }
}
