//! `bare-metal.packages`: packages of the system that are installed for a stack.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

/// The kind `bare-metal.packages`.
#[derive(Debug, Clone, Copy)]
pub struct Packages;

/// What is wanted of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackagesSpec {
    /// The server.
    pub host: String,
    /// Names of packages. What is installed beside them is nobody's business.
    pub packages: BTreeSet<String>,
}

/// What is seen of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackagesObserved {
    /// The server.
    pub host: String,
    /// Those that are recorded and installed, and their versions.
    pub packages: BTreeMap<String, String>,
    /// Those that are older than when they were last seen to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub older: BTreeSet<String>,
}

/// What a package would start by itself when it is installed, and how it is kept from that.
#[derive(Debug, Default, Deserialize)]
struct Quiet {
    /// A unit that is not to be started, if any.
    #[serde(default)]
    unit: String,
    /// A file that keeps it from that, if any, and what stands in it.
    #[serde(default)]
    file: String,
    #[serde(default)]
    text: String,
}

#[derive(Debug, Default, Deserialize)]
struct Knowledge {
    quiet: BTreeMap<String, Quiet>,
    /// Packages that do the same as one, and are no reason to install it.
    instead: BTreeMap<String, Vec<String>>,
    /// Packages that come with another one, where the system has them.
    beside: BTreeMap<String, Vec<String>>,
}

static KNOWN: LazyLock<Knowledge> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/ground.json")).unwrap_or_default());

impl ResourceKindDef for Packages {
    type Spec<F: Form> = PackagesSpec;
    type Observed = PackagesObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("bare-metal.packages")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["host"]
    }
    fn diff(&self, want: &PackagesSpec, have: &PackagesObserved) -> Change {
        let PackagesSpec { host, packages } = want;
        Diff::new()
            .replace("host", *host != have.host)
            .update("packages", !packages.iter().eq(have.packages.keys()))
            .update("versions", !have.older.is_empty())
            .done()
    }
    fn bill(&self, _: &PackagesSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &PackagesSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &PackagesSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &PackagesObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("host", have.host.clone().into())])
    }
}

mod prepared {
    use super::{KNOWN, Packages, PackagesObserved, PackagesSpec, Quiet};
    use std::collections::BTreeMap;

    use crate::ground::{HostSurvey, Place, Prepared};
    use crate::render::Rendered;

    impl Prepared for Packages {
        type Plain = PackagesSpec;
        const WORD: &'static str = "packages";
        const RANK: u8 = 1;

        fn host(want: &PackagesSpec) -> &str {
            &want.host
        }
        fn name(_: &PackagesSpec, _: &Place) -> String {
            "packages".to_owned()
        }
        fn items(want: &PackagesSpec, _: &Place) -> Vec<Vec<String>> {
            let item = |name: &String| {
                let quiet = KNOWN.quiet.get(name);
                let word =
                    |word: fn(&Quiet) -> &String| quiet.map_or_else(String::new, |quiet| word(quiet).clone());
                let names = |of: &BTreeMap<String, Vec<String>>| {
                    of.get(name).map(|names| names.join(" ")).unwrap_or_default()
                };
                vec![
                    name.clone(),
                    word(|quiet| &quiet.unit),
                    word(|quiet| &quiet.file),
                    word(|quiet| &quiet.text),
                    names(&KNOWN.instead),
                    names(&KNOWN.beside),
                ]
            };
            want.packages.iter().map(item).collect()
        }
        fn observe(want: &PackagesSpec, _: &Place, seen: &HostSurvey) -> PackagesObserved {
            PackagesObserved {
                host: want.host.clone(),
                packages: seen.packages.clone(),
                older: seen.older.clone(),
            }
        }
        fn check(want: &PackagesSpec, _: &Place) -> Result<(), String> {
            // As Debian's policy has it: lower-case letters, digits, `+`, `-`, `.`.
            let valid = |name: &String| {
                name.len() > 1
                    && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
                    && name != "end"
            };
            match want.packages.iter().find(|name| !valid(name)) {
                Some(name) => Err(format!("`{name}` is no name of a package")),
                None => Ok(()),
            }
        }
    }

    impl Rendered for Packages {
        const FIELDS: &'static [&'static str] = &["name", "unit", "file", "text", "others", "beside"];
        const TASKS: &'static str = include_str!("rendered/packages.yml");
        const DIFFERS: &'static str = include_str!("rendered/packages.sh");

        fn look() -> Option<String> {
            let functions = crate::render::script::looking_with("is_installed()", "list_installed()");
            Some(format!(
                "{}{functions}{}",
                include_str!("rendered/packages.look.head.sh"),
                include_str!("rendered/packages.look.sh")
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
    fn what_lacks_and_what_is_not_wanted_any_more_differs() {
        let want = json!({ "host": "a", "packages": ["curl", "nftables"] });
        let diff = |packages: Value| {
            AnyKind::diff(&Packages, &want, &json!({ "host": "a", "packages": packages })).unwrap()
        };
        let changed = Change::InPlace(vec!["packages".to_owned()]);
        assert_eq!(diff(json!({ "curl": "7", "nftables": "1" })), Change::None);
        assert_eq!(diff(json!({ "curl": "7" })), changed);
        let older = json!({ "host": "a", "packages": { "curl": "7", "nftables": "1" }, "older": ["curl"] });
        assert_eq!(
            AnyKind::diff(&Packages, &want, &older).unwrap(),
            Change::InPlace(vec!["versions".to_owned()])
        );
        assert!(KNOWN.quiet.contains_key("postgresql") && KNOWN.quiet.contains_key("redis-server"));
        assert!(KNOWN.instead.contains_key("docker.io"));
        assert_eq!(diff(json!({ "curl": "7", "nftables": "1", "jq": "1" })), changed);
    }
}
