use vrooli_deploy_providers::bare_metal::artefact::Artefact;
use vrooli_deploy_providers::bare_metal::host::Server;
use vrooli_deploy_providers::bare_metal::preflight::{CheckStatus, PreflightOptions};

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::Preflight;
use crate::errors::Failure;
use crate::output;
use crate::output::json::{Line, PreflightLine};

pub(crate) async fn run(context: &Context, args: &Preflight) -> Result<Done, Failure> {
    let (_, target) = context.target_with(&args.app.app, &args.values).await?;
    change::input(&context.console, &target.diagnostics);
    let Some(loaded) = &target.manifest else { return Err(Failure::input(target.diagnostics)) };
    let manifest = &loaded.manifest;
    let hosts = context.hosts()?;
    let known = hosts.all(&manifest.infrastructure.servers)?;
    let servers: Vec<Server> = known.into_iter().map(|(server, _)| server).collect();
    if servers.is_empty() {
        return Err(Failure::no_hosts(&target.stack));
    }
    let mut options = PreflightOptions::default();
    options.domain.clone_from(&manifest.app.domain);
    options.artefacts = args.artefact.iter().map(|path| Artefact::read(path)).collect::<Result<_, _>>()?;
    let looked = hosts.preflight(&servers, &options, &context.interrupt.cancellation()).await?;
    let console = &context.console;
    for (host, check) in looked.checks() {
        console.line(&Line::Preflight(Box::new(PreflightLine::new(&target.stack, host, check))));
    }
    console.result(&output::preflight(console.out, &target.stack, &looked, console.verbose > 0));
    if looked.status() < CheckStatus::Fail {
        return Ok(Done::read());
    }
    let failure = Failure::preflight(&looked);
    console.error(&output::failure(console.err, &failure));
    Ok(Done { error: Some(failure.clone()), ..Done::exit(failure.exit) })
}
