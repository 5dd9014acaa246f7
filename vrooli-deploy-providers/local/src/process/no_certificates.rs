//! What a build without TLS knows of certificates: nothing.

use jiff::Timestamp;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::{CertificateRequest, CertificateSeen, ErrorKind, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use crate::layout::Layout;

/// What a stack was asked to be served with.
#[derive(Debug)]
pub(crate) enum Kept {}

impl Kept {
    pub(crate) fn keep(_: &Layout, _: &StackId, _: CertificateRequest, _: Timestamp) -> Result<()> {
        Err(unsupported())
    }

    #[expect(clippy::unnecessary_wraps, reason = "with TLS files are removed")]
    pub(crate) fn forget(_: &Layout, _: &StackId) -> Result<()> {
        Ok(())
    }

    pub(crate) fn put_carried(_: &Layout, _: &StackId, _: &Secret<Vec<u8>>) -> Result<()> {
        Err(unsupported())
    }

    pub(crate) fn give(_: &Layout, _: &StackId) -> Result<Secret<Vec<u8>>> {
        Err(unsupported())
    }
}

/// The certificate of a stack: there is none.
#[expect(clippy::unnecessary_wraps, reason = "with TLS files are read")]
pub(crate) fn seen(_: &Layout, _: &StackId) -> Result<Option<CertificateSeen>> {
    Ok(None)
}

fn unsupported() -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, "this program was built without TLS")
        .with_code(rules::NO_TLS.to_string())
        .with_help("build it with `--features tls` and deploy again")
}
