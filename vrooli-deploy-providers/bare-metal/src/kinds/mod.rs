//! The kinds of resources that servers of the user have: one file each, both halves in it.

pub mod directories;
pub mod firewall;
pub mod packages;
pub mod server;
pub mod user;

pub(crate) use vrooli_deploy_core::provider::pure::{kind_name, outputs};
use vrooli_deploy_core::provider::{AnyKind, Op, Permission};

/// Every kind of this provider.
#[must_use]
pub fn all() -> Vec<&'static dyn AnyKind> {
    vec![&server::Server, &packages::Packages, &user::User, &directories::Directories, &firewall::Firewall]
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
