//! What the operating system says, as a [`ProviderError`].

use std::io;
use std::path::Path;

use vrooli_deploy_core::provider::{ErrorKind, ProviderError};
use vrooli_deploy_core::secrets::SecretError;

/// What kind of failure it is.
pub(crate) fn kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Permission,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Unexpected,
    }
}

/// `cannot <action> <path>: <why>`, for `map_err`.
pub(crate) fn at<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> ProviderError + 'a {
    move |error| {
        // Our own path goes through a descriptor; a person knows the folder by its name.
        let named = real(path);
        let failure =
            ProviderError::new(kind(&error), format!("cannot {action} `{}`: {error}", named.display()));
        match failure.kind() {
            ErrorKind::Quota => {
                failure.with_help("free some space on that disk and run the same command again")
            }
            ErrorKind::Permission => {
                failure.with_help("check who owns it, or choose another folder with `--state-dir`")
            }
            _ => failure,
        }
    }
}

/// The path as it is called, when it begins with a descriptor of ours.
pub(crate) fn real(path: &Path) -> std::path::PathBuf {
    let mut parts = path.components();
    let start: std::path::PathBuf = parts.by_ref().take(5).collect();
    if start.starts_with("/proc/self/fd")
        && let Ok(name) = std::fs::read_link(&start)
    {
        return name.join(parts.as_path());
    }
    path.to_owned()
}

/// The secret store failed. The message holds no part of a value.
pub(crate) fn secret(error: SecretError) -> ProviderError {
    let kind = match error {
        SecretError::Key { .. } => ErrorKind::Auth,
        SecretError::NotFound { .. } => ErrorKind::NotFound,
        _ => ErrorKind::Unexpected,
    };
    let failure = ProviderError::new(kind, error.to_string()).with_source(error);
    match kind {
        ErrorKind::Auth => failure.with_help("run the command with the key that the store was made with"),
        _ => failure,
    }
}
