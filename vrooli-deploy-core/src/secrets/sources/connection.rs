//! One request over one connection: HTTP/1.1, in TLS where the build has it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::FetchError;
use super::address::Address;

/// Most bytes of an answer.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Does it call itself JSON?
    pub(super) json: bool,
    pub(super) body: Bytes,
}

/// Sends the request and reads the answer.
pub(super) async fn ask(
    address: &Address,
    request: Request<Empty<Bytes>>,
    connect_timeout: Duration,
    ca_file: Option<&Path>,
) -> Result<Answer, FetchError> {
    if address.tls && !cfg!(feature = "vault-tls") {
        return Err(FetchError::NoTls { address: address.to_string() });
    }
    let failed = |message: String| FetchError::Unreachable { address: address.to_string(), message };
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let stream = tokio::time::timeout(connect_timeout, connecting)
        .await
        .map_err(|_| failed(format!("no connection within {} s", connect_timeout.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if address.tls {
        encrypted(address, stream, request, connect_timeout, ca_file).await
    } else {
        exchange(address, stream, request).await
    }
}

#[cfg(feature = "vault-tls")]
async fn encrypted(
    address: &Address,
    stream: TcpStream,
    request: Request<Empty<Bytes>>,
    timeout: Duration,
    ca_file: Option<&Path>,
) -> Result<Answer, FetchError> {
    use std::sync::Arc;

    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, ServerName};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let failed = |message: String| FetchError::Unreachable { address: address.to_string(), message };
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unreadable = |why: String| failed(format!("the certificates in `{}`: {why}", path.display()));
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unreadable("there are none".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(address.host.clone()).map_err(|error| failed(error.to_string()))?;
    let stream = tokio::time::timeout(timeout, TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .map_err(|_| failed("no TLS handshake in time".to_owned()))?
        .map_err(|error| failed(format!("TLS: {error}")))?;
    exchange(address, stream, request).await
}

#[cfg(not(feature = "vault-tls"))]
#[expect(clippy::unused_async, reason = "the shape of its twin with TLS")]
async fn encrypted(
    address: &Address,
    _: TcpStream,
    _: Request<Empty<Bytes>>,
    _: Duration,
    _: Option<&Path>,
) -> Result<Answer, FetchError> {
    Err(FetchError::NoTls { address: address.to_string() })
}

async fn exchange<S>(
    address: &Address,
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |message: String| FetchError::Unreachable { address: address.to_string(), message };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
    let driver = Aborts(tokio::spawn(connection));
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        let body = Limited::new(response.into_body(), LARGEST_ANSWER);
        let body = body.collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
        Ok(Answer { status, json, body })
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
