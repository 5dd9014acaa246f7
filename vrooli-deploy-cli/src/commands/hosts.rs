use vrooli_deploy_providers::bare_metal::facts::HostFacts;
use vrooli_deploy_providers::bare_metal::host::{HostName, Server};
use vrooli_deploy_providers::bare_metal::hosts::{Hosts, Origin};
use vrooli_deploy_providers::bare_metal::remote::RemoteError;

use super::context::Context;
use super::done::Done;
use crate::arguments::{self, HostsAdd, HostsOf, HostsRemove};
use crate::errors::Failure;
use crate::output;
use crate::output::json::{HostLine, Line};

/// Keys that may be asked for on the way to one host.
const MOST_KEYS: usize = 8;

pub(crate) async fn run(context: &Context, args: &arguments::Hosts) -> Result<Done, Failure> {
    match args {
        arguments::Hosts::Add(args) => add(context, args).await,
        arguments::Hosts::Remove(args) => remove(context, args),
        arguments::Hosts::List(args) => list(context, args).await,
        arguments::Hosts::Check(args) => check(context, args).await,
    }
}

async fn add(context: &Context, args: &HostsAdd) -> Result<Done, Failure> {
    let hosts = context.hosts()?;
    if let Some(fingerprint) = &args.fingerprint {
        let key = hosts.trust_fingerprint(&args.host, fingerprint).await?;
        context.console.note(&output::trusted(&args.host, &key));
    }
    let facts = looked_at(context, &hosts, &args.host).await?;
    let server = Server { host: args.host.clone(), role: args.role.clone() };
    let changed = hosts.keep(server.clone())?;
    let line = HostLine::new(&server, Origin::Added, Some(Ok(facts)));
    context.console.result(&output::host(&line));
    context.console.line(&Line::Host(Box::new(line)));
    Ok(Done::changed(changed))
}

fn remove(context: &Context, args: &HostsRemove) -> Result<Done, Failure> {
    let changed = context.hosts()?.remove(&args.host, args.lost)?;
    context.console.note(&output::removed(&args.host, args.lost, changed));
    Ok(Done::changed(changed))
}

/// What the host is. Keys that nobody vouched for yet, its own and those of hosts on the way, are
/// shown and asked for; `--yes` is no answer to that.
async fn looked_at(context: &Context, hosts: &Hosts, host: &HostName) -> Result<HostFacts, Failure> {
    let names = [host.clone()];
    let mut keys = 0;
    loop {
        let mut looked = hosts.facts(&names, &context.interrupt.cancellation()).await;
        match looked.pop() {
            Some(Ok(facts)) => return Ok(facts),
            Some(Err(RemoteError::UnknownKey { name, offered: Some(offered) }))
                if context.console.can_ask && keys < MOST_KEYS =>
            {
                keys += 1;
                let whose =
                    HostName::new(name).map_err(|error| RemoteError::Name { words: error.to_string() })?;
                let answer = context.ask(&output::is_it(&whose, &offered)).await?;
                if answer != "yes" && answer != offered.to_string() {
                    return Err(Failure::declined());
                }
                hosts.trust_fingerprint(&whose, &offered).await?;
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Failure::interrupted()),
        }
    }
}

/// The servers that were added, and those of an app if one is named.
async fn known(context: &Context, args: &HostsOf) -> Result<(Hosts, Vec<(Server, Origin)>), Failure> {
    let manifest = match &args.app {
        None => Vec::new(),
        Some(app) => {
            let (_, target) = context.target_to_assess(app).await?;
            let Some(loaded) = target.manifest else { return Err(Failure::input(target.diagnostics)) };
            loaded.manifest.infrastructure.servers
        }
    };
    let hosts = context.hosts()?;
    let known = hosts.all(&manifest)?;
    Ok((hosts, known))
}

async fn list(context: &Context, args: &HostsOf) -> Result<Done, Failure> {
    let (_, known) = known(context, args).await?;
    show(context, known.iter().map(|(server, origin)| HostLine::new(server, *origin, None)).collect());
    Ok(Done::read())
}

async fn check(context: &Context, args: &HostsOf) -> Result<Done, Failure> {
    let (hosts, known) = known(context, args).await?;
    let names: Vec<HostName> = known.iter().map(|(server, _)| server.host.clone()).collect();
    let looked = hosts.facts(&names, &context.interrupt.cancellation()).await;
    let bad: Vec<&HostName> =
        names.iter().zip(&looked).filter(|(_, l)| l.is_err()).map(|(name, _)| name).collect();
    let failure = (!bad.is_empty()).then(|| Failure::hosts(&bad, names.len()));
    let lines =
        known.iter().zip(looked).map(|((server, origin), facts)| HostLine::new(server, *origin, Some(facts)));
    show(context, lines.collect());
    match failure {
        None => Ok(Done::read()),
        Some(failure) => {
            context.console.error(&output::failure(context.console.err, &failure));
            Ok(Done { error: Some(failure.clone()), ..Done::exit(failure.exit) })
        }
    }
}

fn show(context: &Context, lines: Vec<HostLine>) {
    let console = &context.console;
    if lines.is_empty() {
        console.note("no server is known: add one with `vrooli-deploy hosts add HOST`");
    } else {
        console.result(&output::hosts(console.out, &lines));
    }
    for line in lines {
        console.line(&Line::Host(Box::new(line)));
    }
}
