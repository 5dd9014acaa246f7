//! `swaps apply`.

use clap::Args;
use vrooli_deploy_core::manifest::SwapConfig;

use super::profile::{Edit, ProfileArgument};

#[derive(Debug, Args)]
pub(crate) struct SwapsApply {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// What to put in whose place: `ollama=openrouter` (may be given again)
    #[arg(long = "swap", value_name = "FROM=TO", required = true)]
    pub(crate) swaps: Vec<SwapConfig>,
    #[command(flatten)]
    pub(crate) edit: Edit,
}
