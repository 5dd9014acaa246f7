//! The kinds of resources that servers of the user have, pure halves: one file each.

pub mod server;

use vrooli_deploy_core::provider::AnyKind;
pub(crate) use vrooli_deploy_core::provider::pure::{kind_name, outputs};

/// Every kind of this provider.
#[must_use]
pub fn all() -> Vec<&'static dyn AnyKind> {
    vec![&server::Server]
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
