//! The kinds of resources that this machine has: one file each, both halves in it.

#[cfg(feature = "native")]
mod marker;
#[cfg(feature = "native")]
pub mod numbers;
#[cfg(feature = "native")]
pub(crate) mod password;
pub mod port;
pub mod postgres;
pub mod redis;
#[cfg(feature = "native")]
mod resident;
#[cfg(feature = "native")]
pub(crate) mod vessel;
pub mod volume;
mod way;

use vrooli_deploy_core::provider::AnyKind;
pub(crate) use vrooli_deploy_core::provider::pure::{kind_name, outputs};

pub use port::Port;
pub use postgres::Postgres;
pub use redis::Redis;
pub use volume::Volume;
pub use way::Way;

/// Every kind of this provider, pure halves.
#[must_use]
pub fn all() -> Vec<&'static dyn AnyKind> {
    vec![&Port, &Volume, &Postgres, &Redis]
}

/// What the handlers of this machine work with.
#[cfg(feature = "native")]
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where everything lies.
    pub layout: crate::layout::Layout,
    /// Where passwords are kept.
    pub secrets: std::sync::Arc<dyn vrooli_deploy_core::secrets::SecretStore>,
    /// Whether what runs outlives this program.
    pub supervision: crate::process::Supervision,
    /// How private servers are run.
    pub servers: crate::servers::ServerOptions,
}

/// The path under which a secret of a resource is kept: `<app>/<environment>/<key>/<name>`.
#[cfg(feature = "native")]
pub(crate) fn secret_path(
    stack: &vrooli_deploy_core::names::StackId,
    key: &vrooli_deploy_core::names::ResourceKey,
    name: &str,
) -> String {
    format!("{stack}/{key}/{name}")
}

/// What this provider calls a resource. Relative to the workspace, so it stays the same
/// when the state folder is moved.
#[cfg(feature = "native")]
pub(crate) fn physical_id(
    stack: &vrooli_deploy_core::names::StackId,
    key: &vrooli_deploy_core::names::ResourceKey,
) -> vrooli_deploy_core::provider::PhysicalId {
    vrooli_deploy_core::provider::PhysicalId(format!("{stack}/{key}"))
}

/// Is something owned by the state that asks, or by the one whose folder this is? A folder
/// whose state was lost and made anew keeps its own id.
#[cfg(feature = "native")]
pub(crate) fn is_owned(layout: &crate::layout::Layout, asking: uuid::Uuid, owner: uuid::Uuid) -> bool {
    owner == asking || layout.known_id() == Some(owner)
}

/// What another state owns is not touched.
#[cfg(feature = "native")]
pub(crate) fn anothers(
    stack: &vrooli_deploy_core::names::StackId,
    key: &vrooli_deploy_core::names::ResourceKey,
    owner: uuid::Uuid,
) -> vrooli_deploy_core::provider::ProviderError {
    use vrooli_deploy_core::provider::{ErrorKind, ProviderError};
    ProviderError::new(ErrorKind::Conflict, format!("`{key}` of {stack} belongs to another state ({owner})"))
        .with_help("use the state folder that it was made from; nothing was changed")
}

/// The last segment of a key, which names the folder of the resource.
#[cfg(feature = "native")]
pub(crate) fn folder_name(key: &vrooli_deploy_core::names::ResourceKey) -> &str {
    key.as_str().rsplit('/').next().unwrap_or_else(|| key.as_str())
}

#[cfg(test)]
mod tests {
    use vrooli_deploy_core::provider::pure::check_all;

    use super::*;

    #[test]
    fn names_are_valid_and_different_and_schemas_are_closed() {
        check_all("local", &all()).unwrap();
    }
}
