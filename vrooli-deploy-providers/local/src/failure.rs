//! What the operating system says, as a [`ProviderError`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use vrooli_deploy_core::names::NameError;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::secrets::SecretError;

/// What kind of failure it is.
pub(crate) fn kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Permission,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Unexpected,
    }
}

/// `cannot <action> <path>: <why>`, with the kind and the help that fit.
pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> ProviderError {
    let kind = kind(error);
    // Our own path may go through a descriptor; a person knows the folder by its name.
    let failure = ProviderError::new(kind, format!("cannot {action} `{}`: {error}", real(path).display()));
    match kind {
        ErrorKind::Quota => failure.with_help("free some space on that disk and run the same command again"),
        ErrorKind::Permission => {
            failure.with_help("check who owns it, or choose another folder with `--state-dir`")
        }
        _ => failure,
    }
}

/// The path as it is called, when it begins with a descriptor of ours.
pub(crate) fn real(path: &Path) -> PathBuf {
    let mut parts = path.components();
    let start: PathBuf = parts.by_ref().take(5).collect();
    if start.starts_with("/proc/self/fd")
        && let Ok(name) = std::fs::read_link(&start)
    {
        return name.join(parts.as_path());
    }
    path.to_owned()
}

/// The same as a closure for `map_err`.
pub(crate) fn at<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> ProviderError + 'a {
    move |error| io(action, path, &error)
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

/// Something that we made ourselves is no valid name.
pub(crate) fn name(error: &NameError) -> ProviderError {
    ProviderError::new(ErrorKind::Unexpected, error.to_string())
}

/// Refuses to begin a call that was cancelled or whose time is over.
pub(crate) fn may_begin(cx: &OpCtx, what: &str) -> Result<()> {
    if cx.cancellation.is_cancelled() {
        return Err(cancelled(what));
    }
    if Instant::now() >= cx.deadline {
        return Err(ProviderError::new(ErrorKind::Timeout, format!("no time was left for {what}")));
    }
    Ok(())
}

/// The caller asked to stop.
pub(crate) fn cancelled(what: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Cancelled, format!("{what} was interrupted"))
}
