//! `configure`: credentials and settings for providers.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Configure {
    /// What to configure: do_token, aws_access_key, aws_region, … (`configure --show` lists them)
    #[arg(required_unless_present = "show")]
    pub(crate) key: Option<String>,
    /// Its value; `-` reads standard input; left out, it is asked for without being shown
    pub(crate) value: Option<String>,
    /// Show what is set, since when, and where it would be read from; never a value
    #[arg(long, conflicts_with = "value")]
    pub(crate) show: bool,
    /// Forget what was configured
    #[arg(long, conflicts_with_all = ["value", "show"])]
    pub(crate) unset: bool,
}
