//! Every secret that the app needs will have a value.

use super::facts::Facts;
use super::{Answer, Finding, counted};
use crate::fitness::SecretReadiness;
use crate::manifest::Tier;
use crate::secrets::{PlannedSecret, SecretClass, SecretStatus, SecretsPlan};

pub(super) fn complete(facts: &Facts<'_>) -> Answer {
    let needed = facts
        .secrets
        .secrets
        .iter()
        .filter(|secret| !matches!(secret.status, SecretStatus::NotNeeded { .. }))
        .count();
    let fine = match needed {
        0 => "the app needs none on this tier".to_owned(),
        count => format!("{} will have a value", counted(count, "secret", "secrets")),
    };
    let findings = facts.secrets_found.iter().map(|found| {
        let name =
            facts.secrets.secrets.iter().find(|secret| found.message.contains(&format!("`{}`", secret.name)));
        let cause = name.map_or_else(String::new, |secret| {
            format!("{} ({}): {}", secret.name, secret.class, secret.from())
        });
        Finding::new(found.clone(), cause)
    });
    Answer::fine(fine).with(findings)
}

/// What becomes of each secret when the app starts, for its fitness.
pub(super) fn readiness(plan: &SecretsPlan, stored: &dyn Fn(&PlannedSecret) -> bool) -> Vec<SecretReadiness> {
    let hosted = matches!(plan.tier, Tier::Saas | Tier::Enterprise);
    plan.secrets
        .iter()
        .map(|secret| {
            let why = match &secret.status {
                SecretStatus::Unresolved { why } if !stored(secret) => Some(why.clone()),
                _ => None,
            };
            SecretReadiness {
                name: secret.name.to_string(),
                dependency: secret.resource.clone(),
                infrastructure: hosted && secret.required && secret.class == SecretClass::Infrastructure,
                resolved: why.is_none(),
                why,
            }
        })
        // An optional one that nobody gives is no news on a developer's machine.
        .filter(|ready| ready.resolved || hosted || ready.infrastructure)
        .collect()
}
