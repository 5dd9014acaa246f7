//! What the answer to a smoke test must be. Pure: who asks is the fleet's.

use serde_json::Value;

use crate::manifest::SmokeTest;

/// Holds an answer against a test.
///
/// # Errors
/// What differs from what was expected, in words.
pub fn judge(test: &SmokeTest, status: u16, content_type: &str, body: &str) -> Result<(), String> {
    let expect = &test.expect;
    match expect.status {
        Some(wanted) if status != wanted => return Err(format!("answered {status}, expected {wanted}")),
        None if !(200..300).contains(&status) => return Err(format!("answered {status}")),
        _ => {}
    }
    if let Some(wanted) = &expect.content_type
        && !content_type.starts_with(&wanted.to_ascii_lowercase())
    {
        return Err(format!("content type is `{content_type}`, expected `{wanted}`"));
    }
    if expect.json.is_empty() {
        return Ok(());
    }
    let body: Value = serde_json::from_str(body)
        .map_err(|_| format!("the answer is no JSON (content type `{content_type}`)"))?;
    for (pointer, wanted) in &expect.json {
        match body.pointer(pointer) {
            Some(value) if value == wanted => {}
            Some(value) => return Err(format!("`{pointer}` is {value}, expected {wanted}")),
            None => return Err(format!("`{pointer}` is not there, expected {wanted}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(expect: Value) -> SmokeTest {
        serde_json::from_value(serde_json::json!({"service": "api", "path": "/x", "expect": expect})).unwrap()
    }

    #[test]
    fn html_where_json_was_asked_fails() {
        let test = test(serde_json::json!({"json": {"/status": "healthy"}}));
        assert!(judge(&test, 200, "text/html", "<html>").unwrap_err().contains("no JSON"));
        assert!(judge(&test, 200, "application/json", r#"{"status":"degraded"}"#).is_err());
        assert!(judge(&test, 200, "application/json", r#"{"status":"healthy"}"#).is_ok());
    }

    #[test]
    fn status_and_type() {
        let test = test(serde_json::json!({"status": 201, "content_type": "application/json"}));
        assert!(judge(&test, 200, "application/json", "").is_err());
        assert!(judge(&test, 201, "text/plain", "").is_err());
        assert!(judge(&test, 201, "application/json; charset=utf-8", "").is_ok());
    }
}
