//! One HTTP request to a local port, bounded in time and size: for probes and smoke tests.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How much of a body is read; the rest of a longer one is not looked at.
const BODY_LIMIT: usize = 256 * 1024;

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: String,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) port: u16,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) json: Option<&'a serde_json::Value>,
    pub(super) timeout: Duration,
    /// Our own edge is asked by TLS.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without TLS nobody is"))]
    pub(super) secure: bool,
}

/// Asks once. The error is a phrase for people.
pub(super) async fn ask(ask: &Ask<'_>) -> Result<Answer, String> {
    match tokio::time::timeout(ask.timeout, exchange(ask)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {}", vrooli_deploy_core::duration::format(ask.timeout))),
    }
}

async fn exchange(ask: &Ask<'_>) -> Result<Answer, String> {
    let stream = connect(ask.port).await?;
    #[cfg(feature = "tls")]
    if ask.secure {
        let shaken = vrooli_deploy_edge::connect_to_own(stream, ask.host).await;
        return talk(ask, shaken.map_err(|e| format!("the edge does not speak TLS: {e}"))?).await;
    }
    talk(ask, stream).await
}

async fn talk<S>(ask: &Ask<'_>, stream: S) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header("host", ask.host)
            .header("connection", "close")
            .header("accept", "application/json, */*;q=0.5")
            .header("user-agent", concat!("vrooli-deploy/", env!("CARGO_PKG_VERSION")));
        let body = match ask.json {
            Some(json) => {
                request = request.header("content-type", "application/json");
                Bytes::from(json.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| plain(&e))?;
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let body = Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await
            .map(|b| b.to_bytes())
            .unwrap_or_default();
        Ok(Answer { status, content_type, body: String::from_utf8_lossy(&body).into_owned() })
    }
    .await;
    driver.abort();
    answer
}

fn plain(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "the connection was closed before an answer".to_owned()
    } else {
        error.to_string()
    }
}

/// Connects to a port of this machine, IPv4 first.
pub(super) async fn connect(port: u16) -> Result<TcpStream, String> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(stream) => Ok(stream),
        Err(v4) => TcpStream::connect(("::1", port)).await.map_err(|_| match v4.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("nothing listens on port {port}"),
            _ => format!("port {port}: {v4}"),
        }),
    }
}
