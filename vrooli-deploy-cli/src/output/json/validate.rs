use schemars::JsonSchema;
use serde::Serialize;

use super::DiagnosticLine;

/// What a rule says of an app.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CheckLine {
    /// The app.
    pub(crate) app: String,
    /// Its environment.
    pub(crate) environment: String,
    /// Who is to run it.
    pub(crate) provider: String,
    /// The tier.
    pub(crate) tier: String,
    /// The rule: `fitness_threshold`, `secret_completeness`, …
    pub(crate) name: String,
    /// The code that stands for it.
    pub(crate) code: String,
    /// `pass`, `warn` or `fail`: the worst of what it found.
    pub(crate) status: String,
    /// In a few words.
    pub(crate) summary: String,
    /// One by one, the worst first.
    pub(crate) findings: Vec<FindingLine>,
}

/// One thing that a rule found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FindingLine {
    /// What, how bad, where.
    #[serde(flatten)]
    pub(crate) diagnostic: DiagnosticLine,
    /// The input that caused it, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cause: String,
    /// What to do.
    pub(crate) remediation: RemediationLine,
}

/// What to do about something.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RemediationLine {
    /// Each by itself enough, unless it says otherwise.
    pub(crate) steps: Vec<String>,
}
