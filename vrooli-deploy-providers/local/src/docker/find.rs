//! Which engine: what `DOCKER_HOST` says, else the first of the usual sockets that answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use super::{Engine, KNOWN, call};
use crate::failure;

/// How long an engine may take to say that it is there. It is on this machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no engine to work with: a phrase for each socket that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoEngine(pub(crate) Vec<String>);

impl std::fmt::Display for NoEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no Docker engine answers here");
        }
        write!(f, "no Docker engine answers here ({})", self.0.join("; "))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    api_version: String,
    #[serde(default, rename = "MinAPIVersion")]
    min_api_version: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: String,
}

/// Finds the engine. `host` is the value of `DOCKER_HOST`; `kept` the socket of the engine
/// that holds something of ours already, and then nothing else is tried.
///
/// # Errors
/// Inside: why there is none. Outside: the caller gave up.
pub(crate) async fn find(
    cx: &OpCtx,
    host: Option<&str>,
    kept: Option<&Path>,
) -> Result<std::result::Result<Engine, NoEngine>> {
    let sockets = match (host.filter(|host| !host.is_empty()), kept) {
        (Some(host), _) => match socket_of(host) {
            Ok(socket) => vec![socket],
            Err(why) => return Ok(Err(NoEngine(vec![why]))),
        },
        (None, Some(kept)) => vec![kept.to_path_buf()],
        (None, None) => usual(|name| std::env::var(name).ok()),
    };
    let only = sockets.len() == 1;
    let mut reasons = Vec::new();
    for socket in sockets {
        if !only && !socket.exists() {
            continue;
        }
        let answer = tokio::select! {
            answer = tokio::time::timeout(PATIENCE, greet(&socket)) => answer,
            () = cx.cancellation.cancelled() => return Err(failure::cancelled("looking for a Docker engine")),
        };
        match answer {
            Ok(Ok(engine)) => return Ok(Ok(engine)),
            Ok(Err(why)) => reasons.push(format!("`{}`: {why}", socket.display())),
            Err(_) => reasons.push(format!("`{}`: it does not answer", socket.display())),
        }
    }
    Ok(Err(NoEngine(reasons)))
}

/// The socket that a value of `DOCKER_HOST` names.
fn socket_of(host: &str) -> std::result::Result<PathBuf, String> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(format!(
            "DOCKER_HOST is `{host}`, and only an engine of this machine can be used, `unix:///path/to/socket`"
        )),
    }
}

/// The usual sockets, as far as their variables are set.
fn usual(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let expand = |pattern: &String| match pattern.strip_prefix('$') {
        None => Some(PathBuf::from(pattern)),
        Some(rest) => {
            let (name, below) = rest.split_once('/')?;
            let value = variable(name).filter(|value| value.starts_with('/'))?;
            Some(Path::new(&value).join(below))
        }
    };
    KNOWN.sockets.iter().filter_map(expand).collect()
}

async fn greet(socket: &Path) -> std::result::Result<Engine, String> {
    let reply = call::exchange(socket, "GET", "/version", None).await?;
    if reply.status != 200 {
        return Err(format!("it answers {} to a question for its version", reply.status));
    }
    let version: Version =
        serde_json::from_slice(&reply.body).map_err(|error| format!("what answers is no engine: {error}"))?;
    Ok(Engine {
        socket: socket.to_path_buf(),
        podman: version.components.iter().any(|component| component.name.contains("Podman")),
        version: speak(&version.api_version, &version.min_api_version, &KNOWN.newest_api)?,
    })
}

/// The newest version that both sides know.
fn speak(newest: &str, oldest: &str, ours: &str) -> std::result::Result<String, String> {
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let (Some(theirs), Some(ours)) = (number(newest), number(ours)) else {
        return Err(format!("it speaks version `{newest}` of the API, which cannot be read"));
    };
    let (major, minor) = theirs.min(ours).max(number(oldest).unwrap_or_default());
    Ok(format!("{major}.{minor}"))
}

/// The engine that holds something of ours does not answer.
pub(super) fn unavailable(what: &str, why: &NoEngine) -> ProviderError {
    ProviderError::new(ErrorKind::Unavailable, format!("{what} runs in a container, and {why}")).with_help(
        "start the engine (`systemctl start docker`, or Docker Desktop) and run the same command again",
    )
}

impl NoEngine {
    /// The same for a server that is kept there.
    pub(crate) fn unavailable(&self, what: &str) -> ProviderError {
        unavailable(what, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_must_be_on_this_machine() {
        assert_eq!(socket_of("unix:///run/d.sock"), Ok(PathBuf::from("/run/d.sock")));
        for remote in
            ["tcp://10.0.0.1:2375", "ssh://me@host", "npipe:////./pipe/docker_engine", "unix://d.sock"]
        {
            assert!(socket_of(remote).unwrap_err().contains("of this machine"), "{remote}");
        }
    }

    #[test]
    fn sockets_of_unset_variables_are_passed_over() {
        let sockets = usual(|name| (name == "XDG_RUNTIME_DIR").then(|| "/run/user/7".to_owned()));
        assert!(sockets.contains(&PathBuf::from("/run/user/7/docker.sock")));
        assert!(sockets.contains(&PathBuf::from("/var/run/docker.sock")));
        assert!(sockets.iter().all(|socket| !socket.to_string_lossy().contains('$')));
        assert_eq!(usual(|_| None).len(), 2);
    }

    #[test]
    fn both_sides_know_the_version() {
        assert_eq!(speak("1.41", "1.12", "1.51").unwrap(), "1.41");
        assert_eq!(speak("1.60", "1.44", "1.51").unwrap(), "1.51");
        assert_eq!(speak("1.90", "1.60", "1.51").unwrap(), "1.60");
        assert_eq!(speak("1.9", "", "1.51").unwrap(), "1.9");
        assert!(speak("new", "", "1.51").is_err());
    }
}
