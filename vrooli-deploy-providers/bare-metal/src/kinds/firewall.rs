//! `bare-metal.firewall`: ports of a server that are open to everybody.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use crate::ground::FirewallWay;

/// The kind `bare-metal.firewall`.
#[derive(Debug, Clone, Copy)]
pub struct Firewall;

/// What is wanted of a firewall. SSH is always open, and what somebody listened on before we came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallSpec {
    /// The server.
    pub host: String,
    /// TCP ports that are open to everybody.
    pub ports: BTreeSet<u16>,
}

/// What is seen of a firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallObserved {
    /// The server.
    pub host: String,
    /// Who decides what comes in.
    pub way: FirewallWay,
    /// Those of the recorded ports that are open. Of rules of somebody else's nothing is said here:
    /// `preflight` looks at them.
    pub ports: BTreeSet<u16>,
    /// Is it so after the next boot, too?
    pub lasts: bool,
}

impl ResourceKindDef for Firewall {
    type Spec<F: Form> = FirewallSpec;
    type Observed = FirewallObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("bare-metal.firewall")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["host"]
    }
    fn diff(&self, want: &FirewallSpec, have: &FirewallObserved) -> Change {
        let FirewallSpec { host, ports } = want;
        Diff::new()
            .replace("host", *host != have.host)
            .update("ports", *ports != have.ports)
            .update("lasts", !have.lasts)
            .done()
    }
    fn bill(&self, _: &FirewallSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &FirewallSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &FirewallSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &FirewallObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("host", have.host.clone().into())])
    }
}

mod prepared {
    use super::{Firewall, FirewallObserved, FirewallSpec};
    use crate::ground::{FirewallWay, HostSurvey, Place, Prepared};
    use crate::render::Rendered;

    impl Prepared for Firewall {
        type Plain = FirewallSpec;
        const WORD: &'static str = "firewall";
        const RANK: u8 = 4;

        fn host(want: &FirewallSpec) -> &str {
            &want.host
        }
        fn name(_: &FirewallSpec, _: &Place) -> String {
            "firewall".to_owned()
        }
        fn items(want: &FirewallSpec, _: &Place) -> Vec<Vec<String>> {
            want.ports.iter().map(|port| vec![port.to_string()]).collect()
        }
        fn observe(want: &FirewallSpec, _: &Place, seen: &HostSurvey) -> FirewallObserved {
            let way = seen.firewall;
            let ports = match way {
                FirewallWay::Ufw | FirewallWay::Own => want.ports.intersection(&seen.open).copied().collect(),
                FirewallWay::Other => want.ports.clone(),
                FirewallWay::None => Default::default(),
            };
            let lasts = match way {
                FirewallWay::Own => seen.lasts,
                FirewallWay::Ufw | FirewallWay::Other => true,
                FirewallWay::None => false,
            };
            FirewallObserved { host: want.host.clone(), way, ports, lasts }
        }
        fn check(want: &FirewallSpec, _: &Place) -> Result<(), String> {
            if want.ports.contains(&0) { Err("0 is no port".to_owned()) } else { Ok(()) }
        }
    }

    impl Rendered for Firewall {
        const FIELDS: &'static [&'static str] = &["port"];
        const TASKS: &'static str = include_str!("rendered/firewall.yml");
        const HANDLERS: &'static str = include_str!("rendered/firewall.handlers.yml");
        const DIFFERS: &'static str = include_str!("rendered/firewall.sh");

        fn look() -> Option<String> {
            // The rules are made by the same function that native runs take them from.
            let functions = crate::render::script::looking_with("wanted_from()", "take_table_away()");
            Some(format!(
                "{}{functions}{}",
                include_str!("rendered/firewall.look.head.sh"),
                include_str!("rendered/firewall.look.sh")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrooli_deploy_core::provider::AnyKind;

    use super::*;

    #[test]
    fn differences_are_answered() {
        let want = json!({ "host": "a", "ports": [80, 443] });
        let diff = |ports: Value, lasts: bool| {
            let have = json!({ "host": "a", "way": "own", "ports": ports, "lasts": lasts });
            AnyKind::diff(&Firewall, &want, &have).unwrap()
        };
        assert_eq!(diff(json!([443, 80]), true), Change::None);
        assert_eq!(diff(json!([80]), true), Change::InPlace(vec!["ports".to_owned()]));
        assert_eq!(diff(json!([80, 443]), false), Change::InPlace(vec!["lasts".to_owned()]));
    }
}
