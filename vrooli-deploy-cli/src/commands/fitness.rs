use vrooli_deploy_core::diagnostics::Diagnostic;
use vrooli_deploy_core::fitness::{AssessOptions, Policy};
use vrooli_deploy_core::manifest::{LoadedManifest, Tier};
use vrooli_deploy_core::workspace::FitnessChoices;

use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::{Assumed, Fitness};
use crate::errors::Failure;
use crate::output;
use crate::output::json::{FitnessLine, Line};

pub(crate) async fn run(context: &Context, args: &Fitness) -> Result<Done, Failure> {
    let console = &context.console;
    let (workspace, target) = context.target_to_assess(&args.app.app).await?;
    let own = target.manifest.as_ref().map_or(Tier::Local, |loaded| loaded.manifest.target);
    let gate = args.tier.tier.unwrap_or(own);
    let mut choices = FitnessChoices::default();
    choices.assess = with_policy(args.options(gate), &args.assumed)?;
    choices.estimate = args.budget();
    let report = workspace.fitness(&target, &choices).await?;
    change::input(console, &report.diagnostics);
    let fitness = report.fitness;
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

/// The app's manifest, with the choices of its profile laid over it.
pub(super) async fn load(context: &Context, app: &str) -> Result<(LoadedManifest, Vec<Diagnostic>), Failure> {
    let (_, target) = context.target_to_assess(app).await?;
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
