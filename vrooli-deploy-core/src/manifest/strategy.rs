//! How one release follows another.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How one release follows another. In a manifest a bare `strategy: canary` stands for
/// `strategy: {type: canary}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StrategyForm")]
pub struct StrategyConfig {
    /// Which.
    #[serde(rename = "type")]
    pub kind: StrategyKind,
    /// Percent of requests that a canary gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u8>,
    /// How long the new release is watched while the old one stays warm. Default: not at all.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub watch: Option<Duration>,
    /// How long requests in flight may take after the switch. Default 30 s.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
}

/// Which strategy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyKind {
    /// The whole new release beside the old one, then all traffic at once.
    #[default]
    BlueGreen,
    /// Instance by instance.
    Rolling,
    /// A part of the traffic first.
    Canary,
}

/// The long form, as it is read and described.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "StrategyOptions")]
struct StrategyFields {
    /// Which.
    #[serde(rename = "type", default)]
    kind: StrategyKind,
    /// Percent of requests that a canary gets.
    #[serde(default)]
    #[schemars(range(min = 1, max = 99))]
    canary_percent: Option<u8>,
    /// How long the new release is watched while the old one stays warm. Default: not at all.
    #[serde(default, with = "crate::duration::option")]
    #[schemars(with = "Option<crate::duration::Text>")]
    watch: Option<Duration>,
    /// How long requests in flight may take after the switch. Default 30 s.
    #[serde(default, with = "crate::duration::option")]
    #[schemars(with = "Option<crate::duration::Text>")]
    drain: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StrategyForm {
    Name(StrategyKind),
    Fields(StrategyFields),
}

impl From<StrategyForm> for StrategyConfig {
    fn from(form: StrategyForm) -> Self {
        match form {
            StrategyForm::Name(kind) => Self { kind, ..Self::default() },
            StrategyForm::Fields(StrategyFields { kind, canary_percent, watch, drain }) => {
                Self { kind, canary_percent, watch, drain }
            }
        }
    }
}

impl JsonSchema for StrategyConfig {
    fn schema_name() -> Cow<'static, str> {
        "StrategyConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How one release follows another: the name of a strategy, or its options.",
            "anyOf": [
                generator.subschema_for::<StrategyKind>(),
                generator.subschema_for::<StrategyFields>(),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_the_short_form() {
        let short: StrategyConfig = serde_json::from_str("\"canary\"").unwrap();
        let long: StrategyConfig = serde_json::from_str("{\"type\": \"canary\"}").unwrap();
        assert_eq!(short, long);
        assert_eq!(serde_json::to_string(&short).unwrap(), "{\"type\":\"canary\"}");
    }
}
