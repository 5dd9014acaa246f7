use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroize as _;

use super::Secret;

/// Shorter values are too common in ordinary text to be hidden.
const SHORTEST: usize = 4;

/// What is put in the place of a secret.
const HIDDEN: &str = "[secret]";

/// Hides known secret values in text: as they are, percent-encoded, and in base64 at any
/// alignment. Values of fewer than four characters are not looked for.
#[derive(Default)]
pub struct Redactor {
    /// Longest first, so that a value that holds another is hidden whole.
    needles: Vec<String>,
}

impl Redactor {
    /// Hides these values.
    #[must_use]
    pub fn new(values: &[Secret<String>]) -> Self {
        let mut needles = BTreeSet::new();
        for value in values {
            let value = value.expose();
            if value.len() < SHORTEST {
                continue;
            }
            needles.insert(value.clone());
            for (keep_dot, upper) in [(true, true), (true, false), (false, true)] {
                needles.insert(percent(value, keep_dot, upper));
            }
            for alignment in 0..3 {
                for needle in base64(value.as_bytes(), alignment) {
                    if needle.len() >= SHORTEST {
                        needles.insert(needle);
                    }
                }
            }
            // As it stands in JSON.
            if let Ok(quoted) = serde_json::to_string(value) {
                needles.insert(quoted.trim_matches('"').to_owned());
            }
        }
        let mut needles: Vec<String> = needles.into_iter().collect();
        needles.sort_by_key(|n| std::cmp::Reverse(n.len()));
        Self { needles }
    }

    /// The text without the values.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in &self.needles {
            if text.contains(needle.as_str()) {
                text = text.replace(needle.as_str(), HIDDEN);
            }
        }
        text
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} forms)", self.needles.len())
    }
}

impl Drop for Redactor {
    fn drop(&mut self) {
        for needle in &mut self.needles {
            needle.zeroize();
        }
    }
}

fn percent(value: &str, keep_unreserved: bool, upper: bool) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || (keep_unreserved && matches!(byte, b'-' | b'_' | b'.' | b'~')) {
            text.push(char::from(byte));
        } else if upper {
            text.push_str(&format!("%{byte:02X}"));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

/// The characters that the value alone decides when it stands `alignment` bytes into a longer text.
fn base64(value: &[u8], alignment: usize) -> [String; 2] {
    let mut padded = vec![0; alignment];
    padded.extend_from_slice(value);
    let first = (alignment * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    let cut = |text: String| text.get(first..last).unwrap_or_default().to_owned();
    let forms = [cut(STANDARD_NO_PAD.encode(&padded)), cut(URL_SAFE_NO_PAD.encode(&padded))];
    padded.zeroize();
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn every_form_is_hidden() {
        let value = "pl/nted+C4nary ü";
        let redactor = Redactor::new(&[Secret::new(value.to_owned())]);
        let wrapped: Vec<String> = (0..4).map(|n| STANDARD.encode(format!("{}{value}!tail", "x".repeat(n)))).collect();
        assert_eq!(redactor.redact(&format!("a {value} b")), "a [secret] b");
        assert_eq!(redactor.redact("pl%2Fnted%2BC4nary%20%C3%BC"), HIDDEN);
        assert_eq!(redactor.redact("pl%2fnted%2bC4nary%20%c3%bc"), HIDDEN);
        for text in wrapped {
            let hidden = redactor.redact(&text);
            assert!(hidden.contains(HIDDEN), "{text} {hidden}");
        }
        assert_eq!(redactor.redact("nothing here"), "nothing here");
    }

    #[test]
    fn short_values_are_left_alone() {
        assert_eq!(Redactor::new(&[Secret::new("abc".to_owned())]).redact("abc"), "abc");
    }
}
