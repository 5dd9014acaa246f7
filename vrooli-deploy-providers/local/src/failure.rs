//! What the operating system says, as a [`ProviderError`].

use std::io;
use std::path::Path;

use vrooli_deploy_core::names::NameError;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError};
use vrooli_deploy_core::secrets::SecretError;

/// `cannot <action> <path>: <why>`, with the kind and the help that fit.
pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> ProviderError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Permission,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unexpected,
    };
    let failure = ProviderError::new(kind, format!("cannot {action} `{}`: {error}", path.display()));
    match kind {
        ErrorKind::Quota => failure.with_help("free some space on that disk and run the same command again"),
        ErrorKind::Permission => {
            failure.with_help("check who owns it, or choose another folder with `--state-dir`")
        }
        _ => failure,
    }
}

/// The same as a closure for `map_err`.
pub(crate) fn at<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> ProviderError + 'a {
    move |error| io(action, path, &error)
}

/// The secret store failed.
pub(crate) fn secret(error: SecretError) -> ProviderError {
    ProviderError::new(ErrorKind::Unexpected, error.to_string()).with_source(error)
}

/// Something that we made ourselves is no valid name.
pub(crate) fn name(error: &NameError) -> ProviderError {
    ProviderError::new(ErrorKind::Unexpected, error.to_string())
}

/// The caller asked to stop.
pub(crate) fn cancelled(what: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Cancelled, format!("{what} was interrupted"))
}
