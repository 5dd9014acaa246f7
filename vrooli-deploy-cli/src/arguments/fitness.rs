//! What may be typed after `fitness` and `swaps`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vrooli_deploy_core::cost::Money;
use vrooli_deploy_core::fitness::{AssessOptions, TIERS};
use vrooli_deploy_core::manifest::{SwapConfig, Tier};
use vrooli_deploy_core::names::{DependencyName, ProviderName};
use vrooli_deploy_core::workspace::EstimateOptions;

use super::App;

/// A tier by any of its names.
pub(crate) fn tier(word: &str) -> Result<Tier, String> {
    word.parse().map_err(|unknown: vrooli_deploy_core::manifest::crosswalk::UnknownWord| {
        format!("{unknown}; {}", unknown.help())
    })
}

#[derive(Debug, Args)]
pub(crate) struct Fitness {
    #[command(flatten)]
    pub(crate) app: App,
    #[command(flatten)]
    pub(crate) tier: TierChoice,
    /// Show all tiers; the exit code still speaks of the one
    #[arg(long)]
    pub(crate) all_tiers: bool,
    /// The score that is wanted at least [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) threshold: Option<u8>,
    /// The most that it may cost a month, in US dollars
    #[arg(long, value_name = "USD", value_parser = Money::parse, allow_negative_numbers = true)]
    pub(crate) max_monthly: Option<Money>,
    /// Another price book: one that `prices list` names, or a file
    #[arg(long, value_name = "NAME|FILE", requires = "max_monthly")]
    pub(crate) prices: Option<String>,
    /// What users cause: low, expected, high, the name of a usage profile, or a file
    #[arg(long, value_name = "LEVEL|NAME|FILE", requires = "max_monthly")]
    pub(crate) usage: Option<String>,
    #[command(flatten)]
    pub(crate) assumed: Assumed,
}

#[derive(Debug, Args)]
pub(crate) struct TierChoice {
    /// 1 to 5, or local, desktop, mobile, saas (cloud, web), enterprise [default: the manifest's]
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub(crate) tier: Option<Tier>,
}

/// What is taken for granted while an app is scored.
#[derive(Debug, Args)]
pub(crate) struct Assumed {
    /// Dependency to leave out (may be given again)
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
    /// Resource to put in the place of another (may be given again)
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) swap: Vec<SwapConfig>,
    /// Count optional dependencies, too
    #[arg(long)]
    pub(crate) include_optional: bool,
    /// Vouch for something: a review, a licence, a rule (may be given again)
    #[arg(long, value_name = "WORD")]
    pub(crate) confirm: Vec<String>,
    /// Allow for graphics cards
    #[arg(long)]
    pub(crate) gpu_budget: bool,
    /// Who runs it [default: the manifest's]
    #[arg(long, value_name = "NAME", value_parser = provider)]
    pub(crate) provider: Option<ProviderName>,
    /// Where it runs [default: the manifest's]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Points, weights and thresholds other than the built-in ones
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

fn provider(word: &str) -> Result<ProviderName, String> {
    vrooli_deploy_core::manifest::crosswalk::provider(word)
        .map_err(|unknown| format!("{unknown}; {}", unknown.help()))
}

impl Assumed {
    /// As the library takes it. The policy is read by the command.
    pub(crate) fn options(&self) -> AssessOptions {
        let mut options = AssessOptions::default();
        options.drop.clone_from(&self.drop);
        options.swaps.clone_from(&self.swap);
        options.include_optional = self.include_optional;
        options.fitness.confirmed = self.confirm.iter().cloned().collect();
        options.fitness.gpu_budget = self.gpu_budget;
        options.fitness.provider.clone_from(&self.provider);
        options.fitness.region.clone_from(&self.region);
        options
    }
}

impl Fitness {
    /// The budget, as the library takes it.
    pub(crate) fn budget(&self) -> EstimateOptions {
        let mut options = EstimateOptions::default();
        options.max_monthly = self.max_monthly.map(|money| money.amount);
        options.prices.clone_from(&self.prices);
        options.usage.clone_from(&self.usage);
        options
    }

    /// As the library takes it, for an app that is made for a tier.
    pub(crate) fn options(&self, own: Tier) -> AssessOptions {
        let mut options = self.assumed.options();
        options.tiers = if self.all_tiers { TIERS.to_vec() } else { vec![self.tier.tier.unwrap_or(own)] };
        options.fitness.threshold = self.threshold;
        options
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Swaps {
    /// List the swaps that are known: of an app, or all
    List(SwapsList),
    /// Show what a swap would do to an app, in every tier
    Analyze(Swap),
    /// Show what else a swap forces upon an app
    Cascade(Swap),
    /// Put swaps into a profile; the next deployment uses them
    Apply(super::SwapsApply),
}

#[derive(Debug, Args)]
pub(crate) struct SwapsList {
    /// Folder of a scenario, a manifest file, or the name of an app [default: all known swaps]
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) tier: TierChoice,
}

#[derive(Debug, Args)]
pub(crate) struct Swap {
    #[command(flatten)]
    pub(crate) app: App,
    /// What to replace
    pub(crate) from: DependencyName,
    /// What takes its place
    pub(crate) to: DependencyName,
    #[command(flatten)]
    pub(crate) tier: TierChoice,
    #[command(flatten)]
    pub(crate) assumed: Assumed,
}

impl Swap {
    pub(crate) fn config(&self) -> SwapConfig {
        SwapConfig { from: self.from.clone(), to: self.to.clone() }
    }
}
