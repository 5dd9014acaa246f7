//! Vault's key-value store, version 2: `GET /v1/<mount>/data/<path>`. OpenBao speaks the same.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::HOST};
use http_body_util::Empty;
use serde::Deserialize;
use serde_json::Value;

use super::{FetchError, FetchOptions};
use crate::http_client::{self, Address, Answer, ConnectOptions, RequestError};
use crate::manifest::VaultToken;
use crate::secrets::{Redactor, Secret};

/// Keys and values of a secret; `None` for a value that is no text, number or boolean.
pub(super) type Values = BTreeMap<String, Option<Secret<String>>>;

/// Longest text of Vault that is repeated.
const LONGEST_WORDS: usize = 400;

/// What is asked for: all of this makes one answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) address: String,
    pub(super) namespace: Option<String>,
    pub(super) mount: String,
    pub(super) path: String,
    pub(super) version: Option<u32>,
    pub(super) token: Option<VaultToken>,
}

impl Asked {
    /// As a person would say it.
    pub(super) fn shown(&self) -> String {
        let version = self.version.map_or_else(String::new, |version| format!(" (version {version})"));
        let namespace = self.namespace.as_deref().map_or_else(String::new, |name| format!("{name}:"));
        format!("{namespace}{}/{}{version}", self.mount.trim_matches('/'), self.path.trim_matches('/'))
    }

    /// Path and query of the request, every segment encoded.
    fn target(&self, prefix: &str) -> Result<String, FetchError> {
        let encoded = |what: &str, path: &str| -> Result<String, FetchError> {
            let path = path.trim_matches('/');
            let bad = path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | ".."));
            if bad || path.chars().any(char::is_control) {
                return Err(FetchError::Address { message: format!("{what} cannot be a path in Vault") });
            }
            Ok(path.split('/').map(percent_encoded).collect::<Vec<_>>().join("/"))
        };
        let (mount, path) = (encoded("`mount`", &self.mount)?, encoded("`path`", &self.path)?);
        let query = self.version.map_or_else(String::new, |version| format!("?version={version}"));
        Ok(format!("{prefix}/v1/{mount}/data/{path}{query}"))
    }
}

fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A Vault and the token for it.
pub(super) struct Vault<'a> {
    pub(super) address: Address,
    pub(super) token: Secret<String>,
    /// Hide the token, and values that are known, in what Vault says.
    pub(super) redactors: [Redactor; 2],
    pub(super) connect: ConnectOptions,
    pub(super) options: &'a FetchOptions,
}

/// The parts of an answer that are read.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    data: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

impl Vault<'_> {
    /// Reads a secret. A Vault that is busy or restarting is asked again, within the time.
    pub(super) async fn read(&self, asked: &Asked) -> Result<Values, FetchError> {
        let target = asked.target(self.address.prefix())?;
        let tries = async {
            let mut pause = Duration::from_millis(200);
            let mut left = self.options.tries.max(1);
            loop {
                left -= 1;
                let answer = self.once(asked, &target).await;
                match answer {
                    Err(FetchError::Unreachable { .. }) if left > 0 => {
                        tokio::time::sleep(pause).await;
                        pause *= 3;
                    }
                    other => return other,
                }
            }
        };
        tokio::time::timeout(self.options.timeout, tries).await.unwrap_or_else(|_| {
            Err(self.unreachable(format!("no answer within {} s", self.options.timeout.as_secs_f32())))
        })
    }

    async fn once(&self, asked: &Asked, target: &str) -> Result<Values, FetchError> {
        let request = self.request(asked, target)?;
        let answer = http_client::send(&self.address, request, &self.connect).await;
        let answer = answer.map_err(|error| match error {
            RequestError::NoTls => FetchError::NoTls { address: self.address.to_string() },
            RequestError::Failed(message) => self.unreachable(message),
        })?;
        self.understand(asked, &answer)
    }

    fn request(&self, asked: &Asked, target: &str) -> Result<Request<Empty<Bytes>>, FetchError> {
        let refuse = |message: &str| FetchError::Address { message: message.to_owned() };
        let mut token = HeaderValue::from_str(self.token.expose()).map_err(|_| FetchError::NoToken {
            message: "it holds characters that no token has".to_owned(),
        })?;
        token.set_sensitive(true);
        let mut request = Request::get(target)
            .header(HOST, self.address.authority())
            .header("X-Vault-Request", "true")
            .header("X-Vault-Token", token);
        if let Some(namespace) = &asked.namespace {
            let namespace = HeaderValue::from_str(namespace.trim_matches('/'));
            request =
                request.header("X-Vault-Namespace", namespace.map_err(|_| refuse("`namespace` is none"))?);
        }
        request.body(Empty::new()).map_err(|_| refuse("mount or path cannot be a part of an address"))
    }

    fn understand(&self, asked: &Asked, answer: &Answer) -> Result<Values, FetchError> {
        let Answer { status, body, .. } = answer;
        let parsed = serde_json::from_slice::<Body>(body).ok();
        let words = |fallback: &str| self.words(parsed.as_ref(), fallback);
        let (address, path) = (self.address.to_string(), asked.shown());
        match *status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                if !answer.json {
                    return Err(self.no_vault("it answers 404 without JSON"));
                }
                let message = deleted(parsed.as_ref()).unwrap_or_else(|| words("no such secret or version"));
                return Err(FetchError::Absent { address, path, message });
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let status = status.as_u16();
                return Err(FetchError::Refused { address, path, status, message: words("no reason given") });
            }
            // 412: not replicated yet; 429: too many; 472 and 473: standby; 5xx: sealed, overloaded.
            status if matches!(status.as_u16(), 412 | 429 | 472 | 473) || status.is_server_error() => {
                return Err(self.unreachable(format!("{}: {}", status.as_u16(), words("no reason given"))));
            }
            status if status.is_redirection() => {
                return Err(self.unreachable(format!(
                    "{}: it sends elsewhere; give the address of the active server",
                    status.as_u16()
                )));
            }
            status => return Err(self.no_vault(&format!("it answers {}", status.as_u16()))),
        }
        let Some(Body { data: Some(data), .. }) = parsed else {
            return Err(self.no_vault("the answer has no `data`"));
        };
        match data.data {
            Some(values) => Ok(values.into_iter().map(|(key, value)| (key, text(value))).collect()),
            None if data.metadata.is_some() => {
                Err(FetchError::Absent { address, path, message: "this version was deleted".to_owned() })
            }
            None => Err(self.no_vault("the answer has no `data.data`; is it a store of version 1?")),
        }
    }

    /// What Vault itself says, on one line, without the token and not too long.
    fn words(&self, body: Option<&Body>, fallback: &str) -> String {
        let said = body.map(|body| {
            let warnings = body.warnings.iter().flatten();
            body.errors.iter().chain(warnings).map(String::as_str).collect::<Vec<_>>().join("; ")
        });
        let said = said.filter(|said| !said.trim().is_empty()).unwrap_or_else(|| fallback.to_owned());
        let hidden = self.redactors.iter().fold(said, |said, redactor| redactor.redact(&said));
        let line: String = hidden.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().filter(|c| !c.is_control()).take(LONGEST_WORDS).collect()
    }

    fn unreachable(&self, message: String) -> FetchError {
        FetchError::Unreachable { address: self.address.to_string(), message }
    }

    fn no_vault(&self, message: &str) -> FetchError {
        FetchError::Answer { address: self.address.to_string(), message: message.to_owned() }
    }
}

/// A version that was deleted comes with 404 and its metadata.
fn deleted(body: Option<&Body>) -> Option<String> {
    let metadata = body?.data.as_ref()?.metadata.as_ref()?;
    Some(if metadata.destroyed {
        format!("version {} was destroyed", metadata.version)
    } else {
        format!("version {} was deleted at {}", metadata.version, metadata.deletion_time)
    })
}

fn text(value: Value) -> Option<Secret<String>> {
    match value {
        Value::String(text) => Some(Secret::new(text)),
        Value::Number(number) => Some(Secret::new(number.to_string())),
        Value::Bool(value) => Some(Secret::new(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mount: &str, path: &str) -> Asked {
        Asked {
            address: String::new(),
            namespace: None,
            mount: mount.to_owned(),
            path: path.to_owned(),
            version: Some(3),
            token: None,
        }
    }

    #[test]
    fn paths_are_encoded_and_stay_in_their_mount() {
        let target = asked("kv/", "/a b/ü?x=1#").target("/proxy").unwrap();
        assert_eq!(target, "/proxy/v1/kv/data/a%20b/%C3%BC%3Fx%3D1%23?version=3");
        for path in ["", "/", "a/../b", "a//b", ".", "a\nb"] {
            assert!(asked("kv", path).target("").is_err(), "{path:?}");
        }
        assert!(asked("../sys", "x").target("").is_err());
    }
}
