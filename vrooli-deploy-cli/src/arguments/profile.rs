//! `profile`: saved choices for an app.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vrooli_deploy_core::manifest::{Tier, crosswalk};
use vrooli_deploy_core::names::ProfileName;

use super::ManifestFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum Profile {
    /// Make a profile for an app
    Create(ProfileCreate),
    /// List the profiles of this workspace
    #[command(visible_alias = "ls")]
    List,
    /// Show a profile, or an earlier version of it
    Show(ProfileShow),
    /// Set a key: provider, region, env, size.compute, … (`profile keys` lists them)
    Set(ProfileSet),
    /// Take back what a key set
    Unset(ProfileUnset),
    /// Set several keys at once, as one version
    Update(ProfileUpdate),
    /// List the keys that can be set
    Keys,
    /// List the versions of a profile
    Versions(ProfileArgument),
    /// Show what differs between two versions
    Diff(ProfileDiff),
    /// Make a new version that is equal to an older one
    Rollback(ProfileRollback),
    /// Print a profile as a file
    Export(ProfileExport),
    /// Make a profile of a file
    Import(ProfileImport),
    /// Delete a profile; apps that it was used for stay
    Delete(ProfileDelete),
}

impl Profile {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "profile create",
            Self::List => "profile list",
            Self::Show(_) => "profile show",
            Self::Set(_) => "profile set",
            Self::Unset(_) => "profile unset",
            Self::Update(_) => "profile update",
            Self::Keys => "profile keys",
            Self::Versions(_) => "profile versions",
            Self::Diff(_) => "profile diff",
            Self::Rollback(_) => "profile rollback",
            Self::Export(_) => "profile export",
            Self::Import(_) => "profile import",
            Self::Delete(_) => "profile delete",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgument {
    /// A profile: its id, its name, or the beginning of one
    #[arg(value_name = "PROFILE")]
    pub(crate) profile: String,
}

/// How a profile is changed.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Go on only if this is still the last version
    #[arg(long, value_name = "VERSION")]
    pub(crate) expect: Option<u32>,
    /// Why, for the list of versions [default: what is done]
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileCreate {
    /// A name for the profile
    #[arg(value_name = "NAME")]
    pub(crate) profile: ProfileName,
    /// Folder of a scenario, or a manifest file
    pub(crate) scenario: PathBuf,
    /// Where it is to run: local, desktop, mobile, saas, enterprise, or 1 to 5 [default: the manifest's]
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub(crate) tier: Option<Tier>,
    /// Who runs it
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// The provider's name of the region
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Why, for the list of versions
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileShow {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// Which version [default: the last]
    #[arg(long = "at", value_name = "VERSION")]
    pub(crate) version: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileSet {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// What to set (`profile keys` lists what there is)
    pub(crate) key: String,
    /// To what: `nyc1`, `LOG_LEVEL info`, `ollama=openrouter`
    #[arg(required = true, allow_negative_numbers = true)]
    pub(crate) value: Vec<String>,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileUnset {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// What to take back
    pub(crate) key: String,
    /// Which of several: variables, dependencies, files [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileUpdate {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// What to set: `region=nyc1`, `count.compute=2`
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) pairs: Vec<String>,
    /// Where it is to run
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<String>,
    /// Who runs it
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// The provider's name of the region
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileDiff {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// The earlier version [default: the one before the later]
    pub(crate) from: Option<u32>,
    /// The later version [default: the last]
    pub(crate) to: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileRollback {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// The version to be equal to
    #[arg(long, visible_aliases = ["version", "to-version"], value_name = "VERSION")]
    pub(crate) to: u32,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileExport {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// Which version [default: the last]
    #[arg(long = "at", value_name = "VERSION")]
    pub(crate) version: Option<u32>,
    /// As what [default: by the name of --out, else yaml]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ManifestFormat>,
    /// Write it to a file
    #[arg(long, visible_alias = "output", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileImport {
    /// A profile as `profile export` writes it, or one of Vrooli's deployment-manager
    pub(crate) file: PathBuf,
    /// Another name than the file's; `--name` is taken for it too
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    /// Where the app's folder or manifest file is here
    #[arg(long, value_name = "PATH")]
    pub(crate) scenario: Option<PathBuf>,
    /// Make it the next version of the profile that has the name
    #[arg(long)]
    pub(crate) update: bool,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileDelete {
    /// A profile: its id or its whole name
    #[arg(value_name = "PROFILE")]
    pub(crate) profile: String,
    #[command(flatten)]
    pub(crate) edit: Edit,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestGenerate {
    #[command(flatten)]
    pub(crate) profile: ProfileArgument,
    /// As what [default: by the name of --out, else yaml]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ManifestFormat>,
    /// Write it to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Values file to lay over it (may be given again)
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
}

fn tier(word: &str) -> Result<Tier, String> {
    crosswalk::tier(word).map_err(|unknown| format!("{unknown}; {}", unknown.help()))
}
