//! Prices are fetched from the provider's own interface, over `https` where the build has it.

use std::process::Output;

use crate::script::Place;

/// Runs `prices refresh digitalocean` against an address.
fn refresh(place: &Place, url: &str, environment: &[(&str, &str)]) -> Output {
    let mut program = place.program();
    program.envs(environment.iter().copied());
    program.args(["prices", "refresh", "do", "--api-url", url]).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// The book that estimates would take: refreshed prices are asked first.
fn books(place: &Place) -> String {
    said(&place.program().args(["prices", "list"]).output().unwrap())
}

#[cfg(not(feature = "https"))]
#[test]
fn a_build_without_tls_names_the_feature_and_keeps_the_book() {
    let place = Place::new();
    let before = books(&place);
    let output = refresh(&place, "https://127.0.0.1:1", &[("DIGITALOCEAN_TOKEN", "planted-token")]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("VD0430") && text.contains("--features https"), "{text}");
    assert!(!text.contains("planted-token"), "{text}");
    assert_eq!(books(&place), before);
}

#[cfg(feature = "https")]
mod https {
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    const SIZES: &str = r#"{"sizes":[{"slug":"s-1vcpu-1gb","memory":1024,"vcpus":1,"disk":25,"transfer":1.0,
        "price_monthly":6.5,"price_hourly":0.00967,"regions":["nyc1"],"available":true,"description":"Basic"}],
        "links":{},"meta":{"total":1}}"#;
    const REFUSAL: &str = r#"{"id":"unauthorized","message":"no such token: planted-token"}"#;

    /// An interface with a certificate for `localhost` of an authority of its own.
    struct Server {
        url: String,
        /// The authority's certificate.
        authority: PathBuf,
        requests: Arc<Mutex<Vec<String>>>,
        _folder: tempfile::TempDir,
        _runtime: tokio::runtime::Runtime,
    }

    impl Server {
        fn start(status: &'static str, body: &'static str) -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let key = KeyPair::generate().unwrap();
            let own = CertificateParams::new(["localhost".to_owned()]).unwrap();
            let certificate = own.signed_by(&key, &authority).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("authority.pem");
            std::fs::write(&path, authority.pem()).unwrap();

            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let url = format!("https://localhost:{}/api", listener.local_addr().unwrap().port());
            let requests = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&requests);
            runtime.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // Who does not trust us goes away in the middle of the handshake.
                    let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => request.push(byte),
                            Err(_) => break,
                        }
                    }
                    seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
            Self { url, authority: path, requests, _folder: folder, _runtime: runtime }
        }

        fn refresh(&self, place: &Place, trusted: bool) -> Output {
            let authority = self.authority.to_str().unwrap();
            // No authority of the system vouches for a certificate that was made just now.
            let environment = [("DIGITALOCEAN_TOKEN", "planted-token"), ("SSL_CERT_FILE", authority)];
            refresh(place, &self.url, if trusted { &environment } else { &environment[..1] })
        }

        fn requests(&self) -> Vec<String> {
            self.requests.lock().unwrap().clone()
        }
    }

    #[test]
    fn prices_are_fetched_over_tls_from_whom_the_authority_vouches_for() {
        let server = Server::start("200 OK", SIZES);
        let place = Place::new();
        let output = server.refresh(&place, true);
        assert!(output.status.success(), "{}", said(&output));
        let requests = server.requests();
        assert!(
            requests[0].starts_with("GET /api/v2/sizes?page=1&per_page=200 HTTP/1.1\r\n"),
            "{requests:?}"
        );
        assert!(requests[0].contains("authorization: Bearer planted-token\r\n"), "{requests:?}");
        let shown = place.program().args(["prices", "show", "digitalocean-api"]).output().unwrap();
        assert!(said(&shown).contains("6.5"), "{}", said(&shown));
    }

    #[test]
    fn a_stranger_gets_no_token_and_the_book_stays() {
        let server = Server::start("200 OK", SIZES);
        let place = Place::new();
        let before = books(&place);
        let output = server.refresh(&place, false);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("VD0431") && text.contains("TLS"), "{text}");
        assert!(server.requests().is_empty(), "{:?}", server.requests());
        assert_eq!(books(&place), before);
    }

    #[test]
    fn a_refusal_is_repeated_without_the_token_in_it() {
        let server = Server::start("401 Unauthorized", REFUSAL);
        let place = Place::new();
        let text = said(&server.refresh(&place, true));
        assert!(text.contains("VD0431") && text.contains("no such token"), "{text}");
        assert!(text.contains("configure do_token") && !text.contains("planted-token"), "{text}");
        assert!(!books(&place).contains("digitalocean-api"));
    }
}
