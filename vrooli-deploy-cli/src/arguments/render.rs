//! `render`.

use std::path::PathBuf;

use clap::Args;
use vrooli_deploy_core::names::{DependencyName, ImageRef, ProviderName};
use vrooli_deploy_core::workspace::RenderOptions;

use super::App;

#[derive(Debug, Args)]
pub(crate) struct Render {
    #[command(flatten)]
    pub(crate) app: App,
    /// As what: ansible, shell, dockerfile, … (a provider's own formats)
    #[arg(long, value_name = "NAME")]
    pub(crate) format: String,
    /// Folder to write into; it is made
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Write over files that are not as this program wrote them
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Another provider than the manifest's
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<ProviderName>,
    /// Dependency to leave out (may be given again)
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
    /// Values file to lay over the manifest (may be given again)
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// Image to build or run in, by its digest, for a Dockerfile (may be given again)
    #[arg(long, value_name = "NAME=REPOSITORY@DIGEST", value_parser = super::base_image)]
    pub(crate) base_image: Vec<(String, ImageRef)>,
    /// Optional dependencies too
    #[arg(long)]
    pub(crate) include_optional: bool,
}

impl Render {
    pub(crate) fn options(&self) -> RenderOptions {
        let mut options = RenderOptions::default();
        options.provider.clone_from(&self.provider);
        options.include_optional = self.include_optional;
        options.drop.clone_from(&self.drop);
        options.base_images.extend(self.base_image.iter().cloned());
        options
    }
}
