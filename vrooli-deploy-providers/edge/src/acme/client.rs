//! How the authority is asked: by the one HTTP client of the workspace.

use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::{SignedDuration, Timestamp};
use vrooli_deploy_core::http_client::{self, Address, ConnectOptions, RequestError};

use super::authority::Authority;
use super::keep::Clock;

/// Largest answer: a chain of certificates, or a list of profiles.
const LARGEST: usize = 256 << 10;

/// What an authority said beside its answers.
#[derive(Debug)]
pub(super) struct Heard {
    clock: Clock,
    /// When the last answer that was a refusal asked us to come again.
    not_before: Mutex<Option<Timestamp>>,
}

impl Heard {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, not_before: Mutex::default() })
    }

    pub(super) fn not_before(&self) -> Option<Timestamp> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, status: StatusCode, headers: &HeaderMap) {
        let refused = status.is_client_error() || status.is_server_error();
        let wait = headers.get(header::RETRY_AFTER).filter(|_| refused);
        let until = wait.and_then(|value| come_again(value, self.clock.now()));
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// When `Retry-After` (RFC 9110, 10.2.3) says: seconds from now, or a date.
pub(super) fn come_again(value: &HeaderValue, now: Timestamp) -> Option<Timestamp> {
    let value = value.to_str().ok()?.trim();
    match u32::from_str(value) {
        Ok(seconds) => now.checked_add(SignedDuration::from_secs(seconds.into())).ok(),
        Err(_) => jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok(),
    }
}

pub(super) struct Client {
    connect: ConnectOptions,
    patience: Duration,
    heard: Arc<Heard>,
}

impl Client {
    pub(super) fn new(authority: &Authority, heard: Arc<Heard>) -> Self {
        let connect = ConnectOptions {
            ca_file: authority.roots.clone(),
            largest_answer: LARGEST,
            ..ConnectOptions::default()
        };
        Self { connect, patience: authority.patience, heard }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (connect, patience, heard) = (self.connect.clone(), self.patience, self.heard.clone());
        Box::pin(async move {
            let asked = tokio::time::timeout(patience, ask(request, &connect));
            let too_long = || RequestError::Failed(format!("no answer within {} s", patience.as_secs()));
            let answer = asked.await.unwrap_or_else(|_| Err(too_long()));
            let answer = answer.map_err(|error| Error::Other(Box::new(error)))?;
            heard.note(answer.status, &answer.headers);
            let mut response = Response::new(Full::new(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Ok(response.into())
        })
    }
}

async fn ask(
    request: Request<BodyWrapper<Bytes>>,
    connect: &ConnectOptions,
) -> Result<http_client::Answer, RequestError> {
    let refuse = |why: String| RequestError::Failed(why);
    let (mut head, body) = request.into_parts();
    let (Some(scheme), Some(authority)) = (head.uri.scheme_str(), head.uri.authority()) else {
        return Err(refuse(format!("`{}` is no address", head.uri)));
    };
    let address = Address::parse(&format!("{scheme}://{authority}")).map_err(refuse)?;
    if address.is_plain_over_the_network() {
        return Err(refuse(format!("{address} is not `https`, and not on this machine")));
    }
    let host = HeaderValue::from_str(&address.authority()).map_err(|error| refuse(error.to_string()))?;
    head.headers.insert(header::HOST, host);
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    head.uri = path.parse::<Uri>().map_err(|error| refuse(error.to_string()))?;
    http_client::send(&address, Request::from_parts(head, body), connect).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_says_when_to_come_again_in_two_ways() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some("2026-11-21T12:02:00Z")),
            ("Sun, 22 Nov 2026 08:49:37 GMT", Some("2026-11-22T08:49:37Z")),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(come_again(&HeaderValue::from_static(value), now), expected, "{value}");
        }
    }
}
