//! `estimate-cost`.

use std::path::PathBuf;

use clap::Args;
use vrooli_deploy_core::cost::Money;
use vrooli_deploy_core::manifest::{SwapConfig, crosswalk};
use vrooli_deploy_core::names::{DependencyName, ProviderName};
use vrooli_deploy_core::workspace::{CostOptions, EstimateOptions};

use super::App;

#[derive(Debug, Args)]
pub(crate) struct EstimateCost {
    #[command(flatten)]
    pub(crate) app: App,
    /// Another provider than the manifest's: aws, digitalocean (do), bare-metal (metal), …
    #[arg(long, value_name = "NAME", value_parser = provider)]
    pub(crate) provider: Option<ProviderName>,
    /// The same app on these too, side by side: aws,digitalocean,bare-metal
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = provider)]
    pub(crate) compare: Vec<ProviderName>,
    /// Another region than the manifest's, by the provider's name
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    #[command(flatten)]
    pub(crate) cost: Cost,
    /// Values file to lay over the manifest (may be given again)
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// Resource to put in the place of another (may be given again)
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) swap: Vec<SwapConfig>,
    /// Dependency to leave out (may be given again)
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
    /// Count optional dependencies too
    #[arg(long)]
    pub(crate) include_optional: bool,
}

/// What a month is priced with, and what it may come to.
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// What users cause: low, expected, high, the name of a usage profile, or a file
    #[arg(long, value_name = "LEVEL|NAME|FILE")]
    pub(crate) usage: Option<String>,
    /// The most that it may cost a month, in US dollars; more ends with 7
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true)]
    pub(crate) max_monthly: Option<Money>,
    /// Another price book: one that `prices list` names, or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) prices: Option<String>,
}

impl Cost {
    pub(crate) fn options(&self) -> CostOptions {
        let mut options = CostOptions::default();
        options.usage.clone_from(&self.usage);
        options.prices.clone_from(&self.prices);
        options.max_monthly = self.max_monthly.map(|money| money.amount);
        options
    }
}

impl Cost {
    /// The same for an estimate.
    pub(crate) fn estimate(&self) -> EstimateOptions {
        let mut options = EstimateOptions::default();
        let CostOptions { usage, prices, max_monthly, .. } = self.options();
        (options.usage, options.prices, options.max_monthly) = (usage, prices, max_monthly);
        options
    }
}

impl EstimateCost {
    pub(crate) fn options(&self) -> EstimateOptions {
        let mut options = self.cost.estimate();
        options.provider.clone_from(&self.provider);
        options.compare.clone_from(&self.compare);
        options.region.clone_from(&self.region);
        options.swaps.clone_from(&self.swap);
        options.include_optional = self.include_optional;
        options.drop.clone_from(&self.drop);
        options
    }
}

pub(super) fn provider(word: &str) -> Result<ProviderName, String> {
    crosswalk::provider(word).map_err(|unknown| format!("{unknown}; {}", unknown.help()))
}

fn dollars(text: &str) -> Result<Money, String> {
    Money::parse(text)
}
