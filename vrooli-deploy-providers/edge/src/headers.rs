//! What is taken from and put on a message as it passes.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use hyper::body::Body;

use crate::origin::Origin;
use crate::replies::Reason;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The host that a request is for, in lower case without port; none if it names none.
///
/// # Errors
/// Two hosts, no host where there must be one, or what cannot be a host.
fn host<T>(request: &Request<T>) -> Result<Option<Cow<'_, str>>, Reason> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err(Reason::BadHost);
    }
    let header = match header {
        Some(value) => Some(value.to_str().map_err(|_| Reason::BadHost)?),
        None if request.version() == Version::HTTP_11 => return Err(Reason::BadHost),
        None => None,
    };
    let authority = match request.uri().authority() {
        None => header.unwrap_or(""),
        Some(authority) => {
            let scheme = request.uri().scheme_str();
            if scheme != Some("http") && scheme != Some("https") {
                return Err(Reason::BadTarget);
            }
            // Two different hosts in one request are a trick.
            if header.is_some_and(|header| !header.eq_ignore_ascii_case(authority.as_str())) {
                return Err(Reason::BadHost);
            }
            authority.as_str()
        }
    };
    if authority.is_empty() {
        return Ok(None);
    }
    name_of(authority).map(Some).ok_or(Reason::BadHost)
}

/// The host of an authority, in lower case without port; none when it cannot be one.
pub(crate) fn name_of(authority: &str) -> Option<Cow<'_, str>> {
    let (name, port) = if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let address = &authority[1..end - 1];
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (
            &authority[..end],
            authority[end..].strip_prefix(':').or_else(|| authority[end..].is_empty().then_some(""))?,
        )
    } else {
        let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return None;
        }
        (name.strip_suffix('.').unwrap_or(name), port)
    };
    if name.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Refuses bodies whose form is not plain: only `chunked` and a length are passed on.
fn check_framing<T>(request: &Request<T>) -> Result<(), Reason> {
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            if request.headers().contains_key(header::CONTENT_LENGTH) {
                Err(Reason::TwoLengths)
            } else {
                Ok(())
            }
        }
        _ => Err(Reason::BadEncoding),
    }
}

/// Refuses what is ambiguous, or nothing for us; the host that is asked for otherwise.
/// `two_lengths` is what [`crate::head_watch`] saw.
///
/// # Errors
/// Why it is refused.
pub(crate) fn admit<T>(request: &Request<T>, two_lengths: bool) -> Result<Option<Cow<'_, str>>, Reason> {
    if two_lengths {
        return Err(Reason::TwoLengths);
    }
    if *request.method() == Method::CONNECT {
        return Err(Reason::NoTunnels);
    }
    check_framing(request)?;
    host(request)
}

/// The same address by TLS; none when it cannot be said.
pub(crate) fn by_tls(host: &str, port: u16, uri: &Uri) -> Option<HeaderValue> {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let path = if path.starts_with('/') { path } else { "/" };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    HeaderValue::from_bytes(format!("https://{host}{port}{path}").as_bytes()).ok()
}

/// The protocol that a client asks to change to, if that is offered. HTTP/2 is not: it would
/// carry requests past our routing.
pub(crate) fn asked_upgrade<T>(request: &Request<T>) -> Option<HeaderValue> {
    let protocol = request.headers().get(header::UPGRADE)?;
    let asked = request.version() == Version::HTTP_11
        && has_token(request.headers(), "upgrade")
        && !protocol.as_bytes().to_ascii_lowercase().starts_with(b"h2")
        && protocol.to_str().is_ok_and(|text| !text.contains(','));
    asked.then(|| protocol.clone())
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn has_token(headers: &HeaderMap, wanted: &str) -> bool {
    tokens(headers).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Removes what is meant for this connection only.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers)
            .filter_map(|token| HeaderName::try_from(token).ok())
            // A client cannot talk us out of these.
            .filter(|name| {
                *name != header::HOST
                    && *name != header::CONTENT_LENGTH
                    && *name != header::TRAILER
                    && *name != header::CONNECTION
            })
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// What only we may say about where a request came from. Some servers read `_` as `-`.
pub(crate) fn is_forwarding(name: &str) -> bool {
    let begins = |prefix: &str| {
        name.len() >= prefix.len()
            && std::iter::zip(name.bytes(), prefix.bytes())
                .all(|(have, want)| have == want || (have == b'_' && want == b'-'))
    };
    begins("x-forwarded-") || name == "forwarded" || (begins("x-real-ip") && name.len() == 9)
}

/// HTTP/2 may cut a cookie into crumbs; HTTP/1 knows one field (RFC 9113, 8.2.3).
fn join_crumbs(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let whole = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    if let Ok(whole) = HeaderValue::from_bytes(&whole.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Makes a client's request ready for a backend. `body` is what comes after it;
/// `nameless_host` is what it is told as its host when the client said none.
pub(crate) fn to_backend(
    request: &mut Parts,
    body: &impl Body,
    from: &Origin<'_>,
    upgrade: Option<&HeaderValue>,
    nameless_host: impl FnOnce() -> Option<HeaderValue>,
) {
    if request.uri.authority().is_some() {
        let host = request.uri.authority().map(|one| one.as_str().to_owned());
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(&host).ok()) {
            request.headers.insert(header::HOST, host);
        }
        let path = request.uri.path_and_query().cloned();
        request.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    let headers = &mut request.headers;
    let trailers = headers
        .get(header::TE)
        .and_then(|te| te.to_str().ok())
        .is_some_and(|te| te.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")));
    if request.version == Version::HTTP_2 {
        join_crumbs(headers);
    }
    remove_hop_by_hop(headers);
    headers.remove(header::PROXY_AUTHORIZATION);
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // hyper sends none with a GET unless it is told of it here.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let spoofed: Vec<HeaderName> =
        headers.keys().filter(|name| is_forwarding(name.as_str())).cloned().collect();
    for name in spoofed {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers.insert(X_FORWARDED_FOR, from.client.clone().into_owned());
    let protocol = HeaderValue::from_static(if from.secure { "https" } else { "http" });
    headers.insert(X_FORWARDED_PROTO, protocol);
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(X_FORWARDED_HOST, from.host.clone().unwrap_or(host));
    } else if let Some(host) = nameless_host() {
        headers.insert(header::HOST, host);
    }
    request.version = Version::HTTP_11;
    request.extensions.clear();
}

/// Makes a backend's answer ready for a client.
pub(crate) fn to_client(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

/// Whether an answer is a stream of events, which may end anywhere.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        let name = b"text/event-stream";
        kind.len() >= name.len() && kind[..name.len()].eq_ignore_ascii_case(name)
    })
}

/// Whether a request may be sent again when nobody knows how far it got.
pub(crate) fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Empty;

    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn hosts_are_read_strictly() {
        for (uri, host_header, expected) in [
            ("/", "Example.COM:8080", Some("example.com")),
            ("/", "example.com.", Some("example.com")),
            ("/", "[::1]:80", Some("[::1]")),
            ("/", "[::1]", Some("[::1]")),
            ("/", "", None),
            ("http://a.test/x", "a.test", Some("a.test")),
        ] {
            let request = request(uri, &[("host", host_header)]);
            assert_eq!(host(&request).unwrap().as_deref(), expected, "{uri} {host_header}");
        }
        for (uri, headers) in [
            ("/", vec![]),
            ("/", vec![("host", "a"), ("host", "a")]),
            ("/", vec![("host", "a@b")]),
            ("/", vec![("host", "a/b")]),
            ("/", vec![("host", "a:b")]),
            ("/", vec![("host", "a b")]),
            ("/", vec![("host", "[::1")]),
            ("/", vec![("host", "[::1]x")]),
            ("/", vec![("host", ":80")]),
            ("http://a.test/", vec![("host", "b.test")]),
            ("ftp://a.test/", vec![("host", "a.test")]),
        ] {
            assert!(host(&request(uri, &headers)).is_err(), "{uri} {headers:?}");
        }
    }

    #[test]
    fn connection_headers_go_and_nobody_forges_where_a_request_came_from() {
        let mut parts = request(
            "/x?y",
            &[
                ("host", "a.test"),
                ("connection", "keep-alive, X-Secret, Host, content-length, x-forwarded-for"),
                ("keep-alive", "timeout=5"),
                ("x-secret", "1"),
                ("content-length", "3"),
                ("proxy-connection", "keep-alive"),
                ("te", "gzip, trailers"),
                ("upgrade", "websocket"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x_forwarded_for", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-port", "1"),
                ("x-real-ip", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("x-real-ipx", "kept"),
                ("accept", "*/*"),
            ],
        )
        .into_parts()
        .0;
        let client = HeaderValue::from_static("9.9.9.9");
        let from = Origin::of_peer("9.9.9.9:1".parse().unwrap(), &client, false);
        to_backend(&mut parts, &Empty::<Bytes>::new(), &from, None, || None);
        let mut have: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        have.sort();
        assert_eq!(
            have,
            [
                "accept: */*",
                "connection: te",
                "content-length: 3",
                "host: a.test",
                "te: trailers",
                "x-forwarded-for: 9.9.9.9",
                "x-forwarded-host: a.test",
                "x-forwarded-proto: http",
                "x-real-ipx: kept",
            ]
        );
    }

    #[test]
    fn a_full_address_becomes_a_path() {
        let request = request("http://a.test:81/x?y", &[("host", "a.test:81")]);
        let mut parts = request.into_parts().0;
        let client = HeaderValue::from_static("::1");
        let from = Origin::of_peer("[::1]:1".parse().unwrap(), &client, true);
        to_backend(&mut parts, &Empty::<Bytes>::new(), &from, None, || None);
        assert_eq!(parts.uri, "/x?y");
        assert_eq!(parts.headers[header::HOST], "a.test:81");
        assert_eq!(parts.headers[X_FORWARDED_PROTO], "https");
    }

    #[test]
    fn the_way_to_tls_keeps_host_and_path() {
        for (host, port, uri, expected) in [
            ("a.test", 443, "/x/y?z=1", "https://a.test/x/y?z=1"),
            ("a.test", 8443, "/", "https://a.test:8443/"),
            ("[::1]", 8443, "http://[::1]:80/x", "https://[::1]:8443/x"),
            ("a.test", 443, "*", "https://a.test/"),
            ("a.test", 443, "//evil.test", "https://a.test//evil.test"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(by_tls(host, port, &uri).unwrap(), expected);
        }
    }

    #[test]
    fn only_whole_upgrades_are_passed_on() {
        let asked = |headers: &[(&str, &str)]| {
            let parts = request("/", headers);
            asked_upgrade(&parts).map(|one| one.to_str().unwrap().to_owned())
        };
        let websocket = [("connection", "Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(asked(&websocket).as_deref(), Some("WebSocket"));
        assert_eq!(asked(&[("upgrade", "websocket")]), None);
        assert_eq!(asked(&[("connection", "upgrade"), ("upgrade", "h2c")]), None);
        assert_eq!(asked(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")]), None);
    }
}
