//! What others have written down about an app's secrets, in whichever vocabulary.
//!
//! Read are, each in all its spellings: `deployment.tiers.*.secrets` and secret references in
//! `service.json`, `.vrooli/secrets-deployment.json`, `.vrooli/secrets.json` (names alone),
//! resources' `secrets.yaml`, secrets-manager's answers, the bundle manifest v0.1, and the
//! analyzer's report. Values are never taken over: a file that holds one where a name is
//! expected gives a diagnostic that does not repeat it.

mod files;
mod item;
mod needs;
mod shapes;

use serde::{Deserialize, Serialize};

use super::{GeneratorSpec, SecretClass, SecretStrategy};
use crate::diagnostics::{Checked, Diagnostic, Span};
use crate::manifest::yaml::Document;
use crate::manifest::{SecretSource, Tier};
use crate::names::{AppName, VariableName};
pub(super) use crate::requirements::MadeBy;

pub(super) use needs::needs;

/// Which vocabulary a declaration was written in; the first is believed before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vocabulary {
    /// Our own manifest: `secrets`.
    Manifest,
    /// `.vrooli/secrets-deployment.json`.
    SecretsDeployment,
    /// `deployment.tiers.*.secrets` or a secret reference in `service.json`.
    ServiceJson,
    /// An answer of secrets-manager.
    SecretsManager,
    /// A bundle manifest v0.1.
    Bundle,
    /// A resource's `secrets.yaml`.
    ResourceSecrets,
    /// The analyzer's report.
    Report,
    /// What this library knows about resources.
    Catalogue,
    /// `.vrooli/secrets.json`: its keys are names, its values are not looked at.
    ValuesFile,
}

impl Vocabulary {
    /// Its name in `--json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::SecretsDeployment => "secrets-deployment",
            Self::ServiceJson => "service-json",
            Self::SecretsManager => "secrets-manager",
            Self::Bundle => "bundle",
            Self::ResourceSecrets => "resource-secrets",
            Self::Report => "report",
            Self::Catalogue => "catalogue",
            Self::ValuesFile => "values-file",
        }
    }
}

/// What a person is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretPrompt {
    /// In a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// In a sentence: where one gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// One secret, as one place says it. Everything but the name may be absent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declaration {
    pub(super) name: VariableName,
    pub(super) vocabulary: Vocabulary,
    pub(super) place: Option<Span>,
    /// The file holds values: nothing of it is ever shown.
    pub(super) holds_values: bool,
    /// The resource it belongs to, as written.
    pub(super) resource: Option<String>,
    /// The tier that it was written for; `None`: any.
    pub(super) tier: Option<Tier>,
    /// Explicit strategies, by tier; `None` is any tier.
    pub(super) strategies: Vec<(Option<Tier>, SecretStrategy)>,
    pub(super) class: Option<SecretClass>,
    pub(super) classification: Option<SecretClass>,
    pub(super) by_type: Option<SecretClass>,
    pub(super) asks: bool,
    pub(super) required: Option<bool>,
    pub(super) description: Option<String>,
    pub(super) format: Option<String>,
    pub(super) prompt: Option<SecretPrompt>,
    pub(super) generator: Option<GeneratorSpec>,
    pub(super) source: Option<SecretSource>,
    /// Kept in a store that this library cannot read.
    pub(super) foreign_store: Option<String>,
    pub(super) made_by: Option<MadeBy>,
}

impl Declaration {
    fn new(name: VariableName, vocabulary: Vocabulary, place: Option<Span>) -> Self {
        Self {
            name,
            vocabulary,
            place,
            holds_values: false,
            resource: None,
            tier: None,
            strategies: Vec::new(),
            class: None,
            classification: None,
            by_type: None,
            asks: false,
            required: None,
            description: None,
            format: None,
            prompt: None,
            generator: None,
            source: None,
            foreign_store: None,
            made_by: None,
        }
    }

    /// The strategy that is said for this tier, before the one that is said for all.
    pub(super) fn strategy(&self, tier: Tier) -> Option<SecretStrategy> {
        let of = |wanted: Option<Tier>| {
            self.strategies.iter().find(|(tier, _)| *tier == wanted).map(|(_, strategy)| *strategy)
        };
        of(Some(tier)).or_else(|| of(None))
    }
}

/// Everything that was found about an app's secrets, beside its manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SecretMetadata {
    pub(super) declarations: Vec<Declaration>,
    /// Where each of the manifest's own secrets stands.
    pub(super) places: Vec<(VariableName, Span)>,
}

impl SecretMetadata {
    /// Number of declarations, over all vocabularies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.declarations.len()
    }

    /// True when nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.declarations.is_empty()
    }

    /// Adds what a document says, in whichever of the vocabularies it is written. Says what it
    /// could not understand; a document without secrets adds nothing.
    pub fn add(&mut self, document: &Document, app: &AppName) -> Vec<Diagnostic> {
        shapes::read(self, document, app, None)
    }

    /// What one document says. The same as [`add`](Self::add) to nothing.
    pub fn of_document(document: &Document, app: &AppName) -> Checked<Self> {
        let mut metadata = Self::default();
        let diagnostics = metadata.add(document, app);
        Checked { value: Some(metadata), diagnostics }
    }
}
