use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::Secret;

/// What stands where a secret was.
const HIDDEN: &str = "[secret]";

/// Values that are no secrets even when someone calls them so.
#[derive(Deserialize)]
struct CommonValues {
    /// Shorter values are left alone: they would hit ordinary text.
    shortest: usize,
    values: BTreeSet<String>,
}

static COMMON: LazyLock<CommonValues> = LazyLock::new(|| {
    serde_json::from_str(include_str!("data/common_values.json"))
        // A test reads the file, so this is never reached.
        .unwrap_or_else(|_| CommonValues {
            shortest: 4,
            values: BTreeSet::new(),
        })
});

/// Hides known secret values in what is shown, copied or logged: as they are, URL-encoded
/// (any of it, `%20` or `+`), as a JSON string, and in base64 (both alphabets, also as a part
/// of longer encoded text such as `user:password`).
///
/// Works on one line at a time; each line of a value with several lines is hidden by itself.
/// Left alone are values shorter than 4 bytes and those in `data/common_values.json`
/// (`true`, `localhost`, `postgres`, …): hiding them would garble every message and protect
/// nothing. Base64 that is wrapped in the middle of a value is not recognised.
///
/// Holds the values in memory for as long as it lives. `Debug` shows how many.
#[derive(Clone, Default)]
pub struct Redactor(Hides);

#[derive(Clone, Default)]
enum Hides {
    #[default]
    Nothing,
    Values(Arc<Patterns>),
    /// The values cannot be searched for (gigabytes of them), so nothing is shown at all.
    Everything,
}

struct Patterns {
    values: usize,
    /// Values as they are, and as JSON writes them. Searched also in percent-decoded text.
    plain: AhoCorasick,
    /// The characters of a base64 text that a value alone decides, by alignment.
    base64: AhoCorasick,
    /// For each of these: does a character on that side hold some of the value's bits?
    shared: Vec<Shared>,
}

#[derive(Clone, Copy)]
struct Shared {
    before: bool,
    after: bool,
}

impl Redactor {
    /// Hides these values.
    #[must_use]
    pub fn new(values: &[Secret<String>]) -> Self {
        let mut plain = Vec::new();
        let mut encoded = Vec::new();
        for value in values {
            let value = value.expose();
            for part in std::iter::once(value.as_str()).chain(value.lines().map(str::trim)) {
                if part.len() < COMMON.shortest || COMMON.values.contains(part) {
                    continue;
                }
                plain.push(Zeroizing::new(part.as_bytes().to_vec()));
                if part.contains(' ') {
                    plain.push(Zeroizing::new(part.replace(' ', "+").into_bytes()));
                }
                let json = serde_json::to_string(part)
                    .map(Zeroizing::new)
                    .unwrap_or_default();
                let within = json
                    .get(1..json.len().saturating_sub(1))
                    .unwrap_or_default();
                if !within.is_empty() && within != part {
                    plain.push(Zeroizing::new(within.as_bytes().to_vec()));
                }
                base64_forms(part.as_bytes(), &mut encoded);
            }
        }
        if plain.is_empty() {
            return Self::default();
        }
        let (forms, shared): (Vec<_>, Vec<_>) = encoded.into_iter().unzip();
        let (Ok(plain), Ok(base64)) = (AhoCorasick::new(&plain), AhoCorasick::new(&forms)) else {
            return Self(Hides::Everything);
        };
        Self(Hides::Values(Arc::new(Patterns {
            values: values.len(),
            plain,
            base64,
            shared,
        })))
    }

    /// The text with `[secret]` for each value.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let Some(hidden) = self.hidden(text.as_bytes()) else {
            return text.to_owned();
        };
        // A value ends where a character ends, so only text that was cut before differs here.
        String::from_utf8(hidden)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// The same for bytes that may be no text.
    #[must_use]
    pub fn redact_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.hidden(bytes).unwrap_or_else(|| bytes.to_vec())
    }

    /// None when there is nothing to hide.
    fn hidden(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let ranges = match &self.0 {
            Hides::Nothing => return None,
            Hides::Values(patterns) => patterns.find(bytes),
            Hides::Everything => std::iter::once(0..bytes.len()).collect(),
        };
        if ranges.is_empty() {
            return None;
        }
        let mut hidden = Vec::with_capacity(bytes.len());
        let mut end = 0;
        for range in ranges {
            hidden.extend_from_slice(&bytes[end..range.start]);
            hidden.extend_from_slice(HIDDEN.as_bytes());
            end = range.end;
        }
        hidden.extend_from_slice(&bytes[end..]);
        Some(hidden)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Hides::Nothing => f.write_str("Redactor(0)"),
            Hides::Values(patterns) => write!(f, "Redactor({})", patterns.values),
            Hides::Everything => f.write_str("Redactor(everything)"),
        }
    }
}

impl Patterns {
    /// Where values are, in order, without overlap.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = self
            .plain
            .find_overlapping_iter(bytes)
            .map(|hit| hit.range())
            .collect();
        if bytes.contains(&b'%') {
            let (mut decoded, places) = percent_decoded(bytes);
            found.extend(
                self.plain
                    .find_overlapping_iter(&decoded)
                    .map(|hit| places[hit.start()]..places[hit.end()]),
            );
            decoded.zeroize();
        }
        for hit in self.base64.find_overlapping_iter(bytes) {
            let Shared { before, after } = self.shared[hit.pattern().as_usize()];
            let mut range = hit.range();
            if before && range.start > 0 && is_base64(bytes[range.start - 1]) {
                range.start -= 1;
            }
            if after && bytes.get(range.end).copied().is_some_and(is_base64) {
                range.end += 1;
            }
            while bytes.get(range.end) == Some(&b'=') {
                range.end += 1;
            }
            found.push(range);
        }
        found.sort_by_key(|range| range.start);
        let mut apart: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match apart.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        apart
    }
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// The text without its percent encoding, and for each byte of it (and its end) where that
/// was in the original.
fn percent_decoded(bytes: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut places = Vec::with_capacity(bytes.len() + 1);
    let mut at = 0;
    while at < bytes.len() {
        places.push(at);
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits make a byte.
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    places.push(at);
    (decoded, places)
}

/// The base64 characters that are the same whatever surrounds the value, at each of the three
/// places where it can begin in a group of three bytes.
fn base64_forms(value: &[u8], forms: &mut Vec<(Zeroizing<String>, Shared)>) {
    for skipped in 0..3_usize {
        let mut padded = Zeroizing::new(vec![0; skipped]);
        padded.extend_from_slice(value);
        // Characters that hold bits of what is before, and those that hold only ours.
        let first = (skipped * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        let shared = Shared {
            before: skipped > 0,
            after: !(padded.len() * 8).is_multiple_of(6),
        };
        let [standard, url_safe] =
            [STANDARD, URL_SAFE].map(|engine| Zeroizing::new(engine.encode(&*padded)));
        let own = |text: &str| Zeroizing::new(text.get(first..end).unwrap_or_default().to_owned());
        if end - first < COMMON.shortest {
            continue;
        }
        if standard != url_safe {
            forms.push((own(&url_safe), shared));
        }
        forms.push((own(&standard), shared));
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

    use super::*;

    fn redactor(values: &[&str]) -> Redactor {
        Redactor::new(
            &values
                .iter()
                .map(|value| Secret::new((*value).to_owned()))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_list_of_common_values_can_be_read() {
        let common: CommonValues =
            serde_json::from_str(include_str!("data/common_values.json")).unwrap();
        assert!(common.shortest == 4 && common.values.contains("postgres"));
    }

    #[test]
    fn values_are_hidden_wherever_they_stand() {
        let redactor = redactor(&["hunter22", "s3cr3t/with+chars", "pässwörd"]);
        for (text, expected) in [
            ("hunter22", "[secret]"),
            ("a hunter22 b hunter22", "a [secret] b [secret]"),
            ("postgres://u:hunter22@h/db", "postgres://u:[secret]@h/db"),
            ("s3cr3t/with+chars", "[secret]"),
            ("ein pässwörd.", "ein [secret]."),
            ("hunter2", "hunter2"),
            ("", ""),
        ] {
            assert_eq!(redactor.redact(text), expected);
            assert_eq!(redactor.redact_bytes(text.as_bytes()), expected.as_bytes());
        }
        assert_eq!(
            redactor.redact_bytes(b"\xff hunter22 \xfe"),
            b"\xff [secret] \xfe"
        );
    }

    #[test]
    fn url_encoding_of_any_taste_is_seen_through() {
        let redactor = redactor(&["p@ss w/rd+ü", "hunter22"]);
        for text in [
            "p%40ss%20w%2Frd%2B%C3%BC",
            "p%40ss%20w%2frd%2b%c3%bc",
            "p%40ss+w%2Frd%2B%C3%BC",
            "p@ss%20w/rd+ü",
            "%70%40%73%73%20%77%2F%72%64%2B%C3%BC",
            "p@ss w/rd+ü",
            "%68unter22",
        ] {
            assert_eq!(
                redactor.redact(&format!("x={text}&100%")),
                "x=[secret]&100%",
                "{text}"
            );
        }
        assert_eq!(redactor.redact("100%zz 5% %4 %"), "100%zz 5% %4 %");
    }

    #[test]
    fn json_escapes_are_seen_through() {
        let redactor = redactor(&["a\"b\\c\td\""]);
        assert_eq!(
            redactor.redact(r#"{"x":"a\"b\\c\td\""}"#),
            r#"{"x":"[secret]"}"#
        );
    }

    #[test]
    fn base64_is_seen_through_at_every_alignment() {
        for value in [
            "hunter22",
            "abcd",
            "\u{fb}\u{ff}?>~~",
            "a longer secret value",
        ] {
            let redactor = redactor(&[value]);
            for before in ["", "u", "us", "usr", "usr:"] {
                for after in ["", ":", ":x", ":xy"] {
                    let text = format!("{before}{value}{after}");
                    for engine in [STANDARD, STANDARD_NO_PAD] {
                        check(&redactor, value, &engine.encode(&text), before, after);
                    }
                    for engine in [URL_SAFE, URL_SAFE_NO_PAD] {
                        check(&redactor, value, &engine.encode(&text), before, after);
                    }
                }
            }
        }

        fn check(redactor: &Redactor, value: &str, encoded: &str, before: &str, after: &str) {
            let line = format!("authorization: Basic {encoded} ok");
            let redacted = redactor.redact(&line);
            let hidden = redacted.find(HIDDEN);
            let whole = format!("`{value}` with `{before}` and `{after}`: {redacted}");
            let hidden = hidden.unwrap_or_else(|| panic!("{whole}"));
            // What is left over before and after holds no character with a bit of the value.
            let left = hidden - "authorization: Basic ".len();
            assert!(left <= before.len() * 8 / 6, "{whole}");
            let right = redacted.len() - hidden - HIDDEN.len() - " ok".len();
            assert!(right <= (after.len() * 8).div_ceil(6) + 2, "{whole}");
            if after.is_empty() {
                assert_eq!(right, 0, "{whole}");
            }
        }
    }

    #[test]
    fn overlapping_values_leave_nothing_of_each_other() {
        let redactor = redactor(&["abcdef", "defghi", "abcdefgh"]);
        assert_eq!(redactor.redact("abcdefghi"), "[secret]");
        assert_eq!(redactor.redact("abcdefdefghi"), "[secret][secret]");
    }

    #[test]
    fn lines_of_a_value_are_hidden_one_by_one() {
        let redactor =
            redactor(&["-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"]);
        assert_eq!(redactor.redact("key: MIIEvQIBADANBg"), "key: [secret]");
        assert_eq!(redactor.redact("  kqhkiG9w0BAQEF"), "  [secret]");
    }

    #[test]
    fn short_and_common_values_are_left_alone() {
        let redactor = redactor(&["abc", "", "true", "postgres", "localhost"]);
        let text = "abc true postgres on localhost";
        assert_eq!(redactor.redact(text), text);
        assert_eq!(Redactor::default().redact(text), text);
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(
            format!("{:?}", redactor(&["hunter22", "hunter33"])),
            "Redactor(2)"
        );
    }
}
