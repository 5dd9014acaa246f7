use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::workspace::RebuiltThing;

use crate::output::word;

/// A thing of a state that was built again.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RebuiltLine {
    /// A place, a resource's key, a release, or the path and version of a secret.
    pub(crate) what: String,
    /// `taken_over`, `found`, `had_back`, `made_anew`, `ended` or `lost`.
    pub(crate) how: String,
    /// For people.
    pub(crate) detail: String,
}

impl From<&RebuiltThing> for RebuiltLine {
    fn from(thing: &RebuiltThing) -> Self {
        Self { what: thing.what.clone(), how: word(&thing.how), detail: thing.detail.clone() }
    }
}
