//! `estimate-cost`.

use clap::Args;
use vrooli_deploy_core::cost::Money;
use vrooli_deploy_core::manifest::crosswalk;
use vrooli_deploy_core::names::{DependencyName, ProviderName};
use vrooli_deploy_core::workspace::EstimateOptions;

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
    /// What users cause: low, expected, high, the name of a usage profile, or a file
    #[arg(long, value_name = "LEVEL|NAME|FILE")]
    pub(crate) usage: Option<String>,
    /// The most that it may cost a month, in US dollars; more ends with 7
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true)]
    pub(crate) max_monthly: Option<Money>,
    /// Another price book: one that `prices list` names, or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) prices: Option<String>,
    /// Dependency to leave out (may be given again)
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
    /// Count optional dependencies too
    #[arg(long)]
    pub(crate) include_optional: bool,
}

impl EstimateCost {
    pub(crate) fn options(&self) -> EstimateOptions {
        let mut options = EstimateOptions::default();
        options.provider.clone_from(&self.provider);
        options.compare.clone_from(&self.compare);
        options.usage.clone_from(&self.usage);
        options.prices.clone_from(&self.prices);
        options.max_monthly = self.max_monthly.map(|money| money.amount);
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
