//! What the edge answers by itself: a status, a reason, nothing about what lies behind it.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::body::EdgeBody;
use crate::flight::Busy;
use crate::metrics::Failure;
use crate::routes::NoRoute;

/// Why the edge answers instead of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    BadHost,
    BadTarget,
    BadEncoding,
    TwoLengths,
    NoTunnels,
    NoSite,
    NoRule,
    NoRelease,
    Unreachable,
    Broken,
    TimedOut,
    ClientSlow,
    TooLarge,
    Retired,
}

impl Reason {
    fn say(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadHost => {
                (S::BAD_REQUEST, "bad_host", "the request names no host, several, or one that cannot be")
            }
            Self::BadTarget => (S::BAD_REQUEST, "bad_target", "the request's address is not one of http"),
            Self::BadEncoding => {
                (S::NOT_IMPLEMENTED, "bad_encoding", "only the transfer coding `chunked` is taken")
            }
            Self::TwoLengths => (
                S::BAD_REQUEST,
                "two_lengths",
                "the request gives its body both a length and a transfer coding",
            ),
            Self::NoTunnels => (S::METHOD_NOT_ALLOWED, "no_tunnels", "CONNECT is not offered"),
            Self::NoSite => (S::SERVICE_UNAVAILABLE, "no_site", "nothing is deployed here yet"),
            Self::NoRule => (S::NOT_FOUND, "no_route", "nothing is deployed under this host and path"),
            Self::NoRelease => {
                (S::SERVICE_UNAVAILABLE, "no_release", "no release of the app serves this at the moment")
            }
            Self::Unreachable => {
                (S::BAD_GATEWAY, "unreachable", "the app does not accept connections at the moment")
            }
            Self::Broken => (S::BAD_GATEWAY, "broken", "the app ended the connection before it answered"),
            Self::TimedOut => (S::GATEWAY_TIMEOUT, "timed_out", "the app did not answer in time"),
            Self::ClientSlow => (S::REQUEST_TIMEOUT, "too_slow", "the request took too long to arrive"),
            Self::TooLarge => {
                (S::PAYLOAD_TOO_LARGE, "too_large", "the request's body is larger than is taken here")
            }
            Self::Retired => {
                (S::SERVICE_UNAVAILABLE, "retired", "the app's release was replaced before it answered")
            }
        }
    }
}

impl From<NoRoute> for Reason {
    fn from(none: NoRoute) -> Self {
        match none {
            NoRoute::NoSite => Self::NoSite,
            NoRoute::NoRule => Self::NoRule,
        }
    }
}

impl From<Failure> for Reason {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable => Self::Unreachable,
            Failure::Broken | Failure::Truncated => Self::Broken,
            Failure::TimedOut => Self::TimedOut,
            Failure::NoBackend => Self::NoRelease,
            Failure::ClientSlow | Failure::ClientGone => Self::ClientSlow,
            Failure::Cut => Self::Retired,
            Failure::TooLarge => Self::TooLarge,
        }
    }
}

/// Whether a client would rather read JSON than text.
pub(crate) fn prefers_json(request: &HeaderMap) -> bool {
    request
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json") && !accept.contains("text/html"))
}

/// Sends a client to another address, for good and with the same method.
pub(crate) fn redirect(address: HeaderValue, busy: Busy) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::text(String::new(), busy));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, address);
    response
}

/// Tells an authority what it asks for.
pub(crate) fn challenge(answer: String, busy: Busy) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::text(answer, busy));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn reply(reason: Reason, json: bool, busy: Busy) -> Response<EdgeBody> {
    let (status, code, text) = reason.say();
    let (kind, body) = if json {
        ("application/json", serde_json::json!({ "error": code, "message": text }).to_string() + "\n")
    } else {
        ("text/plain; charset=utf-8", format!("{} {code}: {text}\n", status.as_u16()))
    };
    let mut response = Response::new(EdgeBody::text(body, busy));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match reason {
        Reason::NoSite | Reason::NoRelease | Reason::Unreachable | Reason::Retired => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // What follows on this connection cannot be told apart from a body.
        Reason::BadHost
        | Reason::BadTarget
        | Reason::BadEncoding
        | Reason::TwoLengths
        | Reason::NoTunnels
        | Reason::TooLarge
        | Reason::ClientSlow => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Reason::NoRule | Reason::Broken | Reason::TimedOut => {}
    }
    response
}
