//! One call of an engine's API: HTTP/1.1 over its Unix socket, a connection each.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use super::Engine;
use crate::failure;

/// How much of an answer is read.
const BODY_LIMIT: usize = 16 << 20;

/// An answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The engine's own words.
    pub(crate) fn message(&self) -> String {
        let said = serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|body| body.get("message")?.as_str().map(str::to_owned));
        said.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&self.body);
            let text = text.trim();
            if text.is_empty() { format!("status {}", self.status) } else { text.to_owned() }
        })
    }

    /// Itself when the call did what it was to do; else why not.
    pub(crate) fn done(self, action: &str) -> Result<Self> {
        if self.status < 400 { Ok(self) } else { Err(self.refused(action)) }
    }

    /// The refusal as an error: `cannot <action>: <the engine's words>`.
    pub(crate) fn refused(&self, action: &str) -> ProviderError {
        let said = self.message();
        let full = said.contains("no space left");
        let kind = match self.status {
            _ if full => ErrorKind::Quota,
            401 | 403 => ErrorKind::Permission,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            _ => ErrorKind::Unexpected,
        };
        let error = ProviderError::new(kind, format!("cannot {action}: {said}"));
        if full {
            error.with_help("free some space on the engine's disk (`docker system df`)")
        } else {
            error
        }
    }

    /// The body as a value.
    pub(crate) fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            ProviderError::new(
                ErrorKind::Unexpected,
                format!("the engine's answer about {what} cannot be read: {error}"),
            )
        })
    }
}

/// What a request carries.
pub(super) type Payload = UnsyncBoxBody<Bytes, std::io::Error>;

/// Nothing, or a value as JSON.
fn json(body: Option<&Value>) -> Payload {
    let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn headers(body: Option<&Value>) -> &'static [(&'static str, &'static str)] {
    if body.is_some() { &[("content-type", "application/json")] } else { &[] }
}

/// Bytes as they come.
pub(super) fn streamed(bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Payload {
    use futures_util::StreamExt as _;
    StreamBody::new(bytes.map(|part| part.map(Frame::data))).boxed_unsync()
}

/// Sends a request on a connection of its own. The error is a phrase for people, and says
/// whether the request may have left.
async fn send(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Payload,
) -> std::result::Result<Response<Incoming>, Failed> {
    let stream = UnixStream::connect(socket).await.map_err(|error| Failed::Never(reach(&error)))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failed::Never(error.to_string()))?;
    // It ends with the answer's body, or with the hand-over of an upgraded connection.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "docker")
        .header("user-agent", concat!("vrooli-deploy/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).map_err(|error| Failed::Never(error.to_string()))?;
    sender.send_request(request).await.map_err(|error| Failed::Perhaps(error.to_string()))
}

/// Why there is no answer.
#[derive(Debug)]
enum Failed {
    /// The request did not leave.
    Never(String),
    /// It may have been taken.
    Perhaps(String),
}

fn reach(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "this user may not use it (add them to its group, `usermod -aG docker $USER`, and log in again)"
                .to_owned()
        }
        std::io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    }
}

async fn collect(body: Incoming) -> std::result::Result<Bytes, String> {
    Limited::new(body, BODY_LIMIT)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| error.to_string())
}

/// A question that changes nothing, before an engine is known.
pub(super) async fn exchange(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> std::result::Result<Reply, String> {
    let response = send(socket, method, path, headers(body), json(body))
        .await
        .map_err(|(Failed::Never(why) | Failed::Perhaps(why))| why)?;
    let status = response.status().as_u16();
    Ok(Reply { status, body: collect(response.into_body()).await? })
}

/// Waits for something of an engine as long as the caller does (P4).
pub(super) async fn within<T>(cx: &OpCtx, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    if cx.cancellation.is_cancelled() {
        return Err(failure::cancelled(what));
    }
    if Instant::now() >= cx.deadline {
        return Err(ProviderError::new(ErrorKind::Timeout, format!("no time was left for {what}")));
    }
    tokio::select! {
        done = work => done,
        () = cx.cancellation.cancelled() => Err(failure::cancelled(what)),
        () = tokio::time::sleep_until(cx.deadline.into()) => {
            Err(ProviderError::new(ErrorKind::Ambiguous, format!("the engine had not answered at the deadline: {what}")))
        }
    }
}

impl Engine {
    fn path(&self, path: &str) -> String {
        format!("/v{}{path}", self.version)
    }

    fn failed(&self, what: &str, failed: Failed) -> ProviderError {
        match failed {
            Failed::Never(why) => {
                ProviderError::new(
                    ErrorKind::Unavailable,
                    format!("the engine at `{}` cannot be reached: {why}", self.socket.display()),
                )
                .with_help("start the engine (`systemctl start docker`, or Docker Desktop) and run the same command again")
            }
            Failed::Perhaps(why) => {
                ProviderError::new(ErrorKind::Ambiguous, format!("the engine gave no answer to {what}: {why}"))
            }
        }
    }

    /// One call, its answer read whole. What it is is said for messages: `starting …`.
    pub(super) async fn call(
        &self,
        cx: &OpCtx,
        what: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply> {
        within(cx, what, async {
            let response = self.open(what, method, path, body).await?;
            let status = response.status().as_u16();
            let body =
                collect(response.into_body()).await.map_err(|why| self.failed(what, Failed::Perhaps(why)))?;
            Ok(Reply { status, body })
        })
        .await
    }

    /// One call whose answer is a stream. The caller minds the deadline.
    pub(super) async fn open(
        &self,
        what: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>> {
        send(&self.socket, method, &self.path(path), headers(body), json(body))
            .await
            .map_err(|failed| self.failed(what, failed))
    }

    /// The same with headers and a body of one's own.
    pub(super) async fn open_with(
        &self,
        what: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Payload,
    ) -> Result<Response<Incoming>> {
        send(&self.socket, method, &self.path(path), headers, body)
            .await
            .map_err(|failed| self.failed(what, failed))
    }

    /// A call after which the connection belongs to a process's streams. The caller minds
    /// the deadline.
    pub(super) async fn hijack(
        &self,
        what: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<TokioIo<Upgraded>> {
        let upgrade = [("connection", "Upgrade"), ("upgrade", "tcp")];
        let all: Vec<(&str, &str)> = headers(body).iter().chain(&upgrade).copied().collect();
        let response = send(&self.socket, "POST", &self.path(path), &all, json(body))
            .await
            .map_err(|failed| self.failed(what, failed))?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = collect(response.into_body()).await.unwrap_or_default();
            let reply = Reply { status: status.as_u16(), body };
            return Err(if status.is_success() {
                ProviderError::new(ErrorKind::Unsupported, "the engine does not hand over its connections")
            } else {
                reply.refused(what)
            });
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| self.failed(what, Failed::Perhaps(error.to_string())))?;
        Ok(TokioIo::new(upgraded))
    }
}

/// A value in a query.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut made = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            made.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(made, "%{byte:02X}");
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(encoded(r#"{"a":["b=c/d"]}"#), "%7B%22a%22%3A%5B%22b%3Dc%2Fd%22%5D%7D");
    }

    #[test]
    fn the_engine_is_quoted() {
        let reply = |status, body: &'static str| Reply { status, body: Bytes::from_static(body.as_bytes()) };
        let error = reply(404, r#"{"message":"No such container: x"}"#).done("start `x`").unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::NotFound, "cannot start `x`: No such container: x")
        );
        assert_eq!(reply(500, "").done("stop it").unwrap_err().message(), "cannot stop it: status 500");
        let full = reply(500, r#"{"message":"write /x: no space left on device"}"#).done("pull").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Quota);
    }
}
