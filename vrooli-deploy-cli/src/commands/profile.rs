use std::path::Path;

use vrooli_deploy_core::diagnostics::{Diagnostic, rules};
use vrooli_deploy_core::names::ProfileName;
use vrooli_deploy_core::profile::{self, KEYS, ProfileVersion};
use vrooli_deploy_core::workspace::{ImportOptions, ProfileEdit, Workspace};

use super::context::Context;
use super::done::Done;
use super::{change, file};
use crate::arguments::profile::{
    Edit, Profile, ProfileCreate, ProfileDelete, ProfileDiff, ProfileExport, ProfileImport, ProfileRollback,
    ProfileShow, ProfileUpdate,
};
use crate::errors::Failure;
use crate::output::json::Line;
use crate::output::{self, table};

pub(crate) async fn run(context: &Context, args: &Profile) -> Result<Done, Failure> {
    if let Profile::Keys = args {
        return Ok(keys(context));
    }
    let workspace = context.workspace().await?;
    match args {
        Profile::Create(args) => create(context, &workspace, args).await,
        Profile::List => list(context, &workspace).await,
        Profile::Show(args) => show(context, &workspace, args).await,
        Profile::Set(args) => {
            let folder = folder()?;
            let change = |profile: &mut _| profile::set(profile, &args.key, &args.value, &folder);
            change_profile(context, &workspace, &args.profile.profile, &args.edit, change).await
        }
        Profile::Unset(args) => {
            let folder = folder()?;
            let change = |profile: &mut _| profile::unset(profile, &args.key, &args.names, &folder);
            change_profile(context, &workspace, &args.profile.profile, &args.edit, change).await
        }
        Profile::Update(args) => update(context, &workspace, args).await,
        Profile::Versions(args) => versions(context, &workspace, &args.profile).await,
        Profile::Diff(args) => diff(context, &workspace, args).await,
        Profile::Rollback(args) => rollback(context, &workspace, args).await,
        Profile::Export(args) => export(context, &workspace, args).await,
        Profile::Import(args) => import(context, &workspace, args).await,
        Profile::Delete(args) => delete(context, &workspace, args).await,
        Profile::Keys => Ok(keys(context)),
    }
}

fn edit(args: &Edit) -> ProfileEdit {
    ProfileEdit::new().expecting(args.expect).because(args.reason.clone())
}

fn folder() -> Result<std::path::PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::system("cannot tell the current folder", &error))
}

fn keys(context: &Context) -> Done {
    let console = &context.console;
    for key in KEYS {
        console.line(&Line::ProfileKey {
            key: key.name.to_owned(),
            takes: key.takes.to_owned(),
            about: key.about.to_owned(),
        });
    }
    let rows: Vec<Vec<String>> = KEYS
        .iter()
        .map(|key| vec![key.name.to_owned(), key.takes.to_owned(), key.about.to_owned()])
        .collect();
    console.result(&table(console.out, &["KEY", "TAKES", "WHAT FOR"], &rows));
    Done::read()
}

async fn create(context: &Context, workspace: &Workspace, args: &ProfileCreate) -> Result<Done, Failure> {
    let folder = folder()?;
    let pairs = [("provider", &args.provider), ("region", &args.region)];
    let choose = |profile: &mut profile::Profile| -> Result<(), Box<Diagnostic>> {
        for (key, value) in &pairs {
            if let Some(value) = value {
                profile::set(profile, key, std::slice::from_ref(value), &folder)?;
            }
        }
        Ok(())
    };
    let edit = ProfileEdit::new().because(args.reason.clone());
    let target = context.global.target();
    let version = workspace
        .create_profile(args.profile.clone(), &args.scenario, &target, args.tier, &edit, choose)
        .await?;
    Ok(said(context, &version, true))
}

async fn list(context: &Context, workspace: &Workspace) -> Result<Done, Failure> {
    let console = &context.console;
    let profiles = workspace.profiles().await?;
    let mut rows = Vec::new();
    for version in &profiles {
        let Some(line) = output::profile(version) else { continue };
        rows.push(vec![
            line.id.clone(),
            line.name.clone(),
            line.app.clone(),
            line.environment.clone(),
            line.tier.clone(),
            line.provider.clone().unwrap_or_default(),
            line.version.to_string(),
        ]);
        console.line(&Line::Profile(line));
    }
    if rows.is_empty() {
        console.note("no profiles here yet; `vrooli-deploy profile create NAME FOLDER --tier 4` makes one");
        return Ok(Done::read());
    }
    console.result(&table(
        console.out,
        &["ID", "NAME", "APP", "ENVIRONMENT", "TIER", "PROVIDER", "VERSION"],
        &rows,
    ));
    Ok(Done::read())
}

/// The profile, or an earlier version of it.
async fn at(workspace: &Workspace, argument: &str, number: Option<u32>) -> Result<ProfileVersion, Failure> {
    let version = workspace.profile(argument).await?;
    Ok(match number {
        Some(number) => workspace.profile_version(version.id, number).await?.0,
        None => version,
    })
}

async fn show(context: &Context, workspace: &Workspace, args: &ProfileShow) -> Result<Done, Failure> {
    let version = at(workspace, &args.profile.profile, args.version).await?;
    let console = &context.console;
    if let (Some(line), Some(profile)) = (output::profile(&version), &version.profile) {
        console.line(&Line::Profile(line));
        let text = profile.to_yaml().map_err(|why| Failure::unwritable("the profile", &why))?;
        // The address of the schema is for editors.
        let text = text
            .lines()
            .skip_while(|line| !line.starts_with("schema_version:"))
            .collect::<Vec<_>>()
            .join("\n");
        let head = format!(
            "# {}, version {}, since {} by {}: {}",
            version.id, version.version, version.at, version.by, version.reason
        );
        console.result(&format!("{}\n{}", console.out.dim(&output::harmless(&head)), text));
    }
    Ok(Done::read())
}

async fn change_profile(
    context: &Context,
    workspace: &Workspace,
    argument: &str,
    args: &Edit,
    change: impl Fn(&mut profile::Profile) -> Result<String, Box<Diagnostic>>,
) -> Result<Done, Failure> {
    let before = workspace.profile(argument).await?;
    let version = workspace.change_profile(before.id, &edit(args), change).await?;
    Ok(said(context, &version, before.version != version.version))
}

async fn update(context: &Context, workspace: &Workspace, args: &ProfileUpdate) -> Result<Done, Failure> {
    let folder = folder()?;
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (key, value) in [("tier", &args.tier), ("provider", &args.provider), ("region", &args.region)] {
        pairs.extend(value.as_deref().map(|value| (key, value)));
    }
    pairs.extend(context.global.env.as_ref().map(|environment| ("environment", environment.as_str())));
    for pair in &args.pairs {
        let split = pair.split_once('=').ok_or_else(|| {
            Failure::usage("`profile update` takes KEY=VALUE, e.g. `region=nyc1`".to_owned())
        })?;
        pairs.push(split);
    }
    if pairs.is_empty() {
        return Err(Failure::usage("`profile update` takes KEY=VALUE, e.g. `region=nyc1`".to_owned()));
    }
    let change = |profile: &mut profile::Profile| {
        let mut done = Vec::new();
        for (key, value) in &pairs {
            done.push(profile::set(profile, key, &[(*value).to_owned()], &folder)?);
        }
        Ok(done.join(", "))
    };
    change_profile(context, workspace, &args.profile.profile, &args.edit, change).await
}

async fn versions(context: &Context, workspace: &Workspace, argument: &str) -> Result<Done, Failure> {
    // Those of a deleted profile are found by its id.
    let id = match argument.parse() {
        Ok(id) => id,
        Err(_) => workspace.profile(argument).await?.id,
    };
    let versions = workspace.profile_versions(id).await?;
    let console = &context.console;
    let mut rows = Vec::new();
    for version in &versions {
        console.line(&Line::ProfileVersion {
            id: version.id.to_string(),
            version: version.version,
            at: version.at.to_string(),
            by: version.by.clone(),
            reason: version.reason.clone(),
            deleted: version.profile.is_none(),
        });
        rows.push(vec![
            version.version.to_string(),
            version.at.to_string(),
            output::harmless(&version.by),
            output::harmless(&version.reason),
        ]);
    }
    console.result(&table(console.out, &["VERSION", "SINCE", "BY", "WHAT"], &rows));
    Ok(Done::read())
}

async fn diff(context: &Context, workspace: &Workspace, args: &ProfileDiff) -> Result<Done, Failure> {
    let last = workspace.profile(&args.profile.profile).await?;
    let to = args.to.unwrap_or(last.version);
    let from = args.from.unwrap_or_else(|| to.saturating_sub(1).max(1));
    let differences = workspace.profile_diff(last.id, from, to).await?;
    let console = &context.console;
    let mut lines = Vec::new();
    for difference in differences {
        lines.push(output::difference(console.out, &difference));
        console.line(&Line::Difference {
            path: difference.path,
            before: difference.before,
            after: difference.after,
        });
    }
    if lines.is_empty() {
        console.note(&format!("versions {from} and {to} are the same"));
    } else {
        console.result(&lines.join("\n"));
    }
    Ok(Done::read())
}

async fn rollback(context: &Context, workspace: &Workspace, args: &ProfileRollback) -> Result<Done, Failure> {
    let before = workspace.profile(&args.profile.profile).await?;
    let version = workspace.rollback_profile(before.id, args.to, &edit(&args.edit)).await?;
    Ok(said(context, &version, before.version != version.version))
}

async fn export(context: &Context, workspace: &Workspace, args: &ProfileExport) -> Result<Done, Failure> {
    let version = at(workspace, &args.profile.profile, args.version).await?;
    let console = &context.console;
    if let (Some(line), Some(profile)) = (output::profile(&version), &version.profile) {
        let text = match file::format(args.format, args.out.as_deref()) {
            crate::arguments::ManifestFormat::Yaml => profile.to_yaml(),
            crate::arguments::ManifestFormat::Json => profile.to_json(),
        };
        let text = text.map_err(|why| Failure::unwritable("the profile", &why))?;
        file::out(console, args.out.as_deref(), &text)?;
        console.line(&Line::Profile(line));
    }
    Ok(Done::read())
}

async fn import(context: &Context, workspace: &Workspace, args: &ProfileImport) -> Result<Done, Failure> {
    let mut options = ImportOptions::default();
    // Vrooli's deployment-manager has `--name` here: ignored, it would import under the wrong name.
    let named = context.global.name.as_ref().map(|name| ProfileName::new(name.as_str())).transpose();
    let named = named.map_err(|error| {
        let diagnostic = rules::PROFILE_VALUE.diagnostic(error.to_string());
        Failure::input(vec![diagnostic.help("give another with `--as`")])
    })?;
    options.name = args.profile.clone().or(named);
    options.scenario.clone_from(&args.scenario);
    options.update = args.update;
    let imported = workspace.import_profile(&args.file, &options, &edit(&args.edit)).await?;
    change::input(&context.console, &imported.diagnostics);
    Ok(said(context, &imported.version, imported.changed))
}

async fn delete(context: &Context, workspace: &Workspace, args: &ProfileDelete) -> Result<Done, Failure> {
    let version = workspace.profile_exactly(&args.profile).await?;
    if let Some(profile) = &version.profile
        && !context.global.yes
    {
        context.console.error(&format!(
            "{} `{}` for `{}` will be deleted; its apps stay",
            version.id,
            profile.name,
            profile.stack()
        ));
    }
    context.confirm("profile delete").await?;
    workspace.delete_profile(version.id, &edit(&args.edit)).await?;
    let console = &context.console;
    console.result(&format!("{} {}: deleted", console.out.green("✓"), args.profile));
    Ok(Done::changed(true))
}

/// Says what a change came to.
pub(super) fn said(context: &Context, version: &ProfileVersion, changed: bool) -> Done {
    let console = &context.console;
    if let Some(line) = output::profile(version) {
        let done = if changed { version.reason.as_str() } else { "nothing to change" };
        console.result(&format!(
            "{} {} {}: {} (version {})",
            console.out.green("✓"),
            line.id,
            line.name,
            output::harmless(done),
            line.version
        ));
        console.line(&Line::Profile(line));
    }
    Done::changed(changed)
}

/// Where a file lies, as it would be named beside another.
pub(crate) fn same_folder(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.canonicalize().is_ok_and(|parent| parent == folder)
}
