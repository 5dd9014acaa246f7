//! What servers are prepared with, written down for other tools: Ansible, and the plain shell.
//!
//! Both come from the same stack that is applied over SSH, leave the same on a server, and can be
//! run again: the second time they change nothing. The record that a host keeps of a stack is not
//! written by them, for it says whose a stack is; a later `deploy` finds everything made and takes
//! it into its record.

mod ansible;
mod script;
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

/// Every kind that is written down, in the order of their work.
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
    /// What the tasks have the server's shell run to look, after the functions of the native half.
    const LOOK: &'static str = "";
    /// The shell function `differs_<WORD>`: reads the items, and prints what would be changed.
    const DIFFERS: &'static str;
}

/// A [`Rendered`] kind whose type is not known.
trait AnyRendered: Sync {
    fn kind(&self) -> ResourceKind;
    fn word(&self) -> &'static str;
    fn fields(&self) -> &'static [&'static str];
    fn tasks(&self) -> &'static str;
    fn handlers(&self) -> &'static str;
    fn look(&self) -> &'static str;
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
    fn fields(&self) -> &'static [&'static str] {
        K::FIELDS
    }
    fn tasks(&self) -> &'static str {
        K::TASKS
    }
    fn handlers(&self) -> &'static str {
        K::HANDLERS
    }
    fn look(&self) -> &'static str {
        K::LOOK
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
