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

use vrooli_deploy_core::names::{OutputName, ResourceKind};
use vrooli_deploy_core::provider::AnyKind;

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

/// A kind's name, which is a literal of ours and valid; see the test.
pub(crate) fn kind_name(name: &'static str) -> ResourceKind {
    match ResourceKind::new(name) {
        Ok(kind) => kind,
        // Names are checked by a test; there is no better answer at run time.
        Err(error) => unreachable!("{error}"),
    }
}

/// Outputs by name; the names are literals of ours.
pub(crate) fn outputs<const N: usize>(
    pairs: [(&'static str, serde_json::Value); N],
) -> std::collections::BTreeMap<OutputName, serde_json::Value> {
    pairs.into_iter().filter_map(|(name, value)| Some((OutputName::new(name).ok()?, value))).collect()
}

/// The last segment of a key, which names the folder of the resource.
#[cfg(feature = "native")]
pub(crate) fn folder_name(key: &vrooli_deploy_core::names::ResourceKey) -> &str {
    key.as_str().rsplit('/').next().unwrap_or_else(|| key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_and_outputs_are_valid_and_different() {
        let mut kinds = std::collections::BTreeSet::new();
        for kind in all() {
            assert!(kinds.insert(kind.kind()), "{}", kind.kind());
            for output in kind.output_names() {
                assert!(OutputName::new(*output).is_ok(), "{output}");
            }
        }
        assert_eq!(kinds.len(), 4);
    }
}
