//! `bare-metal.user`: the user that an app's services run as.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

/// The kind `bare-metal.user`.
#[derive(Debug, Clone, Copy)]
pub struct User;

/// What is wanted of a user: that it is there, with a group of its own. Its name and its home follow
/// from the stack's; nobody can log in as it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// The server.
    pub host: String,
}

/// What is seen of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserObserved {
    /// The server.
    pub host: String,
    /// Its name.
    pub name: String,
    /// Is it there, and ours?
    pub present: bool,
    /// Is its home the app's folder?
    pub home: bool,
    /// Can nobody log in as it?
    pub locked: bool,
}

impl ResourceKindDef for User {
    type Spec<F: Form> = UserSpec;
    type Observed = UserObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("bare-metal.user")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn diff(&self, want: &UserSpec, have: &UserObserved) -> Change {
        let UserSpec { host } = want;
        Diff::new()
            .replace("host", *host != have.host)
            .update("present", !have.present)
            .update("home", have.present && !have.home)
            .update("shell", have.present && !have.locked)
            .done()
    }
    fn bill(&self, _: &UserSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &UserSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &UserSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &UserObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("name", have.name.clone().into())])
    }
}

#[cfg(feature = "native")]
mod native {
    use super::{User, UserObserved, UserSpec};
    use crate::ground::{HostSurvey, Place, Prepared};

    impl Prepared for User {
        type Plain = UserSpec;
        const WORD: &'static str = "user";
        const RANK: u8 = 2;

        fn host(want: &UserSpec) -> &str {
            &want.host
        }
        fn name(_: &UserSpec, place: &Place) -> String {
            format!("user/{}", place.user)
        }
        fn items(_: &UserSpec, place: &Place) -> Vec<Vec<String>> {
            vec![vec![place.user.clone(), place.folder.clone()]]
        }
        fn observe(want: &UserSpec, place: &Place, seen: &HostSurvey) -> UserObserved {
            let mark = format!("vrooli-deploy {}", place.name);
            let ours = seen.user.as_ref().filter(|user| user.comment == mark);
            UserObserved {
                host: want.host.clone(),
                name: place.user.clone(),
                present: ours.is_some(),
                home: ours.is_some_and(|user| user.home == place.folder),
                locked: ours.is_some_and(|user| user.shell.ends_with("/nologin")),
            }
        }
        fn check(_: &UserSpec, _: &Place) -> Result<(), String> {
            Ok(())
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
        let diff = |field: &str| {
            let mut have =
                json!({ "host": "a", "name": "vd-a", "present": true, "home": true, "locked": true });
            if !field.is_empty() {
                have[field] = json!(false);
            }
            AnyKind::diff(&User, &json!({ "host": "a" }), &have).unwrap()
        };
        assert_eq!(diff(""), Change::None);
        for (field, said) in [("present", "present"), ("home", "home"), ("locked", "shell")] {
            assert_eq!(diff(field), Change::InPlace(vec![said.to_owned()]));
        }
    }
}
