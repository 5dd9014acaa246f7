//! Answers made smaller on their way, where that is safe, worth it and asked for.
//!
//! A secret that stands in a compressed body beside what an attacker may choose can be guessed
//! by the body's length (BREACH). So what may be personal (pages, JSON) is only compressed for a
//! request that says nothing of who it is from, and an answer that does not say either; what is
//! the same for everyone by its kind (scripts, styles) or by its own word (`public`) always is.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;

const DATA: &str = include_str!("../data/compressible-types.json");
/// An answer that says it is smaller is not worth it: it fits into one packet as it is.
const SMALLEST: u64 = 1_024;
/// Two thirds of what the best level saves, at a third of its time.
const LEVEL: u32 = 4;

const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

#[derive(Debug, Default, Deserialize)]
struct Types {
    same_for_everyone: HashSet<String>,
    may_be_personal: HashSet<String>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| match serde_json::from_str(DATA) {
    Ok(types) => types,
    Err(error) => {
        tracing::error!(%error, "nothing is compressed");
        Types::default()
    }
});

/// What a request says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    takes_gzip: bool,
    personal: bool,
}

impl Asker {
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Self {
        Self {
            // To HEAD nothing is sent that could be compressed.
            takes_gzip: *method != Method::HEAD && takes_gzip(headers),
            personal: headers.contains_key(header::COOKIE) || headers.contains_key(header::AUTHORIZATION),
        }
    }

    /// Whether an answer is to be compressed; then its header says so. One that would be for
    /// somebody else says that too, for caches.
    pub(crate) fn decide(self, status: StatusCode, headers: &mut HeaderMap) -> bool {
        if !may_be_compressed(status, headers) {
            return false;
        }
        let Some(kind) = kind(headers) else { return false };
        let same = TYPES.same_for_everyone.contains(&kind);
        if !same && !TYPES.may_be_personal.contains(&kind) {
            return false;
        }
        let for_all = same || says(headers, &header::CACHE_CONTROL, "public");
        let personal = self.personal || headers.contains_key(header::SET_COOKIE);
        if !says(headers, &header::VARY, "accept-encoding") && !says(headers, &header::VARY, "*") {
            headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if !self.takes_gzip || (personal && !for_all) {
            return false;
        }
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        // The bytes are others, what they mean is the same.
        if let Some(weak) = headers.get(header::ETAG).and_then(weakened) {
            headers.insert(header::ETAG, weak);
        }
        true
    }
}

fn may_be_compressed(status: StatusCode, headers: &HeaderMap) -> bool {
    let has_body = !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::PARTIAL_CONTENT
        && status != StatusCode::NOT_MODIFIED;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let large = length.is_none_or(|length| length.parse().is_ok_and(|length: u64| length >= SMALLEST));
    has_body
        && large
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !says(headers, &header::CACHE_CONTROL, "no-transform")
        && !DIGESTS.iter().any(|digest| headers.contains_key(digest))
}

/// The media type, in lower case without parameters.
fn kind(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase())
}

/// Whether a list has a member.
fn says(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(member))
}

fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    let strong = tag.as_bytes().starts_with(b"\"");
    strong.then(|| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()).flatten()
}

/// Whether gzip is taken, and no less gladly than what is not compressed (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut other, mut plain) = (None, None, None);
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for one in values.flat_map(|value| value.split(',')) {
        let mut parts = one.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |text| text.trim().parse::<f32>().unwrap_or(0.0));
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(weight);
        } else if coding == "*" {
            other = Some(weight);
        } else if coding.eq_ignore_ascii_case("identity") {
            plain = Some(weight);
        }
    }
    let gzip = gzip.or(other).unwrap_or(0.0);
    gzip > 0.0 && gzip >= plain.unwrap_or(0.0)
}

/// Compresses a body piece by piece; what has come in can be sent on at any time.
#[derive(Debug)]
pub(crate) struct Gzip {
    encoder: GzEncoder<Vec<u8>>,
    /// Something came in since it was last sent on.
    behind: bool,
}

impl Gzip {
    pub(crate) fn new() -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), Compression::new(LEVEL)), behind: false }
    }

    /// Takes a piece; what is ready of the result, if anything is.
    ///
    /// # Errors
    /// Never into memory.
    pub(crate) fn take(&mut self, piece: &[u8]) -> io::Result<Option<Bytes>> {
        self.encoder.write_all(piece)?;
        self.behind = true;
        Ok(self.ready())
    }

    /// What came in and was not sent on, so that nobody waits for what is here.
    ///
    /// # Errors
    /// Never into memory.
    pub(crate) fn flush(&mut self) -> io::Result<Option<Bytes>> {
        if !std::mem::take(&mut self.behind) {
            return Ok(None);
        }
        self.encoder.flush()?;
        Ok(self.ready())
    }

    /// The end.
    ///
    /// # Errors
    /// Never into memory.
    pub(crate) fn finish(&mut self) -> io::Result<Option<Bytes>> {
        self.encoder.try_finish()?;
        Ok(self.ready())
    }

    fn ready(&mut self) -> Option<Bytes> {
        let ready = std::mem::take(self.encoder.get_mut());
        (!ready.is_empty()).then(|| Bytes::from(ready))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn wishes_are_weighed() {
        for (accept, expected) in [
            ("gzip", true),
            ("br, gzip, deflate", true),
            ("X-GZIP", true),
            ("gzip;q=0.5, br", true),
            ("gzip; q=0", false),
            ("gzip;q=0.000", false),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0.5, gzip;q=0.5", true),
            ("gzip;q=x", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&headers(&[("accept-encoding", accept)])), expected, "{accept:?}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
        let both = headers(&[("accept-encoding", "br"), ("accept-encoding", "gzip")]);
        assert!(takes_gzip(&both));
        assert!(!Asker::of(&Method::HEAD, &both).takes_gzip);
    }

    #[test]
    fn only_what_may_be_is_compressed_and_caches_are_told() {
        let anybody = Asker { takes_gzip: true, personal: false };
        let somebody = Asker { takes_gzip: true, personal: true };
        let old = Asker { takes_gzip: false, personal: false };
        let ok = StatusCode::OK;
        let html = ("content-type", "text/html; charset=utf-8");
        let css = ("content-type", "TEXT/CSS");
        let none: &[(&'static str, &str)] = &[];
        for (asker, status, fields, compressed, varies) in [
            (anybody, ok, &[html][..], true, true),
            (anybody, StatusCode::NOT_FOUND, &[html, ("content-length", "1024")], true, true),
            (old, ok, &[html], false, true),
            (anybody, ok, &[html, ("content-length", "1023")], false, false),
            (anybody, ok, &[html, ("content-encoding", "br")], false, false),
            (anybody, ok, &[html, ("cache-control", "private, No-Transform")], false, false),
            (anybody, ok, &[html, ("content-digest", "sha-256=:x:")], false, false),
            (anybody, StatusCode::PARTIAL_CONTENT, &[css, ("content-range", "bytes 0-1/2")], false, false),
            (anybody, StatusCode::NOT_MODIFIED, &[css], false, false),
            (anybody, ok, &[("content-type", "image/png")], false, false),
            (anybody, ok, &[("content-type", "image/png"), ("cache-control", "public")], false, false),
            (anybody, ok, &[("content-type", "text/event-stream")], false, false),
            (anybody, ok, none, false, false),
            // A secret may be in it.
            (somebody, ok, &[html], false, true),
            (anybody, ok, &[html, ("set-cookie", "a=b")], false, true),
            (somebody, ok, &[html, ("cache-control", "max-age=5, public")], true, true),
            (somebody, ok, &[css], true, true),
        ] {
            let mut have = headers(fields);
            assert_eq!(asker.decide(status, &mut have), compressed, "{asker:?} {status} {fields:?}");
            assert_eq!(have.contains_key("vary"), varies, "{asker:?} {status} {fields:?}");
            assert_eq!(have.get("content-encoding").is_some_and(|one| one == "gzip"), compressed);
        }
        let mut have =
            headers(&[css, ("content-length", "5000"), ("etag", "\"x\""), ("accept-ranges", "bytes")]);
        have.append("vary", HeaderValue::from_static("origin, Accept-Encoding"));
        assert!(anybody.decide(ok, &mut have));
        assert!(!have.contains_key("content-length") && !have.contains_key("accept-ranges"));
        assert_eq!(
            (&have["etag"], have.get_all("vary").iter().count()),
            (&HeaderValue::from_static("W/\"x\""), 1)
        );
    }

    #[test]
    fn what_came_in_comes_out_whenever_it_is_asked_for() {
        let mut gzip = Gzip::new();
        let mut sent = Vec::new();
        let plain = |sent: &[u8]| {
            let mut out = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(sent);
            // An end that has not come yet is no end.
            let mut piece = [0; 64];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                out.extend_from_slice(&piece[..count]);
            }
            String::from_utf8(out).unwrap()
        };
        for piece in ["one ", "two ", "three"] {
            sent.extend(gzip.take(piece.as_bytes()).unwrap().unwrap_or_default());
            sent.extend(gzip.flush().unwrap().unwrap());
            assert!(plain(&sent).ends_with(piece), "{piece}");
            assert_eq!(gzip.flush().unwrap(), None, "nothing twice");
        }
        sent.extend(gzip.finish().unwrap().unwrap());
        let mut all = String::new();
        flate2::read::GzDecoder::new(&sent[..]).read_to_string(&mut all).unwrap();
        assert_eq!(all, "one two three");
    }
}
