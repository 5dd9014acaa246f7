//! Fitness and swaps, as people read them.

use vrooli_deploy_core::fitness::{Cause, Dimension, Fitness, Status, Term, TierFitness};
use vrooli_deploy_core::manifest::Tier;
use vrooli_deploy_core::requirements::Size;
use vrooli_deploy_core::swaps::{Consequence, SwapAnalysis};

use super::convert::word;
use super::json::verdict;
use super::style::{Paint, harmless};
use super::table::table;

/// One tier: its score, where that comes from, and what stands in the way.
pub(crate) fn fitness(paint: Paint, fitness: &Fitness, tier: &TierFitness, verbose: bool) -> String {
    let mut parts = vec![headline(paint, fitness, tier), dimensions(paint, tier)];
    if verbose {
        parts.push(terms(paint, fitness, tier));
    }
    parts.extend(findings(paint, tier));
    parts.push(takes(tier));
    parts.join("\n\n")
}

/// All tiers, one a row, and what stands in the way of each.
pub(crate) fn tiers(paint: Paint, fitness: &Fitness, verbose: bool) -> String {
    let score = |tier: &TierFitness, dimension| tier.dimension(dimension).map_or(0, |d| d.score).to_string();
    let rows: Vec<Vec<String>> = fitness
        .tiers
        .iter()
        .map(|tier| {
            let mut row = vec![
                tier.tier.to_string(),
                tier.overall.to_string(),
                tier.band.clone(),
                status(tier.status).to_owned(),
                tier.baseline.to_string(),
            ];
            row.extend(Dimension::ALL.map(|dimension| score(tier, dimension)));
            row
        })
        .collect();
    let head = [
        "TIER",
        "FITNESS",
        "BAND",
        "STATUS",
        "BASELINE",
        "PORTABILITY",
        "RESOURCES",
        "LICENSING",
        "PLATFORM",
    ];
    let mut parts = vec![table(paint, &head, &rows)];
    for tier in &fitness.tiers {
        if verbose {
            parts.push(headline(paint, fitness, tier));
            parts.push(terms(paint, fitness, tier));
            parts.extend(findings(paint, tier));
        } else if !tier.blockers.is_empty() {
            let blockers: Vec<String> = tier
                .blockers
                .iter()
                .map(|blocker| {
                    format!("  {} {}", paint.red(&blocker.code.to_string()), harmless(&blocker.message))
                })
                .collect();
            parts.push(format!("{} is blocked:\n{}", paint.bold(tier.tier.as_str()), blockers.join("\n")));
        }
    }
    parts.join("\n\n")
}

const fn status(status: Status) -> &'static str {
    match status {
        Status::Ready => "ready",
        Status::Warning => "low",
        Status::BelowThreshold => "too low",
        Status::Blocked => "blocked",
    }
}

fn headline(paint: Paint, fitness: &Fitness, tier: &TierFitness) -> String {
    let number = match tier.tier {
        Tier::Local => 1,
        Tier::Desktop => 2,
        Tier::Mobile => 3,
        Tier::Saas => 4,
        Tier::Enterprise => 5,
    };
    let text = status(tier.status);
    let painted = match tier.status {
        Status::Ready => paint.green(text),
        Status::Warning => paint.yellow(text),
        Status::BelowThreshold | Status::Blocked => paint.red(text),
    };
    let score = format!("{} of 100", tier.overall);
    format!(
        "{} for tier {number}, {}: {}, {} ({painted}; {} is wanted, a plain scenario has {})",
        paint.bold(fitness.app.as_str()),
        tier.tier,
        paint.bold(&score),
        tier.band,
        tier.threshold,
        tier.baseline
    )
}

fn dimension_name(dimension: Dimension) -> String {
    word(&dimension).replace('_', " ")
}

fn dimensions(paint: Paint, tier: &TierFitness) -> String {
    let rows: Vec<Vec<String>> = tier
        .dimensions
        .iter()
        .map(|dimension| {
            let changed: Vec<String> = dimension
                .terms
                .iter()
                .filter(|term| term.points != 0 && term.name != "start")
                .map(|term| {
                    let about =
                        term.cause.dependency.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
                    format!("{}{about} {:+}", term.name, term.points)
                })
                .collect();
            vec![
                dimension_name(dimension.dimension),
                format!("{} %", dimension.weight),
                dimension.score.to_string(),
                changed.join(", "),
            ]
        })
        .collect();
    table(paint, &["DIMENSION", "WEIGHT", "SCORE", "WHY"], &rows)
}

fn terms(paint: Paint, fitness: &Fitness, tier: &TierFitness) -> String {
    let mut lines = Vec::new();
    let mut list = |title: String, terms: &[Term]| {
        lines.push(paint.bold(&title));
        for term in terms {
            let from = cause(&term.cause);
            let from = if from.is_empty() { from } else { format!("  {}", paint.dim(&format!("[{from}]"))) };
            lines.push(format!("  {:>+4}  {}: {}{from}", term.points, term.name, harmless(&term.why)));
        }
    };
    for dimension in &tier.dimensions {
        let name = dimension_name(dimension.dimension);
        list(format!("{name}: {} (counts {} %)", dimension.score, dimension.weight), &dimension.terms);
    }
    if !tier.adjustments.is_empty() {
        list("on top".to_owned(), &tier.adjustments);
    }
    lines.push(
        paint.dim(&format!("points and weights: policy {} of {}", fitness.policy, fitness.policy_as_of)),
    );
    lines.join("\n")
}

fn cause(cause: &Cause) -> String {
    let place = cause.place.as_ref().map(ToString::to_string);
    let dependency = cause.dependency.as_ref().map(ToString::to_string);
    let input = place.or(dependency).or_else(|| cause.field.clone());
    input.into_iter().chain(cause.knowledge.clone()).collect::<Vec<_>>().join("; ")
}

fn findings(paint: Paint, tier: &TierFitness) -> Option<String> {
    let mut lines = Vec::new();
    for blocker in &tier.blockers {
        lines.push(format!(
            "{}: {}",
            paint.red(&format!("blocked[{}]", blocker.code)),
            paint.bold(&harmless(&blocker.message))
        ));
        if let Some(place) = &blocker.cause.place {
            lines.push(format!("  {} {place}", paint.dim("at")));
        }
        for suggestion in &blocker.suggestions {
            lines.push(format!("  {} {}", paint.cyan("help:"), harmless(suggestion)));
        }
    }
    for warning in &tier.warnings {
        lines.push(format!(
            "{}: {}",
            paint.yellow(&format!("warning[{}]", warning.code)),
            harmless(&warning.message)
        ));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn takes(tier: &TierFitness) -> String {
    let unknown = match tier.size.unknown.as_slice() {
        [] => String::new(),
        names => format!("; not known: {}", names.join(", ")),
    };
    let (least, well) = (amount(&tier.size.total.minimum), amount(&tier.size.total.recommended));
    if least == well {
        return format!("takes {least}{unknown}");
    }
    format!("takes at least {least}; runs well with {well}{unknown}")
}

fn amount(size: &Size) -> String {
    let mut parts = Vec::new();
    parts.extend(size.ram_mb.map(|mb| format!("{mb} MB of memory")));
    parts.extend(size.cpu_cores.map(|cores| match cores {
        1.0 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    }));
    parts.extend(size.disk_mb.map(|mb| format!("{mb} MB of disk")));
    parts.extend(size.gpu_vram_mb.map(|mb| format!("{mb} MB of graphics memory")));
    if parts.is_empty() { "an unknown amount of machine".to_owned() } else { parts.join(", ") }
}

/// What a swap would do.
pub(crate) fn analysis(paint: Paint, analysis: &SwapAnalysis) -> String {
    let mut parts = Vec::new();
    let title = paint.bold(&format!("{} → {}", analysis.swap.from, analysis.swap.to));
    parts.push(match &analysis.known {
        Some(known) => {
            let mut lines = vec![format!(
                "{title}: {} ({}, effort {})",
                known.impact,
                word(&known.relationship),
                word(&known.effort)
            )];
            lines.extend(known.limitations.iter().map(|text| format!("  - {text}")));
            lines.join("\n")
        }
        None => format!("{title}: nothing is known of this swap; the scores say what it would change"),
    });
    let rows: Vec<Vec<String>> = analysis
        .tiers
        .iter()
        .map(|change| {
            let (word, why) = verdict(&change.verdict);
            let mut notes: Vec<String> = why.map(harmless).into_iter().collect();
            notes.extend(
                change.unblocks.iter().map(|message| format!("no longer blocked: {}", harmless(message))),
            );
            if why.is_none() {
                notes.extend(change.blocks.iter().map(|message| format!("blocked: {}", harmless(message))));
            }
            vec![
                change.tier.to_string(),
                word.to_owned(),
                change.before.to_string(),
                change.after.to_string(),
                format!("{:+}", change.delta()),
                notes.join("; "),
            ]
        })
        .collect();
    parts.push(table(paint, &["TIER", "VERDICT", "BEFORE", "AFTER", "CHANGE", "NOTES"], &rows));
    if !analysis.consequences.is_empty() {
        parts.push(consequences(paint, &analysis.consequences));
    }
    parts.join("\n\n")
}

/// What else a swap forces.
pub(crate) fn consequences(paint: Paint, consequences: &[Consequence]) -> String {
    if consequences.is_empty() {
        return "nothing else must change".to_owned();
    }
    let rows: Vec<Vec<String>> = consequences
        .iter()
        .map(|consequence| {
            let then: Vec<String> = consequence.then.iter().map(ToString::to_string).collect();
            let then =
                if then.is_empty() { String::new() } else { format!("; could become {}", then.join(" or ")) };
            let indent = "  ".repeat(usize::try_from(consequence.depth.saturating_sub(1)).unwrap_or(0));
            vec![
                format!("{indent}{}", word(&consequence.kind)),
                consequence.what.clone(),
                format!("{}{then}", harmless(&consequence.why)),
            ]
        })
        .collect();
    table(paint, &["MUST CHANGE", "WHAT", "WHY"], &rows)
}
