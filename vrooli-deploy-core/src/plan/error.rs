use crate::diagnostics::Code;
use crate::names::{OutputName, ResourceKey, ResourceKind};
use crate::provider::{ProviderError, QuotaReading};

use super::codes;

/// No plan could be made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The provider has no such kind, or the spec does not fit it.
    #[error("`{key}` cannot be planned")]
    Spec {
        /// Which resource.
        key: ResourceKey,
        /// What the provider says.
        source: ProviderError,
    },
    /// The provider does not make these kinds, or does not know them.
    #[error("the provider does not make these kinds: {}", .kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Kinds {
        /// All of them.
        kinds: Vec<ResourceKind>,
        /// What the provider says of the first.
        source: ProviderError,
    },
    /// Resources or steps wait for each other.
    #[error("these need each other in a circle: {}", .path.join(" → "))]
    Cycle {
        /// The way around, its first stop repeated at its end.
        path: Vec<String>,
    },
    /// A resource needs one that is not in the stack.
    #[error("`{key}` needs `{missing}`, which is not in the stack")]
    Missing {
        /// Who needs it.
        key: ResourceKey,
        /// What is missing.
        missing: ResourceKey,
    },
    /// A resource refers to an output that its source does not have.
    #[error("`{key}` refers to output `{output}` of `{of}`, which has: {known}")]
    Output {
        /// Who refers.
        key: ResourceKey,
        /// To whom.
        of: ResourceKey,
        /// To what.
        output: OutputName,
        /// What there is.
        known: String,
    },
    /// It could not be seen whether a resource is there, and making it again might make a second.
    #[error("whether `{key}` is there could not be seen: {why}")]
    Unseen {
        /// Which.
        key: ResourceKey,
        /// Why not.
        why: String,
    },
    /// The change would take data with it.
    #[error("`{key}` holds data and would have to be made anew ({})", .fields.join(", "))]
    Protected {
        /// Which.
        key: ResourceKey,
        /// Fields that cannot be changed in place.
        fields: Vec<String>,
    },
    /// Old and new have the same name, so the old one must go first.
    #[error("`{key}` must be made anew ({}), and two of it cannot stand side by side", .fields.join(", "))]
    Downtime {
        /// Which.
        key: ResourceKey,
        /// Fields that cannot be changed in place.
        fields: Vec<String>,
    },
    /// Nothing would tie the object to its stack (P10).
    #[error("nothing would tie `{key}` ({kind}) to its stack: {why}")]
    Ownership {
        /// Which.
        key: ResourceKey,
        /// Its kind.
        kind: ResourceKind,
        /// What is wrong.
        why: String,
    },
    /// The account may not have so much of what is to be made.
    #[error("the account may not have so much: {}", .over.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Quotas {
        /// All limits that leave too little room.
        over: Vec<QuotaReading>,
    },
    /// Resources alone were asked for, and what the app runs on would be deleted under it.
    #[error("what the app runs on would be deleted: {}", .keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    EndsApp {
        /// What would go.
        keys: Vec<ResourceKey>,
    },
    /// Two steps have the same id, or one waits for a step that is not there.
    #[error("{message}")]
    Unsound {
        /// What is wrong.
        message: String,
    },
    /// The plan cannot be written as JSON.
    #[error("the plan cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl PlanError {
    /// The message's code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Spec { .. } | Self::Kinds { .. } => codes::SPEC,
            Self::Cycle { .. } => codes::CYCLE,
            Self::Missing { .. } | Self::Output { .. } => codes::REFERENCE,
            Self::Unseen { .. } => codes::UNSEEN,
            Self::Protected { .. } => codes::PROTECTED,
            Self::Downtime { .. } => codes::DOWNTIME,
            Self::Ownership { .. } => codes::OWNERSHIP,
            Self::Quotas { .. } => codes::QUOTAS,
            Self::EndsApp { .. } => codes::ENDS_APP,
            Self::Unsound { .. } | Self::Json(_) => codes::UNSOUND,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Spec { source, .. } | Self::Kinds { source, .. } => source.help().map(ToOwned::to_owned),
            Self::Unseen { .. } => Some("try again when the provider can be reached".to_owned()),
            Self::Protected { .. } => Some(
                "keep these fields as they are, or move the data yourself and remove the resource by name"
                    .to_owned(),
            ),
            Self::Downtime { .. } => {
                Some("keep these fields as they are, or deploy to another environment (`--env`) and `destroy` this one".to_owned())
            }
            Self::Quotas { over } => {
                Some(over.iter().map(|quota| quota.raise.as_str()).collect::<Vec<_>>().join("; "))
            }
            Self::EndsApp { .. } => Some(
                "deploy without `--infra-only`, which moves the app first; or `destroy` it before".to_owned(),
            ),
            Self::Cycle { .. }
            | Self::Missing { .. }
            | Self::Output { .. }
            | Self::Ownership { .. }
            | Self::Unsound { .. }
            | Self::Json(_) => None,
        }
    }
}
