//! What may be typed. Names are checked here, so that nothing behind it sees a bad one.

mod backups;
pub(crate) mod configure;
mod estimate_cost;
mod fitness;
mod hosts;
mod orphans;
mod permissions;
mod preflight;
mod prices;
pub(crate) mod profile;
mod render;
mod secrets;
mod state;
mod strategy;
mod swaps_apply;
mod validate;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use vrooli_deploy_core::diagnostics::Code;
use vrooli_deploy_core::manifest::SwapConfig;
use vrooli_deploy_core::names::{
    AppName, DependencyName, EnvironmentName, ImageRef, ProviderName, ReleaseNumber, ServiceName,
    VariableName,
};
use vrooli_deploy_core::workspace::{DeployOptions, TargetOptions};

pub(crate) use backups::{Backups, BackupsRestore};
pub(crate) use estimate_cost::EstimateCost;
pub(crate) use fitness::{Assumed, Fitness, Swap, Swaps, SwapsList};
pub(crate) use hosts::{Hosts, HostsAdd, HostsOf, HostsRemove};
pub(crate) use orphans::Orphans;
pub(crate) use permissions::Permissions;
pub(crate) use preflight::Preflight;
pub(crate) use prices::{Prices, PricesRefresh, PricesShow};
pub(crate) use render::Render;
pub(crate) use secrets::{Secrets, SecretsList, SecretsOf, SecretsRotate, SecretsSet, SecretsTemplate};
pub(crate) use state::{State, StateRebuild};
pub(crate) use swaps_apply::SwapsApply;
pub(crate) use validate::Validate;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do                     6  stuck: needs a person's decision
  1  refused; nothing was changed               7  a gate said no (budget, fitness, data)
  2  usage                                      8  not decided yet: held or watched
  3  failed and rolled back                    10  differences found (drift, orphans, --detailed-exitcode)
  4  failed in part; what remains is listed   130  interrupted; the next run resumes
  5  someone else is changing the app

State lives in one folder: --state-dir, else $VROOLI_DEPLOY_HOME, else the system's data folder.";

/// Carries an app from one description to any machine, safely.
#[derive(Debug, Parser)]
#[command(name = "vrooli-deploy", version, after_long_help = EXIT_CODES)]
#[command(arg_required_else_help = true, subcommand_required = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Folder in which state lives [default: $VROOLI_DEPLOY_HOME, else the system's data folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Environment of the app: staging, production, … [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) env: Option<EnvironmentName>,
    /// A name for the app other than its manifest's
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) name: Option<AppName>,
    /// One JSON object a line on stdout; the last has "type":"result"
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Only results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Do what would be asked about
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColourChoice::Auto)]
    pub(crate) color: ColourChoice,
    /// Say more: all output of builds, notes; twice and more: the program's own log
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    pub(crate) fn target(&self) -> TargetOptions {
        TargetOptions { environment: self.env.clone(), name: self.name.clone(), ..TargetOptions::default() }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColourChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also in a pipe
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an app, deploy it, and print its URL
    Up(Deploy),
    /// Show what a deployment would do; change nothing
    Plan(Plan),
    /// Build an app and deploy it
    Deploy(Deploy),
    /// List the apps of this workspace
    #[command(visible_alias = "ls")]
    List,
    /// Show how an app is
    Status(Status),
    /// Show what an app wrote
    Logs(Logs),
    /// Stop an app; its release stays
    Stop(App),
    /// Start a stopped app
    Start(App),
    /// List the releases of an app
    Releases(App),
    /// Go back to the last good release, or to the one given
    Rollback(Rollback),
    /// Take the release that is on hold, or being watched, for good
    Promote(App),
    /// Give up the release that is on hold, or being watched
    Abort(App),
    /// Remove an app; databases and volumes stay unless --data names it
    Destroy(Destroy),
    /// Hold what is there against what was deployed; change nothing
    Drift(App),
    /// List what bears our marks at a provider and is in no app of this workspace, with its cost
    Orphans(Box<Orphans>),
    /// Resolve an interrupted run or wait for a watch, and start nothing new
    Resume(App),
    /// List backups of an app's databases and caches, or put one back
    #[command(subcommand)]
    Backups(Backups),
    /// Build a lost state again, or take over what another state owns
    #[command(subcommand)]
    State(State),
    /// Keep choices for an app: tier, provider, region, sizes, variables, …
    #[command(subcommand)]
    Profile(profile::Profile),
    /// Set credentials and settings for providers
    Configure(configure::Configure),
    /// Show what an app costs a month
    EstimateCost(EstimateCost),
    /// Say whether an app may be deployed as it is: every rule, and what to mend
    Validate(Validate),
    /// Add, list and look at servers of your own
    #[command(subcommand)]
    Hosts(Hosts),
    /// Look at an app's servers for what could be in the way of a deployment; change nothing
    Preflight(Preflight),
    /// List, show or refresh price books
    #[command(subcommand)]
    Prices(Prices),
    /// Say how fit an app is for where it is to run, and why
    Fitness(Fitness),
    /// Show what could be put in the place of what, and do so in a profile
    #[command(subcommand)]
    Swaps(Swaps),
    /// Show, check, generate or describe a manifest
    #[command(subcommand)]
    Manifest(Manifest),
    /// Write down what an app stands on, for other tools
    Render(Render),
    /// Print the rights that deploying an app takes, as its provider takes them
    Permissions(Permissions),
    /// Find, check, make and store an app's secrets
    #[command(subcommand)]
    Secrets(Secrets),
    /// Explain a message code, or list them all
    Explain(Explain),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page
    Man(Man),
    /// Show the journal of an app
    History(History),
}

impl Command {
    /// The verb as it is typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Plan(_) => "plan",
            Self::Deploy(_) => "deploy",
            Self::List => "list",
            Self::Status(_) => "status",
            Self::Logs(_) => "logs",
            Self::Stop(_) => "stop",
            Self::Start(_) => "start",
            Self::Releases(_) => "releases",
            Self::Rollback(_) => "rollback",
            Self::Promote(_) => "promote",
            Self::Abort(_) => "abort",
            Self::Destroy(_) => "destroy",
            Self::Drift(_) => "drift",
            Self::Orphans(_) => "orphans",
            Self::Resume(_) => "resume",
            Self::Backups(backups) => backups.name(),
            Self::State(state) => state.name(),
            Self::Profile(profile) => profile.name(),
            Self::Configure(_) => "configure",
            Self::EstimateCost(_) => "estimate-cost",
            Self::Validate(_) => "validate",
            Self::Hosts(hosts) => hosts.name(),
            Self::Preflight(_) => "preflight",
            Self::Prices(Prices::List) => "prices list",
            Self::Prices(Prices::Show(_)) => "prices show",
            Self::Prices(Prices::Refresh(_)) => "prices refresh",
            Self::Fitness(_) => "fitness",
            Self::Swaps(Swaps::List(_)) => "swaps list",
            Self::Swaps(Swaps::Analyze(_)) => "swaps analyze",
            Self::Swaps(Swaps::Cascade(_)) => "swaps cascade",
            Self::Swaps(Swaps::Apply(_)) => "swaps apply",
            Self::Manifest(Manifest::Show(_)) => "manifest show",
            Self::Manifest(Manifest::Generate(_)) => "manifest generate",
            Self::Manifest(Manifest::Validate(_)) => "manifest validate",
            Self::Manifest(Manifest::Schema(_)) => "manifest schema",
            Self::Render(_) => "render",
            Self::Permissions(_) => "permissions",
            Self::Secrets(secrets) => secrets.name(),
            Self::Explain(_) => "explain",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::History(_) => "history",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct App {
    /// Folder of a scenario, a manifest file, a profile, or the name of an app
    pub(crate) app: String,
}

#[derive(Debug, Args)]
pub(crate) struct Choices {
    /// Another provider than the manifest's
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<ProviderName>,
    /// Another region than the manifest's, by the provider's name; kept from then on
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Make what the app stands on, and stop before what runs it
    #[arg(long)]
    pub(crate) infra_only: bool,
    /// Image to run, by its digest, where the provider runs images (example: shop@sha256:…)
    #[arg(long, value_name = "REPOSITORY@DIGEST")]
    pub(crate) image: Option<ImageRef>,
    /// Image to build or run in, by its digest, where the provider runs images and builds them: `rust`, `go`,
    /// `node` or `runtime` (may be given again); kept from then on
    #[arg(long, value_name = "NAME=REPOSITORY@DIGEST", value_parser = base_image)]
    pub(crate) base_image: Vec<(String, ImageRef)>,
    /// Public port of the app; kept from then on
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<IpAddr>,
    /// Take over an app of the same name that came from another folder
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Variable of this shell that builds may see (may be given again)
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) pass_env: Vec<VariableName>,
    /// Dependency to leave out (may be given again)
    #[arg(long, value_name = "DEPENDENCY")]
    pub(crate) drop: Vec<DependencyName>,
    /// Values file to lay over the manifest (may be given again)
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// Resource to put in the place of another (may be given again)
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) swap: Vec<SwapConfig>,
    /// Provide optional dependencies too
    #[arg(long)]
    pub(crate) include_optional: bool,
    /// Take `degraded` for healthy
    #[arg(long)]
    pub(crate) allow_degraded: bool,
    /// Build and release although nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) cost: estimate_cost::Cost,
    #[command(flatten)]
    pub(crate) strategy: strategy::Strategy,
}

pub(crate) fn base_image(text: &str) -> Result<(String, ImageRef), String> {
    let (name, image) =
        text.split_once('=').ok_or("give a name and an image: `rust=docker.io/library/rust@sha256:…`")?;
    Ok((name.to_owned(), ImageRef::new(image).map_err(|error| error.to_string())?))
}

impl Choices {
    pub(crate) fn options(&self) -> DeployOptions {
        let mut options = DeployOptions::default();
        options.provider.clone_from(&self.provider);
        options.region.clone_from(&self.region);
        options.infra_only = self.infra_only;
        options.image.clone_from(&self.image);
        options.base_images.extend(self.base_image.iter().cloned());
        self.strategy.apply(&mut options);
        options.port = self.port;
        options.listen = self.listen;
        options.adopt = self.adopt;
        options.include_optional = self.include_optional;
        options.drop.clone_from(&self.drop);
        options.swaps.clone_from(&self.swap);
        options.pass_env.clone_from(&self.pass_env);
        options.allow_degraded = self.allow_degraded;
        options.force = self.force;
        options.cost = self.cost.options();
        options
    }
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) app: App,
    /// Go on only if the plan is still this one (made by `plan --out`)
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Show what would be done; change nothing
    #[arg(long, conflicts_with = "plan")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) choices: Choices,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) app: App,
    /// Save the plan, for `deploy --plan`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// End with 10 when there is something to do
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    #[command(flatten)]
    pub(crate) choices: Choices,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) app: App,
    /// Show it again whenever it changes, until interrupted
    #[arg(long, short)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) app: App,
    /// Go on as lines are written, until interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// So many of the last lines of each instance
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) lines: usize,
    /// Of this service alone
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<ServiceName>,
    /// Of this release [default: those that run]
    #[arg(long, value_name = "rN")]
    pub(crate) release: Option<ReleaseNumber>,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) app: App,
    /// The release to go to [default: the last good one before the current]
    #[arg(long, value_name = "rN")]
    pub(crate) to: Option<ReleaseNumber>,
    /// Go back although SQL ran since then that the older release may not live with
    #[arg(long)]
    pub(crate) allow_irreversible: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) app: App,
    /// Delete databases and volumes too; NAME is the app's name (on a terminal it is asked for)
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) data: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) app: App,
    /// Begin with this record
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) from: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Manifest {
    /// Print the manifest that a scenario or a file comes to
    Show(ManifestShow),
    /// Say everything that is wrong or odd about it
    Validate(ManifestValidate),
    /// Print the whole manifest that a profile comes to
    Generate(profile::ManifestGenerate),
    /// Print the JSON schema of manifests
    Schema(ManifestSchema),
}

#[derive(Debug, Args)]
pub(crate) struct ManifestShow {
    /// Folder of a scenario, or a manifest file
    pub(crate) path: PathBuf,
    /// As what
    #[arg(long, value_enum, default_value_t = ManifestFormat::Yaml)]
    pub(crate) format: ManifestFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestFormat {
    Yaml,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestValidate {
    /// Folder of a scenario, or a manifest file
    pub(crate) path: PathBuf,
    /// For whom
    #[arg(long, value_enum, default_value_t = DiagnosticFormat::Text)]
    pub(crate) format: DiagnosticFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestSchema {
    /// Not needed: all manifests have one schema
    #[arg(hide = true)]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiagnosticFormat {
    /// People
    Text,
    /// Programs: one object a line
    Json,
    /// Code scanning: SARIF 2.1.0
    Sarif,
    /// GitHub annotations
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A code as messages show it, e.g. VD0203
    pub(crate) code: Option<Code>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// A command; default: the program
    pub(crate) command: Option<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn names_are_checked_when_they_are_typed() {
        for bad in [
            vec!["vrooli-deploy", "up", "x", "--env", "../prod"],
            vec!["vrooli-deploy", "rollback", "x", "--to", "latest"],
            vec!["vrooli-deploy", "up", "x", "--port", "0"],
            vec!["vrooli-deploy", "up", "x", "--pass-env", "A=b"],
            vec!["vrooli-deploy", "up", "x", "--canary-percent", "0"],
            vec!["vrooli-deploy", "up", "x", "--watch", "5"],
            vec!["vrooli-deploy", "up", "x", "--batch", "0"],
        ] {
            assert!(Arguments::try_parse_from(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn data_without_a_name_is_not_a_name() {
        let parsed = Arguments::try_parse_from(["vrooli-deploy", "destroy", "x", "--data"]).unwrap();
        let Command::Destroy(destroy) = parsed.command else { panic!("not destroy") };
        assert_eq!(destroy.data.as_deref(), Some(""));
        assert_eq!(destroy.app.app, "x");
    }
}
