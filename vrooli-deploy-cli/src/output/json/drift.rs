use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::workspace::Drift;

use crate::output::word;

/// Something that is not as it was deployed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DriftLine {
    /// The resource's key, or the release.
    pub(crate) what: String,
    /// Its kind; of a release none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// `gone`, `changed` or `unknown`.
    pub(crate) change: String,
    /// The fields that differ.
    pub(crate) fields: Vec<String>,
    /// For people.
    pub(crate) reason: String,
}

impl From<&Drift> for DriftLine {
    fn from(drift: &Drift) -> Self {
        Self {
            what: drift.what.clone(),
            kind: drift.kind.clone(),
            change: word(&drift.change),
            fields: drift.fields.clone(),
            reason: drift.reason.clone(),
        }
    }
}
