//! The words for tiers, providers and strategies, and what else people call them. An
//! unknown word is an error with a suggestion, never a silent default.

use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::shape::nearest;
use super::{StrategyKind, Tier};
use crate::names::ProviderName;

/// A word that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// What it should have been: `tier`, `provider`, `strategy`.
    pub what: &'static str,
    /// The word.
    pub word: String,
    /// The known words.
    pub known: Vec<&'static str>,
    /// The one that was probably meant.
    pub nearest: Option<&'static str>,
}

impl UnknownWord {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        let known = self.known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self.nearest {
            Some(nearest) => format!("did you mean `{nearest}`? Known are {known}"),
            None => format!("known are {known}"),
        }
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a {} that is known", self.word, self.what)
    }
}

impl std::error::Error for UnknownWord {}

#[derive(Debug, Default, Deserialize)]
struct Crosswalk {
    tiers: Vec<Entry>,
    providers: Vec<Entry>,
    strategies: Vec<Entry>,
    swap_keys: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    name: String,
    aliases: Vec<String>,
}

static CROSSWALK: LazyLock<Crosswalk> = LazyLock::new(|| embedded(include_str!("data/crosswalk.json")));

/// Reads a data file that is part of the program. A unit test of each file proves that it
/// can be read, so the default is never seen.
pub(crate) fn embedded<T: DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

/// The tier that is meant by `saas`, `4`, `tier-4-saas`, `cloud`, …
///
/// # Errors
/// [`UnknownWord`].
pub fn tier(word: &str) -> Result<Tier, UnknownWord> {
    let name = look_up("tier", &CROSSWALK.tiers, word)?;
    [Tier::Local, Tier::Desktop, Tier::Mobile, Tier::Saas, Tier::Enterprise]
        .into_iter()
        .find(|tier| tier.as_str() == name)
        .ok_or_else(|| unknown("tier", &CROSSWALK.tiers, word))
}

/// The provider that is meant by `digitalocean`, `do`, `k8s`, `vps`, …
///
/// # Errors
/// [`UnknownWord`].
pub fn provider(word: &str) -> Result<ProviderName, UnknownWord> {
    let name = look_up("provider", &CROSSWALK.providers, word)?;
    ProviderName::new(name).map_err(|_| unknown("provider", &CROSSWALK.providers, word))
}

/// The strategy that is meant by `blue-green`, `rolling-update`, …
///
/// # Errors
/// [`UnknownWord`].
pub fn strategy(word: &str) -> Result<StrategyKind, UnknownWord> {
    let name = look_up("strategy", &CROSSWALK.strategies, word)?;
    [StrategyKind::BlueGreen, StrategyKind::Rolling, StrategyKind::Canary]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| unknown("strategy", &CROSSWALK.strategies, word))
}

/// Brings the keys of swaps, however they are spelt, to `from` and `to`; a map
/// `{ollama: openrouter}` becomes a list. Anything else is left for the schema to refuse.
pub fn swaps(value: &mut Value) {
    if let Value::Object(map) = value {
        let plain = map.values().all(Value::is_string);
        if plain {
            let items = std::mem::take(map)
                .into_iter()
                .map(|(from, to)| serde_json::json!({ "from": from, "to": to }));
            *value = Value::Array(items.collect());
        }
    }
    for item in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for entry in &CROSSWALK.swap_keys {
            let found = entry.aliases.iter().find_map(|alias| item.remove(alias));
            if let Some(found) = found {
                item.entry(entry.name.clone()).or_insert(found);
            }
        }
    }
}

fn look_up(what: &'static str, entries: &'static [Entry], word: &str) -> Result<&'static str, UnknownWord> {
    let lower = word.trim().to_ascii_lowercase();
    entries
        .iter()
        .find(|entry| entry.name == lower || entry.aliases.contains(&lower))
        .map(|entry| entry.name.as_str())
        .ok_or_else(|| unknown(what, entries, word))
}

fn unknown(what: &'static str, entries: &'static [Entry], word: &str) -> UnknownWord {
    let words = entries.iter().flat_map(|entry| std::iter::once(&entry.name).chain(&entry.aliases));
    let near = nearest(word, words.map(String::as_str));
    UnknownWord {
        what,
        word: word.to_owned(),
        known: entries.iter().map(|entry| entry.name.as_str()).collect(),
        nearest: near.and_then(|near| look_up(what, entries, near).ok()),
    }
}

impl Tier {
    /// Its name in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Saas => "saas",
            Self::Enterprise => "enterprise",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Tier {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        tier(word)
    }
}

impl StrategyKind {
    /// Its name in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue-green",
            Self::Rolling => "rolling",
            Self::Canary => "canary",
        }
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for StrategyKind {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        strategy(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_table_is_understood() {
        serde_json::from_str::<Crosswalk>(include_str!("data/crosswalk.json")).unwrap();
        for entry in &CROSSWALK.tiers {
            for word in entry.aliases.iter().chain([&entry.name]) {
                assert_eq!(tier(word).unwrap().as_str(), entry.name);
            }
        }
        for entry in &CROSSWALK.providers {
            for word in entry.aliases.iter().chain([&entry.name]) {
                assert_eq!(provider(word).unwrap().as_str(), entry.name);
            }
        }
        for entry in &CROSSWALK.strategies {
            for word in entry.aliases.iter().chain([&entry.name]) {
                assert_eq!(strategy(word).unwrap().as_str(), entry.name);
            }
        }
        let aliases: usize = CROSSWALK.tiers.iter().map(|entry| entry.aliases.len()).sum();
        assert!(aliases > 10);
    }

    #[test]
    fn swaps_are_understood_in_every_spelling() {
        let wanted = serde_json::json!([{ "from": "a", "to": "b" }]);
        for spelt in [
            serde_json::json!([{ "from": "a", "to": "b" }]),
            serde_json::json!([{ "original": "a", "replacement": "b" }]),
            serde_json::json!([{ "original_resource": "a", "alternative_resource": "b" }]),
            serde_json::json!([{ "dependency": "a", "swap": "b" }]),
            serde_json::json!({ "a": "b" }),
        ] {
            let mut value = spelt.clone();
            swaps(&mut value);
            assert_eq!(value, wanted, "{spelt}");
        }
    }

    #[test]
    fn an_unknown_word_is_an_error_with_a_suggestion() {
        assert_eq!(tier("sass").unwrap_err().nearest, Some("saas"));
        assert_eq!(provider("digitalocan").unwrap_err().nearest, Some("digitalocean"));
        assert_eq!(provider("k8").unwrap_err().nearest, Some("kubernetes"));
        assert_eq!(strategy("cannary").unwrap_err().nearest, Some("canary"));
        assert!(tier("").is_err() && tier("6").is_err());
        assert!(provider("heroku").unwrap_err().help().contains("`aws`"));
    }
}
