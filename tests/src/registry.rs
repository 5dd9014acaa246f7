//! A registry of images on this machine (Debian's `docker-registry`), and base images to build from, of
//! which nothing is pulled from anywhere: `tests/fixtures/images/bases.sh` makes them.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vrooli_deploy_core::names::ImageRef;

/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry of our own on a free port, which takes anybody's images. What is in it is gone with it.
#[derive(Debug)]
pub struct ImageRegistry {
    address: SocketAddr,
    server: Child,
    /// Names that engines of this machine know of it.
    known: Vec<String>,
    _folder: TempDir,
}

impl ImageRegistry {
    /// Starts one.
    ///
    /// # Errors
    /// Says why there is none: no engine answers, `docker-registry` is not installed, or it does not start.
    pub fn start() -> Result<Self, String> {
        docker(&["version"]).map_err(|_| "no Docker engine answers".to_owned())?;
        let told = |error: io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(told)?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(told)?;
        let file = folder.path().join("config.yml");
        let storage = folder.path().join("images");
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: '{}' }} }}\nhttp: {{ addr: '{address}' }}\n",
            storage.display()
        );
        std::fs::write(&file, config).map_err(told)?;
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| "`docker-registry` is not installed".to_owned())?;
        // It ends when this is dropped, whatever goes wrong.
        let started = Self { address, server, known: Vec::new(), _folder: folder };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if Instant::now() >= until {
                return Err("docker-registry does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }

    /// `127.0.0.1:<port>`. Engines take such a registry without TLS.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Base images by their names, put into this registry, because only there they get digests.
    ///
    /// # Errors
    /// Says which is not here.
    pub fn bases(&mut self, names: &[&str]) -> Result<BTreeMap<String, ImageRef>, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images/bases.sh");
        let tag = said(Command::new(script).arg("--tag"))?;
        let mut all = BTreeMap::new();
        for name in names {
            let made = format!("vrooli-deploy-test/base/{name}:{tag}");
            docker(&["image", "inspect", &made]).map_err(|_| {
                format!("the image `{made}` is not here (tests/fixtures/images/bases.sh makes it)")
            })?;
            let repository = format!("{}/base/{name}", self.address);
            let here = format!("{repository}:{tag}");
            docker(&["tag", &made, &here])?;
            self.known.push(here.clone());
            docker(&["push", "--quiet", &here])?;
            let digests = docker(&["image", "inspect", "--format", "{{join .RepoDigests \"\\n\"}}", &here])?;
            let digest = digests.lines().find(|line| line.starts_with(&repository));
            let digest = digest.ok_or_else(|| format!("`{here}` has no digest"))?;
            all.insert((*name).to_owned(), ImageRef::new(digest).map_err(|error| error.to_string())?);
        }
        Ok(all)
    }

    /// Pulls an image of this registry by its digest, under which it is known here until this ends.
    ///
    /// # Errors
    /// What the engine says.
    pub fn pull(&mut self, image: &ImageRef) -> Result<(), String> {
        self.known.push(image.to_string());
        docker(&["pull", "--quiet", image.as_str()]).map(drop)
    }
}

impl Drop for ImageRegistry {
    fn drop(&mut self) {
        // Both may be gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
        for name in &self.known {
            let _ = docker(&["rmi", name]);
        }
    }
}

/// What the `docker` program says.
///
/// # Errors
/// What it says when it fails.
pub fn docker(words: &[&str]) -> Result<String, String> {
    said(Command::new("docker").args(words))
}

fn said(command: &mut Command) -> Result<String, String> {
    let answer = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if answer.status.success() { Ok(text(&answer.stdout)) } else { Err(text(&answer.stderr)) }
}
