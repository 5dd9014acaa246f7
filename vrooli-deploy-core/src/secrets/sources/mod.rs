//! Where values are fetched from: environment, file, Vault.

mod error;
mod vault;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

pub use error::FetchError;

use self::vault::{Asked, Values, Vault};
use super::{DEFAULT_MOUNT, Redactor, Secret, SecretStore};
use crate::diagnostics::{Diagnostic, rules};
use crate::http_client::{Address, ConnectOptions};
use crate::manifest::{SecretSource, VaultSource, VaultToken};

/// Path in the secret store under which `configure vault_token` keeps the token.
pub const VAULT_TOKEN_PATH: &str = "config/vault_token";

/// The variable that says where Vault is.
pub const VAULT_ADDRESS: &str = "VAULT_ADDR";

/// The configured key that says it where the variable does not.
pub const VAULT_ADDRESS_KEY: &str = "vault_addr";

/// Most bytes of a file that is read as a secret.
const LARGEST_FILE: u64 = 64 * 1024;

/// Looks up a variable; the default asks the process's own environment.
type LookUp = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The knobs of [`Sources`].
#[derive(Clone)]
#[non_exhaustive]
pub struct FetchOptions {
    /// How long one value may take to be fetched, tries included. Default 15 s.
    pub timeout: Duration,
    /// How long a connection may take to be made. Default 5 s.
    pub connect_timeout: Duration,
    /// How often a Vault that is busy or not there is asked. Default 3.
    pub tries: u32,
    variables: LookUp,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            tries: 3,
            variables: Arc::new(|name| std::env::var(name).ok()),
        }
    }
}

impl std::fmt::Debug for FetchOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchOptions").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl FetchOptions {
    /// Takes variables from here instead of the process's own environment.
    #[must_use]
    pub fn with_variables(
        mut self,
        variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.variables = Arc::new(variables);
        self
    }

    /// Gives each value that long.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A variable that says something.
    fn variable(&self, name: &str) -> Option<String> {
        (self.variables)(name).filter(|value| !value.is_empty())
    }
}

/// Fetches values. What several secrets share in Vault is asked for once. `Debug` shows none.
pub struct Sources {
    store: Arc<dyn SecretStore>,
    root: PathBuf,
    options: FetchOptions,
    hidden: Redactor,
    read: BTreeMap<Asked, Values>,
    warned: BTreeMap<String, Diagnostic>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Sources {
    /// Sources of an app: relative paths of files start at its folder; the store holds tokens.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>, root: &Path, options: FetchOptions) -> Self {
        let (read, warned) = (BTreeMap::new(), BTreeMap::new());
        Self { store, root: root.to_owned(), options, hidden: Redactor::default(), read, warned }
    }

    /// Hides these values too in what Vault says; the token is hidden anyhow.
    #[must_use]
    pub fn hiding(mut self, values: Redactor) -> Self {
        self.hidden = values;
        self
    }

    /// Fetches a value. `Ok(None)`: it is not fetched from anywhere (generated, asked for, stored).
    ///
    /// # Errors
    /// When it is not there or cannot be had. Says no part of any value or token.
    pub async fn fetch(&mut self, source: &SecretSource) -> Result<Option<Secret<String>>, FetchError> {
        match source {
            SecretSource::Environment { name } => {
                let value = self.options.variable(name.as_str());
                value
                    .map(|value| Some(Secret::new(value)))
                    .ok_or_else(|| FetchError::Unset { name: name.clone() })
            }
            SecretSource::File { path } => self.file(path).map(Some),
            SecretSource::Vault(source) => self.vault(source).await.map(Some),
            SecretSource::Generate { .. } | SecretSource::Prompt { .. } | SecretSource::Store { .. } => {
                Ok(None)
            }
        }
    }

    /// What a person should know about the places that were asked, each once.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.warned.values()
    }

    fn file(&self, path: &Path) -> Result<Secret<String>, FetchError> {
        let failed = |message: String| FetchError::File { path: path.to_owned(), message };
        let file = std::fs::File::open(self.root.join(path)).map_err(|error| failed(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
        if metadata.is_dir() {
            return Err(failed("it is a folder".to_owned()));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(failed(format!("it has more than {LARGEST_FILE} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is no text (UTF-8)".to_owned()))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(failed("it is empty".to_owned()));
        }
        Ok(Secret::new(text.to_owned()))
    }

    async fn vault(&mut self, source: &VaultSource) -> Result<Secret<String>, FetchError> {
        let given = source.address.clone().or_else(|| self.options.variable(VAULT_ADDRESS));
        let address = Address::parse(given.as_deref().ok_or(FetchError::NoVault)?)
            .map_err(|message| FetchError::Address { message })?
            .without_end("/v1");
        let namespace = source.namespace.clone().or_else(|| self.options.variable("VAULT_NAMESPACE"));
        let asked = Asked {
            address: address.to_string(),
            namespace,
            mount: source.mount.clone().unwrap_or_else(|| DEFAULT_MOUNT.to_owned()),
            path: source.path.clone(),
            version: source.version,
            token: source.token.clone(),
        };
        if !self.read.contains_key(&asked) {
            self.warn_of_plain_text(&address);
            let token = self.token(source.token.as_ref())?;
            let ca_file = source
                .ca_file
                .clone()
                .or_else(|| self.options.variable("VAULT_CACERT").map(PathBuf::from))
                .map(|path| self.root.join(path));
            let redactors = [Redactor::new(std::slice::from_ref(&token)), self.hidden.clone()];
            let connect = ConnectOptions {
                timeout: self.options.connect_timeout,
                ca_file,
                ..ConnectOptions::default()
            };
            let vault = Vault { address, token, redactors, connect, options: &self.options };
            let values = vault.read(&asked).await?;
            self.read.insert(asked.clone(), values);
        }
        self.read.get(&asked).and_then(|values| values.get(&source.key)).map_or_else(
            || {
                Err(FetchError::NoKey {
                    address: asked.address.clone(),
                    path: asked.shown(),
                    key: source.key.clone(),
                })
            },
            |value| {
                value
                    .clone()
                    .ok_or_else(|| FetchError::NoText { path: asked.shown(), key: source.key.clone() })
            },
        )
    }

    fn warn_of_plain_text(&mut self, address: &Address) {
        if !address.is_plain_over_the_network() {
            return;
        }
        self.warned.entry(address.to_string()).or_insert_with(|| {
            rules::VAULT_PLAIN_TEXT
                .diagnostic(format!("{address} is asked without encryption: token and values can be read on the way"))
                .help("use an `https` address (a build with the feature `https`), or reach Vault through a tunnel to 127.0.0.1")
        });
    }

    /// The token: where the manifest says, else the usual places. Never an argument, never logged.
    fn token(&self, from: Option<&VaultToken>) -> Result<Secret<String>, FetchError> {
        let missing = |message: String| FetchError::NoToken { message };
        let token = match from {
            Some(VaultToken::Environment { name }) => {
                self.options
                    .variable(name.as_str())
                    .map(Secret::new)
                    .ok_or_else(|| missing(format!("the environment variable `{name}` is not set")))?
            }
            Some(VaultToken::File { path }) => self.file(path).map_err(|error| missing(error.to_string()))?,
            Some(VaultToken::Store { path }) => self
                .stored(path)?
                .ok_or_else(|| missing(format!("the secret store has nothing at `{path}`")))?,
            None => self.usual_token()?.ok_or_else(|| {
                missing(
                    "none is configured, `VAULT_TOKEN` is not set, and there is no `~/.vault-token`"
                        .to_owned(),
                )
            })?,
        };
        let token = Secret::new(token.expose().trim().to_owned());
        let sendable = |byte: u8| byte.is_ascii_graphic();
        if token.expose().is_empty() || !token.expose().bytes().all(sendable) {
            return Err(missing("it is empty or holds characters that no token has".to_owned()));
        }
        Ok(token)
    }

    /// What was configured comes before the environment, as with every other credential.
    fn usual_token(&self) -> Result<Option<Secret<String>>, FetchError> {
        if let Some(token) = self.stored(VAULT_TOKEN_PATH)? {
            return Ok(Some(token));
        }
        if let Some(token) = self.options.variable("VAULT_TOKEN") {
            return Ok(Some(Secret::new(token)));
        }
        let home = self.options.variable("HOME").map(|home| Path::new(&home).join(".vault-token"));
        Ok(home.filter(|path| path.is_file()).and_then(|path| self.file(&path).ok()))
    }

    fn stored(&self, path: &str) -> Result<Option<Secret<String>>, FetchError> {
        let Some(reference) = self.store.latest(path)? else { return Ok(None) };
        Ok(Some(self.store.get(&reference)?))
    }
}
