//! `swaps apply`.

use clap::Args;
use vrooli_deploy_core::manifest::SwapConfig;
use vrooli_deploy_core::names::DependencyName;

use super::profile::{Edit, ProfileArgument};

#[derive(Debug, Args)]
pub(crate) struct SwapsApply {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// What to replace
    #[arg(requires = "to", required_unless_present = "swaps")]
    pub(crate) from: Option<DependencyName>,
    /// What takes its place
    pub(crate) to: Option<DependencyName>,
    /// What to put in whose place: `ollama=openrouter` (may be given again)
    #[arg(long = "swap", value_name = "FROM=TO")]
    pub(crate) swaps: Vec<SwapConfig>,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

impl SwapsApply {
    /// All of them, in the order in which they were given.
    pub(crate) fn all(&self) -> Vec<SwapConfig> {
        let pair = self.from.clone().zip(self.to.clone()).map(|(from, to)| SwapConfig { from, to });
        pair.into_iter().chain(self.swaps.iter().cloned()).collect()
    }
}
