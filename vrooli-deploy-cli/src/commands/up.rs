use vrooli_deploy_core::engine::OutcomeKind;

use super::context::Context;
use super::done::Done;
use super::{change, deploy};
use crate::arguments::Deploy;
use crate::errors::Failure;
use crate::output;

/// A deployment whose result is a URL: on stdout nothing else, so that `$(vrooli-deploy up …)` works.
pub(crate) async fn run(context: &Context, args: &Deploy) -> Result<Done, Failure> {
    if args.dry_run {
        return deploy::run(context, args).await;
    }
    if args.choices.infra_only {
        return Err(Failure::usage("`up` starts an app: `deploy --infra-only` stops before it".to_owned()));
    }
    let report = deploy::deploy(context, "up", args).await?;
    let console = &context.console;
    if matches!(report.outcome.kind, OutcomeKind::Applied | OutcomeKind::NoChange) {
        console.note(&output::report(console.err, "up", &report));
        if console.live {
            console.note("");
        }
        for url in &report.urls {
            let indent = if console.live { "    " } else { "" };
            console.result(&format!("{indent}{}", console.out.link(url)));
        }
        if console.live {
            console.note("");
        }
    } else {
        change::say(console, "up", &report);
    }
    Ok(Done::report(&report))
}
