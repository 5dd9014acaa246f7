use vrooli_deploy_core::diagnostics::Severity;
use vrooli_deploy_core::manifest::Tier;
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
    let (loaded, mut noticed) = load(context, &args.app.app).await?;
    let mut options = with_policy(args.assumed.options(), &args.assumed)?;
    options.tiers.extend(args.tier.tier);
    let analysed = swaps::analyze(&loaded, &args.config(), &options);
    noticed.extend(analysed.diagnostics);
    change::input(console, &noticed);
    let Some(analysis) = analysed.value else {
        return Err(Failure::input(noticed));
    };
    console.line(&Line::SwapAnalysis(Box::new(SwapAnalysisLine::from(&analysis))));
    console.result(&output::analysis(console.out, &analysis));
    Ok(Done::read())
}

async fn cascade(context: &Context, args: &Swap) -> Result<Done, Failure> {
    let console = &context.console;
    let (loaded, mut noticed) = load(context, &args.app.app).await?;
    let tier: Tier = args.tier.tier.unwrap_or(loaded.manifest.target);
    let verdict = swaps::check(&loaded.manifest, &[args.config()], tier);
    let refused = verdict.iter().any(|found| found.severity == Severity::Error);
    if !refused {
        noticed.extend(verdict.iter().cloned());
    }
    change::input(console, &noticed);
    let found = swaps::cascade(&loaded.manifest, &args.config(), tier);
    for consequence in &found {
        console.line(&Line::Consequence(ConsequenceLine::from(consequence)));
    }
    console.result(&output::consequences(console.out, &found));
    if refused { Err(Failure::input(verdict)) } else { Ok(Done::read()) }
}
