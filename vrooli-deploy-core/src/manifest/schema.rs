//! The published JSON schema of the manifest, and writing manifests.
//!
//! The schema is checked in as `schemas/manifest.v0.1.json`. After a change of the types,
//! write it again: `VROOLI_DEPLOY_REFRESH=1 cargo test -p vrooli-deploy-core schema`.

use schemars::Schema;

use super::{DeploymentManifest, yaml};

/// Where the schema is published: a manifest's `$schema`, so that editors complete it.
pub const SCHEMA_URL: &str = "https://raw.githubusercontent.com/Vrooli/vrooli-deploy/main/vrooli-deploy-core/schemas/manifest.v0.1.json";

/// The JSON schema (draft 2020-12) of a manifest.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(DeploymentManifest);
    // Taken out before a manifest is read, so the type does not know it.
    if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
        properties.insert(
            super::overlay::ENVIRONMENTS.to_owned(),
            serde_json::json!({
                "type": "object",
                "additionalProperties": { "type": "object" },
                "description": "What holds in one environment only, by its name: a part of a manifest, laid over the rest.",
            }),
        );
    }
    schema.insert("title".to_owned(), "vrooli-deploy manifest v0.1".into());
    schema
}

impl DeploymentManifest {
    /// Writes the manifest as YAML that [`load_text`](super::load_text) reads back.
    ///
    /// # Errors
    /// The writer's message. No manifest that was read makes it fail.
    pub fn to_yaml(&self) -> Result<String, String> {
        yaml::write(self)
    }

    /// The same with a first line that tells editors where the schema is.
    ///
    /// # Errors
    /// See [`to_yaml`](Self::to_yaml).
    pub fn to_yaml_for_editors(&self) -> Result<String, String> {
        Ok(format!("# yaml-language-server: $schema={SCHEMA_URL}\n{}", self.to_yaml()?))
    }

    /// Writes the manifest as indented JSON, ended by a line break.
    ///
    /// # Errors
    /// The writer's message. No manifest that was read makes it fail.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checked_in_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/manifest.v0.1.json");
        let current = format!("{:#}\n", super::schema().to_value());
        if std::env::var_os("VROOLI_DEPLOY_REFRESH").is_some() {
            std::fs::write(path, &current).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == current, "{path} is out of date; write it again with VROOLI_DEPLOY_REFRESH=1");
    }
}
