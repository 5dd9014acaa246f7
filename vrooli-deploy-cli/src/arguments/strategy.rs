//! How one release follows another, as flags.

use std::time::Duration;

use clap::{Args, ValueEnum};
use vrooli_deploy_core::release::verdict::Inconclusive;
use vrooli_deploy_core::workspace::{DeployOptions, StrategyOptions};

#[derive(Debug, Args)]
#[command(next_help_heading = "How the new release takes over")]
pub(crate) struct Strategy {
    /// blue-green, rolling or canary [default: the manifest's]
    #[arg(long, value_name = "NAME")]
    pub(crate) strategy: Option<String>,
    /// Percent of requests that a canary gets; several, rising, one after the other: 10,50
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) canary_percent: Vec<u8>,
    /// Compare the new release with the old one for so long, and go back if it is worse: 30s, 5m
    #[arg(long, value_name = "DURATION", value_parser = vrooli_deploy_core::duration::parse)]
    pub(crate) watch: Option<Duration>,
    /// Do not wait for the watch: the supervisor commits or goes back (exit 8)
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Hold until `promote` or `abort`, with the release before it kept (exit 8)
    #[arg(long)]
    pub(crate) hold: bool,
    /// Instances of a service that are exchanged at a time (rolling)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
    /// Instances beyond a service's number meanwhile; 0: in place (rolling)
    #[arg(long, value_name = "N")]
    pub(crate) surge: Option<u32>,
    /// Instances that may be missing meanwhile (rolling)
    #[arg(long, value_name = "N")]
    pub(crate) max_unavailable: Option<u32>,
    /// What to do when a watch saw too little [default: the manifest's, else probe]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) inconclusive: Option<WhenInconclusive>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenInconclusive {
    /// Ask the new release itself
    Probe,
    /// Go on watching, then fail
    Extend,
    /// A person decides
    Hold,
    /// Go back
    Fail,
}

impl Strategy {
    pub(crate) fn apply(&self, options: &mut DeployOptions) {
        options.strategy.clone_from(&self.strategy);
        options.no_wait = self.no_wait;
        let mut chosen = StrategyOptions::default();
        chosen.steps.clone_from(&self.canary_percent);
        chosen.batch = self.batch;
        chosen.surge = self.surge;
        chosen.max_unavailable = self.max_unavailable;
        chosen.hold = self.hold;
        chosen.watch = self.watch;
        chosen.inconclusive = self.inconclusive.map(|what| match what {
            WhenInconclusive::Probe => Inconclusive::Probe,
            WhenInconclusive::Extend => Inconclusive::Extend,
            WhenInconclusive::Hold => Inconclusive::Hold,
            WhenInconclusive::Fail => Inconclusive::Fail,
        });
        options.strategy_options = chosen;
    }
}
