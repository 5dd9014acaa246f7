//! Stickiness: a client keeps its release while two serve.
//!
//! The cookie holds a bucket, not a release. Buckets are laid over the releases in the order
//! of their names, each release as many as its weight; so when a release is given more, it
//! gets clients that others had, and keeps all of its own. A client without a cookie gets a
//! bucket by chance: it is sampled like everyone else.

use http::HeaderMap;
use http::header::{self, HeaderValue};

/// How finely traffic is cut: a hundredth of a percent.
pub(crate) const BUCKETS: u32 = 10_000;

/// The bucket that a client's cookie names.
pub(crate) fn bucket(headers: &HeaderMap, cookie: &str) -> Option<u32> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == cookie)?;
    value.parse().ok().filter(|bucket| *bucket < BUCKETS)
}

/// What makes a client come back with its bucket.
pub(crate) fn set_cookie(cookie: &str, bucket: u32, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{cookie}={bucket}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
}

/// Whether a name can be that of a cookie (RFC 6265, 4.1.1: a token).
pub(crate) fn is_name(cookie: &str) -> bool {
    !cookie.is_empty()
        && cookie.len() <= 64
        && cookie.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_found_among_other_cookies_and_nothing_else_is() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::COOKIE, HeaderValue::from_str(value).unwrap());
            }
            bucket(&headers, "release")
        };
        assert_eq!(read(&["a=1; release=42; b=2"]), Some(42));
        assert_eq!(read(&["a=1", "release=0"]), Some(0));
        assert_eq!(read(&["xrelease=42"]), None);
        assert_eq!(read(&["release=10000"]), None);
        assert_eq!(read(&["release=-1"]), None);
        assert_eq!(read(&["release"]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn names_that_would_break_the_header_are_refused() {
        assert!(is_name("vrooli-release"));
        for bad in ["", "a b", "a;b", "a=b", "a\r\nb"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
