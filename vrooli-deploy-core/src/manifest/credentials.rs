//! Does a value look like a credential? Used to keep secrets out of manifests. What this
//! module finds is never repeated in a message.

use std::sync::LazyLock;

use serde::Deserialize;

use super::crosswalk::embedded;

#[derive(Debug, Default, Deserialize)]
struct Patterns {
    words: Vec<String>,
    harmless_endings: Vec<String>,
    value_prefixes: Vec<String>,
    shortest_prefixed_value: usize,
    generated: Vec<String>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| embedded(include_str!("data/credentials.json")));

/// Why a value is taken for a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// The variable's name says so.
    Name,
    /// The value is a URL with a password.
    Url,
    /// The value has the format of a key.
    Format,
}

impl Suspicion {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Name => "its name says that it is a secret",
            Self::Url => "it is a URL with a password in it",
            Self::Format => "it has the format of a key",
        }
    }
}

/// Is this the name of a secret?
pub(crate) fn is_secret_name(variable: &str) -> bool {
    let name = variable.to_ascii_uppercase().replace('-', "_");
    if PATTERNS.harmless_endings.iter().any(|ending| name.ends_with(ending.as_str())) {
        return false;
    }
    PATTERNS.words.iter().any(|word| {
        name.match_indices(word.as_str()).any(|(at, _)| {
            let rest = &name[at + word.len()..];
            rest.is_empty() || rest.starts_with('_')
        })
    })
}

/// Is it a secret that the app makes up for itself, so that a random value does?
pub(crate) fn is_self_made(variable: &str) -> bool {
    let name = variable.to_ascii_uppercase();
    PATTERNS.generated.iter().any(|word| name.ends_with(word.as_str()))
}

/// Is the value written out, or does it only refer to something?
pub(crate) fn is_literal(value: &str) -> bool {
    !value.is_empty() && !value.starts_with('$') && !value.starts_with('`') && !value.starts_with("{{")
}

/// Does this look like a credential?
pub(crate) fn suspect(variable: &str, value: &str) -> Option<Suspicion> {
    if !is_literal(value) {
        return None;
    }
    if has_key_format(value) {
        return Some(Suspicion::Format);
    }
    if url_password(value).is_some() {
        return Some(Suspicion::Url);
    }
    // `true`, `0` and the like switch something; they are no secrets.
    let switch = matches!(value, "true" | "false" | "yes" | "no" | "none") || value.len() < 2;
    (is_secret_name(variable) && !switch).then_some(Suspicion::Name)
}

/// Has it the format of a known vendor's key?
pub(crate) fn has_key_format(value: &str) -> bool {
    value.len() >= PATTERNS.shortest_prefixed_value
        && PATTERNS.value_prefixes.iter().any(|prefix| value.starts_with(prefix.as_str()))
        && value.starts_with("-----BEGIN ") == value.contains(' ')
}

/// The byte range of the password in the first `scheme://user:password@` of a text.
pub(crate) fn url_password(text: &str) -> Option<std::ops::Range<usize>> {
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let start = from + found + 3;
        let end = text[start..]
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`' | '<' | '>' | '|' | ';')
            })
            .map_or(text.len(), |end| start + end);
        // The last `@` ends the user information; a password may hold one itself.
        if let Some(at) = text[start..end].rfind('@')
            && let Some(colon) = text[start..start + at].find(':')
        {
            let password = start + colon + 1..start + at;
            if is_literal(&text[password.clone()]) {
                return Some(password);
            }
        }
        from = start;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_can_be_read() {
        serde_json::from_str::<Patterns>(include_str!("data/credentials.json")).unwrap();
    }

    #[test]
    fn secrets_are_told_from_settings() {
        for (variable, value) in [
            ("DB_PASSWORD", "hunter2"),
            ("PGPASSWORD", "x1"),
            ("OPENROUTER_API_KEY", "abc"),
            ("DATABASE_URL", "postgres://app:s3cr3t@db/x"),
            ("ANY", "sk-or-v1-0123456789abcdef"),
            ("JWT_SECRET", "development"),
        ] {
            assert!(suspect(variable, value).is_some(), "{variable}");
        }
        for (variable, value) in [
            ("MAX_TOKENS", "4096"),
            ("TOKEN_TTL", "3600"),
            ("PASSWORD_FILE", "/run/secrets/x"),
            ("DB_PASSWORD", "${POSTGRES_PASSWORD}"),
            ("DB_PASSWORD", ""),
            ("API_URL", "http://localhost:8080/a@b"),
            ("DATABASE_URL", "postgres://app@db/x"),
            ("DATABASE_URL", "postgres://app:${PASSWORD}@db/x"),
            ("SECRETARY", "Ann"),
            ("USE_TOKEN", "true"),
        ] {
            assert!(suspect(variable, value).is_none(), "{variable}={value}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_found_exactly() {
        let text = "a http://h/x b postgres://u:p@ss@h:1/db";
        assert_eq!(&text[url_password(text).unwrap()], "p@ss");
    }
}
