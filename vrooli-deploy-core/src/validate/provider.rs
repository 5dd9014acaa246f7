//! What the provider and the catalogue say of what the app needs.

use super::facts::Facts;
use super::fitness::{LICENSING, blocked, remarks};
use super::{Answer, Finding, counted, only};
use crate::diagnostics::{Code, Diagnostic, Severity, rules};

/// Blockers that a check of their own tells.
pub(super) const GROUPS: [&[Code]; 4] = [LICENSING, LIMITS, PLATFORM, DEPENDENCY];

const LIMITS: &[Code] = &[rules::GPU_WITHOUT_BUDGET];
const PLATFORM: &[Code] =
    &[rules::TIER_UNSUPPORTED, rules::DECLARED_BLOCKED, rules::RESIDENCY, rules::COMPLIANCE];
const DEPENDENCY: &[Code] = &[
    rules::DEAD_RESOURCE,
    rules::SCENARIO_MISSING,
    rules::SCENARIO_CYCLE,
    rules::SCENARIO_VERSION,
    rules::SWAP_REFUSED,
];

/// What a provider says of sizes and counts.
const SIZES: [Code; 3] = [rules::UNKNOWN_SIZE, rules::COUNT, rules::SIZE_CHOSEN];

/// Sizes and counts are such that the app fits.
pub(super) fn limits(facts: &Facts<'_>) -> Answer {
    let size = &facts.fitness.size;
    let least = &size.total.minimum;
    let known: Vec<String> = [
        least.ram_mb.map(|mb| format!("{mb} MB of memory")),
        least.cpu_cores.map(|cores| format!("{cores} CPU")),
        least.disk_mb.map(|mb| format!("{mb} MB of disk")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let fine = if known.is_empty() {
        "what it takes is not known".to_owned()
    } else {
        format!("it takes {} at least", known.join(", "))
    };
    let unknown = (!size.unknown.is_empty()).then(|| {
        let mut diagnostic = rules::RESOURCE_LIMITS
            .diagnostic(format!("nothing is known of what these take: {}", size.unknown.join(", ")))
            .help("say it with `deployment.dependencies.resources.NAME.footprint`, or watch it once it runs");
        diagnostic.severity = Severity::Info;
        Finding::new(diagnostic, "the catalogue, the app's metadata")
    });
    Answer::fine(fine)
        .with(only(&facts.fitness, LIMITS).map(blocked))
        .with(remarks(facts, LIMITS))
        .with(said(facts, |code| SIZES.contains(&code)))
        .with(unknown)
}

/// The provider can make what the app needs, in the tier that is meant.
pub(super) fn platform(facts: &Facts<'_>) -> Answer {
    let fine = match &facts.stack {
        Some(stack) => format!(
            "{} makes {} for it",
            facts.provider,
            counted(stack.resources.len(), "resource", "resources")
        ),
        None => format!("nothing can be made of it at {}", facts.provider),
    };
    let elsewhere = [rules::EXTENSION, rules::CONNECTIONS];
    Answer::fine(fine)
        .with(only(&facts.fitness, PLATFORM).map(blocked))
        .with(remarks(facts, PLATFORM))
        .with(said(facts, |code| !SIZES.contains(&code) && !elsewhere.contains(&code)))
}

fn said<'a>(facts: &'a Facts<'_>, tells: impl Fn(Code) -> bool + 'a) -> impl Iterator<Item = Finding> + 'a {
    let told = facts.lowered.iter().filter(move |found| tells(found.code));
    told.map(|found| Finding::new(found.clone(), cause(facts, found)))
}

/// The input that a provider speaks of: the place says where, this says what.
fn cause(facts: &Facts<'_>, found: &Diagnostic) -> String {
    let named = facts.requirements.resources.iter().find(|resource| {
        found.message.contains(&format!("`{}`", resource.name))
            || found.message.contains(&format!("/{}`", resource.name))
    });
    match named {
        Some(resource) => format!("the dependency `{}`", resource.name),
        None => format!("what {} offers", facts.provider),
    }
}

/// What the app depends on is there, in versions that go together.
pub(super) fn dependencies(facts: &Facts<'_>) -> Answer {
    let needs = &facts.requirements;
    let fine = format!(
        "{} needed, {} left out",
        counted(needs.resources.len() + needs.embedded.len(), "dependency is", "dependencies are"),
        needs.dropped.len()
    );
    let blockers: Vec<Finding> = only(&facts.fitness, DEPENDENCY).map(blocked).collect();
    // An error of the derivation is a blocker of the tier, too: told once.
    let twice = |found: &&Diagnostic| {
        found.severity == Severity::Error
            && blockers.iter().any(|blocker| blocker.diagnostic.code == found.code)
    };
    let derived: Vec<Finding> = facts
        .derived
        .iter()
        .filter(|found| !twice(found))
        .map(|found| {
            let dropped = needs.dropped.iter().map(|dropped| dropped.name.as_str());
            let named = dropped
                .chain(needs.resources.iter().map(|resource| resource.name.as_str()))
                .find(|name| found.message.contains(&format!("`{name}`")));
            let mut found = found.clone();
            if let (Some(name), true) = (named, found.labels.is_empty()) {
                found = found.at(facts.resource_place(name), "declared here");
            }
            Finding::new(found, named.map_or_else(String::new, |name| format!("the dependency `{name}`")))
        })
        .collect();
    let said: Vec<(Code, String)> =
        derived.iter().map(|found| (found.diagnostic.code, found.diagnostic.message.clone())).collect();
    let others = remarks(facts, DEPENDENCY)
        .filter(|found| !said.iter().any(|(code, _)| *code == found.diagnostic.code));
    Answer::fine(fine).with(others.collect::<Vec<_>>()).with(blockers).with(derived)
}

/// Extensions that the app or its SQL asks for are on the provider's list.
pub(super) fn extensions(facts: &Facts<'_>) -> Answer {
    let asked: Vec<&str> = facts
        .requirements
        .resources
        .iter()
        .flat_map(|resource| resource.extensions.iter().map(String::as_str))
        .collect();
    let fine = if asked.is_empty() {
        "the app asks for none".to_owned()
    } else {
        let asked = asked.join(", ");
        match facts.managed_databases().next() {
            Some(_) => format!("{asked}: offered by {}", facts.provider),
            None => format!("{asked}: made on a server of the app's own"),
        }
    };
    let told = facts.lowered.iter().filter(|found| found.code == rules::EXTENSION).map(|found| {
        let made = facts.scripts.iter().find_map(|script| {
            let (name, span) =
                script.extensions.iter().find(|(name, _)| found.message.contains(&format!("`{name}`")))?;
            Some((script, name, span))
        });
        match made {
            Some((script, name, span)) => {
                // More exact than the line that declares the database.
                let mut found = found.clone();
                found.labels.clear();
                let found = found.at(Some(span.clone()), "asked for here");
                Finding::new(found, format!("`CREATE EXTENSION {name}` in {}", script.name))
            }
            None => Finding::new(found.clone(), cause(facts, found)),
        }
    });
    Answer::fine(fine).with(told)
}
