use std::path::Path;

use vrooli_deploy_core::diagnostics::Diagnostic;
use vrooli_deploy_core::fitness::{self, AssessOptions, Policy};
use vrooli_deploy_core::manifest::LoadedManifest;

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::{Assumed, Fitness};
use crate::errors::Failure;
use crate::output;
use crate::output::json::{FitnessLine, Line};

pub(crate) async fn run(context: &Context, args: &Fitness) -> Result<Done, Failure> {
    let console = &context.console;
    let (loaded, mut noticed) = load(context, &args.app.app).await?;
    let gate = args.tier.tier.unwrap_or(loaded.manifest.target);
    let options = with_policy(args.options(gate), &args.assumed)?;
    let assessed = fitness::assess(&loaded, &options);
    noticed.extend(assessed.diagnostics);
    change::input(console, &noticed);
    let Some(fitness) = assessed.value else {
        return Err(Failure::input(noticed));
    };
    for tier in &fitness.tiers {
        console.line(&Line::Fitness(Box::new(FitnessLine::new(&fitness, tier))));
    }
    let verbose = console.verbose > 0;
    match fitness.tiers.as_slice() {
        [tier] => console.result(&output::fitness(console.out, &fitness, tier, verbose)),
        _ => console.result(&output::tiers(console.out, &fitness, verbose)),
    }
    let Some(tier) = fitness.tier(gate).filter(|tier| !tier.passes()) else {
        return Ok(Done::read());
    };
    let failure = Failure::unfit(&fitness, tier);
    console.error(&output::failure(console.err, &failure));
    Ok(Done { error: Some(failure), ..Done::exit(7) })
}

/// The app's manifest: from a path without any workspace, else from what is known of the app.
pub(super) async fn load(context: &Context, app: &str) -> Result<(LoadedManifest, Vec<Diagnostic>), Failure> {
    let path = Path::new(app);
    if path.exists() {
        return fitness::load(path).into_result().map_err(Failure::input);
    }
    let (_, target) = context.target(app).await?;
    let Some(loaded) = target.manifest else {
        return Err(Failure::input(target.diagnostics));
    };
    Ok((loaded, target.diagnostics))
}

/// With the policy that was asked for, and the day that it is.
pub(super) fn with_policy(mut options: AssessOptions, assumed: &Assumed) -> Result<AssessOptions, Failure> {
    if let Some(file) = &assumed.policy {
        let (policy, _) = Policy::read(file).into_result().map_err(Failure::input)?;
        options.fitness.policy = Some(policy);
    }
    options.fitness.today = Some(jiff::Zoned::now().date());
    Ok(options)
}
