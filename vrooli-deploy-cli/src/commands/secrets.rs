use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use vrooli_deploy_core::diagnostics::{Severity, rules};
use vrooli_deploy_core::secrets::{PlannedSecret, Secret, SecretRef, TemplateOptions, template};
use vrooli_deploy_core::workspace::{SecretsReport, Target};

use super::change;
use super::context::Context;
use super::done::Done;
use super::manifest;
use crate::arguments::{Secrets, SecretsList, SecretsOf, SecretsRotate, SecretsSet, SecretsTemplate};
use crate::errors::Failure;
use crate::output::json::{Line, SecretChangeLine, StoredSecretLine};
use crate::output::{self, prompt};

pub(crate) async fn run(context: &Context, args: &Secrets) -> Result<Done, Failure> {
    match args {
        Secrets::Identify(args) => identify(context, args).await,
        Secrets::Template(args) => write_template(context, args).await,
        Secrets::Validate(args) => validate(context, args).await,
        Secrets::Generate(args) => generate(context, args).await,
        Secrets::Set(args) => set(context, args).await,
        Secrets::List(args) => list(context, args).await,
        Secrets::Rotate(args) => rotate(context, args).await,
    }
}

async fn identify(context: &Context, args: &SecretsOf) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let report = workspace.identify_secrets(&target, &args.choices.options()).await?;
    change::input(&context.console, &report.diagnostics);
    show(context, &report);
    Ok(Done::read())
}

fn show(context: &Context, report: &SecretsReport) {
    let console = &context.console;
    for secret in &report.plan.secrets {
        let stored = report.stored.get(&secret.name).map(|reference| reference.version);
        console.line(&Line::Secret(Box::new((secret, stored).into())));
    }
    if report.plan.secrets.is_empty() {
        console.note("the app has no secrets on this tier");
    } else {
        console.result(&output::secrets(console.out, report));
    }
    for secret in &report.plan.left_out {
        console.note(&format!("`{}` belongs to `{}`, which is left out", secret.name, secret.resource));
    }
}

async fn write_template(context: &Context, args: &SecretsTemplate) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.of.app).await?;
    let report = workspace.identify_secrets(&target, &args.of.choices.options()).await?;
    change::input(&context.console, &report.diagnostics);
    let mut options = TemplateOptions::new(report.stack.clone());
    options.region = region(&target);
    let text = template(&report.plan, args.format, &options);
    match &args.out {
        Some(path) => {
            write(path, &text).map_err(|error| Failure::write(path, &error))?;
            context.console.note(&format!("wrote {}", path.display()));
        }
        None => context.console.result(text.trim_end_matches('\n')),
    }
    context.console.line(&Line::Text { text });
    Ok(Done::read())
}

/// The region that the manifest says, where that is one of AWS.
fn region(target: &Target) -> Option<String> {
    let manifest = &target.manifest.as_ref()?.manifest;
    (manifest.provider.as_str() == "aws").then(|| manifest.infrastructure.region.clone()).flatten()
}

/// It will hold values once somebody has filled it in: nobody else may read it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

async fn validate(context: &Context, args: &SecretsOf) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let report = workspace.validate_secrets(&target, &args.choices.options()).await?;
    let console = &context.console;
    let found = report.diagnostics.as_slice();
    for diagnostic in found {
        console.line(&Line::Diagnostic(diagnostic.into()));
    }
    if !found.is_empty() && !console.json {
        console.result(&output::diagnostics(console.out, console.width(), found));
    }
    console.result(&manifest::summary(found));
    if found.iter().all(|diagnostic| diagnostic.severity != Severity::Error) {
        return Ok(Done::read());
    }
    // Shown above already; the last line of --json says it in short.
    Ok(Done { error: Some(Failure::input(found.to_vec())), ..Done::exit(1) })
}

async fn generate(context: &Context, args: &SecretsOf) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let made = workspace.generate_secrets(&target, &args.choices.options()).await?;
    let console = &context.console;
    for (name, reference) in &made {
        changed(context, name.as_str(), reference);
        console.result(&format!("{name} generated"));
    }
    if made.is_empty() {
        console.note("every generated secret has a value already");
    }
    Ok(Done::read())
}

async fn set(context: &Context, args: &SecretsSet) -> Result<Done, Failure> {
    let console = &context.console;
    let (workspace, target) = context.target(&args.app).await?;
    let options = args.choices.options();
    // Before anybody types anything.
    let report = workspace.identify_secrets(&target, &options).await?;
    let secret = report.settable(&args.secret)?;
    let value = match args.value.as_slice() {
        [] => ask(context, secret).await?,
        [value] if value.expose() == "-" => {
            prompt::standard_input().map_err(|error| Failure::system("cannot read standard input", &error))?
        }
        [value] => {
            let warning = rules::SECRET_IN_HISTORY
                .diagnostic(format!("the value of `{}` is in the history of this shell now", args.secret))
                .help("give it with `-` on standard input, or at the prompt");
            change::input(console, &[warning]);
            value.clone()
        }
        _ => return Err(Failure::several_values()),
    };
    let reference = workspace.set_secret(&target, &options, &args.secret, &value).await?;
    changed(context, &args.secret, &reference);
    let version = reference.version;
    console.result(&format!("{} is stored (version {version}); the next deployment uses it", args.secret));
    Ok(Done::read())
}

fn changed(context: &Context, name: &str, reference: &SecretRef) {
    context.console.line(&Line::SecretChange(SecretChangeLine {
        name: name.to_owned(),
        path: reference.path.clone(),
        version: reference.version,
    }));
}

/// Asks for a value on the terminal, unseen.
async fn ask(context: &Context, secret: &PlannedSecret) -> Result<Secret<String>, Failure> {
    if !context.console.can_ask {
        return Err(Failure::no_value(secret.name.as_str()));
    }
    let label = secret.prompt.as_ref().and_then(|prompt| prompt.label.as_deref());
    let question = match label.map(output::harmless) {
        Some(label) => format!("{label} ({}):", secret.name),
        None => format!("{}:", secret.name),
    };
    context.ask_unseen(&question).await
}

async fn list(context: &Context, args: &SecretsList) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let stored = workspace.stored_secrets(&target.stack)?;
    let console = &context.console;
    for secret in &stored {
        console.line(&Line::StoredSecret(StoredSecretLine {
            path: secret.path.clone(),
            versions: secret.versions.clone(),
        }));
    }
    if stored.is_empty() {
        console.note(&format!("nothing is stored for `{}`", target.stack));
        return Ok(Done::read());
    }
    let rows: Vec<Vec<String>> = stored
        .iter()
        .map(|secret| {
            let versions: Vec<String> = secret.versions.iter().map(ToString::to_string).collect();
            vec![secret.path.clone(), versions.join(" ")]
        })
        .collect();
    console.result(&output::table(console.out, &["PATH", "VERSIONS"], &rows));
    Ok(Done::read())
}

async fn rotate(context: &Context, args: &SecretsRotate) -> Result<Done, Failure> {
    let (workspace, target) = context.target(&args.app).await?;
    let reference = workspace.rotate_secret(&target, &args.choices.options(), &args.secret).await?;
    changed(context, &args.secret, &reference);
    context.console.result(&format!(
        "{} has a new value (version {}); the next deployment uses it",
        args.secret, reference.version
    ));
    Ok(Done::read())
}
