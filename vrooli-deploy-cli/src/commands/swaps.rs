use vrooli_deploy_core::names::DependencyName;
use vrooli_deploy_core::swaps::{self, KnownSwap, Verdict};

use super::change;
use super::context::Context;
use super::done::Done;
use super::fitness::{load, with_policy};
use crate::arguments::{Swap, Swaps, SwapsList};
use crate::errors::Failure;
use crate::output::json::{ConsequenceLine, Line, SwapAnalysisLine, SwapLine};
use crate::output::{self, table, word};

pub(crate) async fn run(context: &Context, args: &Swaps) -> Result<Done, Failure> {
    match args {
        Swaps::List(args) => list(context, args).await,
        Swaps::Analyze(args) => analyze(context, args).await,
        Swaps::Cascade(args) => cascade(context, args).await,
        Swaps::Apply(args) => super::swaps_apply::run(context, args).await,
    }
}

async fn list(context: &Context, args: &SwapsList) -> Result<Done, Failure> {
    let console = &context.console;
    let offers: Vec<(Option<DependencyName>, &KnownSwap)> = match &args.app {
        None => swaps::list().iter().map(|known| (None, known)).collect(),
        Some(app) => {
            let (loaded, noticed) = load(context, app).await?;
            change::input(console, &noticed);
            swaps::offers(&loaded.manifest).into_iter().map(|(name, known)| (Some(name), known)).collect()
        }
    };
    let offers: Vec<_> = offers
        .into_iter()
        .filter(|(_, known)| args.tier.tier.is_none_or(|tier| known.verdict(tier) == Verdict::Meant))
        .collect();
    for (dependency, known) in &offers {
        let dependency = dependency.as_ref().map(ToString::to_string);
        console.line(&Line::Swap(SwapLine { dependency, ..SwapLine::from(*known) }));
    }
    let rows: Vec<Vec<String>> = offers.iter().map(|(name, known)| row(name.as_ref(), known)).collect();
    if rows.is_empty() {
        console.result("no swap is known");
    } else {
        let head = ["FROM", "TO", "TIERS", "EFFORT", "HOW", "WHAT CHANGES"];
        console.result(&table(console.out, &head, &rows));
    }
    Ok(Done::read())
}

fn row(name: Option<&DependencyName>, known: &KnownSwap) -> Vec<String> {
    vec![
        name.map_or_else(|| known.from.clone(), ToString::to_string),
        known.to.clone(),
        known.tiers.iter().map(|tier| tier.as_str()).collect::<Vec<_>>().join(","),
        word(&known.effort),
        word(&known.relationship),
        known.impact.clone(),
    ]
}

async fn analyze(context: &Context, args: &Swap) -> Result<Done, Failure> {
    let console = &context.console;
    let (workspace, target) = context.target_to_assess(&args.app.app).await?;
    let mut options = with_policy(args.assumed.options(), &args.assumed)?;
    options.tiers.extend(args.tier.tier);
    let (analysis, noticed) = workspace.analyze_swap(&target, &args.config(), &options)?;
    change::input(console, &noticed);
    console.line(&Line::SwapAnalysis(Box::new(SwapAnalysisLine::from(&analysis))));
    console.result(&output::analysis(console.out, &analysis));
    Ok(Done::read())
}

async fn cascade(context: &Context, args: &Swap) -> Result<Done, Failure> {
    let console = &context.console;
    let (workspace, target) = context.target_to_assess(&args.app.app).await?;
    let found = workspace.cascade_swap(&target, &args.config(), args.tier.tier)?;
    change::input(console, &found.diagnostics);
    for consequence in &found.consequences {
        console.line(&Line::Consequence(ConsequenceLine::from(consequence)));
    }
    console.result(&output::consequences(console.out, &found.consequences));
    if found.refusals.is_empty() { Ok(Done::read()) } else { Err(Failure::input(found.refusals)) }
}
