//! The secrets of an app, and what becomes of each on a tier. Holds no value.

use serde::Serialize;

use super::metadata::{SecretPrompt, Vocabulary};
use super::{GeneratorSpec, SecretClass, SecretStrategy};
use crate::diagnostics::{Code, Diagnostic, Severity, Span, rules};
use crate::manifest::{IfUnavailable, SecretSource, Tier};
use crate::names::{AppName, DependencyName, ServiceName, StackId, VariableName};

/// All secrets of an app on a tier, by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SecretsPlan {
    /// Whose.
    pub app: AppName,
    /// Where it runs.
    pub tier: Tier,
    /// Each secret once, in the order of the names.
    pub secrets: Vec<PlannedSecret>,
    /// Secrets of resources that are not provided here.
    pub left_out: Vec<LeftOutSecret>,
}

/// One secret, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedSecret {
    /// The variable in which services find it.
    pub name: VariableName,
    /// Who makes its value.
    pub class: SecretClass,
    /// What is done with it on this tier.
    pub strategy: SecretStrategy,
    /// Where the value comes from on this tier.
    pub origin: SecretOrigin,
    /// How that stands, without a look at any store.
    pub status: SecretStatus,
    /// Is a missing value an error?
    pub required: bool,
    /// Everywhere it is spoken of, the place that is believed first.
    pub said: Vec<Said>,
    /// The resource that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<DependencyName>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A regular expression that the value matches somewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What a person is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<SecretPrompt>,
    /// Services that get it; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// What happens when it cannot be fetched although an earlier value is stored.
    #[serde(skip)]
    pub if_unavailable: IfUnavailable,
    /// Does the manifest itself name it under `secrets`?
    #[serde(skip)]
    pub in_manifest: bool,
}

/// Where a secret is spoken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// In which vocabulary.
    pub vocabulary: Vocabulary,
    /// Where; `None`: in what this library knows, or in a manifest without places.
    pub place: Option<Span>,
    /// Does the file hold values? Then it is named, but never shown around the place.
    #[serde(skip)]
    pub holds_values: bool,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(span) => write!(f, "{}:{}", span.file.display(), span.line),
            None if self.vocabulary == Vocabulary::Catalogue => f.write_str("known of the resource"),
            None => f.write_str("the manifest"),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretOrigin {
    /// It is made with a resource and follows it: never set, generated or rotated by itself.
    Resource {
        /// The resource, as the app calls it.
        resource: DependencyName,
        /// Which of its outputs.
        output: String,
    },
    /// The manifest's `env` sets the variable.
    Environment,
    /// From here.
    Source(SecretSource),
    /// Nothing gives it.
    Nothing,
}

/// How a secret stands, as far as it can be told without a look at any store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SecretStatus {
    /// It follows a resource.
    FollowsResource,
    /// The manifest's `env` sets it.
    SetInManifest,
    /// It is made at the first deployment.
    Generated,
    /// A person gives it, with `secrets set`.
    Asked,
    /// It is fetched when the app is deployed.
    Fetched,
    /// This tier needs none.
    NotNeeded {
        /// Why.
        why: String,
    },
    /// Nothing on this tier gives it.
    Unresolved {
        /// Why.
        why: String,
    },
}

impl SecretStatus {
    /// In a word, for tables and `--json`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::FollowsResource => "follows_resource",
            Self::SetInManifest => "set_in_manifest",
            Self::Generated => "generated",
            Self::Asked => "asked",
            Self::Fetched => "fetched",
            Self::NotNeeded { .. } => "not_needed",
            Self::Unresolved { .. } => "unresolved",
        }
    }
}

/// A secret of a resource that is not provided here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOutSecret {
    /// The variable.
    pub name: VariableName,
    /// Whose it would be.
    pub resource: DependencyName,
}

impl SecretsPlan {
    /// The secret of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&PlannedSecret> {
        self.secrets.iter().find(|secret| secret.name.as_str() == name)
    }

    /// Required secrets that nothing on this tier gives: they keep an app from being deployed
    /// anywhere but on this machine, whatever its other scores are.
    pub fn unresolved(&self) -> impl Iterator<Item = &PlannedSecret> {
        self.secrets
            .iter()
            .filter(|secret| secret.required && matches!(secret.status, SecretStatus::Unresolved { .. }))
    }

    /// Secrets whose value passes through this program: generated, asked for or fetched.
    pub fn carried(&self) -> impl Iterator<Item = (&PlannedSecret, &SecretSource)> {
        self.secrets.iter().filter_map(|secret| match &secret.origin {
            SecretOrigin::Source(source) => Some((secret, source)),
            _ => None,
        })
    }

    /// What is wrong with the plan itself: unresolved secrets (an error, on this machine a
    /// warning) and formats that cannot be read.
    #[must_use]
    pub fn check(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for secret in self.unresolved() {
            let SecretStatus::Unresolved { why } = &secret.status else { continue };
            let message =
                format!("secret `{}` is not provided on the tier `{}`: {why}", secret.name, self.tier);
            let mut diagnostic = secret.diagnostic(rules::SECRET_UNRESOLVED, message);
            if self.tier == Tier::Local {
                diagnostic.severity = Severity::Warning;
            }
            let name = &secret.name;
            found.push(diagnostic.help(format!(
                "say under `secrets` in a manifest where it comes from, e.g. `{name}: {{from: {{environment: {{name: \
                 {name}}}}}}}`, swap or drop what needs it, or give it a strategy for this tier"
            )));
        }
        for secret in &self.secrets {
            let Some(format) = &secret.format else { continue };
            if let Err(why) = super::Format::new(format) {
                let message = format!("the format of `{}` cannot be checked: {why}", secret.name);
                found.push(
                    secret
                        .diagnostic(rules::SECRET_FORMAT_UNREADABLE, message)
                        .help("write a regular expression without look-around and back-references"),
                );
            }
        }
        found
    }

    /// The names that are nearest to a word, for `did you mean`.
    #[must_use]
    pub fn nearest(&self, word: &str) -> Option<&str> {
        let upper = word.to_ascii_uppercase();
        crate::manifest::shape::nearest(&upper, self.secrets.iter().map(|secret| secret.name.as_str()))
    }
}

impl PlannedSecret {
    /// Where its values lie in the secret store. `None` when no value of it passes through here.
    #[must_use]
    pub fn path(&self, stack: &StackId) -> Option<String> {
        match &self.origin {
            SecretOrigin::Source(SecretSource::Store { path }) => Some(path.clone()),
            SecretOrigin::Source(_) => Some(format!("{stack}/env/{}", self.name)),
            _ => None,
        }
    }

    /// How it is generated, if it is.
    #[must_use]
    pub fn generator(&self) -> Option<GeneratorSpec> {
        match &self.origin {
            SecretOrigin::Source(source) => source.generator(),
            _ => None,
        }
    }

    /// A diagnostic about it, at the place that is believed first.
    #[must_use]
    pub fn diagnostic(&self, code: Code, message: impl Into<String>) -> Diagnostic {
        let shown = self.said.iter().filter(|said| !said.holds_values);
        let place = shown.filter_map(|said| said.place.clone()).next();
        code.diagnostic(message).at(place, "declared here")
    }

    /// In a few words where its value comes from.
    #[must_use]
    pub fn from(&self) -> String {
        match (&self.origin, &self.status) {
            (SecretOrigin::Resource { resource, .. }, _) => format!("follows the resource `{resource}`"),
            (SecretOrigin::Environment, _) => "set under `env` in the manifest".to_owned(),
            (SecretOrigin::Source(source), _) => source.to_string(),
            (SecretOrigin::Nothing, SecretStatus::NotNeeded { why } | SecretStatus::Unresolved { why }) => {
                why.clone()
            }
            (SecretOrigin::Nothing, _) => "nothing gives it".to_owned(),
        }
    }
}
