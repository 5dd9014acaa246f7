//! `validate`.

use std::path::PathBuf;

use clap::Args;
use vrooli_deploy_core::names::{DependencyName, ProviderName};
use vrooli_deploy_core::validate::ValidateOptions;
use vrooli_deploy_core::workspace::EstimateOptions;

use super::App;
use super::estimate_cost::Cost;
use super::estimate_cost::provider;

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) app: App,
    /// Another provider than the manifest's
    #[arg(long, value_name = "NAME", value_parser = provider)]
    pub(crate) provider: Option<ProviderName>,
    /// The fitness that is wanted at least [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) threshold: Option<u8>,
    #[command(flatten)]
    pub(crate) cost: Cost,
    /// Dependency to leave out (may be given again)
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
    /// Count optional dependencies too
    #[arg(long)]
    pub(crate) include_optional: bool,
    /// Vouch for something: a review, a licence, a rule (may be given again)
    #[arg(long, value_name = "WORD")]
    pub(crate) confirm: Vec<String>,
    /// Allow for graphics cards
    #[arg(long)]
    pub(crate) gpu_budget: bool,
    /// Values file to lay over the manifest (may be given again)
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
}

impl Validate {
    /// As the library takes it, on this day.
    pub(crate) fn options(&self, today: jiff::civil::Date) -> ValidateOptions {
        let mut options = ValidateOptions::default();
        options.provider.clone_from(&self.provider);
        options.drop.clone_from(&self.drop);
        options.include_optional = self.include_optional;
        options.fitness.threshold = self.threshold;
        options.fitness.confirmed = self.confirm.iter().cloned().collect();
        options.fitness.gpu_budget = self.gpu_budget;
        options.fitness.today = Some(today);
        options
    }

    /// The budget, as the library takes it.
    pub(crate) fn budget(&self) -> EstimateOptions {
        self.cost.estimate()
    }
}
