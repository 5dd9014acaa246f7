//! What may be typed after `orphans`.

use std::path::PathBuf;

use clap::Args;
use vrooli_deploy_core::manifest::SwapConfig;
use vrooli_deploy_core::names::{DependencyName, ProviderName, StackId};
use vrooli_deploy_core::workspace::{DeployOptions, OrphanOptions};

#[derive(Debug, Args)]
pub(crate) struct Orphans {
    /// Of this app only: its name, or, if this workspace has it, its folder, manifest or profile
    #[arg(required_if_eq_any([("delete", "true"), ("adopt", "true")]))]
    pub(crate) app: Option<String>,
    /// At this provider [default: those of the workspace's apps]
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<ProviderName>,
    /// Look in this region, too, by the provider's name (may be given again)
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Vec<String>,
    /// Delete those of the app
    #[arg(long, conflicts_with = "adopt")]
    pub(crate) delete: bool,
    /// Take those of the app that its manifest wants into its state
    #[arg(long)]
    pub(crate) adopt: bool,
    /// With --delete: also what may hold data; NAME is the app's name (on a terminal it is asked for)
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "", requires = "delete")]
    pub(crate) data: Option<String>,
    /// Make this state the owner of what another one owns first; NAME is the app's name, or APP/ENVIRONMENT (on a terminal it is asked for)
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) take_over: Option<String>,
    /// With --adopt: dependency that the app was deployed without (may be given again)
    #[arg(long, value_name = "DEPENDENCY", requires = "adopt")]
    pub(crate) drop: Vec<DependencyName>,
    /// With --adopt: values file that the app was deployed with (may be given again)
    #[arg(long, value_name = "FILE", requires = "adopt")]
    pub(crate) values: Vec<PathBuf>,
    /// With --adopt: resource that the app was deployed with in the place of another (may be given again)
    #[arg(long, value_name = "FROM=TO", requires = "adopt")]
    pub(crate) swap: Vec<SwapConfig>,
    /// With --adopt: the app was deployed with optional dependencies
    #[arg(long, requires = "adopt")]
    pub(crate) include_optional: bool,
}

impl Orphans {
    pub(crate) fn options(&self, stack: Option<StackId>) -> OrphanOptions {
        let mut options = OrphanOptions::default();
        options.provider.clone_from(&self.provider);
        options.regions.extend(self.region.iter().cloned());
        options.stack = stack;
        options
    }

    pub(crate) fn deploy(&self) -> DeployOptions {
        let mut options = DeployOptions::default();
        options.provider.clone_from(&self.provider);
        options.drop.clone_from(&self.drop);
        options.swaps.clone_from(&self.swap);
        options.include_optional = self.include_optional;
        options
    }
}
