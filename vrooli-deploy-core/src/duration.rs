//! Durations as people write them in manifests: `500ms`, `30s`, `5m`, `2h`, `7d`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use serde::{Deserialize, Deserializer, Serializer};

/// Reads `500ms`, `30s`, `5m`, `2h` or `7d`. The same forms as Vrooli's `service.json` schema.
///
/// # Errors
/// A phrase that says what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(|| format!("`{text}` has no unit; write `{text}s` or `{text}ms`"))?;
    let (number, unit) = text.split_at(split);
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is not a duration; write e.g. `30s` or `5m`"))?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!("`{unit}` is not a unit of time; use ms, s, m, h or d"));
        }
    };
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long"))
}

/// What a duration looks like, as the JSON schema says it.
pub(crate) const PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";

/// The JSON schema of a duration: a field has `#[schemars(with = "Option<crate::duration::Text>")]`.
pub(crate) struct Text;

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "description": "a number and a unit: `500ms`, `30s`, `5m`, `2h`, `7d`",
        })
    }
}

/// Writes a duration with the largest unit that keeps it whole.
#[must_use]
pub fn format(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

/// `#[serde(with = "crate::duration")]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*value))
}

/// `#[serde(with = "crate::duration")]`.
///
/// # Errors
/// When the text is no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(serde::de::Error::custom)
}

/// The same for optional fields: `#[serde(with = "crate::duration::option")]`.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// Writes the duration or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    /// Reads a duration or null.
    ///
    /// # Errors
    /// When the text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| super::parse(&text).map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for text in ["500ms", "30s", "5m", "2h", "7d", "90s", "1500ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        for bad in ["", "5", "5 s", "s", "-1s", "5w", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
