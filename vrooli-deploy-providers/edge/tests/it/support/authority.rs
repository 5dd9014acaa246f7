//! A certificate authority: a real one in miniature (Pebble), or one that only says no.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use vrooli_deploy_core::http_client::{self, Address, ConnectOptions};
use vrooli_deploy_edge::acme::Authority;

/// Where authorities ask in these tests.
pub(crate) const HTTP_PORT: u16 = 5002;

/// A loopback address that nobody else on this machine has: of this process, and of this call.
pub(crate) fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(64);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, NEXT.fetch_add(1, Ordering::Relaxed), high, low).into()
}

/// Pebble, and the DNS server that goes with it.
pub(crate) struct Pebble {
    folder: TempDir,
    address: IpAddr,
    children: Vec<Child>,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Pebble {
    /// None, and it is said, where there is none: `VROOLI_DEPLOY_PEBBLE` names the folder with
    /// both programs. Every name leads to `names_lead_to`; certificates are valid for `valid`.
    pub(crate) async fn start(names_lead_to: IpAddr, valid: Duration) -> Option<Self> {
        let Some(programs) = std::env::var_os("VROOLI_DEPLOY_PEBBLE").map(PathBuf::from) else {
            println!(
                "skipped: VROOLI_DEPLOY_PEBBLE does not name a folder with pebble and pebble-challtestsrv"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let address = own_address();
        certificate(folder.path(), address);
        let file = |name: &str| folder.path().join(name);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": SocketAddr::new(address, 14_000),
            "managementListenAddress": SocketAddr::new(address, 15_000),
            "certificate": file("server.pem"),
            "privateKey": file("server.key"),
            "httpPort": HTTP_PORT,
            "tlsPort": 5_001,
            "profiles": { "default": { "description": "one", "validityPeriod": valid.as_secs() } },
        }});
        std::fs::write(file("pebble.json"), config.to_string()).unwrap();
        let dns = SocketAddr::new(address, 8_053);
        let mut names = Command::new(programs.join("pebble-challtestsrv"));
        for off in ["-http01", "-https01", "-tlsalpn01", "-doh", "-defaultIPv6"] {
            names.args([off, ""]);
        }
        names
            .args(["-dnsserver", &dns.to_string(), "-defaultIPv4", &names_lead_to.to_string()])
            .args(["-management", &SocketAddr::new(address, 8_055).to_string()]);
        let mut signs = Command::new(programs.join("pebble"));
        signs
            .arg("-config")
            .arg(file("pebble.json"))
            .args(["-dnsserver", &dns.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Every fourth request is to be made again.
            .env("PEBBLE_WFE_NONCEREJECT", "25");
        let children = [names, signs]
            .map(|mut command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let pebble = Self { folder, address, children: children.into() };
        for port in [8_053, 8_055, 14_000, 15_000] {
            crate::support::until(async || TcpStream::connect((address, port)).await.is_ok()).await;
        }
        Some(pebble)
    }

    pub(crate) fn authority(&self) -> Authority {
        let mut authority = Authority::at(format!("https://{}:14000/dir", self.address));
        authority.roots = Some(self.folder.path().join("ca.pem"));
        authority.contact = Some("ops@shop.test".to_owned());
        authority
    }

    /// Who signs what it issues, as PEM.
    pub(crate) async fn root(&self) -> String {
        let at = Address::parse(&format!("https://{}:15000", self.address)).unwrap();
        let options =
            ConnectOptions { ca_file: Some(self.folder.path().join("ca.pem")), ..ConnectOptions::default() };
        let request = Request::get("/roots/0").header("host", "pebble").body(Empty::<Bytes>::new()).unwrap();
        let answer = http_client::send(&at, request, &options).await.unwrap();
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// Has a name lead somewhere else.
    pub(crate) async fn lead(&self, name: &str, addresses: &[IpAddr]) {
        let at = Address::parse(&format!("http://{}:8055", self.address)).unwrap();
        let body = serde_json::json!({ "host": name, "addresses": addresses }).to_string();
        let request =
            Request::post("/add-a").header("host", "names").body(Full::new(Bytes::from(body))).unwrap();
        assert_eq!(http_client::send(&at, request, &ConnectOptions::default()).await.unwrap().status, 200);
    }
}

/// What Pebble itself is asked by: `server.pem`, `server.key` and who signed it, `ca.pem`.
fn certificate(folder: &Path, address: IpAddr) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec![address.to_string()]).unwrap();
    let server = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

/// What an authority that takes no order was asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) accounts: AtomicU64,
    pub(crate) orders: AtomicU64,
    pub(crate) all: AtomicU64,
}

/// An authority on plain HTTP that takes everybody's account and nobody's order: "come again in
/// an hour".
pub(crate) async fn takes_no_order() -> (Authority, Arc<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Asked::default());
    let (base, seen) = (at.clone(), asked.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (base, seen) = (base.clone(), seen.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
                    let (base, seen) = (base.clone(), seen.clone());
                    async move {
                        let path = request.uri().path().to_owned();
                        let _ = request.into_body().collect().await;
                        Ok::<_, std::convert::Infallible>(says_no(&base, &path, &seen))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (Authority::at(format!("{at}/dir")), asked)
}

fn says_no(base: &str, path: &str, asked: &Asked) -> Response<Full<Bytes>> {
    asked.all.fetch_add(1, Ordering::Relaxed);
    let answer = Response::builder().header("replay-nonce", "bm9uY2U");
    let (answer, body) = match path {
        "/dir" => {
            let at = |path: &str| format!("{base}/{path}");
            let directory = serde_json::json!({
                "newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("order"),
                "revokeCert": at("revoke"), "keyChange": at("key"),
            });
            (answer, directory.to_string())
        }
        "/account" => {
            asked.accounts.fetch_add(1, Ordering::Relaxed);
            (
                answer.status(201).header("location", format!("{base}/account/1")),
                r#"{"status":"valid"}"#.to_owned(),
            )
        }
        "/order" => {
            asked.orders.fetch_add(1, Ordering::Relaxed);
            let problem = serde_json::json!({
                "type": "urn:ietf:params:acme:error:rateLimited", "status": 429,
                "detail": "too many certificates already issued for this set of names",
            });
            (answer.status(429).header("retry-after", "3600"), problem.to_string())
        }
        _ => (answer, String::new()),
    };
    answer.body(Full::new(Bytes::from(body))).unwrap()
}
