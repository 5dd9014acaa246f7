//! What sort of secret it is, what is done with it on a tier, and the words for both that
//! others use.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Charset;
use crate::manifest::crosswalk::embedded;
use crate::manifest::shape::nearest;

/// What sort of secret it is: who makes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretClass {
    /// Belongs to the infrastructure (a database's password): never leaves it, is never copied
    /// from one deployment to another.
    Infrastructure,
    /// Made anew for each deployment, and kept.
    PerInstallGenerated,
    /// A person gives it.
    UserPrompt,
    /// Fetched from where it is kept: environment, file, Vault.
    RemoteFetch,
}

impl SecretClass {
    /// The word in manifests and in `--json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Infrastructure => "infrastructure",
            Self::PerInstallGenerated => "per_install_generated",
            Self::UserPrompt => "user_prompt",
            Self::RemoteFetch => "remote_fetch",
        }
    }
}

impl fmt::Display for SecretClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is done with a secret on a tier (secrets-manager's `handling_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretStrategy {
    /// Left out.
    Strip,
    /// Made anew.
    Generate,
    /// Asked for.
    Prompt,
    /// Fetched; secrets-manager says `delegate`.
    Fetch,
    /// Nobody decided.
    Unspecified,
}

impl SecretStrategy {
    /// The word in `--json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strip => "strip",
            Self::Generate => "generate",
            Self::Prompt => "prompt",
            Self::Fetch => "fetch",
            Self::Unspecified => "unspecified",
        }
    }

    /// The class that a decided strategy makes of a secret.
    #[must_use]
    pub const fn class(self) -> Option<SecretClass> {
        match self {
            Self::Strip => Some(SecretClass::Infrastructure),
            Self::Generate => Some(SecretClass::PerInstallGenerated),
            Self::Prompt => Some(SecretClass::UserPrompt),
            Self::Fetch => Some(SecretClass::RemoteFetch),
            Self::Unspecified => None,
        }
    }
}

impl fmt::Display for SecretStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The words of all vocabularies, as data.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Words {
    pub(super) classes: BTreeMap<String, SecretClass>,
    pub(super) classifications: BTreeMap<String, SecretClass>,
    pub(super) strategies: BTreeMap<String, SecretStrategy>,
    pub(super) types: BTreeMap<String, SecretClass>,
    pub(super) charsets: BTreeMap<String, Charset>,
    configuration_endings: Vec<String>,
    generated_endings: Vec<String>,
    asked_endings: Vec<String>,
    formats_that_are_words: Vec<String>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| embedded(include_str!("data/vocabulary.json")));

pub(super) fn words() -> &'static Words {
    &WORDS
}

/// What a word means, or the known word that is nearest to it and all known words.
pub(super) fn look_up<T: Copy>(
    known: &'static BTreeMap<String, T>,
    word: &str,
) -> Result<T, (Option<&'static str>, String)> {
    let lower = word.trim().to_ascii_lowercase().replace('-', "_");
    known.get(&lower).or_else(|| known.get(word)).copied().ok_or_else(|| {
        let all = known.keys().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        (nearest(&lower, known.keys().map(String::as_str)), all)
    })
}

impl Words {
    /// What a name alone tells.
    pub(super) fn by_name(&self, variable: &str) -> Option<SecretClass> {
        let ends = |endings: &[String]| endings.iter().any(|ending| variable.ends_with(ending.as_str()));
        if ends(&self.configuration_endings) {
            Some(SecretClass::Infrastructure)
        } else if ends(&self.generated_endings) {
            Some(SecretClass::PerInstallGenerated)
        } else if ends(&self.asked_endings) {
            Some(SecretClass::UserPrompt)
        } else {
            None
        }
    }

    /// Is the name that of a setting rather than of a secret?
    pub(super) fn is_configuration(&self, variable: &str) -> bool {
        self.configuration_endings.iter().any(|ending| variable.ends_with(ending.as_str()))
    }

    /// `format: string` of a resource's `secrets.yaml` is a type, no regular expression.
    pub(super) fn is_format_word(&self, format: &str) -> bool {
        self.formats_that_are_words.iter().any(|word| word.eq_ignore_ascii_case(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_can_be_read_and_every_vocabulary_is_known() {
        serde_json::from_str::<Words>(include_str!("data/vocabulary.json")).unwrap();
        for word in ["strip", "generate", "prompt", "delegate", "fetch", "unspecified", "Prompt-User"] {
            look_up(&words().strategies, word).unwrap();
        }
        for word in ["infrastructure", "service", "user", "integration", "user_defined", "user-defined"] {
            look_up(&words().classifications, word).unwrap();
        }
        let (near, all) = look_up(&words().strategies, "delegat").unwrap_err();
        assert_eq!(near, Some("delegate"));
        assert!(all.contains("`strip`"));
    }

    #[test]
    fn names_tell_what_they_are() {
        for (name, class) in [
            ("POSTGRES_HOST", Some(SecretClass::Infrastructure)),
            ("POSTGRES_PASSWORD", Some(SecretClass::PerInstallGenerated)),
            ("OPENROUTER_API_KEY", Some(SecretClass::UserPrompt)),
            ("SOMETHING", None),
        ] {
            assert_eq!(words().by_name(name), class, "{name}");
        }
    }
}
