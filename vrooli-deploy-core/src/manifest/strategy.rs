//! How one release follows another.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::release::verdict::{Inconclusive, MIN_REQUESTS, WatchRules};

/// How one release follows another. In a manifest a bare `strategy: canary` stands for
/// `strategy: {type: canary}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StrategyForm")]
pub struct StrategyConfig {
    /// Which.
    #[serde(rename = "type")]
    pub kind: StrategyKind,
    /// Percent of requests that a canary gets. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u8>,
    /// Percents of requests that a canary gets one after the other, rising; all of them come
    /// after the last. Default: `canary_percent` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<u8>,
    /// Rolling: how many instances of a service are exchanged at a time. Default: a quarter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Rolling: how many instances of a service there may be beyond its number. 0: in place, each
    /// old one ends before its successor starts. Default: as many as it has, so that the old ones
    /// stay warm until the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surge: Option<u32>,
    /// Rolling: how many instances of a service may be missing meanwhile. Default: 0, and 1 with
    /// `surge: 0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u32>,
    /// A person decides before the new release gets everything (`promote` or `abort`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// How long the new release is watched while the old one stays warm; of a canary: at each
    /// step. Default: not at all, a canary 1 min.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub watch: Option<Duration>,
    /// Requests below which a watch concludes nothing. Default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
    /// What to do when a watch is over and saw too little. Default: probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive: Option<Inconclusive>,
    /// When a watch ends whatever it saw. Default: three times its length.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How long requests in flight may take after the switch. Default 30 s.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
    /// Earlier releases that are kept to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeepConfig>,
}

/// Earlier releases that are kept to go back to. The last good one is always kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeepConfig {
    /// How many at most. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub count: Option<u32>,
    /// How long after they were made current. Default: for ever.
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::duration::Text>")]
    pub age: Option<Duration>,
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

/// Percent of requests that a canary gets when nothing says otherwise.
const CANARY_PERCENT: u8 = 10;

/// How long a canary is watched at each step when nothing says otherwise.
const CANARY_WATCH: Duration = Duration::from_secs(60);

/// The deadline of a watch that has none, in lengths of the watch.
const DEADLINE: u32 = 3;

/// Something about a strategy's options that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrategyProblem {
    /// The option, as manifests call it.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// It can be followed all the same: the option says nothing here.
    pub harmless: bool,
}

impl StrategyConfig {
    /// The percents that a canary gets before it gets everything, rising.
    #[must_use]
    pub fn canary_steps(&self) -> Vec<u8> {
        if self.steps.is_empty() {
            return vec![self.canary_percent.unwrap_or(CANARY_PERCENT)];
        }
        self.steps.iter().copied().filter(|percent| *percent < 100).collect()
    }

    /// How long the new release is watched, if it is.
    #[must_use]
    pub fn watch_window(&self) -> Option<Duration> {
        self.watch.or((self.kind == StrategyKind::Canary).then_some(CANARY_WATCH)).filter(|w| !w.is_zero())
    }

    /// What a watch of that length goes by.
    #[must_use]
    pub fn watch_rules(&self, window: Duration) -> WatchRules {
        WatchRules {
            min_requests: self.min_requests.unwrap_or(MIN_REQUESTS),
            inconclusive: self.inconclusive.unwrap_or_default(),
            deadline: self.deadline.unwrap_or(window.saturating_mul(DEADLINE)).max(window),
        }
    }

    /// What of the options does not fit together, whatever the manifest's shape allows.
    #[must_use]
    pub fn problems(&self) -> Vec<StrategyProblem> {
        let mut found = Vec::new();
        let mut say = |field, message: &str, help: &str, harmless| {
            found.push(StrategyProblem {
                field,
                message: message.to_owned(),
                help: help.to_owned(),
                harmless,
            });
        };
        if self.canary_percent.is_some_and(|p| !(1..=99).contains(&p)) {
            say("canary_percent", "a canary gets between 1 and 99 percent", "write e.g. `10`", false);
        }
        if self.steps.iter().any(|p| !(1..=100).contains(p)) || !self.steps.is_sorted_by(|a, b| a < b) {
            say(
                "steps",
                "the steps of a canary are percents between 1 and 100 that rise",
                "write e.g. `[10, 50, 100]`",
                false,
            );
        } else if !self.steps.is_empty() && self.canary_steps().is_empty() {
            say("steps", "a canary with the one step 100 is none", "begin with a smaller percent", false);
        }
        if !self.steps.is_empty() && self.canary_percent.is_some() {
            say(
                "canary_percent",
                "`steps` and `canary_percent` say the same thing twice",
                "keep one of them; `steps` is what counts",
                true,
            );
        }
        if self.batch == Some(0) {
            say("batch", "a batch of 0 instances never comes to an end", "write at least 1", false);
        }
        if self.surge == Some(0) && self.max_unavailable == Some(0) {
            say(
                "surge",
                "with no instance more and none less nothing can be exchanged",
                "allow `surge: 1` or `max_unavailable: 1`",
                false,
            );
        }
        if self.min_requests == Some(0) {
            say("min_requests", "a verdict needs at least one request", "write at least 1", false);
        }
        if let (Some(deadline), Some(window)) = (self.deadline, self.watch_window())
            && deadline < window
        {
            say(
                "deadline",
                "the watch would end before its own time is over",
                "let `deadline` be at least as long as `watch`",
                false,
            );
        }
        if self.keep.is_some_and(|keep| keep.count == Some(0)) {
            say("keep", "the last good release is always kept", "write at least 1", false);
        }
        let mut idle = |kind: StrategyKind, fields: &[(&'static str, bool)]| {
            for (field, given) in fields {
                if *given && self.kind != kind {
                    say(
                        field,
                        &format!("`{field}` says nothing of the strategy `{}`", self.kind.name()),
                        &format!("remove it, or write `type: {}`", kind.name()),
                        true,
                    );
                }
            }
        };
        idle(
            StrategyKind::Canary,
            &[("canary_percent", self.canary_percent.is_some()), ("steps", !self.steps.is_empty())],
        );
        idle(
            StrategyKind::Rolling,
            &[
                ("batch", self.batch.is_some()),
                ("surge", self.surge.is_some()),
                ("max_unavailable", self.max_unavailable.is_some()),
            ],
        );
        found
    }
}

/// The long form, as it is read and described.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "StrategyOptions")]
struct StrategyFields {
    /// Which.
    #[serde(rename = "type", default)]
    kind: StrategyKind,
    /// Percent of requests that a canary gets. Default 10.
    #[serde(default)]
    #[schemars(range(min = 1, max = 99))]
    canary_percent: Option<u8>,
    /// Percents of requests that a canary gets one after the other, rising.
    #[serde(default)]
    #[schemars(inner(range(min = 1, max = 100)))]
    steps: Vec<u8>,
    /// Rolling: how many instances of a service are exchanged at a time. Default: a quarter.
    #[serde(default)]
    #[schemars(range(min = 1))]
    batch: Option<u32>,
    /// Rolling: how many instances there may be beyond a service's number. 0: in place.
    #[serde(default)]
    surge: Option<u32>,
    /// Rolling: how many instances of a service may be missing meanwhile.
    #[serde(default)]
    max_unavailable: Option<u32>,
    /// A person decides before the new release gets everything (`promote` or `abort`).
    #[serde(default)]
    hold: bool,
    /// How long the new release is watched while the old one stays warm; of a canary: at each
    /// step. Default: not at all, a canary 1 min.
    #[serde(default, with = "crate::duration::option")]
    #[schemars(with = "Option<crate::duration::Text>")]
    watch: Option<Duration>,
    /// Requests below which a watch concludes nothing. Default 50.
    #[serde(default)]
    #[schemars(range(min = 1))]
    min_requests: Option<u64>,
    /// What to do when a watch is over and saw too little. Default: probe.
    #[serde(default)]
    inconclusive: Option<Inconclusive>,
    /// When a watch ends whatever it saw. Default: three times its length.
    #[serde(default, with = "crate::duration::option")]
    #[schemars(with = "Option<crate::duration::Text>")]
    deadline: Option<Duration>,
    /// How long requests in flight may take after the switch. Default 30 s.
    #[serde(default, with = "crate::duration::option")]
    #[schemars(with = "Option<crate::duration::Text>")]
    drain: Option<Duration>,
    /// Earlier releases that are kept to go back to. The last good one is always kept.
    #[serde(default)]
    keep: Option<KeepConfig>,
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
            StrategyForm::Fields(fields) => Self {
                kind: fields.kind,
                canary_percent: fields.canary_percent,
                steps: fields.steps,
                batch: fields.batch,
                surge: fields.surge,
                max_unavailable: fields.max_unavailable,
                hold: fields.hold,
                watch: fields.watch,
                min_requests: fields.min_requests,
                inconclusive: fields.inconclusive,
                deadline: fields.deadline,
                drain: fields.drain,
                keep: fields.keep,
            },
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

    fn problems(json: &str) -> Vec<(&'static str, bool)> {
        let config: StrategyConfig = serde_json::from_str(json).unwrap();
        config.problems().into_iter().map(|p| (p.field, p.harmless)).collect()
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (json, field) in [
            (r#"{"type": "canary", "steps": [50, 10]}"#, "steps"),
            (r#"{"type": "canary", "steps": [0]}"#, "steps"),
            (r#"{"type": "canary", "steps": [100]}"#, "steps"),
            (r#"{"type": "canary", "canary_percent": 100}"#, "canary_percent"),
            (r#"{"type": "rolling", "batch": 0}"#, "batch"),
            (r#"{"type": "rolling", "surge": 0, "max_unavailable": 0}"#, "surge"),
            (r#"{"watch": "5m", "deadline": "1m"}"#, "deadline"),
            (r#"{"min_requests": 0}"#, "min_requests"),
            (r#"{"keep": {"count": 0}}"#, "keep"),
        ] {
            assert_eq!(problems(json), [(field, false)], "{json}");
        }
        assert_eq!(problems(r#"{"type": "blue-green", "batch": 2}"#), [("batch", true)]);
        assert_eq!(problems(r#"{"type": "rolling", "surge": 0}"#), []);
        assert_eq!(problems(r#"{"type": "canary", "steps": [10, 50, 100], "watch": "5m"}"#), []);
    }

    #[test]
    fn a_canary_is_watched_unless_told_otherwise() {
        let config: StrategyConfig = serde_json::from_str("\"canary\"").unwrap();
        assert_eq!((config.canary_steps(), config.watch_window()), (vec![10], Some(CANARY_WATCH)));
        let config: StrategyConfig =
            serde_json::from_str(r#"{"type": "canary", "steps": [5, 100], "watch": "0s"}"#).unwrap();
        assert_eq!((config.canary_steps(), config.watch_window()), (vec![5], None));
        assert_eq!(StrategyConfig::default().watch_window(), None);
    }
}
