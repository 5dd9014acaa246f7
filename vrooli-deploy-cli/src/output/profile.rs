//! Profiles and configuration for people and for programs.

use jiff::Timestamp;
use vrooli_deploy_core::configuration::Origin;
use vrooli_deploy_core::profile::{Difference, ProfileVersion};
use vrooli_deploy_core::workspace::ConfigurationStatus;

use super::json::{ConfigurationLine, ProfileLine};
use super::style::{Paint, harmless};

/// A profile's line. `None`: it is deleted.
pub(crate) fn profile(version: &ProfileVersion) -> Option<ProfileLine> {
    let profile = version.profile.as_ref()?;
    Some(ProfileLine {
        id: version.id.to_string(),
        version: version.version,
        name: profile.name.to_string(),
        app: profile.app.to_string(),
        environment: profile.environment.to_string(),
        tier: profile.tier.to_string(),
        provider: profile.settings.provider.as_ref().map(ToString::to_string),
        at: version.at.to_string(),
        by: version.by.clone(),
        reason: version.reason.clone(),
        // Plain data: it can always be written as JSON.
        profile: serde_json::to_value(profile).unwrap_or_default(),
    })
}

/// One difference: `~ settings.region  nyc1 → nyc3`.
pub(crate) fn difference(paint: Paint, difference: &Difference) -> String {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => harmless(text),
        other => harmless(&other.to_string()),
    };
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => {
            format!("{} {}  {} → {}", paint.yellow("~"), difference.path, text(before), text(after))
        }
        (Some(before), None) => format!("{} {}  {}", paint.red("-"), difference.path, text(before)),
        (None, Some(after)) => format!("{} {}  {}", paint.green("+"), difference.path, text(after)),
        (None, None) => difference.path.clone(),
    }
}

/// A time without fractions of seconds.
pub(crate) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where a key's value would be read from.
pub(crate) fn read_from(status: &ConfigurationStatus) -> String {
    match (&status.origin, &status.shadowed) {
        (Some(origin), Some(Origin::Variable(name))) => format!("{origin} ({name} is set too, and not read)"),
        (Some(origin), Some(other)) => format!("{origin} (the {other}, is not read)"),
        (Some(origin), None) => origin.to_string(),
        (None, _) if status.variables.is_empty() => String::new(),
        (None, _) => format!("would read {}", status.variables.join(", ")),
    }
}

impl From<&ConfigurationStatus> for ConfigurationLine {
    fn from(status: &ConfigurationStatus) -> Self {
        Self {
            key: status.key.clone(),
            about: status.about.clone(),
            provider: status.provider.clone(),
            secret: status.secret,
            set: status.origin.is_some(),
            version: status.configured.map(|(version, _)| version),
            since: status.configured.map(|(_, since)| since.to_string()),
            read_from: status.origin.as_ref().map(ToString::to_string),
            not_read: status.shadowed.as_ref().map(|origin| match origin {
                Origin::Variable(name) => name.clone(),
                configured @ Origin::Configured { .. } => configured.to_string(),
            }),
            variables: status.variables.clone(),
        }
    }
}
