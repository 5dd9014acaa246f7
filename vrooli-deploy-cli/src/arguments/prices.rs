//! `prices`.

use clap::{Args, Subcommand};
use vrooli_deploy_core::names::ProviderName;

use super::estimate_cost::provider;

#[derive(Debug, Subcommand)]
pub(crate) enum Prices {
    /// List the price books
    List,
    /// Show the prices of a book
    Show(PricesShow),
    /// Fetch prices from a provider's own interface; they are asked first from then on
    Refresh(PricesRefresh),
}

#[derive(Debug, Args)]
pub(crate) struct PricesShow {
    /// A book that `prices list` names, or a file
    pub(crate) book: String,
    /// Of this service alone: ec2, droplet, managed-db, …
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Of this region, and those for all regions
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Whose product has this in its name
    #[arg(long, value_name = "TEXT")]
    pub(crate) sku: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PricesRefresh {
    /// Whose: digitalocean. Its token is what `configure do_token` keeps, else DIGITALOCEAN_TOKEN
    #[arg(value_parser = provider)]
    pub(crate) provider: ProviderName,
    /// Another address than the provider's own
    #[arg(long, value_name = "URL")]
    pub(crate) api_url: Option<String>,
}
