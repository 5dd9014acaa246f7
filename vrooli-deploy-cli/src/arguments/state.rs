//! What may be typed after `state`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vrooli_deploy_core::manifest::SwapConfig;
use vrooli_deploy_core::names::{DependencyName, ProviderName};
use vrooli_deploy_core::workspace::RebuildOptions;

use super::App;

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Build a lost state again from what servers, a cloud's tags or the state folder keep of an app
    Rebuild(StateRebuild),
}

impl State {
    /// The verb as it is typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Rebuild(_) => "state rebuild",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StateRebuild {
    #[command(flatten)]
    pub(crate) app: App,
    /// Make this state the owner of what another one owns; NAME is the app's name, or APP/ENVIRONMENT (on a terminal it is asked for)
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) take_over: Option<String>,
    /// Put what is left of a state that cannot be opened any more aside first
    #[arg(long)]
    pub(crate) set_aside: bool,
    /// Another provider than the manifest's
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<ProviderName>,
    /// The region that it was deployed to, where that is not the manifest's
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Values file that the app was deployed with; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// Dependency that the app was deployed without; may be given several times
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
    /// Resource that the app was deployed with in the place of another; may be given several times
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) swap: Vec<SwapConfig>,
    /// The app was deployed with optional dependencies
    #[arg(long)]
    pub(crate) include_optional: bool,
}

impl StateRebuild {
    pub(crate) fn options(&self, take_over: Option<String>) -> RebuildOptions {
        let mut options = RebuildOptions::default();
        options.take_over = take_over;
        options.provider.clone_from(&self.provider);
        options.region.clone_from(&self.region);
        options.drop.clone_from(&self.drop);
        options.swaps.clone_from(&self.swap);
        options.include_optional = self.include_optional;
        options
    }
}
