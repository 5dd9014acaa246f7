//! `preflight`.

use std::path::PathBuf;

use clap::Args;

use super::App;

#[derive(Debug, Args)]
pub(crate) struct Preflight {
    #[command(flatten)]
    pub(crate) app: App,
    /// What was built, a file or a folder: will it run there? (may be given again)
    #[arg(long, value_name = "PATH")]
    pub(crate) artefact: Vec<PathBuf>,
    /// Values file to lay over the manifest (may be given again)
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
}
