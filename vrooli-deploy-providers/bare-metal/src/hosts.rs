//! The hosts of a workspace: those that were added, and how to reach them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use vrooli_deploy_core::manifest::ServerConfig;
use vrooli_deploy_core::provider::Cancellation;

use crate::facts::{self, HostFacts};
use crate::host::{HostName, Server, role};
use crate::preflight::{self, Preflight, PreflightOptions};
use crate::remote::{
    Fingerprint, OfferedKey, RemoteError, RemoteExec as _, SshConnections, SshOptions, replace,
};

/// The file of hosts that were added.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    version: u32,
    hosts: Vec<Server>,
    /// Those that are gone for good.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    lost: BTreeSet<HostName>,
}

const VERSION: u32 = 1;
const BOOK: &str = "hosts.json";

impl Book {
    fn read(folder: &Path) -> Result<Self, RemoteError> {
        let file = folder.join(BOOK);
        let failed = |words: String| RemoteError::File { file: file.display().to_string(), words };
        match fs::read_to_string(&file) {
            Ok(text) => {
                let book: Self = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
                if book.version != VERSION {
                    return Err(failed(format!("its version is {}, not {VERSION}", book.version)));
                }
                Ok(book)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { version: VERSION, ..Self::default() })
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Hosts that somebody gave up, of the workspace whose folder of hosts this is.
pub(crate) fn lost(folder: &Path) -> Result<BTreeSet<HostName>, RemoteError> {
    Ok(Book::read(folder)?.lost)
}

/// Where a host was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// In `infrastructure.servers` of a manifest.
    Manifest,
    /// By `hosts add`.
    Added,
}

/// The hosts of a workspace.
#[derive(Debug)]
pub struct Hosts {
    folder: PathBuf,
    connections: SshConnections,
}

impl Hosts {
    /// The hosts of the workspace in that state folder. Connects to none.
    ///
    /// # Errors
    /// [`RemoteError::File`] when its folder cannot be used.
    pub fn open(state: &Path, options: SshOptions) -> Result<Self, RemoteError> {
        let folder = state.join("hosts");
        let connections = SshConnections::open(&folder, options)?;
        Ok(Self { folder, connections })
    }

    /// How they are reached.
    #[must_use]
    pub fn connections(&self) -> &SshConnections {
        &self.connections
    }

    /// Those that were added, by name.
    ///
    /// # Errors
    /// [`RemoteError::File`] when the file cannot be read.
    pub fn added(&self) -> Result<Vec<Server>, RemoteError> {
        Ok(Book::read(&self.folder)?.hosts)
    }

    /// The servers of a manifest and those that were added; of one that is both, the manifest
    /// says the role.
    ///
    /// # Errors
    /// [`RemoteError::File`] when what was added cannot be read, [`RemoteError::Name`] for a name
    /// or a role in the manifest that means nothing.
    pub fn all(&self, manifest: &[ServerConfig]) -> Result<Vec<(Server, Origin)>, RemoteError> {
        let mut all: BTreeMap<HostName, (Server, Origin)> = BTreeMap::new();
        for server in self.added()? {
            all.insert(server.host.clone(), (server, Origin::Added));
        }
        for config in manifest {
            let host = HostName::new(config.host.as_str())
                .map_err(|error| RemoteError::Name { words: error.to_string() })?;
            let role = role(&config.role).ok_or_else(|| RemoteError::Name {
                words: format!("`{}` is no role of a server", config.role),
            })?;
            let server = Server { host: host.clone(), role: role.to_owned() };
            all.insert(host, (server, Origin::Manifest));
        }
        Ok(all.into_values().collect())
    }

    /// Keeps a host, in the place of one of that name. True: it was not there so before.
    ///
    /// # Errors
    /// [`RemoteError::File`] when the file cannot be read or written.
    pub fn keep(&self, server: Server) -> Result<bool, RemoteError> {
        self.change(|book| {
            let found = book.lost.remove(&server.host);
            if book.hosts.contains(&server) {
                return found;
            }
            book.hosts.retain(|other| other.host != server.host);
            book.hosts.push(server);
            book.hosts.sort();
            true
        })
    }

    /// Takes a host off the list. `lost`: it is gone for good, with all that was on it, so that no
    /// deployment asks it any more; [`keep`](Self::keep) takes that back. True: anything was not so
    /// before.
    ///
    /// # Errors
    /// [`RemoteError::File`] when the file cannot be read or written.
    pub fn remove(&self, host: &HostName, lost: bool) -> Result<bool, RemoteError> {
        self.change(|book| {
            let before = book.hosts.len();
            book.hosts.retain(|server| server.host != *host);
            let marked = lost && book.lost.insert(host.clone());
            marked || book.hosts.len() != before
        })
    }

    fn change(&self, change: impl FnOnce(&mut Book) -> bool) -> Result<bool, RemoteError> {
        let file = self.folder.join(BOOK);
        let failed = |error: std::io::Error| RemoteError::File {
            file: file.display().to_string(),
            words: error.to_string(),
        };
        // Two commands may change it at the same time.
        let lock = fs::File::create(self.folder.join("hosts.lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut book = Book::read(&self.folder)?;
        if !change(&mut book) {
            return Ok(false);
        }
        let text = serde_json::to_string_pretty(&book).unwrap_or_default() + "\n";
        replace(&file, &text).map_err(failed)?;
        Ok(true)
    }

    /// Vouches for the key that has this fingerprint, which the host must show.
    ///
    /// # Errors
    /// [`RemoteError::OtherKey`] when it shows none that has it, or why it shows none.
    pub async fn trust_fingerprint(
        &self,
        host: &HostName,
        fingerprint: &Fingerprint,
    ) -> Result<OfferedKey, RemoteError> {
        self.connections.trust_fingerprint(host, fingerprint).await
    }

    /// What hosts are, asked of all at once; each with what came of it.
    pub async fn facts(
        &self,
        hosts: &[HostName],
        cancellation: &Cancellation,
    ) -> Vec<Result<HostFacts, RemoteError>> {
        join_all(hosts.iter().map(async |host| {
            let output = self.connections.host(host).run(&facts::phase(), cancellation).await?;
            facts::read(host, &output)
        }))
        .await
    }

    /// Looks at what could be in the way of a deployment; see [`preflight::preflight`].
    ///
    /// # Errors
    /// [`RemoteError::Cancelled`] when the caller asked to stop.
    pub async fn preflight(
        &self,
        servers: &[Server],
        options: &PreflightOptions,
        cancellation: &Cancellation,
    ) -> Result<Preflight, RemoteError> {
        preflight::preflight(&self.connections, servers, options, cancellation).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, role: &str) -> Server {
        Server { host: HostName::new(host).unwrap(), role: role.to_owned() }
    }

    #[test]
    fn hosts_are_kept_once_and_the_manifest_says_the_role() {
        let state = tempfile::tempdir().unwrap();
        let hosts = Hosts::open(state.path(), SshOptions::default()).unwrap();
        assert_eq!(hosts.added().unwrap(), []);
        assert!(hosts.keep(server("b", "app")).unwrap());
        assert!(hosts.keep(server("a", "app")).unwrap());
        assert!(!hosts.keep(server("a", "app")).unwrap());
        assert!(hosts.keep(server("a", "cache")).unwrap());
        assert_eq!(hosts.added().unwrap(), [server("a", "cache"), server("b", "app")]);
        let config = |host: &str, role: &str| ServerConfig {
            host: host.to_owned(),
            role: role.to_owned(),
            monthly_usd: None,
        };
        for bad in [config("-x", "web"), config("d", "?")] {
            assert!(matches!(hosts.all(&[bad]), Err(RemoteError::Name { .. })));
        }
        let all = hosts.all(&[config("a", "db"), config("c", "web")]);
        assert_eq!(
            all.unwrap(),
            [
                (server("a", "database"), Origin::Manifest),
                (server("b", "app"), Origin::Added),
                (server("c", "app"), Origin::Manifest),
            ]
        );
        let name = |host: &str| HostName::new(host).unwrap();
        assert!(hosts.remove(&name("b"), true).unwrap() && !hosts.remove(&name("b"), true).unwrap());
        assert!(!hosts.remove(&name("z"), false).unwrap());
        let folder = state.path().join("hosts");
        assert_eq!((lost(&folder).unwrap().len(), hosts.added().unwrap().len()), (1, 1));
        assert!(hosts.keep(server("b", "app")).unwrap());
        assert!(lost(&folder).unwrap().is_empty());
        fs::write(state.path().join("hosts/hosts.json"), "{").unwrap();
        assert!(matches!(hosts.added(), Err(RemoteError::File { .. })));
    }
}
