//! An emulator and the proxy before it.

use std::io;
use std::path::{Path, PathBuf};

use vrooli_deploy_tests::fault_proxy::FaultProxy;
use vrooli_deploy_tests::moto::census::Census;
use vrooli_deploy_tests::moto::corrections::AS_AWS;
use vrooli_deploy_tests::moto::{Emulator, asked};

/// The keys that the emulator takes: any.
pub(crate) const KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "not-a-real-key")];

/// One that nobody else uses. Gone when dropped.
pub(crate) struct Stand {
    pub(crate) emulator: Emulator,
    pub(crate) proxy: FaultProxy,
    /// What is in an account before anybody does anything.
    pub(crate) fresh: Census,
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/aws")
}

/// The checkout.
pub(crate) fn checkout() -> io::Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()
}

impl Stand {
    pub(crate) async fn up() -> io::Result<Self> {
        let emulator = tokio::task::spawn_blocking(Emulator::start).await?.map_err(io::Error::other)?;
        let proxy = FaultProxy::start(emulator.address()).await?;
        proxy.set_correction(AS_AWS);
        let mut stand = Self { emulator, proxy, fresh: Census::default() };
        stand.fresh = stand.census().await?;
        Ok(stand)
    }

    /// Asked past the proxy: it costs no latency and is not counted.
    pub(crate) async fn census(&self) -> io::Result<Census> {
        let address = self.emulator.address();
        tokio::task::spawn_blocking(move || Census::take(address)).await?
    }

    /// An account in which nobody has done anything.
    pub(crate) async fn reset(&self) -> io::Result<()> {
        let address = self.emulator.address();
        let ask = move || asked(address, "POST", "/moto-api/reset", "", "");
        let said = tokio::task::spawn_blocking(ask).await??;
        let there = self.census().await?.against(&self.fresh);
        if said.contains(" 200 ") && there.is_none() {
            return Ok(());
        }
        Err(io::Error::other(format!("the emulator cannot be reset: {there:?}")))
    }
}
