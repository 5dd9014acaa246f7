//! `permissions`.

use clap::Args;

use super::{App, Choices};

#[derive(Debug, Args)]
pub(crate) struct Permissions {
    #[command(flatten)]
    pub(crate) app: App,
    #[command(flatten)]
    pub(crate) choices: Choices,
}
