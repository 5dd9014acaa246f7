//! An app's secrets written out for a store: names, references and empty places, never values.

mod aws;
mod env;
mod kubernetes;
mod vault;

use std::fmt;
use std::str::FromStr;

use super::plan::{PlannedSecret, SecretStatus, SecretsPlan};
use crate::manifest::shape::nearest;
use crate::names::StackId;

/// For which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateFormat {
    /// Lines of `NAME=`, to be filled in and exported before a deployment.
    Env,
    /// Paths and keys in Vault's key-value store, version 2 (JSON).
    Vault,
    /// Names and ARNs in AWS Secrets Manager (JSON).
    Aws,
    /// `ExternalSecret` and `Secret` objects without data (YAML).
    K8s,
}

impl TemplateFormat {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Env, Self::Vault, Self::Aws, Self::K8s];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Vault => "vault",
            Self::Aws => "aws",
            Self::K8s => "k8s",
        }
    }
}

impl fmt::Display for TemplateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TemplateFormat {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        let word = word.trim().to_ascii_lowercase();
        let known = Self::ALL.iter().find(|format| format.as_str() == word);
        known.copied().or_else(|| (word == "kubernetes").then_some(Self::K8s)).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            match nearest(&word, names) {
                Some(near) => format!("`{word}` is no format; did you mean `{near}`?"),
                None => format!("`{word}` is no format; there are {}", names.join(", ")),
            }
        })
    }
}

/// For whom a template is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateOptions {
    /// The stack: its app and environment are parts of the names.
    pub stack: StackId,
    /// AWS's region, if it is known.
    pub region: Option<String>,
}

impl TemplateOptions {
    /// For a stack, in a region that is not known.
    #[must_use]
    pub const fn new(stack: StackId) -> Self {
        Self { stack, region: None }
    }
}

/// Writes an app's secrets out for a store. The same plan gives the same text, which ends
/// with a line break and holds no value. Secrets that follow a resource are named, not asked for.
#[must_use]
pub fn template(plan: &SecretsPlan, format: TemplateFormat, options: &TemplateOptions) -> String {
    match format {
        TemplateFormat::Env => env::write(plan, options),
        TemplateFormat::Vault => vault::write(plan, options),
        TemplateFormat::Aws => aws::write(plan, options),
        TemplateFormat::K8s => kubernetes::write(plan, options),
    }
}

/// Secrets that somebody has to put into a store: asked for, fetched, or unresolved.
fn to_fill(plan: &SecretsPlan) -> impl Iterator<Item = &PlannedSecret> {
    plan.secrets.iter().filter(|secret| {
        matches!(secret.status, SecretStatus::Asked | SecretStatus::Fetched | SecretStatus::Unresolved { .. })
    })
}

/// The other secrets, and why nobody has to.
fn others(plan: &SecretsPlan) -> impl Iterator<Item = (&PlannedSecret, String)> {
    plan.secrets.iter().filter_map(|secret| {
        let why = match &secret.status {
            SecretStatus::Generated => format!("is generated at the first deployment: {}", secret.from()),
            SecretStatus::FollowsResource | SecretStatus::SetInManifest => secret.from(),
            SecretStatus::NotNeeded { why } => format!("is not needed: {why}"),
            _ => return None,
        };
        Some((secret, why))
    })
}

/// One line of a text that others wrote.
fn line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect()
}

/// What a person is told about a secret.
fn about(secret: &PlannedSecret) -> String {
    let prompt = secret.prompt.as_ref();
    let text = secret
        .description
        .as_deref()
        .or_else(|| prompt.and_then(|prompt| prompt.label.as_deref()))
        .unwrap_or_default();
    line(text)
}

/// Pretty JSON with a line break at its end.
fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names_and_unknown_ones_are_errors() {
        for format in TemplateFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("Kubernetes".parse(), Ok(TemplateFormat::K8s));
        assert_eq!(
            "vaul".parse::<TemplateFormat>(),
            Err("`vaul` is no format; did you mean `vault`?".to_owned())
        );
        assert!("json".parse::<TemplateFormat>().unwrap_err().contains("env, vault, aws, k8s"));
    }

    #[test]
    fn a_text_of_others_stays_on_its_line() {
        assert_eq!(line("a\nB=1 \u{1b}[2J \t c"), "a B=1 [2J c");
    }
}
