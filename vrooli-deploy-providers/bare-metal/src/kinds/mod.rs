//! The kinds of resources that servers of the user have, pure halves: one file each.

pub mod server;

use std::collections::BTreeMap;

use serde_json::Value;
use vrooli_deploy_core::names::{OutputName, ResourceKind};
use vrooli_deploy_core::provider::AnyKind;

/// Every kind of this provider.
#[must_use]
pub fn all() -> Vec<&'static dyn AnyKind> {
    vec![&server::Server]
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
pub(crate) fn outputs<const N: usize>(pairs: [(&'static str, Value); N]) -> BTreeMap<OutputName, Value> {
    pairs.into_iter().filter_map(|(name, value)| Some((OutputName::new(name).ok()?, value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_and_outputs_are_valid() {
        for kind in all() {
            assert!(kind.kind().as_str().starts_with("bare-metal."));
            assert!(kind.output_names().iter().all(|name| OutputName::new(*name).is_ok()));
        }
    }
}
