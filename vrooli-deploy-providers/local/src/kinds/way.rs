//! How a private server is run: from installed programs, or in a container.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a private server is run. One that was made in one way stays with it: its data is
/// that way's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the programs that are installed on this machine.
    #[default]
    Programs,
    /// In a container of an engine on this machine.
    Docker,
}

impl Way {
    /// For serde: states that know nothing of ways are of the first.
    pub(crate) fn is_programs(&self) -> bool {
        *self == Self::Programs
    }
}
