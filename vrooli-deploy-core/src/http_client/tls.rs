use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Address, ConnectOptions, RequestError, failed};

/// Shakes hands with whom the trusted certificates vouch for.
pub(super) async fn encrypted(
    address: &Address,
    stream: TcpStream,
    options: &ConnectOptions,
) -> Result<TlsStream<TcpStream>, RequestError> {
    let roots = match &options.ca_file {
        Some(path) => from_file(path).map_err(|why| {
            RequestError::Failed(format!("the certificates in `{}`: {why}", path.display()))
        })?,
        None => of_the_system()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(address.host.clone()).map_err(failed)?;
    tokio::time::timeout(options.timeout, TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .map_err(|_| RequestError::Failed("no TLS handshake in time".to_owned()))?
        .map_err(|error| RequestError::Failed(format!("TLS: {error}")))
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there are none".to_owned()) } else { Ok(roots) }
}

fn of_the_system() -> Result<RootCertStore, RequestError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        // "Unknown issuer" would send people to the server, where nothing is wrong.
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(RequestError::Failed(format!(
            "TLS: the system's certificates cannot be read ({why}): install them (`ca-certificates`), or set SSL_CERT_FILE"
        )));
    }
    Ok(roots)
}
