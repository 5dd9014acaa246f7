//! Choosing from a provider's catalogue, and saying why.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lowering::{Lowering, unknown};
use super::sizing::{Amount, Need, smallest};
use crate::diagnostics::{Severity, rules};
use crate::requirements::ResourceRequirement;

/// Sizes of one kind of thing.
#[derive(Debug, Clone)]
pub struct Sizes<'a> {
    /// What they are sizes of, for people: `database `main`.
    pub what: &'a str,
    /// Where the manifest names one, as a JSON pointer.
    pub pointer: &'a str,
    /// All that may be named.
    pub named: Vec<&'a str>,
    /// Those that may be chosen, in the order of preference.
    pub preferred: Vec<(Amount, &'a str)>,
}

/// Versions of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Versions<'a> {
    /// The engine, for people.
    pub engine: &'a str,
    /// Where the manifest names one, as a JSON pointer.
    pub pointer: &'a str,
    /// What is offered.
    pub offered: &'a [String],
    /// What is still kept running, at a surcharge.
    pub surcharged: &'a [String],
    /// What is taken when none is said.
    pub default: &'a str,
}

/// Which extensions of a database a provider offers, as far as is known.
#[derive(Debug, Clone, Copy)]
pub struct ExtensionLists<'a> {
    /// Offered for certain.
    pub available: &'a [String],
    /// Not offered for certain, and why.
    pub missing: &'a BTreeMap<String, String>,
    /// How one finds out about others.
    pub how_to_know: &'a str,
}

/// Compute types that a provider has, from its data.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ComputeTypes {
    /// The one that is taken when none is said.
    pub default: String,
    /// All, and what else they are called.
    pub types: BTreeMap<String, Vec<String>>,
}

/// A compute type: the one that is named in any of its spellings, or the default. `None` after
/// saying which there are. `provider` is its name for people.
pub fn compute_type<'a>(
    lowering: &mut Lowering<'_>,
    types: &'a ComputeTypes,
    provider: &str,
) -> Option<&'a str> {
    let config = lowering.options().infrastructure.compute.as_ref();
    let asked = config.map_or(types.default.as_str(), |config| config.kind.as_str());
    let called = |(name, also): &(&String, &Vec<String>)| {
        *name == asked || also.iter().any(|word| word.eq_ignore_ascii_case(asked))
    };
    let found = types.types.iter().find(called);
    if found.is_none() {
        let names = types.types.keys().map(String::as_str);
        let diagnostic = unknown(rules::COMPUTE_TYPE, &format!("compute type of {provider}"), asked, names);
        lowering.say_at("/infrastructure/compute/type", diagnostic);
    }
    found.map(|(name, _)| name.as_str())
}

/// A size: the one that is named, or the smallest that fits. `None` after saying why there is none.
pub fn size(
    lowering: &mut Lowering<'_>,
    sizes: Sizes<'_>,
    asked: Option<&str>,
    need: Need,
) -> Option<String> {
    let Sizes { what, pointer, named, preferred: sizes } = sizes;
    if let Some(asked) = asked {
        if named.contains(&asked) {
            return Some(asked.to_owned());
        }
        let diagnostic =
            unknown(rules::UNKNOWN_SIZE, &format!("size of {what}"), asked, named.iter().copied());
        lowering.say_at(pointer, diagnostic);
        return None;
    }
    let amounts: BTreeMap<&str, Amount> = sizes.iter().map(|(amount, name)| (*name, *amount)).collect();
    let Some(chosen) = smallest(sizes, need) else {
        lowering.say_at(
            pointer,
            rules::UNKNOWN_SIZE
                .diagnostic(format!("no size of {what} holds {}", need.minimum.words()))
                .help("name a size in the manifest, or make the app smaller"),
        );
        return None;
    };
    let fits = amounts.get(chosen).is_some_and(|amount| amount.holds(need.recommended));
    let known = need.recommended != Amount::default();
    let message = match (known, fits) {
        (false, _) => format!("{what}: {chosen} is chosen, the smallest; how much it needs is not known"),
        (true, true) => {
            format!("{what}: {chosen} is chosen, the smallest that holds {}", need.recommended.words())
        }
        (true, false) => format!(
            "{what}: {chosen} is chosen, the largest there is to choose; it holds the minimum ({}), not what is recommended ({})",
            need.minimum.words(),
            need.recommended.words()
        ),
    };
    let help = format!("name another with `{}`", pointer.trim_start_matches('/').replace('/', "."));
    lowering.say(rules::SIZE_CHOSEN.diagnostic(message).help(help));
    Some(chosen.to_owned())
}

/// The version of an engine: the one that the manifest names, else one that the app's
/// declaration allows, else the default.
pub fn version(
    lowering: &mut Lowering<'_>,
    engine: Versions<'_>,
    asked: Option<&str>,
    declared: Option<&str>,
) -> Option<String> {
    let pointer = engine.pointer;
    let offered = |version: &str| {
        let of = |known: &String| {
            version == known || version.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        (engine.offered.iter().any(of), engine.surcharged.iter().any(of))
    };
    let list = engine.offered.join(", ");
    if let Some(asked) = asked {
        return match offered(asked) {
            (true, _) => Some(asked.to_owned()),
            (false, true) => {
                let mut diagnostic = rules::ENGINE_VERSION
                    .diagnostic(format!("{} {asked} is only kept running, at a surcharge", engine.engine));
                diagnostic.severity = Severity::Warning;
                lowering.say_at(pointer, diagnostic.help(format!("offered without one: {list}")));
                Some(asked.to_owned())
            }
            (false, false) => {
                let diagnostic = rules::ENGINE_VERSION
                    .diagnostic(format!("{} {asked} is not offered; versions are {list}", engine.engine));
                lowering.say_at(pointer, diagnostic.help(format!("the default is {}", engine.default)));
                None
            }
        };
    }
    let Some(declared) = declared.map(str::trim).filter(|text| !text.is_empty()) else {
        return Some(engine.default.to_owned());
    };
    if let Some(version) = within(engine, declared) {
        return Some(version);
    }
    let mut diagnostic = rules::ENGINE_VERSION.diagnostic(format!(
        "the app declares {} `{declared}`, and {} is taken: offered are {list}",
        engine.engine, engine.default
    ));
    diagnostic.severity = Severity::Warning;
    lowering.say(diagnostic.help("name one with `version` in the manifest's infrastructure"));
    Some(engine.default.to_owned())
}

/// The version that a declaration like `15`, `15.4`, `>=13`, `14+`, `^16`, `latest` allows:
/// the default if it does, else the one that is named.
fn within(engine: Versions<'_>, declared: &str) -> Option<String> {
    if matches!(declared, "*" | "latest" | "x") {
        return Some(engine.default.to_owned());
    }
    let open = declared.starts_with('>') || declared.ends_with('+');
    let start = declared.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits: String = start.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let digits = digits.trim_end_matches('.');
    let major = |text: &str| text.split('.').next().and_then(|part| part.parse::<u32>().ok());
    let least = major(digits)?;
    if (open && major(engine.default)? >= least) || major(engine.default)? == least {
        return Some(engine.default.to_owned());
    }
    let fits = |known: &&String| {
        let is = major(known);
        if open { is >= Some(least) } else { is == Some(least) }
    };
    engine.offered.iter().find(fits).cloned()
}

/// Says which extensions of PostgreSQL are not offered, or perhaps not.
pub fn extensions(lowering: &mut Lowering<'_>, known: ExtensionLists<'_>, requirement: &ResourceRequirement) {
    for extension in &requirement.extensions {
        if let Some(why) = known.missing.get(extension) {
            let mut diagnostic =
                rules::EXTENSION.diagnostic(format!("the extension `{extension}` is not offered: {why}"));
            diagnostic.severity = Severity::Error;
            let help = format!("do without it, or point `{}` to a database that has it", requirement.name);
            lowering.say_of(&requirement.name, diagnostic.help(help));
        } else if !known.available.contains(extension) {
            lowering.say_of(
                &requirement.name,
                rules::EXTENSION
                    .diagnostic(format!("whether the extension `{extension}` is offered is not known"))
                    .help(known.how_to_know),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_ranges_are_understood() {
        let offered = ["14", "15", "16", "17"].map(str::to_owned);
        let engine =
            Versions { engine: "PostgreSQL", pointer: "", offered: &offered, surcharged: &[], default: "16" };
        let within = |text| within(engine, text);
        assert_eq!(within(">=13").as_deref(), Some("16"), "the default lies in the range");
        assert_eq!(within("14+").as_deref(), Some("16"));
        assert_eq!(within("15").as_deref(), Some("15"));
        assert_eq!(within("^15.2").as_deref(), Some("15"));
        assert_eq!(within("17.x").as_deref(), Some("17"));
        assert_eq!(within("latest").as_deref(), Some("16"));
        assert_eq!(within(">=17").as_deref(), Some("17"));
        assert_eq!(within("9.6"), None);
        assert_eq!(within("whatever"), None);
    }
}
