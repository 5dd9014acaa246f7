//! What servers are prepared with, written down for other tools: Ansible, and the plain shell.
//!
//! Both come from the same stack that is applied over SSH, leave the same on a server, and can be
//! run again: the second time they change nothing. The record that a host keeps of a stack is not
//! written by them, for it says whose a stack is; a later `deploy` finds everything made and takes
//! it into its record.

mod ansible;
pub(crate) mod script;
mod servers;
mod shell;

use serde_json::Value;
use vrooli_deploy_core::names::ResourceKind;
use vrooli_deploy_core::render::Renderer;

pub use ansible::Ansible;
pub use shell::Shell;

use crate::ground::{Place, Prepared};
use crate::kinds::{directories, firewall, packages, user};

/// Every format that a stack of servers is written down in.
#[must_use]
pub fn renderers() -> Vec<&'static dyn Renderer> {
    vec![&Ansible, &Shell]
}

/// Every kind that is written down.
fn kinds() -> [&'static dyn AnyRendered; 4] {
    [&packages::Packages, &user::User, &directories::Directories, &firewall::Firewall]
}

/// What a kind is for tools that are not ours: its items, as the script of the native half reads
/// them, with names, and what makes of them what that half does.
pub(crate) trait Rendered: Prepared {
    /// What the words of an item are called, in their order.
    const FIELDS: &'static [&'static str];
    /// Ansible tasks; the items are in the variable `vrooli_deploy_<WORD>`.
    const TASKS: &'static str;
    /// Ansible handlers of those tasks.
    const HANDLERS: &'static str = "";
    /// What the tasks have the server's shell run to look at more than modules can see.
    fn look() -> Option<String> {
        None
    }
    /// The shell function `differs_<WORD>`: reads the items, and prints what would be changed.
    const DIFFERS: &'static str;
}

/// A [`Rendered`] kind whose type is not known.
trait AnyRendered: Sync {
    fn kind(&self) -> ResourceKind;
    fn word(&self) -> &'static str;
    /// In which order kinds are worked on.
    fn rank(&self) -> u8;
    fn fields(&self) -> &'static [&'static str];
    fn tasks(&self) -> &'static str;
    fn handlers(&self) -> &'static str;
    fn look(&self) -> Option<String>;
    fn differs(&self) -> &'static str;
    /// The server of a resource and its items, checked.
    fn items(&self, spec: &Value, place: &Place) -> Result<(String, Vec<Vec<String>>), String>;
}

impl<K: Rendered> AnyRendered for K {
    fn kind(&self) -> ResourceKind {
        vrooli_deploy_core::provider::ResourceKindDef::kind(self)
    }
    fn word(&self) -> &'static str {
        K::WORD
    }
    fn rank(&self) -> u8 {
        K::RANK
    }
    fn fields(&self) -> &'static [&'static str] {
        K::FIELDS
    }
    fn tasks(&self) -> &'static str {
        K::TASKS
    }
    fn handlers(&self) -> &'static str {
        K::HANDLERS
    }
    fn look(&self) -> Option<String> {
        K::look()
    }
    fn differs(&self) -> &'static str {
        K::DIFFERS
    }
    fn items(&self, spec: &Value, place: &Place) -> Result<(String, Vec<Vec<String>>), String> {
        let want: K::Plain = serde_json::from_value(spec.clone()).map_err(|error| error.to_string())?;
        K::check(&want, place)?;
        let items = K::items(&want, place);
        // What parts words and items in a script, and what an editor would not show.
        let odd = |word: &&String| word.contains([script::SPLIT, '\n']) || word.chars().any(char::is_control);
        if let Some(word) = items.iter().flatten().find(odd) {
            return Err(format!("{word:?} cannot be written into a script"));
        }
        if items.iter().any(|item| item.len() != K::FIELDS.len()) {
            return Err("an item has other fields than its kind".to_owned());
        }
        Ok((K::host(&want).to_owned(), items))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::json;
    use vrooli_deploy_core::diagnostics::{Code, rules};
    use vrooli_deploy_core::names::{ResourceKey, StackId};
    use vrooli_deploy_core::provider::LowerOptions;
    use vrooli_deploy_core::render::FileTree;
    use vrooli_deploy_core::requirements::Requirements;
    use vrooli_deploy_core::stack::{Resource, Stack};

    use super::*;

    fn stack(hosts: &[&str]) -> Stack {
        let id: StackId = serde_json::from_value(json!({ "app": "shop", "environment": "staging" })).unwrap();
        let requirements: Requirements = serde_json::from_value(json!({
            "app": "shop", "services": {}, "resources": [], "dropped": [], "data_volume": true
        }))
        .unwrap();
        let roles = ["app", "app", "database"].iter().cycle();
        let servers: Vec<Value> = hosts
            .iter()
            .zip(roles)
            .map(|(host, role)| json!({ "host": host, "role": role, "monthly_usd": "1" }))
            .collect();
        let options = LowerOptions {
            infrastructure: serde_json::from_value(json!({ "servers": servers })).unwrap(),
            ..LowerOptions::default()
        };
        crate::lower::lower(&id, &requirements, &options).value.unwrap()
    }

    fn files(renderer: &dyn Renderer, stack: &Stack) -> FileTree {
        renderer.render(stack).into_result().unwrap().0
    }

    /// `UPDATE=1` writes them anew. Functions that hosts are changed with are tested where they run.
    #[test]
    fn the_files_are_those_that_are_checked_in() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/render");
        let stack = stack(&["web1.example.com", "web2.example.com", "2001:db8::7"]);
        for renderer in renderers() {
            let mut there = Vec::new();
            for (path, file) in files(renderer, &stack).files() {
                let text = file.text.replace(&script::functions(), "# […]\n");
                let at = golden.join(renderer.format()).join(path.as_str());
                if std::env::var_os("UPDATE").is_some() {
                    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
                    std::fs::write(&at, &text).unwrap();
                }
                let checked_in = std::fs::read_to_string(&at).unwrap_or_default();
                assert!(checked_in == text, "{} differs: run with UPDATE=1 and look", at.display());
                there.push(path.to_string());
            }
            assert!(there.iter().any(|path| path == "README.md"), "{there:?}");
        }
    }

    fn said(stack: &Stack) -> Vec<Code> {
        let said = Ansible.render(stack).diagnostics;
        assert_eq!(
            said,
            Shell
                .render(stack)
                .diagnostics
                .into_iter()
                .map(|mut one| {
                    one.message = one.message.replace("as shell", "as ansible");
                    one
                })
                .collect::<Vec<_>>()
        );
        said.iter().map(|diagnostic| diagnostic.code).collect()
    }

    #[test]
    fn what_cannot_be_written_is_refused_and_what_is_not_known_is_named() {
        let mut odd = stack(&["web1"]);
        let key = |text: &str| ResourceKey::new(text).unwrap();
        let packages = odd.resources.get_mut(&key("packages/web1")).unwrap();
        packages.spec["packages"] = json!(["$(reboot)"]);
        assert_eq!(said(&odd), [rules::CANNOT_RENDER]);
        packages_of(&mut odd, json!(["curl"]));
        odd.resources.get_mut(&key("user/web1")).unwrap().spec["host"] = json!("-oProxyCommand=x");
        assert_eq!(said(&odd), [rules::CANNOT_RENDER]);
        odd.resources.remove(&key("user/web1"));
        let kind = ResourceKind::new("bare-metal.unheard-of").unwrap();
        let unknown =
            Resource { kind, spec: json!({ "host": "web1" }), after: Default::default(), holds_data: false };
        odd.resources.insert(key("unheard-of/web1"), unknown);
        assert_eq!(said(&odd), [rules::NOT_RENDERED]);
        let readme = files(&Shell, &odd).text("README.md").unwrap().to_owned();
        assert!(readme.contains("- `unheard-of/web1` (bare-metal.unheard-of)"), "{readme}");
    }

    fn packages_of(stack: &mut Stack, packages: Value) {
        let key = ResourceKey::new("packages/web1").unwrap();
        stack.resources.get_mut(&key).unwrap().spec["packages"] = packages;
    }

    proptest! {
        /// The same stack gives the same bytes, and every server has its script, whatever it is called.
        #[test]
        fn same_stack_same_bytes(hosts in proptest::collection::btree_set("[a-z0-9:][a-z0-9.:_-]{0,20}", 1..4)) {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            let stack = stack(&hosts);
            for renderer in renderers() {
                let checked = renderer.render(&stack);
                prop_assert_eq!(&checked.diagnostics, &Vec::new());
                prop_assert_eq!(checked.value, renderer.render(&stack).value);
            }
            let servers = stack.resources.keys().filter(|key| key.as_str().starts_with("server/")).count();
            let scripts = Shell.render(&stack).value.unwrap();
            let scripts = scripts.files().filter(|(_, file)| file.executable).count();
            prop_assert_eq!(scripts, servers);
        }
    }
}
