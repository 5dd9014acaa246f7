//! Certificates from an authority, through real edges.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vrooli_deploy_edge::acme::{
    Account, AcmeError, Authority, CertificateName, Certificates, CertificatesOptions, Clock, DnsName,
    Edges as _, Kept, LocalEdge, Resolve, Wanted,
};

use crate::support::authority::{HTTP_PORT, Pebble, own_address, takes_no_order};
use crate::support::{App, Rig, get};

const NAME: &str = "shop.test";
const MONTHS: Duration = Duration::from_secs(90 * 86_400);

fn names(names: &[&str]) -> BTreeSet<DnsName> {
    names.iter().map(|name| DnsName::new(name).unwrap()).collect()
}

fn wanted(of: &[&str]) -> Wanted {
    Wanted { name: CertificateName::new("shop").unwrap(), names: names(of) }
}

/// DNS that knows what it is told.
struct Names(BTreeMap<&'static str, Vec<IpAddr>>);

impl Resolve for Names {
    fn resolve(&self, name: &DnsName) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + '_>> {
        let found = self.0.get(name.as_str()).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// The machine's clock, and so much.
#[derive(Default)]
struct Ahead(AtomicI64);

impl Ahead {
    fn by(&self, time: SignedDuration) {
        self.0.store(time.as_secs(), Ordering::SeqCst);
    }

    fn clock(self: &Arc<Self>) -> Clock {
        let ahead = self.clone();
        Clock::of(move || Timestamp::now() + SignedDuration::from_secs(ahead.0.load(Ordering::SeqCst)))
    }
}

/// An edge process on an address of its own, at the port where authorities ask.
async fn edge() -> Rig {
    let rig = Rig::process_at(TcpListener::bind((own_address(), HTTP_PORT)).unwrap()).await;
    rig.certificates();
    rig
}

fn local(rig: &Rig) -> LocalEdge {
    let (host, link) = (rig.address.ip().to_string(), rig.edge.clone());
    LocalEdge { host, link, certificates: rig.certificates() }
}

fn options(folder: &std::path::Path, authority: Authority, leads_to: &[IpAddr]) -> CertificatesOptions {
    let mut options = CertificatesOptions::new(folder.join("acme"), authority);
    options.port = HTTP_PORT;
    options.dns = Arc::new(Names([NAME, "www.shop.test"].map(|name| (name, leads_to.to_vec())).into()));
    options
}

async fn shake(address: SocketAddr, root: &str, name: &'static str) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
}

/// One request on a connection that is kept.
async fn ask(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\napp") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn serial(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    x509_parser::parse_x509_certificate(&chain[0]).unwrap().1.raw_serial().to_vec()
}

pub(crate) async fn an_authority_that_says_wait_is_not_asked_again_before() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, asked) = takes_no_order().await;
    let ahead = Arc::new(Ahead::default());
    let open = || {
        let mut options = options(folder.path(), authority.clone(), &[]);
        (options.look_first, options.clock) = (false, ahead.clock());
        Certificates::open(options).unwrap()
    };
    let edges: &[LocalEdge] = &[];
    let wanted = wanted(&[NAME]);
    let certificates = open();
    let error = certificates.keep(&wanted, edges).await.unwrap_err();
    let AcmeError::Limited { until: Some(said), .. } = &error else { panic!("{error:?}") };
    let hour = SignedDuration::from_hours(1);
    let wait = said.duration_since(Timestamp::now());
    assert!(wait <= hour && wait > hour - SignedDuration::from_mins(5), "{wait:?}");
    assert!(error.told().starts_with("[VD0944]") && error.to_string().contains("too many"), "{error}");

    ahead.by(SignedDuration::from_mins(10));
    assert!(matches!(certificates.keep(&wanted, edges).await, Err(AcmeError::Waits { .. })));
    // Nor by who comes after us.
    drop(certificates);
    let certificates = open();
    ahead.by(SignedDuration::from_mins(50));
    assert!(matches!(certificates.keep(&wanted, edges).await, Err(AcmeError::Waits { .. })));
    assert_eq!(asked.orders.load(Ordering::Relaxed), 1);
    let [status] = certificates.status().unwrap().try_into().unwrap();
    let warned = status.diagnostic().unwrap();
    assert!(warned.message.contains("could not be had (1 tries)"), "{}", warned.message);
    assert!(warned.message.contains("[VD0944]") && warned.message.contains("next try"), "{}", warned.message);
    assert!(status.prometheus().contains("edge_certificate_failed_tries{certificate=\"shop\"} 1"));

    ahead.by(SignedDuration::from_mins(61));
    assert!(matches!(certificates.keep(&wanted, edges).await, Err(AcmeError::Limited { .. })));
    assert_eq!(asked.orders.load(Ordering::Relaxed), 2);
    // One key, made once: the authority knows it.
    assert_eq!(asked.accounts.load(Ordering::Relaxed), 2);
    let key = std::fs::metadata(folder.path().join("acme/account.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}

pub(crate) async fn an_authority_that_is_down_is_said_and_what_serves_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on an address of our own.
    let authority = Authority::at(format!("http://{}:9/dir", own_address()));
    let mut options = options(folder.path(), authority, &[]);
    options.look_first = false;
    let certificates = Certificates::open(options).unwrap();
    let edges: &[LocalEdge] = &[];
    let error = certificates.keep(&wanted(&[NAME]), edges).await.unwrap_err();
    assert!(error.told().starts_with("[VD0942]"), "{}", error.told());
    assert!(error.to_string().contains(":9/dir"), "{error}");
    // It was not heard of there, so the wait is short.
    let wait = certificates.next(&wanted(&[NAME])).duration_since(Timestamp::now());
    assert!(wait < SignedDuration::from_mins(5), "{wait:?}");
    // One that is no `https` and not here is not asked at all.
    let far = Authority::at("http://acme.example.com/dir");
    let error = Account::open(&folder.path().join("far"), &far, Clock::system()).await.unwrap_err();
    assert!(error.to_string().contains("not `https`"), "{error}");
}

pub(crate) async fn a_name_that_does_not_lead_here_never_reaches_the_authority() {
    let (authority, asked) = takes_no_order().await;
    let rig = edge().await;
    let edges = [local(&rig)];
    let (ours, nobody) = (rig.address.ip(), own_address());
    for (leads_to, of, code, says) in [
        (vec![], "other.test", "[VD0940]", "no such name".to_owned()),
        (vec![], NAME, "[VD0940]", "it has none".to_owned()),
        (vec![nobody], NAME, "[VD0941]", nobody.to_string()),
        // An old address beside the right one.
        (vec![ours, nobody], NAME, "[VD0941]", nobody.to_string()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path(), authority.clone(), &leads_to);
        let certificates = Certificates::open(options).unwrap();
        let error = certificates.keep(&wanted(&[of]), &edges[..]).await.unwrap_err();
        assert!(error.told().starts_with(code) && error.to_string().contains(&says), "{}", error.told());
    }
    assert_eq!(asked.all.load(Ordering::Relaxed), 0);
    // The right one is let through, and what was placed to find out is gone again.
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::open(options(folder.path(), authority, &[ours])).unwrap();
    let error = certificates.keep(&wanted(&[NAME, "www.shop.test"]), &edges[..]).await.unwrap_err();
    assert!(matches!(error, AcmeError::Limited { .. }), "{error}");
    let state = std::fs::read_to_string(rig.folder.path().join("edge.json")).unwrap();
    assert!(!state.contains("look-"), "{state}");
}

pub(crate) async fn what_is_brought_is_checked_before_it_is_used() {
    let rig = Rig::embedded().await;
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let edge =
        LocalEdge { host: "here".to_owned(), link: rig.edge.clone(), certificates: rig.certificates() };
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let signed = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let ((leaf, key), (other, other_key)) = (signed(NAME), signed("other.test"));
    let (shop, now) = (CertificateName::new("shop").unwrap(), Timestamp::now());
    edge.bring(&shop, &format!("{leaf}{root}{key}"), &names(&[NAME]), now).await.unwrap();
    let beside = CertificateName::new("other").unwrap();
    edge.bring(&beside, &format!("{other}{root}{other_key}"), &names(&["other.test"]), now).await.unwrap();
    let first = serial(&shake(rig.address, &root, NAME).await.unwrap());

    for bad in
        ["nonsense".to_owned(), format!("{leaf}{root}{other_key}"), format!("{other}{root}{other_key}")]
    {
        let error = edge.bring(&shop, &bad, &names(&[NAME]), now).await.unwrap_err();
        assert!(error.told().starts_with("[VD0945]"), "{}", error.told());
        let mut stream = shake(rig.address, &root, NAME).await.unwrap();
        assert_eq!(serial(&stream), first, "the one before it serves on");
        assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
        shake(rig.address, &root, "other.test").await.unwrap();
    }
    // An edge that reads another folder is found out, and nothing is left where it was put.
    let astray = LocalEdge { certificates: rig.folder.path().join("astray"), ..edge.clone() };
    let (leaf, key) = signed(NAME);
    let pem = format!("{leaf}{root}{key}");
    let third = CertificateName::new("third").unwrap();
    let error = astray.bring(&third, &pem, &names(&[NAME]), now).await.unwrap_err();
    assert!(error.told().starts_with("[VD0949]") && error.to_string().contains("another folder"), "{error}");
    assert!(!astray.certificates.join("third.pem").exists());
    edge.bring(&shop, &pem, &names(&[NAME]), now).await.unwrap();
    assert_ne!(serial(&shake(rig.address, &root, NAME).await.unwrap()), first);
}

pub(crate) async fn a_name_is_proved_and_served_by_a_real_edge() {
    let rig = edge().await;
    let Some(pebble) = Pebble::start(rig.address.ip(), MONTHS).await else { return };
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let edges = [local(&rig)];
    let open =
        || Certificates::open(options(rig.folder.path(), pebble.authority(), &[rig.address.ip()])).unwrap();
    let wanted = wanted(&[NAME, "www.shop.test"]);
    let certificates = open();
    assert_eq!(certificates.keep(&wanted, &edges[..]).await.unwrap(), Kept::Issued);
    let root = pebble.root().await;
    let mut stream = shake(rig.address, &root, NAME).await.unwrap();
    assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
    let first = serial(&stream);
    assert_eq!(serial(&shake(rig.address, &root, "www.shop.test").await.unwrap()), first);

    // Nothing is due, also for who comes after us: nothing is ordered.
    drop(certificates);
    let certificates = open();
    let Kept::Good { renew_at } = certificates.keep(&wanted, &edges[..]).await.unwrap() else {
        panic!("it was there")
    };
    let in_days = renew_at.duration_since(Timestamp::now()).as_hours() / 24;
    assert!((58..62).contains(&in_days), "renewed in {in_days} days");
    let [status] = certificates.status().unwrap().try_into().unwrap();
    assert!(status.placed && status.diagnostic().is_none() && status.not_after.is_some(), "{status:?}");
    assert_eq!(serial(&shake(rig.address, &root, NAME).await.unwrap()), first);

    // A host that lost it gets the same one.
    let file = rig.certificates().join("shop.pem");
    std::fs::remove_file(&file).unwrap();
    assert!(certificates.install(&wanted, &edges[..]).await.unwrap());
    assert_eq!(serial(&shake(rig.address, &root, NAME).await.unwrap()), first);

    // What an authority says of a name that leads elsewhere for it is handed on.
    pebble.lead("www.shop.test.", &[own_address()]).await;
    let mut blind = options(rig.folder.path(), pebble.authority(), &[]);
    (blind.look_first, blind.folder) = (false, rig.folder.path().join("blind"));
    let blind = Certificates::open(blind).unwrap();
    let error = blind.keep(&wanted, &edges[..]).await.unwrap_err();
    assert!(error.told().starts_with("[VD0943]"), "{}", error.told());
    assert!(error.to_string().contains("urn:ietf:params:acme:error:"), "{error}");
    assert_eq!(serial(&shake(rig.address, &root, NAME).await.unwrap()), first, "what serves serves on");
}

pub(crate) async fn two_edges_share_one_order() {
    let (one, two) = (edge().await, edge().await);
    let both = [one.address.ip(), two.address.ip()];
    let Some(pebble) = Pebble::start(both[0], MONTHS).await else { return };
    pebble.lead("shop.test.", &both).await;
    let app = App::start("app").await;
    one.serve("r1", app.address).await;
    two.serve("r1", app.address).await;
    let edges = [local(&one), local(&two)];

    let account =
        Account::open(&one.folder.path().join("acme"), &pebble.authority(), Clock::system()).await.unwrap();
    let mut order = account.order(&names(&[NAME]), None).await.unwrap();
    let [answer] = order.answers() else { panic!("{order:?}") };
    let path = answer.token().path();
    assert_ne!(get(two.address, &path).await.unwrap().text(), answer.to_string());
    edges.place(order.answers()).await.unwrap();
    for rig in [&one, &two] {
        assert_eq!(get(rig.address, &path).await.unwrap().text(), answer.to_string());
    }
    order.answers_placed().await.unwrap();
    let certificate = order.certificate().await.unwrap();
    // Of two that are good for a name, the edge takes the first by its file's name.
    edges.install(&CertificateName::new("then").unwrap(), &certificate).await.unwrap();
    let root = pebble.root().await;
    let serials = [
        serial(&shake(one.address, &root, NAME).await.unwrap()),
        serial(&shake(two.address, &root, NAME).await.unwrap()),
    ];
    assert_eq!(serials[0], serials[1]);

    // A host that is away when the certificate comes: the other has it, and nothing is ordered
    // again until it is back.
    let mut options = options(two.folder.path(), pebble.authority(), &both);
    options.look_first = false;
    let certificates = Certificates::open(options).unwrap();
    let mut away = edges.clone();
    away[1].certificates = two.folder.path().join("elsewhere");
    let error = certificates.keep(&wanted(&[NAME]), &away[..]).await.unwrap_err();
    assert!(error.told().starts_with("[VD0949]") && error.to_string().contains(&away[1].host), "{error}");
    let renewed = serial(&shake(one.address, &root, NAME).await.unwrap());
    assert_ne!(renewed, serials[0]);
    assert_eq!(serial(&shake(two.address, &root, NAME).await.unwrap()), serials[0]);
    let [status] = certificates.status().unwrap().try_into().unwrap();
    assert!(status.diagnostic().unwrap().message.contains("not on all hosts"));
    assert_eq!(certificates.keep(&wanted(&[NAME]), &edges[..]).await.unwrap(), Kept::Placed);
    assert_eq!(serial(&shake(two.address, &root, NAME).await.unwrap()), renewed);
    drop(certificates);

    // One that is down when all have to be renewed keeps the other from nothing.
    two.edge.stop(Duration::ZERO).await.unwrap();
    pebble.lead("shop.test.", &both[..1]).await;
    let ahead = Arc::new(Ahead::default());
    // Nine tenths of their life are over.
    ahead.by(SignedDuration::from_hours(24 * 82));
    let mut options = self::options(two.folder.path(), pebble.authority(), &both);
    options.clock = ahead.clock();
    let certificates = Certificates::open(options).unwrap();
    let error = certificates.keep(&wanted(&[NAME]), &edges[..]).await.unwrap_err();
    assert!(error.told().starts_with("[VD0949]") && error.to_string().contains(&edges[1].host), "{error}");
    assert_ne!(serial(&shake(one.address, &root, NAME).await.unwrap()), renewed);
}

pub(crate) async fn a_renewal_drops_no_connection() {
    let rig = edge().await;
    // Four days: short, and its authority wishes a renewal between its 40th and 88th hour.
    let Some(pebble) = Pebble::start(rig.address.ip(), Duration::from_secs(4 * 86_400)).await else { return };
    let app = App::start("app").await;
    rig.serve("r1", app.address).await;
    let ahead = Arc::new(Ahead::default());
    let mut options = options(rig.folder.path(), pebble.authority(), &[rig.address.ip()]);
    options.clock = ahead.clock();
    let certificates = Certificates::open(options).unwrap();
    let edges = [local(&rig)];
    let wanted = wanted(&[NAME]);
    assert_eq!(certificates.keep(&wanted, &edges[..]).await.unwrap(), Kept::Issued);
    let root = pebble.root().await;
    let mut held = shake(rig.address, &root, NAME).await.unwrap();
    let first = serial(&held);

    let (wants, running) = tokio::sync::watch::channel(vec![wanted.clone()]);
    let swapped = async {
        // It is good: nobody orders.
        assert!(matches!(certificates.keep(&wanted, &edges[..]).await.unwrap(), Kept::Good { .. }));
        // Ninety hours later it is not good enough, and whoever runs is told to look.
        ahead.by(SignedDuration::from_hours(90));
        wants.send_replace(vec![wanted.clone()]);
        loop {
            assert!(
                ask(&mut held).await.unwrap().starts_with("HTTP/1.1 200"),
                "the connection that was open"
            );
            let mut fresh = shake(rig.address, &root, NAME).await.expect("a handshake at any time");
            ask(&mut fresh).await.unwrap();
            if serial(&fresh) != first {
                break;
            }
        }
        ask(&mut held).await.unwrap();
        drop(wants);
    };
    tokio::join!(certificates.run(running, &edges[..]), swapped);
    assert_eq!(serial(&held), first);
    let [status] = certificates.status().unwrap().try_into().unwrap();
    assert_eq!((status.failed, status.placed), (0, true));
}
