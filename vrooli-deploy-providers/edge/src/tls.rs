//! Certificates, by the names they are good for. A folder holds them, one `<name>.pem` each
//! with the chain and its key; they are read when the edge starts and when it is told to, and
//! every handshake from then on uses what was read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::protocol::CertificateState;

/// The file whose certificate a client gets that names no host.
const DEFAULT: &str = "default";

/// What all workers make handshakes with.
#[derive(Debug)]
pub(crate) struct Tls {
    folder: Option<PathBuf>,
    names: Arc<Names>,
    config: Arc<ServerConfig>,
}

#[derive(Debug, Default)]
struct Names {
    held: Mutex<Arc<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    /// By host name in lower case; `*.example.com` for direct subdomains.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Tls {
    /// No certificate is read yet.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub(crate) fn new(folder: Option<PathBuf>) -> Result<Self, rustls::Error> {
        let names = Arc::new(Names::default());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(names.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // One key for all workers: a client resumes with whichever it meets.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Self { folder, names, config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Reads the folder anew. A file that cannot be used is said and takes no other down: if
    /// it was good before, what was read then serves on.
    pub(crate) fn load(&self) -> Vec<CertificateState> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
                .collect(),
            Err(error) => {
                return vec![CertificateState {
                    file: folder.display().to_string(),
                    names: Vec::new(),
                    problem: Some(error.to_string()),
                }];
            }
        };
        files.sort();
        let before = self.names.held();
        let mut held = Held::default();
        let mut states = Vec::new();
        for path in files {
            let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            match read(&path) {
                Ok((names, key)) => {
                    for name in &names {
                        held.by_name.entry(name.clone()).or_insert_with(|| key.clone());
                    }
                    if file == DEFAULT {
                        held.default = Some(key);
                    }
                    states.push(CertificateState { file, names, problem: None });
                }
                Err(problem) => {
                    tracing::warn!(%file, %problem, "a certificate was not loaded");
                    states.push(CertificateState { file, names: Vec::new(), problem: Some(problem) });
                }
            }
        }
        if states.iter().any(|state| state.problem.is_some()) {
            for (name, key) in &before.by_name {
                held.by_name.entry(name.clone()).or_insert_with(|| key.clone());
            }
            held.default = held.default.or_else(|| before.default.clone());
        }
        *self.names.held.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        states
    }
}

/// The names that a file is good for, and what signs for them. The error says no part of the key.
fn read(path: &Path) -> Result<(Vec<String>, Arc<CertifiedKey>), String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("its certificates cannot be read: {error}"))?;
    let first = chain.first().ok_or("it holds no certificate")?;
    let leaf = webpki::EndEntityCert::try_from(first)
        .map_err(|error| format!("its first certificate cannot be used: {error}"))?;
    let names: Vec<String> = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| "it holds no private key".to_owned())?;
    let signs = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|_| "its private key is of no kind that is supported".to_owned())?;
    let certified = CertifiedKey::new(chain, signs);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(error) => return Err(format!("its private key is not that of its certificate: {error}")),
    }
    Ok((names, Arc::new(certified)))
}

impl Names {
    fn held(&self) -> Arc<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let held = self.held();
        let Some(name) = name else { return held.default.clone() };
        let name = name.to_ascii_lowercase();
        let wild = || name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        held.by_name.get(&name).or_else(|| held.by_name.get(&wild()?)).or(held.default.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}
