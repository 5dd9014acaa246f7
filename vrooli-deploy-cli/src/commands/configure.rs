use vrooli_deploy_core::configuration;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::secrets::Secret;
use vrooli_deploy_core::workspace::ConfigurationStatus;

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::configure::Configure;
use crate::errors::Failure;
use crate::output::json::Line;
use crate::output::{self, prompt, table};

pub(crate) async fn run(context: &Context, args: &Configure) -> Result<Done, Failure> {
    if args.show {
        return show(context, args.key.as_deref()).await;
    }
    let Some(name) = &args.key else { return show(context, None).await };
    // A wrong key first: nobody should type a secret for nothing.
    let key = configuration::key(name).map_err(|diagnostic| Failure::input(vec![*diagnostic]))?;
    let workspace = context.workspace().await?;
    let console = &context.console;
    if args.unset {
        let was = workspace.unconfigure(&key.name).await?;
        let done = if was { "unset" } else { "was not configured" };
        console.result(&format!("{} {}: {done}", console.out.green("✓"), key.name));
        return Ok(Done::changed(was));
    }
    let value = match args.value.as_deref() {
        Some("-") => {
            prompt::standard_input().map_err(|error| Failure::system("cannot read standard input", &error))?
        }
        Some(value) => {
            if key.secret {
                let diagnostic = rules::SECRET_IN_HISTORY
                    .diagnostic(format!(
                        "the value of `{}` is now in your shell's history, and other users of this machine could see it for a moment",
                        key.name
                    ))
                    .help(format!("next time `vrooli-deploy configure {}` asks for it, and `… {} -` reads it from standard input", key.name, key.name));
                change::input(console, &[diagnostic]);
            }
            Secret::new(value.to_owned())
        }
        None => ask(context, &key.name, key.secret).await?,
    };
    let before = workspace.configuration_status(Some(&key.name)).await?;
    let status = workspace.configure(&key.name, &value).await?;
    let changed = before.first().is_none_or(|before| before.configured != status.configured);
    let done = if changed { "set" } else { "is that already" };
    let version = status.configured.map(|(version, _)| format!(" (version {version})")).unwrap_or_default();
    console.result(&format!("{} {}: {done}{version}", console.out.green("✓"), status.key));
    console.line(&Line::Configuration((&status).into()));
    Ok(Done::changed(changed))
}

/// Everything on standard input, without the final line break.
async fn ask(context: &Context, key: &str, secret: bool) -> Result<Secret<String>, Failure> {
    if !context.console.can_ask {
        return Err(Failure::input(vec![
            rules::CONFIGURATION_NO_VALUE
                .diagnostic(format!("no value for `{key}`, and there is no terminal to ask on"))
                .help(format!("pipe it in: `vrooli-deploy configure {key} - < FILE`")),
        ]));
    }
    let question = format!("{key}:");
    if secret { context.ask_unseen(&question).await } else { context.ask(&question).await.map(Secret::new) }
}

async fn show(context: &Context, key: Option<&str>) -> Result<Done, Failure> {
    let workspace = context.workspace().await?;
    let console = &context.console;
    let all = workspace.configuration_status(key).await?;
    for status in &all {
        console.line(&Line::Configuration(status.into()));
    }
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    console.result(&table(console.out, &["KEY", "STATE", "SINCE", "VERSION", "READ FROM", "FOR"], &rows));
    Ok(Done::read())
}

fn row(status: &ConfigurationStatus) -> Vec<String> {
    let (version, since) = status
        .configured
        .map_or_else(Default::default, |(version, since)| (version.to_string(), output::instant(since)));
    vec![
        status.key.clone(),
        if status.origin.is_some() { "set" } else { "unset" }.to_owned(),
        since,
        version,
        output::read_from(status),
        status.provider.clone().unwrap_or_default(),
    ]
}
