//! One request over one connection: HTTP/1.1, in TLS where the build has the feature `https`.
//!
//! What needs no more than a question and an answer (Vault, lists of prices) asks through this.
//! Redirections are not followed, and nothing is tried twice: that is the caller's to decide.

mod address;
#[cfg(feature = "https")]
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub use address::Address;

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// How long a connection may take to be made, and again its TLS handshake. Default 5 s.
    pub timeout: Duration,
    /// Certificates to trust in the place of the system's (those of `SSL_CERT_FILE`, where that
    /// is set).
    pub ca_file: Option<PathBuf>,
    /// Most bytes of an answer. Default 1 MiB.
    pub largest_answer: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), ca_file: None, largest_answer: 1024 * 1024 }
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Does it call itself JSON?
    pub json: bool,
    /// Its body.
    pub body: Bytes,
}

/// There is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The address is `https`, and this build has no TLS.
    #[error("this build was made without TLS (feature `https`)")]
    NoTls,
    /// No connection, no handshake, or an answer that broke off, in the system's own words.
    #[error("{0}")]
    Failed(String),
}

/// Can this build speak `https`?
#[must_use]
pub const fn speaks_tls() -> bool {
    cfg!(feature = "https")
}

/// Sends a request and reads the answer. The whole time is the caller's to limit.
///
/// # Errors
/// When there is no whole answer, whatever its status.
pub async fn send<B>(
    address: &Address,
    request: Request<B>,
    options: &ConnectOptions,
) -> Result<Answer, RequestError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    if address.tls && !speaks_tls() {
        return Err(RequestError::NoTls);
    }
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let stream = tokio::time::timeout(options.timeout, connecting)
        .await
        .map_err(|_| RequestError::Failed(format!("no connection within {} s", options.timeout.as_secs())))?
        .map_err(failed)?;
    if !address.tls {
        return exchange(stream, request, options).await;
    }
    #[cfg(feature = "https")]
    return exchange(tls::encrypted(address, stream, options).await?, request, options).await;
    #[cfg(not(feature = "https"))]
    Err(RequestError::NoTls)
}

fn failed(error: impl std::fmt::Display) -> RequestError {
    RequestError::Failed(error.to_string())
}

async fn exchange<S, B>(
    stream: S,
    request: Request<B>,
    options: &ConnectOptions,
) -> Result<Answer, RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let driver = Aborts(tokio::spawn(connection));
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let headers = response.headers().clone();
        let json = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        let body = Limited::new(response.into_body(), options.largest_answer);
        Ok(Answer { status, headers, json, body: body.collect().await.map_err(failed)?.to_bytes() })
    }
    .await;
    drop(driver);
    answer
}

/// The task that drives a connection, which ends with whoever waits for it.
struct Aborts(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.abort();
    }
}
