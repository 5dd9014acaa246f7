//! `bare-metal.directories`: folders of an app, and whose they are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

/// The kind `bare-metal.directories`.
#[derive(Debug, Clone, Copy)]
pub struct Directories;

/// What is wanted of folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoriesSpec {
    /// The server.
    pub host: String,
    /// Folders by name in the app's own folder; `.` is that itself.
    pub directories: BTreeMap<String, DirectorySpec>,
}

/// One folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectorySpec {
    /// Who may do what in it, in octal digits: `750`.
    pub mode: String,
    /// Is it the app's user's? Else it is root's. Its group is the app's either way.
    #[serde(default)]
    pub writable: bool,
}

/// What is seen of folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DirectoriesObserved {
    /// The server.
    pub host: String,
    /// The app's own folder.
    pub folder: String,
    /// Those that are recorded and there.
    pub directories: BTreeMap<String, DirectoryObserved>,
}

/// One folder as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DirectoryObserved {
    /// `750`.
    pub mode: String,
    /// Is it the app's user's?
    pub writable: bool,
    /// Is its owner root or the app's user, and its group the app's?
    pub owned: bool,
}

impl ResourceKindDef for Directories {
    type Spec<F: Form> = DirectoriesSpec;
    type Observed = DirectoriesObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("bare-metal.directories")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["folder"]
    }
    fn takes_up_data(&self) -> bool {
        true
    }
    fn diff(&self, want: &DirectoriesSpec, have: &DirectoriesObserved) -> Change {
        let DirectoriesSpec { host, directories } = want;
        let both = || directories.iter().filter_map(|(name, want)| Some((want, have.directories.get(name)?)));
        Diff::new()
            .replace("host", *host != have.host)
            .update("directories", !directories.keys().eq(have.directories.keys()))
            .update("mode", both().any(|(want, have)| want.mode != have.mode))
            .update("owner", both().any(|(want, have)| !have.owned || want.writable != have.writable))
            .done()
    }
    fn bill(&self, _: &DirectoriesSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, want: &DirectoriesSpec) -> Vec<Permission> {
        super::on_server(op, &want.host)
    }
    fn ownership(&self, _: &ResourceKey, _: &DirectoriesSpec) -> Ownership {
        Ownership::HostLedger
    }
    fn outputs(&self, _: &PhysicalId, have: &DirectoriesObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("folder", have.folder.clone().into())])
    }
}

mod prepared {
    use super::{Directories, DirectoriesObserved, DirectoriesSpec, DirectoryObserved};
    use crate::ground::{HostSurvey, Place, Prepared};
    use crate::render::Rendered;

    /// The folder itself.
    const ITSELF: &str = ".";

    fn path(place: &Place, name: &str) -> String {
        if name == ITSELF { place.folder.clone() } else { format!("{}/{name}", place.folder) }
    }

    impl Prepared for Directories {
        type Plain = DirectoriesSpec;
        const WORD: &'static str = "directories";
        const RANK: u8 = 3;

        fn host(want: &DirectoriesSpec) -> &str {
            &want.host
        }
        fn name(want: &DirectoriesSpec, place: &Place) -> String {
            // One of its own is called by its path.
            let mut names = want.directories.keys();
            match (names.next(), names.next()) {
                (Some(only), None) => path(place, only),
                _ => place.folder.clone(),
            }
        }
        fn items(want: &DirectoriesSpec, place: &Place) -> Vec<Vec<String>> {
            let item = |(name, directory): (&String, &super::DirectorySpec)| {
                let owner = if directory.writable { place.user.clone() } else { "root".to_owned() };
                vec![path(place, name), directory.mode.clone(), owner, place.user.clone()]
            };
            want.directories.iter().map(item).collect()
        }
        fn observe(want: &DirectoriesSpec, place: &Place, seen: &HostSurvey) -> DirectoriesObserved {
            let observe = |name: &String| {
                let folder = seen.folders.get(&path(place, name))?;
                let writable = folder.owner == place.user;
                let directory = DirectoryObserved {
                    mode: folder.mode.clone(),
                    writable,
                    owned: (writable || folder.owner == "root") && folder.group == place.user,
                };
                Some((name.clone(), directory))
            };
            DirectoriesObserved {
                host: want.host.clone(),
                folder: place.folder.clone(),
                directories: want.directories.keys().filter_map(observe).collect(),
            }
        }
        fn check(want: &DirectoriesSpec, _: &Place) -> Result<(), String> {
            let valid = |name: &str| {
                name == ITSELF
                    || (name.starts_with(|c: char| c.is_ascii_alphanumeric())
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)))
            };
            for (name, directory) in &want.directories {
                if !valid(name) {
                    return Err(format!("`{name}` is no name of a folder"));
                }
                let digits = directory.mode.bytes().all(|b| (b'0'..=b'7').contains(&b));
                if !digits || directory.mode.len() != 3 {
                    return Err(format!("`{}` is no mode of a folder: three octal digits", directory.mode));
                }
            }
            Ok(())
        }
    }

    impl Rendered for Directories {
        const FIELDS: &'static [&'static str] = &["path", "mode", "owner", "group"];
        const TASKS: &'static str = include_str!("rendered/directories.yml");
        const DIFFERS: &'static str = include_str!("rendered/directories.sh");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vrooli_deploy_core::provider::AnyKind;

    use super::*;

    #[test]
    fn differences_are_answered() {
        let want = json!({ "host": "a", "directories": { "data": { "mode": "700", "writable": true } } });
        let diff = |data: Option<Value>| {
            let directories = data.map_or_else(|| json!({}), |data| json!({ "data": data }));
            let have = json!({ "host": "a", "folder": "/f", "directories": directories });
            AnyKind::diff(&Directories, &want, &have).unwrap()
        };
        let seen = json!({ "mode": "700", "writable": true, "owned": true });
        let with = |field: &str, value: Value| {
            let mut seen = seen.clone();
            seen[field] = value;
            diff(Some(seen))
        };
        assert_eq!(diff(Some(seen.clone())), Change::None);
        assert_eq!(diff(None), Change::InPlace(vec!["directories".to_owned()]));
        assert_eq!(with("mode", json!("755")), Change::InPlace(vec!["mode".to_owned()]));
        assert_eq!(with("writable", json!(false)), Change::InPlace(vec!["owner".to_owned()]));
        assert_eq!(with("owned", json!(false)), Change::InPlace(vec!["owner".to_owned()]));
    }
}
