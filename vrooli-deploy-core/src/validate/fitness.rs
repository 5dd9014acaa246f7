//! The score, and what licences say.

use super::facts::Facts;
use super::provider::GROUPS;
use super::{Answer, Finding, only};
use crate::diagnostics::{Code, Diagnostic, Severity, rules};
use crate::fitness::{Blocker, Cause, Remark};

/// Codes that the check of licences tells.
pub(super) const LICENSING: &[Code] = &[rules::LICENCE_FORBIDS];

/// The score is high enough. What blocks for a reason of its own is told by the check it belongs to.
pub(super) fn threshold(facts: &Facts<'_>) -> Answer {
    let fitness = &facts.fitness;
    let mut answer = Answer::fine(format!(
        "{} ({}) for the tier {}, and {} is wanted",
        fitness.overall, fitness.band, fitness.tier, fitness.threshold
    ));
    let weakest = fitness.dimensions.iter().min_by_key(|dimension| dimension.score);
    let cause = weakest.map_or_else(String::new, |weakest| {
        let taken = weakest.terms.iter().filter(|term| term.points < 0);
        let worst = taken.min_by_key(|term| term.points);
        let why = worst.map_or_else(String::new, |term| format!(": {} ({})", term.why, term.points));
        format!("{} is {}{why}", word(weakest.dimension), weakest.score)
    });
    let low = |severity: Severity, limit: u8, what: &str| {
        let mut diagnostic = rules::FITNESS_TOO_LOW
            .diagnostic(format!(
                "its fitness for the tier {} is {}, {what} {limit}",
                fitness.tier, fitness.overall
            ))
            .help("see every term with `vrooli-deploy fitness APP -v`");
        diagnostic.severity = severity;
        Finding::new(diagnostic, cause.clone()).step("swap what costs most: `vrooli-deploy swaps list APP`")
    };
    if fitness.overall < fitness.threshold {
        answer.findings.push(low(Severity::Error, fitness.threshold, "and what is wanted is"));
    } else if fitness.overall < fitness.warning {
        answer.findings.push(low(Severity::Warning, fitness.warning, "below"));
    }
    let elsewhere = |blocker: &&Blocker| !GROUPS.iter().any(|group| group.contains(&blocker.code));
    answer.with(fitness.blockers.iter().filter(elsewhere).map(blocked))
}

/// Licences allow it to be run for others.
pub(super) fn licensing(facts: &Facts<'_>) -> Answer {
    let conditions =
        facts.fitness.dimensions.iter().flat_map(|dimension| &dimension.terms).filter(|term| {
            matches!(term.name.as_str(), "licence-conditions" | "unknown-licence" | "no-licence")
        });
    let notes = conditions.map(|term| {
        let mut diagnostic = rules::LICENCE_FORBIDS
            .diagnostic(term.why.clone())
            .at(term.cause.place.clone(), "here")
            .help("read the licence, and note what it asks for");
        diagnostic.severity = Severity::Info;
        Finding::new(diagnostic, words(&term.cause))
    });
    Answer::fine("no licence forbids it")
        .with(only(&facts.fitness, LICENSING).map(blocked))
        .with(remarks(facts, LICENSING))
        .with(notes)
}

/// A blocker as a finding.
pub(super) fn blocked(blocker: &Blocker) -> Finding {
    let diagnostic = Diagnostic::new(blocker.code, Severity::Error, blocker.message.clone())
        .at(blocker.cause.place.clone(), "here");
    let diagnostic = match blocker.suggestions.is_empty() {
        true => diagnostic,
        false => diagnostic.help(blocker.suggestions.join("; or ")),
    };
    Finding { cause: words(&blocker.cause), steps: blocker.suggestions.clone(), diagnostic }
}

/// What a person should know, of these codes.
pub(super) fn remarks<'a>(facts: &'a Facts<'_>, codes: &'a [Code]) -> impl Iterator<Item = Finding> + 'a {
    facts.fitness.warnings.iter().filter(|remark| codes.contains(&remark.code)).map(|remark: &Remark| {
        let diagnostic = Diagnostic::new(remark.code, Severity::Warning, remark.message.clone())
            .at(remark.cause.place.clone(), "here");
        Finding::new(diagnostic, words(&remark.cause))
    })
}

fn words(cause: &Cause) -> String {
    [
        cause.dependency.as_ref().map(|name| format!("the dependency `{name}`")),
        cause.field.clone(),
        cause.knowledge.clone(),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}

fn word(dimension: crate::fitness::Dimension) -> &'static str {
    use crate::fitness::Dimension;
    match dimension {
        Dimension::Portability => "portability",
        Dimension::Resources => "resources",
        Dimension::Licensing => "licensing",
        Dimension::PlatformSupport => "platform support",
    }
}
