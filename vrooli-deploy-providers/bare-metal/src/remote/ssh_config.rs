//! What we say to `ssh` before the user's own configuration has its say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::RemoteError;

/// How long `ssh` waits for answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a connection, its greeting and its keys.
    pub(super) connect: Duration,
    /// Between two questions whether the host is still there; three without an answer end it.
    pub(super) alive: Duration,
}

/// A configuration whose first word wins: strict keys, ours beside the user's, and nothing that
/// asks, forwards or writes; then everything that the user says.
///
/// # Errors
/// When a path cannot be written into such a file.
pub(super) fn text(
    known_hosts: &Path,
    user_config: Option<&Path>,
    patience: Patience,
) -> Result<String, RemoteError> {
    let known_hosts = quoted(known_hosts)?;
    let user_config = match user_config {
        Some(path) => format!("Include {}", quoted(path)?),
        // `ssh` itself knows where these are, whoever we are.
        None => "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config".to_owned(),
    };
    Ok(format!(
        "Match all
StrictHostKeyChecking yes
GlobalKnownHostsFile {known_hosts} /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
UpdateHostKeys no
HashKnownHosts no
CheckHostIP no
VerifyHostKeyDNS no
BatchMode yes
ConnectTimeout {}
ConnectionAttempts 1
ServerAliveInterval {}
ServerAliveCountMax 3
TCPKeepAlive yes
ClearAllForwardings yes
ForwardAgent no
ForwardX11 no
PermitLocalCommand no
RemoteCommand none
RequestTTY no
LogLevel ERROR
{user_config}
",
        patience.connect.as_secs().max(1),
        patience.alive.as_secs().max(1),
    ))
}

/// The files that say where a host is, whose keys are known and who logs in.
pub(super) fn decided_by(known_hosts: &Path, user_config: Option<&Path>) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let own = |name: &str| home.join(".ssh").join(name);
    let mut files = vec![known_hosts.to_owned(), own("known_hosts"), "/etc/ssh/ssh_known_hosts".into()];
    match user_config {
        Some(file) => files.push(file.to_owned()),
        None => files.extend([own("config"), "/etc/ssh/ssh_config".into()]),
    }
    files
}

fn quoted(path: &Path) -> Result<String, RemoteError> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\n', '\r']) => Ok(format!("\"{text}\"")),
        _ => Err(RemoteError::File {
            file: path.display().to_string(),
            words: "its path has a quotation mark, a line break or bytes that are no text".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { connect: Duration::from_secs(10), alive: Duration::from_millis(1) };

    #[test]
    fn ours_comes_before_the_user_s() {
        let text = text(Path::new("/a b/known_hosts"), Some(Path::new("/c/config")), PATIENCE).unwrap();
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word}"));
        assert!(at("StrictHostKeyChecking yes") < at("Include \"/c/config\""), "{text}");
        assert!(text.contains("GlobalKnownHostsFile \"/a b/known_hosts\" "), "{text}");
        assert!(text.contains("ServerAliveInterval 1\n"), "{text}");
        assert!(!text.contains("\nUserKnownHostsFile"), "{text}");
    }

    #[test]
    fn a_path_cannot_say_more_than_a_path() {
        assert!(text(Path::new("/a\"\nProxyCommand x"), None, PATIENCE).is_err());
    }
}
