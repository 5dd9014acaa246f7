use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reference::references;
use super::{
    Plan, PlanError, ReleaseAction, ReleaseSource, Stage, Step, StepAction, StepId, Undo, assemble, codes,
};
use crate::diagnostics::Code;
use crate::engine::StackState;
use crate::names::ResourceKey;
use crate::release::EnvValue;

/// Something about a plan that must not be. A plan that is run has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its code.
    pub code: Code,
    /// The step, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// What is wrong.
    pub message: String,
}

/// Holds a plan against the rules that every plan must keep, and against the state it is to
/// be run on. An oracle: the planner never gives a plan with findings. Pure.
#[must_use]
pub fn check(plan: &Plan, state: &StackState) -> Vec<Finding> {
    let mut findings = Vec::new();
    match assemble::order(&plan.steps) {
        Ok(_) => order_of_steps(plan, &mut findings),
        Err(e @ PlanError::Cycle { .. }) => findings.push(finding(codes::CYCLE, None, e.to_string())),
        Err(e) => findings.push(finding(codes::UNSOUND, None, e.to_string())),
    }
    let patterns = SecretPatterns::load();
    let made: BTreeSet<&ResourceKey> =
        plan.steps.iter().filter(|s| s.stage == Stage::Expand).filter_map(|s| s.action.key()).collect();
    for step in &plan.steps {
        undo(step, &mut findings);
        action(plan, step, state, &made, &mut findings);
        if let StepAction::Create { spec, .. }
        | StepAction::Update { spec, .. }
        | StepAction::Adopt { spec, .. } = &step.action
            && let Some(place) = patterns.find(spec)
        {
            let message = format!("`{place}` looks like a secret; a plan holds references only");
            findings.push(finding(codes::SECRET, Some(step), message));
        }
    }
    if let Some(release) = &plan.release
        && let ReleaseSource::Build { draft, .. } = &release.source
    {
        for (service, env) in &draft.env {
            for (name, value) in env {
                if let EnvValue::Value(text) = value
                    && patterns.value(text)
                {
                    let message = format!(
                        "variable `{name}` of `{service}` looks like a secret; a plan holds references only"
                    );
                    findings.push(finding(codes::SECRET, None, message));
                }
            }
        }
    }
    findings
}

fn finding(code: Code, step: Option<&Step>, message: String) -> Finding {
    Finding { code, step: step.map(|s| s.id.clone()), message }
}

fn order_of_steps(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut seen: BTreeSet<&StepId> = BTreeSet::new();
    let mut stage = Stage::Expand;
    for step in &plan.steps {
        if step.stage < stage {
            findings.push(finding(
                codes::UNSOUND,
                Some(step),
                "it stands after a step of a later stage".to_owned(),
            ));
        }
        stage = stage.max(step.stage);
        if let Some(later) = step.after.iter().find(|id| !seen.contains(id)) {
            findings.push(finding(
                codes::UNSOUND,
                Some(step),
                format!("it stands before `{later}`, which it waits for"),
            ));
        }
        seen.insert(&step.id);
    }
}

/// What a step does must be taken back, or the plan must say why it stays.
fn undo(step: &Step, findings: &mut Vec<Finding>) {
    if step.stage == Stage::Contract {
        return;
    }
    let wrong = match (&step.action, &step.undo) {
        (
            StepAction::Create { .. }
            | StepAction::Update { .. }
            | StepAction::Adopt { .. }
            | StepAction::Delete { .. },
            Undo::Nothing,
        )
        | (
            StepAction::Release {
                action:
                    ReleaseAction::Start { .. }
                    | ReleaseAction::Shift { .. }
                    | ReleaseAction::Migrate
                    | ReleaseAction::Yield { .. },
                ..
            },
            Undo::Nothing,
        ) => Some("nothing takes it back, and nothing says why it stays"),
        (StepAction::Release { .. }, Undo::Delete | Undo::Restore { .. })
        | (
            StepAction::Create { .. }
            | StepAction::Update { .. }
            | StepAction::Adopt { .. }
            | StepAction::Delete { .. },
            Undo::Stop | Undo::Unshift | Undo::Release { .. },
        )
        | (StepAction::Create { .. } | StepAction::Delete { .. }, Undo::Restore { .. })
        | (StepAction::Delete { .. }, Undo::Delete) => Some("its undo does not fit what it does"),
        (StepAction::Release { action, .. }, Undo::Stop)
            if !matches!(action, ReleaseAction::Start { .. }) =>
        {
            Some("its undo does not fit what it does")
        }
        (StepAction::Release { action, .. }, Undo::Unshift)
            if !matches!(action, ReleaseAction::Shift { .. }) =>
        {
            Some("its undo does not fit what it does")
        }
        _ => None,
    };
    if let Some(message) = wrong {
        findings.push(finding(codes::UNSOUND, Some(step), message.to_owned()));
    }
}

fn action(
    plan: &Plan,
    step: &Step,
    state: &StackState,
    made: &BTreeSet<&ResourceKey>,
    findings: &mut Vec<Finding>,
) {
    let mut say = |code, message| findings.push(finding(code, Some(step), message));
    match &step.action {
        StepAction::Create { spec, .. }
        | StepAction::Update { spec, .. }
        | StepAction::Adopt { spec, .. } => {
            for reference in references(spec) {
                if !made.contains(&reference.key) && !state.resources.contains_key(&reference.key) {
                    say(codes::REFERENCE, format!("it refers to `{}`, which nothing makes", reference.key));
                }
            }
            if matches!(step.action, StepAction::Create { .. }) && step.token.is_none() {
                say(codes::UNSOUND, "a create without a token could happen twice".to_owned());
            }
        }
        StepAction::Delete { key, id, holds_data, .. } => {
            let protected = state.resources.get(key).is_some_and(|r| r.id == *id && r.holds_data);
            if protected && !holds_data {
                say(codes::PROTECTED, format!("`{key}` holds data and nobody asked for it to go"));
            }
        }
        StepAction::Release { action, release } => {
            let planned = plan.release.as_ref().is_some_and(|p| p.number == *release);
            let needs_release = matches!(
                action,
                ReleaseAction::Build
                    | ReleaseAction::Stage
                    | ReleaseAction::Migrate
                    | ReleaseAction::Start { .. }
                    | ReleaseAction::Probe { .. }
                    | ReleaseAction::Smoke { .. }
                    | ReleaseAction::Commit
            );
            if needs_release && !planned && !state.releases.contains_key(release) {
                say(codes::REFERENCE, format!("release {release} is neither planned nor known"));
            }
        }
    }
}

/// What a secret looks like: data, not code.
#[derive(Debug, Deserialize)]
struct SecretPatterns {
    names: Vec<String>,
    prefixes: Vec<String>,
    contains: Vec<String>,
    prefix_length: usize,
}

impl SecretPatterns {
    fn load() -> Self {
        // The file is part of the program; a test reads it.
        serde_json::from_str(include_str!("secret_patterns.json")).unwrap_or(Self {
            names: Vec::new(),
            prefixes: Vec::new(),
            contains: Vec::new(),
            prefix_length: usize::MAX,
        })
    }

    /// Does a value look like a secret by itself?
    fn value(&self, text: &str) -> bool {
        self.contains.iter().any(|part| text.contains(part.as_str()))
            || (text.len() >= self.prefix_length
                && !text.contains(char::is_whitespace)
                && self.prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())))
            || password_in_url(text)
    }

    /// The place of the first value that looks like a secret.
    fn find(&self, value: &Value) -> Option<String> {
        match value {
            Value::Object(fields) if fields.contains_key("$secret") || fields.contains_key("$ref") => None,
            Value::Object(fields) => fields.iter().find_map(|(name, value)| match value {
                Value::String(text) => {
                    let by_name = !text.is_empty() && self.names.iter().any(|n| name.eq_ignore_ascii_case(n));
                    (by_name || self.value(text)).then(|| name.clone())
                }
                _ => self.find(value).map(|rest| format!("{name}.{rest}")),
            }),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(at, value)| self.find(value).map(|rest| format!("{at}.{rest}"))),
            Value::String(text) => self.value(text).then(String::new),
            _ => None,
        }
    }
}

/// `scheme://user:password@host`.
fn password_in_url(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_known_by_name_by_shape_and_in_urls() {
        let patterns: SecretPatterns = serde_json::from_str(include_str!("secret_patterns.json")).unwrap();
        for (value, place) in [
            (json!({"password": "x"}), Some("password")),
            (json!({"a": {"url": "postgres://u:p@h/d"}}), Some("a.url")),
            (json!({"a": ["-----BEGIN PRIVATE KEY-----"]}), Some("a.0.")),
            (json!({"key": "AKIAIOSFODNN7EXAMPLE"}), Some("key")),
            (json!({"password": {"$secret": "file", "path": "p", "version": 1, "hash": "h"}}), None),
            (json!({"url": "https://example.org/a:b@c", "sk-": "sk-short"}), None),
        ] {
            assert_eq!(patterns.find(&value).as_deref(), place, "{value}");
        }
    }
}
