//! What may be typed after `backups`.

use clap::{Args, Subcommand};

use super::App;

#[derive(Debug, Subcommand)]
pub(crate) enum Backups {
    /// List the backups of an app's databases and caches, and what came of trying them
    List(App),
    /// Put a backup back in the place of what is there, which is saved first
    Restore(BackupsRestore),
}

impl Backups {
    /// The verb as it is typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "backups list",
            Self::Restore(_) => "backups restore",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BackupsRestore {
    #[command(flatten)]
    pub(crate) app: App,
    /// Its name, as `backups list` shows it
    pub(crate) backup: String,
    /// What it is a backup of, as the app calls it; where several things are saved
    #[arg(long, value_name = "NAME")]
    pub(crate) of: Option<String>,
    /// That what is there may be replaced; NAME is the app's name (on a terminal it is asked for)
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) data: Option<String>,
}
