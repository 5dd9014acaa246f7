//! What may be typed after `secrets`.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use vrooli_deploy_core::manifest::Tier;
use vrooli_deploy_core::names::DependencyName;
use vrooli_deploy_core::secrets::{Secret, TemplateFormat};
use vrooli_deploy_core::workspace::SecretsOptions;

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// List an app's secrets: what sort, where each comes from, and who says so
    Identify(SecretsOf),
    /// Write the secrets out for a store: names and references, never values
    Template(SecretsTemplate),
    /// Look for a value of each secret as a deployment would; say what is missing or misshapen
    Validate(SecretsOf),
    /// Make every generated secret that has no value yet
    Generate(SecretsOf),
    /// Store the value of a secret
    Set(SecretsSet),
    /// List what the store keeps for an app: paths and versions, no values
    List(SecretsList),
    /// Make a new value of a generated secret; the next deployment uses it
    Rotate(SecretsRotate),
}

#[derive(Debug, Args)]
pub(crate) struct SecretsOf {
    /// Folder of a scenario, a manifest file, or the name of an app or profile
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) choices: SecretsChoices,
}

#[derive(Debug, Args)]
pub(crate) struct SecretsChoices {
    /// Another tier than the manifest's: 1-5, local, desktop, mobile, saas, enterprise
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<Tier>,
    /// Secrets of optional dependencies too
    #[arg(long)]
    pub(crate) include_optional: bool,
    /// Dependency to leave out (may be given again)
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
}

impl SecretsChoices {
    pub(crate) fn options(&self) -> SecretsOptions {
        let mut options = SecretsOptions::default();
        options.tier = self.tier;
        options.include_optional = self.include_optional;
        options.drop.clone_from(&self.drop);
        options
    }
}

#[derive(Debug, Args)]
pub(crate) struct SecretsTemplate {
    #[command(flatten)]
    pub(crate) of: SecretsOf,
    /// For which store: env, vault, aws or k8s
    #[arg(long, value_name = "FORMAT", default_value_t = TemplateFormat::Env)]
    pub(crate) format: TemplateFormat,
    /// Write it into this file, readable by you alone
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SecretsSet {
    /// Folder of a scenario, a manifest file, or the name of an app or profile
    pub(crate) app: String,
    /// The secret, by its variable
    // Not `name`: that is the id of the global flag.
    #[arg(value_name = "NAME")]
    pub(crate) secret: String,
    /// The value (after -- if it begins with a hyphen), or - for standard input [default: asked for]
    // More than one is refused by us, because clap would repeat it.
    #[arg(num_args = 0.., value_name = "VALUE", value_parser = hidden)]
    pub(crate) value: Vec<Secret<String>>,
    #[command(flatten)]
    pub(crate) choices: SecretsChoices,
}

fn hidden(value: &str) -> Result<Secret<String>, Infallible> {
    Ok(Secret::new(value.to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct SecretsList {
    /// Folder of a scenario, a manifest file, or the name of an app or profile
    pub(crate) app: String,
}

#[derive(Debug, Args)]
pub(crate) struct SecretsRotate {
    /// Folder of a scenario, a manifest file, or the name of an app or profile
    pub(crate) app: String,
    /// The secret, by its variable
    // Not `name`: that is the id of the global flag.
    #[arg(value_name = "NAME")]
    pub(crate) secret: String,
    #[command(flatten)]
    pub(crate) choices: SecretsChoices,
}

impl Secrets {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Identify(_) => "secrets identify",
            Self::Template(_) => "secrets template",
            Self::Validate(_) => "secrets validate",
            Self::Generate(_) => "secrets generate",
            Self::Set(_) => "secrets set",
            Self::List(_) => "secrets list",
            Self::Rotate(_) => "secrets rotate",
        }
    }
}
