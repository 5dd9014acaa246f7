//! The kinds of resources that servers of the user have: one file each, both halves in it.

pub mod backup;
pub mod directories;
pub mod firewall;
pub mod packages;
pub mod postgres;
pub mod redis;
pub mod server;
pub mod user;

use std::collections::BTreeSet;
pub(crate) use vrooli_deploy_core::provider::pure::{kind_name, outputs};

use vrooli_deploy_core::provider::{AnyKind, Op, Permission};
use vrooli_deploy_core::stack::Input;

/// Every kind of this provider.
#[must_use]
pub fn all() -> Vec<&'static dyn AnyKind> {
    vec![
        &server::Server,
        &packages::Packages,
        &user::User,
        &directories::Directories,
        &firewall::Firewall,
        &postgres::Postgres,
        &redis::Redis,
        &backup::Backup,
    ]
}

/// Can it name a database, a role or an extension: letters, digits, `_` and `-`, not starting with a
/// digit, 63 at most?
pub(crate) fn is_sql_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && !matches!(name, "template0" | "template1" | "postgres")
}

/// Can it name a server of a stack on its host: as dependencies are called, in lower case?
pub(crate) fn is_role_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// Is what is wanted other than what is there? What is not known yet is.
pub(crate) fn other(want: &[Input<String>], have: &BTreeSet<String>) -> bool {
    let known = |one: &Input<String>| match one {
        Input::Value(value) => Some(value.clone()),
        Input::Ref(_) => None,
    };
    want.iter().map(known).collect::<Option<BTreeSet<String>>>().as_ref() != Some(have)
}

/// What is done on a server needs to be there, and to be root for what changes it.
pub(crate) fn on_server(op: Op, host: &str) -> Vec<Permission> {
    let of = |action: &str| Permission { action: action.to_owned(), resource: host.to_owned() };
    match op {
        Op::Find | Op::List | Op::Create | Op::Update | Op::Delete => vec![of("ssh:login"), of("sudo:root")],
    }
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::provider::pure::check_all;

    use super::*;

    #[test]
    fn names_are_valid_and_different_and_schemas_are_closed() {
        check_all("bare-metal", &all()).unwrap();
    }
}
