//! Apps on real servers that are reached by TLS, with certificates from a real authority in miniature
//! (Pebble, on the first server) or of the user's own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::fleet::{HOSTS, Shop, ask, until};

const NAME: &str = "shop.example";
const BLOG: &str = "blog.example";
const EDGE_CERTIFICATES: &str = "/var/lib/vrooli-deploy/workspace/edge/certificates";
const SHOP_TLS: &str = "/var/lib/vrooli-deploy/workspace/apps/shop/default/tls";

/// Who signs certificates in a test.
struct Signer {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with its chain, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (format!("{}{}", leaf.pem(), self.pem), key.serialize_pem())
    }
}

/// What a client sees of an answer.
struct Seen {
    certificate: Vec<u8>,
    status: u16,
    head: String,
    body: String,
}

/// One request by TLS, on a connection of its own.
async fn request(
    address: SocketAddr,
    name: &str,
    roots: &str,
    path: &str,
) -> Result<Seen, Box<dyn std::error::Error + Send + Sync>> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    let talk = async {
        let stream = TcpStream::connect(address).await?;
        let name_there = ServerName::try_from(name.to_owned())?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name_there, stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let text = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
        let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        Ok(Seen { certificate, status, head: head.to_ascii_lowercase(), body: body.to_owned() })
    };
    tokio::time::timeout(Duration::from_secs(20), talk).await?
}

/// Pebble on the first server, and the DNS server that it asks.
struct Authority {
    directory: String,
    roots: PathBuf,
    management: SocketAddr,
    ca: String,
}

impl Authority {
    fn install(shop: &Shop, programs: &Path) -> Self {
        let rig = &shop.0.rig;
        let at = shop.address(1).ip();
        let folder = rig.folder().join("pebble");
        fs::create_dir(&folder).unwrap();
        let signer = Signer::new();
        let (chain, key) = signer.sign(&at.to_string());
        let config = json!({ "pebble": {
            "listenAddress": "0.0.0.0:14000", "managementListenAddress": "0.0.0.0:15000",
            "certificate": "/opt/pebble/server.pem", "privateKey": "/opt/pebble/server.key",
            "httpPort": 80, "tlsPort": 443,
            "profiles": { "default": { "description": "one", "validityPeriod": 7_776_000 } },
        }});
        for (name, text) in [("server.pem", chain), ("server.key", key), ("pebble.json", config.to_string())]
        {
            fs::write(folder.join(name), text).unwrap();
        }
        for name in ["pebble", "pebble-challtestsrv"] {
            fs::copy(programs.join(name), folder.join(name)).unwrap();
        }
        let copied = Command::new("docker")
            .args(["cp", "-q"])
            .arg(&folder)
            .arg(format!("{}:/opt/pebble", rig.name(1)))
            .status();
        assert!(copied.unwrap().success());
        let roots = rig.folder().join("authority.pem");
        fs::write(&roots, &signer.pem).unwrap();
        let management = SocketAddr::new(at, 15_000);
        let authority =
            Self { directory: format!("https://{at}:14000/dir"), roots, management, ca: signer.pem };
        // Every name leads to all servers, there and on each of them.
        let addresses: Vec<String> =
            (1..=HOSTS).map(|number| shop.address(number).ip().to_string()).collect();
        let hosts: String = addresses.iter().map(|address| format!("{address} {NAME} {BLOG}\n")).collect();
        for number in 1..=HOSTS {
            rig.on(number, &format!("printf '%s' '{hosts}' >>/etc/hosts"));
        }
        rig.on(
            1,
            &format!(
                "systemd-run --quiet --unit names /opt/pebble/pebble-challtestsrv -http01 '' -https01 '' \
                 -tlsalpn01 '' -doh '' -defaultIPv6 '' -defaultIPv4 {} -dnsserver 127.0.0.1:8053 \
                 -management 127.0.0.1:8055",
                addresses[1]
            ),
        );
        let body = json!({ "host": NAME, "addresses": addresses }).to_string();
        until("the names are known", || {
            let told = format!("curl -fsS -m 5 -d '{body}' http://127.0.0.1:8055/add-a && echo told || true");
            rig.on(1, &told).contains("told")
        });
        authority
    }

    fn start(&self, shop: &Shop) {
        shop.0.rig.on(
            1,
            "systemd-run --quiet --unit pebble --setenv PEBBLE_VA_NOSLEEP=1 --setenv PEBBLE_WFE_NONCEREJECT=25 \
             /opt/pebble/pebble -config /opt/pebble/pebble.json -dnsserver 127.0.0.1:8053",
        );
        until("the authority answers", || listens(SocketAddr::new(self.management.ip(), 14_000)));
    }

    /// Who signs what it issues.
    fn root(&self, runtime: &Runtime) -> String {
        let name = self.management.ip().to_string();
        let seen = runtime.block_on(request(self.management, &name, &self.ca, "/roots/0")).unwrap();
        assert_eq!(seen.status, 200);
        let start = seen.body.find("-----BEGIN").unwrap();
        let end = seen.body.rfind("-----END CERTIFICATE-----").unwrap() + 25;
        seen.body[start..end].to_owned()
    }
}

fn listens(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

/// Requests by TLS to all servers, until it is ended.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(runtime: &Runtime, addresses: Vec<SocketAddr>, roots: &str) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |address: SocketAddr| {
            let (stop, asked, roots) = (Arc::clone(&stop), Arc::clone(&asked), roots.to_owned());
            runtime.spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    match request(address, NAME, &roots, "/").await {
                        Ok(seen) if seen.status == 200 => {}
                        Ok(seen) => failed.push(format!("{address}: {}", seen.status)),
                        Err(error) => failed.push(format!("{address}: {error}")),
                    }
                }
                failed
            })
        };
        let clients = addresses.into_iter().map(client).collect();
        Self { stop, asked, clients }
    }

    fn end(self, runtime: &Runtime) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let failed = runtime.block_on(client).unwrap();
            assert!(failed.is_empty(), "{failed:?}");
        }
        self.asked.load(Ordering::Relaxed)
    }
}

struct World {
    shop: Shop,
    authority: Authority,
    runtime: Runtime,
    agreed: bool,
}

impl World {
    /// What a command says: all that it noted, and its result.
    fn ran(&self, words: &[&str]) -> (String, Value) {
        let mut program = self.shop.program(words);
        program
            .env("VROOLI_DEPLOY_ACME_DIRECTORY", &self.authority.directory)
            .env("VROOLI_DEPLOY_ACME_CONTACT", "ops@shop.example")
            .env("VROOLI_DEPLOY_ACME_ROOTS", &self.authority.roots);
        if self.agreed {
            program.env("VROOLI_DEPLOY_ACME_TERMS", "agreed");
        }
        let output = program.arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said = lines.iter().filter_map(|line| line["message"].as_str()).collect::<Vec<_>>().join("\n");
        assert!(!text.contains("PRIVATE KEY") && !said.contains("PRIVATE KEY"));
        let last = lines.last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (said, last.clone())
    }

    fn deploy(&self, app: &str) -> (String, Value) {
        self.ran(&["deploy", &format!("{app}/deployment.yaml"), "--yes"])
    }

    fn secure(&self, number: u32) -> SocketAddr {
        SocketAddr::new(self.shop.address(number).ip(), 443)
    }

    fn ask(&self, number: u32, name: &str, roots: &str) -> Result<Seen, String> {
        let asked = request(self.secure(number), name, roots, "/");
        self.runtime.block_on(asked).map_err(|error| error.to_string())
    }

    /// The certificate that a server shows, which must be good.
    fn certificate(&self, number: u32, name: &str, roots: &str) -> Vec<u8> {
        let seen =
            self.ask(number, name, roots).unwrap_or_else(|error| panic!("{name} on {number}: {error}"));
        assert_eq!(seen.status, 200, "{name} on {number}");
        seen.certificate
    }

    fn status(&self, app: &str) -> Value {
        let mut program = self.shop.program(&["status", app, "--json"]);
        let output = program.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["type"] == "status").unwrap()
    }

    fn manifest(&self, app: &str, edit: impl Fn(&str) -> String) {
        let path = self.shop.0.place.dir().join(app).join("deployment.yaml");
        fs::write(&path, edit(&fs::read_to_string(&path).unwrap())).unwrap();
    }
}

#[test]
fn an_app_on_servers_is_reached_by_tls() {
    const TEST: &str = "an_app_on_servers_is_reached_by_tls";
    let Some(programs) = std::env::var_os("VROOLI_DEPLOY_PEBBLE").map(PathBuf::from) else {
        println!(
            "skipped: {TEST}: VROOLI_DEPLOY_PEBBLE does not name a folder with pebble and pebble-challtestsrv"
        );
        return;
    };
    let Some(shop) = Shop::new(TEST) else { return };
    let authority = Authority::install(&shop, &programs);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut world = World { shop, authority, runtime, agreed: false };
    let smoke = "smoke: [{ service: web, path: /health }]\n";
    world.shop.write("1", "", smoke);
    world.manifest("shop", |text| text.replace("version: 1.0.0 }", "version: 1.0.0, domain: shop.example }"));

    // What listens before us is let through by the firewall that we make.
    world.authority.start(&world.shop);
    nobody_agrees_and_nobody_answers(&mut world);
    world.authority.start(&world.shop);
    let root = world.authority.root(&world.runtime);
    all_servers_have_the_same(&world, &root);
    servers_renew_by_themselves(&world, &root);
    another_app_brings_its_own(&world, &root);

    // With the last app goes all that was made for it.
    for app in ["blog", "shop"] {
        let (_, result) = world.ran(&["destroy", app, "--yes", &format!("--data={app}")]);
        assert_eq!(result["outcome"], "applied", "{result}");
    }
    for number in 1..=HOSTS {
        let left = "find /var/lib/vrooli-deploy 2>/dev/null; getent passwd vd-edge vd-shop; getent group vd-edge; true";
        assert_eq!(world.shop.0.rig.on(number, left), "", "on {number}");
    }
}

/// A release is never worse for a certificate that cannot be had: it serves, and why is said.
fn nobody_agrees_and_nobody_answers(world: &mut World) {
    let (said, result) = world.deploy("shop");
    assert_eq!(result["outcome"], "applied", "{said} {result}");
    assert!(said.contains("VD0953") && said.contains("VROOLI_DEPLOY_ACME_TERMS=agreed"), "{said}");
    assert_eq!(result["urls"], json!(["http://shop.example/"]));
    world.agreed = true;
    world.shop.0.rig.on(1, "systemctl stop pebble");
    let (said, result) = world.deploy("shop");
    assert_eq!(result["outcome"], "no_change", "{result}");
    assert!(said.contains("VD0956") && said.contains("VD0942"), "{said}");
    for number in 1..=HOSTS {
        assert_eq!(ask(world.shop.address(number), "/").unwrap().0, 200);
        assert!(!listens(world.secure(number)), "nothing to show yet");
    }
    let (said, result) = world.ran(&["drift", "shop"]);
    assert_eq!(result["exit_code"], 10, "{said} {result}");
    let status = world.status("shop");
    assert!(status["notes"].to_string().contains("next try"), "{status}");
}

fn all_servers_have_the_same(world: &World, root: &str) {
    let rig = &world.shop.0.rig;
    let (said, result) = world.deploy("shop");
    assert_eq!((&result["outcome"], said.as_str()), (&"no_change".into(), ""), "{result}");
    assert_eq!(result["urls"], json!(["https://shop.example/"]));
    let first = world.certificate(1, NAME, root);
    for number in 1..=HOSTS {
        assert_eq!(world.certificate(number, NAME, root), first, "on {number}");
        let (status, _) = ask(world.shop.address(number), "/").unwrap();
        assert_eq!(status, 308, "who comes without TLS is sent to it");
        let seen = world.ask(number, NAME, root).unwrap();
        assert!(!seen.head.contains("strict-transport-security"), "nobody asked: {}", seen.head);
        // Neither root nor able to become it; its certificates are for it alone, and for the supervisor.
        let edge = rig.on(
            number,
            "pid=$(pgrep -u vd-edge); stat -c %U /proc/$pid; \
             awk '/^Cap(Eff|Prm|Amb)/ { print $2 }' /proc/$pid/status | sort -u",
        );
        assert_eq!(edge, "vd-edge\n0000000000000000", "on {number}");
        let files = rig.on(
            number,
            &format!(
                "stat -c '%U %a' {EDGE_CERTIFICATES} {EDGE_CERTIFICATES}/* {SHOP_TLS} {SHOP_TLS}/account.key"
            ),
        );
        assert_eq!(files, "vd-edge 700\nvd-edge 600\nroot 700\nroot 600", "on {number}");
        let told =
            rig.on(number, "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c '[P]RIVATE KEY' || true");
        assert_eq!(told, "0");
    }
    let (said, result) = world.ran(&["drift", "shop"]);
    assert_eq!(result["exit_code"], 0, "{said} {result}");
    let status = world.status("shop");
    let certificates = status["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), HOSTS as usize, "{status}");
    for seen in certificates {
        assert_eq!((&seen["serves"], &seen["names"]), (&true.into(), &json!([NAME])), "{seen}");
        assert!(seen["issuer"].as_str().unwrap().contains("Pebble"), "{seen}");
        assert!(seen["renew_at"].as_str() < seen["not_after"].as_str(), "{seen}");
        assert_eq!(seen["serial"], certificates[0]["serial"]);
    }
    // The next release is tested through the edge, which now only speaks TLS.
    world.manifest("shop", |text| text.replace("APP_VERSION: \"1\"", "APP_VERSION: \"2\""));
    let load = Load::on(&world.runtime, (1..=HOSTS).map(|number| world.secure(number)).collect(), root);
    let (said, result) = world.deploy("shop");
    assert_eq!((&result["outcome"], said.as_str()), (&"applied".into(), ""), "{result}");
    assert!(load.end(&world.runtime) > 20);
    assert!(world.ask(3, NAME, root).unwrap().body.contains("\"2\""));
}

fn servers_renew_by_themselves(world: &World, root: &str) {
    let rig = &world.shop.0.rig;
    let before = world.certificate(1, NAME, root);
    let load = Load::on(&world.runtime, (1..=HOSTS).map(|number| world.secure(number)).collect(), root);
    // The authority would have it renewed long ago, for all that this server knows.
    let path = format!("{SHOP_TLS}/shop.default.json");
    let mut record: Value = serde_json::from_str(&rig.on(2, &format!("cat {path}"))).unwrap();
    record["window"] = json!({
        "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z", "ask_again_at": "2100-01-01T00:00:00Z"
    });
    record["tried"] = Value::Null;
    let text = base64::engine::general_purpose::STANDARD.encode(record.to_string());
    rig.on(2, &format!("echo {text} | base64 -d >{path}; systemctl restart vrooli-deploy-supervisor"));
    until("it has renewed its certificate", || {
        world.ask(2, NAME, root).is_ok_and(|seen| seen.certificate != before)
    });
    let after = world.certificate(2, NAME, root);
    assert_eq!(world.certificate(1, NAME, root), before, "nobody else was told");
    // Any deploy hands the newest to all.
    let (said, result) = world.deploy("shop");
    assert_eq!((&result["outcome"], said.as_str()), (&"no_change".into(), ""), "{result}");
    for number in 1..=HOSTS {
        assert_eq!(world.certificate(number, NAME, root), after, "on {number}");
    }
    assert!(load.end(&world.runtime) > 20);
}

/// One that is not good is refused before it is used, and takes nobody else's down.
fn another_app_brings_its_own(world: &World, root: &str) {
    let (rig, folder) = (&world.shop.0.rig, world.shop.0.place.dir());
    let copied = Command::new("cp").arg("-r").args([folder.join("shop"), folder.join("blog")]).status();
    assert!(copied.unwrap().success());
    let signer = Signer::new();
    let (chain, key) = signer.sign(BLOG);
    let (_, strange) = signer.sign(BLOG);
    let bring = |chain: &str, key: &str| {
        fs::write(folder.join("blog/chain.pem"), chain).unwrap();
        fs::write(folder.join("blog/key.pem"), key).unwrap();
    };
    world.manifest("blog", |text| {
        text.replace("name: shop,", "name: blog,").replace(NAME, BLOG)
            + "networking: { tls: { certificate: BLOG_CHAIN, key: BLOG_KEY, hsts: 1h } }\n\
               secrets:\n  BLOG_CHAIN: { from: { file: { path: chain.pem } } }\n  \
               BLOG_KEY: { from: { file: { path: key.pem } } }\n"
    });
    bring(&chain, &strange);
    let (said, result) = world.deploy("blog");
    assert_eq!(result["outcome"], "applied", "{said} {result}");
    assert!(said.contains("VD0945") && said.contains("private key is not that"), "{said}");
    let shops = world.certificate(1, NAME, root);
    assert!(world.ask(1, BLOG, &signer.pem).is_err());

    bring(&chain, &key);
    let (said, result) = world.deploy("blog");
    assert_eq!((&result["outcome"], said.as_str()), (&"applied".into(), ""), "{result}");
    for number in 1..=HOSTS {
        let seen = world.ask(number, BLOG, &signer.pem).unwrap();
        assert_eq!(seen.status, 200);
        assert!(seen.head.contains("strict-transport-security: max-age=3600"), "{}", seen.head);
    }
    assert_eq!(world.ran(&["drift", "blog"]).1["exit_code"], 0);
    // No service is given what only the edge is to have.
    let environment = rig.on(1, "for pid in $(pgrep -x server); do tr '\\0' '\\n' </proc/$pid/environ; done");
    assert!(environment.contains("APP_VERSION") && !environment.contains("BLOG_KEY"), "{environment}");

    // Its file is damaged and the edge starts anew: the other app's is served all the same.
    rig.on(
        1,
        &format!(
            "echo damaged >{EDGE_CERTIFICATES}/blog.default.pem; \
             kill -KILL $(pgrep -u vd-edge)"
        ),
    );
    until("the shop is served again", || world.ask(1, NAME, root).is_ok());
    assert_eq!(world.certificate(1, NAME, root), shops);
    assert!(world.ask(1, BLOG, &signer.pem).is_err());
}
