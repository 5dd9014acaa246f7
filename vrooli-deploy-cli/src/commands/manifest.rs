use vrooli_deploy_core::diagnostics::{Diagnostic, Severity, format};
use vrooli_deploy_core::manifest::{self, Layers};
use vrooli_deploy_core::requirements::{self, DeriveOptions};

use super::context::Context;
use super::done::Done;
use super::{change, file};
use crate::arguments::profile::ManifestGenerate;
use crate::arguments::{DiagnosticFormat, Global, Manifest, ManifestFormat, ManifestShow, ManifestValidate};
use crate::errors::Failure;
use crate::output::{self, Console, json::Line};

pub(crate) fn run(console: &Console, global: &Global, args: &Manifest) -> Result<Done, Failure> {
    match args {
        Manifest::Show(args) => show(console, &layers(global), args),
        Manifest::Validate(args) => Ok(validate(console, &layers(global), args)),
        // Needs a workspace: see `generate`.
        Manifest::Generate(_) => Ok(Done::read()),
        Manifest::Schema(_) => {
            let schema = manifest::schema();
            let text = format!("{:#}", schema.as_value());
            console.result(&text);
            console.line(&Line::Text { text });
            Ok(Done::read())
        }
    }
}

/// The whole manifest that a profile comes to.
pub(crate) async fn generate(context: &Context, args: &ManifestGenerate) -> Result<Done, Failure> {
    let workspace = context.workspace().await?;
    let version = workspace.profile(&args.profile.profile).await?;
    let mut options = context.global.target();
    options.values.clone_from(&args.values);
    let (manifest, target) = workspace.generate_manifest(&version, &options).await?;
    let console = &context.console;
    change::input(console, &target.diagnostics);
    let text = match file::format(args.format, args.out.as_deref()) {
        ManifestFormat::Yaml => manifest.to_yaml_for_editors(),
        ManifestFormat::Json => manifest.to_json(),
    };
    file::out(console, args.out.as_deref(), &text.map_err(|why| Failure::unwritable("the manifest", &why))?)?;
    if let (Some(out), Some(loaded)) = (&args.out, &target.manifest)
        && !super::profile::same_folder(out, &loaded.root)
    {
        console
            .note(&format!("its paths start at {}: put it there to deploy from it", loaded.root.display()));
    }
    console.line(&Line::Manifest { manifest: serde_json::to_value(&manifest).unwrap_or_default() });
    Ok(Done::read())
}

/// What holds in the environment that was named.
fn layers(global: &Global) -> Layers {
    Layers { environment: global.env.clone(), layers: Vec::new() }
}

fn show(console: &Console, layers: &Layers, args: &ManifestShow) -> Result<Done, Failure> {
    let (loaded, diagnostics) =
        manifest::load_with(&args.path, layers).into_result().map_err(Failure::input)?;
    change::input(console, &diagnostics);
    if console.json {
        let manifest = serde_json::to_value(&loaded.manifest).unwrap_or_default();
        console.line(&Line::Manifest { manifest });
        return Ok(Done::read());
    }
    let text = match args.format {
        ManifestFormat::Yaml => loaded.manifest.to_yaml(),
        ManifestFormat::Json => loaded.manifest.to_json(),
    };
    console.result(&text.map_err(|why| Failure::unwritable("the manifest", &why))?);
    Ok(Done::read())
}

fn validate(console: &Console, layers: &Layers, args: &ManifestValidate) -> Done {
    let checked = manifest::load_with(&args.path, layers);
    let mut usable = !checked.has_errors();
    let mut found = checked.diagnostics;
    match checked.value {
        Some(loaded) => {
            let derived = requirements::derive_at(&loaded.manifest, &DeriveOptions::default(), &loaded.spans);
            usable &= !derived.has_errors();
            found.extend(derived.diagnostics);
        }
        None => usable = false,
    }
    let found = found.as_slice();
    match args.format {
        DiagnosticFormat::Text if console.json => {
            for diagnostic in found {
                console.line(&Line::Diagnostic(diagnostic.into()));
            }
        }
        DiagnosticFormat::Text => {
            if !found.is_empty() {
                console.result(&output::diagnostics(console.out, console.width(), found));
            }
            console.result(&summary(found));
        }
        DiagnosticFormat::Json => print(console, &format::json(found)),
        DiagnosticFormat::Sarif => print(console, &format::sarif(found)),
        DiagnosticFormat::Github => print(console, &format::github(found)),
    }
    if usable {
        return Done::read();
    }
    // Shown above already; the last line of --json says it in short.
    Done { error: Some(Failure::input(found.to_vec())), ..Done::exit(1) }
}

fn print(console: &Console, text: &str) {
    if !text.is_empty() {
        console.print(text);
    }
}

pub(super) fn summary(diagnostics: &[Diagnostic]) -> String {
    let count =
        |severity, one: &str, many: &str| match diagnostics.iter().filter(|d| d.severity == severity).count()
        {
            1 => format!("1 {one}"),
            n => format!("{n} {many}"),
        };
    format!(
        "{}, {}, {}",
        count(Severity::Error, "error", "errors"),
        count(Severity::Warning, "warning", "warnings"),
        count(Severity::Info, "note", "notes")
    )
}
