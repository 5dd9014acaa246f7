//! An app's secrets as a table.

use vrooli_deploy_core::secrets::{PlannedSecret, SecretOrigin, SecretStatus};
use vrooli_deploy_core::workspace::SecretsReport;

use super::json::{SaidLine, SecretLine};
use super::style::Paint;
use super::table::table;

/// One line a secret: name, class, state, where it comes from, who says so.
pub(crate) fn secrets(paint: Paint, report: &SecretsReport) -> String {
    let rows: Vec<Vec<String>> = report
        .plan
        .secrets
        .iter()
        .map(|secret| {
            let stored = report.stored.get(&secret.name).map(|reference| reference.version);
            let said = secret.said.first().map(ToString::to_string).unwrap_or_default();
            vec![
                secret.name.to_string(),
                secret.class.to_string(),
                state(secret, stored),
                secret.from(),
                said,
            ]
        })
        .collect();
    table(paint, &["NAME", "CLASS", "STATE", "FROM", "SAID IN"], &rows)
}

fn state(secret: &PlannedSecret, stored: Option<u32>) -> String {
    let word = match (&secret.status, stored) {
        (_, Some(version)) => return format!("stored (v{version})"),
        (SecretStatus::FollowsResource, _) => "with its resource",
        (SecretStatus::SetInManifest, _) => "set",
        (SecretStatus::Generated, _) => "to be generated",
        (SecretStatus::Asked, _) if secret.required => "missing",
        (SecretStatus::Asked, _) => "missing, optional",
        (SecretStatus::Fetched, _) => "to be fetched",
        (SecretStatus::NotNeeded { .. }, _) => "not needed",
        (SecretStatus::Unresolved { .. }, _) => "unresolved",
    };
    word.to_owned()
}

impl From<(&PlannedSecret, Option<u32>)> for SecretLine {
    fn from((secret, stored): (&PlannedSecret, Option<u32>)) -> Self {
        Self {
            name: secret.name.to_string(),
            class: secret.class.to_string(),
            strategy: secret.strategy.to_string(),
            status: secret.status.word().to_owned(),
            from: secret.from(),
            required: secret.required,
            resource: match &secret.origin {
                SecretOrigin::Resource { resource, .. } => Some(resource.to_string()),
                _ => secret.resource.as_ref().map(ToString::to_string),
            },
            description: secret.description.clone(),
            format: secret.format.clone(),
            stored,
            said: secret
                .said
                .iter()
                .map(|said| SaidLine {
                    vocabulary: said.vocabulary.as_str().to_owned(),
                    file: said.place.as_ref().map(|place| place.file.display().to_string()),
                    line: said.place.as_ref().map(|place| place.line),
                })
                .collect(),
        }
    }
}
