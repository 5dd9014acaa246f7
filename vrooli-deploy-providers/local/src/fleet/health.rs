//! What a health answer means. Pure.

use serde_json::Value;

use super::http::Answer;

/// A verdict on one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is well.
    Healthy,
    /// It says that it is not quite well.
    Degraded(String),
    /// It is not well.
    Unhealthy(String),
}

/// Words that health answers use for well, as their `status`.
const WELL: [&str; 6] = ["healthy", "ok", "pass", "up", "alive", "ready"];

/// Words for half well.
const HALF_WELL: [&str; 3] = ["degraded", "warn", "warning"];

/// Judges the answer to a health request for `path`.
pub(super) fn judge(path: &str, answer: &Answer) -> Verdict {
    if !(200..300).contains(&answer.status) {
        return Verdict::Unhealthy(format!("`{path}` answered {}", answer.status));
    }
    // A single-page fallback answers every path with 200 and a page: it says nothing of health.
    if answer.content_type.starts_with("text/html") && path != "/" {
        return Verdict::Unhealthy(format!(
            "`{path}` answered an HTML page where a health answer was expected; is it the fallback of a single-page app?"
        ));
    }
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(&answer.body) else {
        return Verdict::Healthy;
    };
    if let Some(status) = body.get("status").and_then(Value::as_str) {
        let word = status.to_ascii_lowercase();
        if HALF_WELL.contains(&word.as_str()) {
            return Verdict::Degraded(why(&body, format!("it says `{status}`")));
        }
        if !WELL.contains(&word.as_str()) {
            return Verdict::Unhealthy(why(&body, format!("it says `{status}`")));
        }
    }
    if body.get("readiness").and_then(Value::as_bool) == Some(false) {
        return Verdict::Unhealthy(why(&body, "it says that it is not ready".to_owned()));
    }
    match disconnected(&body) {
        Some(names) => Verdict::Degraded(format!("not connected: {names}")),
        None => Verdict::Healthy,
    }
}

fn why(body: &serde_json::Map<String, Value>, said: String) -> String {
    match disconnected(body) {
        Some(names) => format!("{said}; not connected: {names}"),
        None => said,
    }
}

/// Names of dependencies that the answer calls not connected.
fn disconnected(body: &serde_json::Map<String, Value>) -> Option<String> {
    let is_off = |value: &Value| value.get("connected").and_then(Value::as_bool) == Some(false);
    let mut names: Vec<&str> = body
        .get("dependencies")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, value)| is_off(value))
        .map(|(name, _)| name.as_str())
        .collect();
    if body.get("api_connectivity").is_some_and(is_off) {
        names.push("api");
    }
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        Answer { status, content_type: content_type.to_owned(), body: body.to_owned() }
    }

    fn json(body: &str) -> Verdict {
        judge("/health", &answer(200, "application/json", body))
    }

    #[test]
    fn well() {
        assert_eq!(
            json(r#"{"status":"healthy","dependencies":{"database":{"connected":true}}}"#),
            Verdict::Healthy
        );
        assert_eq!(json(r#"{"status":"OK"}"#), Verdict::Healthy);
        assert_eq!(judge("/health", &answer(200, "text/plain", "fine")), Verdict::Healthy);
        assert_eq!(judge("/", &answer(200, "text/html", "<html>")), Verdict::Healthy);
        assert_eq!(judge("/health", &answer(204, "", "")), Verdict::Healthy);
    }

    #[test]
    fn half_well() {
        assert!(matches!(json(r#"{"status":"degraded"}"#), Verdict::Degraded(_)));
        let Verdict::Degraded(why) =
            json(r#"{"status":"healthy","dependencies":{"database":{"connected":false}}}"#)
        else {
            panic!("a lost database is not well");
        };
        assert!(why.contains("database"));
        assert!(matches!(
            json(r#"{"status":"healthy","api_connectivity":{"connected":false}}"#),
            Verdict::Degraded(_)
        ));
    }

    #[test]
    fn not_well() {
        assert!(matches!(judge("/health", &answer(503, "application/json", "{}")), Verdict::Unhealthy(_)));
        assert!(matches!(json(r#"{"status":"unhealthy"}"#), Verdict::Unhealthy(_)));
        assert!(matches!(json(r#"{"status":"healthy","readiness":false}"#), Verdict::Unhealthy(_)));
        assert!(matches!(
            judge("/health", &answer(200, "text/html; charset=utf-8", "<!doctype html>")),
            Verdict::Unhealthy(_)
        ));
    }
}
