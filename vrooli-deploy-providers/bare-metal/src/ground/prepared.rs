use vrooli_deploy_core::provider::{Field, ResourceKindDef, Result};
use vrooli_deploy_core::secrets::Secret;

use super::{HostSurvey, Place};

/// What a kind may look at when it says what its function reads.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only made by the native half"))]
pub(crate) struct Making<'a> {
    /// Whose it is.
    pub(crate) place: &'a Place,
    /// How the host is.
    pub(crate) seen: &'a HostSurvey,
    /// Its password, where it has one and is not being deleted.
    pub(crate) password: Option<&'a Secret<String>>,
}

/// A kind that is prepared on a host: how it is seen, and what its function of the script reads.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "partly only asked for by the native half"))]
pub(crate) trait Prepared: ResourceKindDef + Copy {
    /// What is recorded of it, and given to its script: every reference is resolved.
    type Plain: Field;
    /// The word for the kind in the script.
    const WORD: &'static str;
    /// In which order kinds are changed.
    const RANK: u8;
    /// Does it look at the host before it says what its function reads?
    const LOOKS: bool = false;
    /// Has it a password? It is in the secret store before a host hears of it, and outputs that tell it
    /// are secret.
    const PASSWORD: bool = false;
    /// The server.
    fn host(want: &Self::Plain) -> &str;
    /// What we call it, after the server's name.
    fn name(want: &Self::Plain, place: &Place) -> String;
    /// What the script reads to bring it about, or to remove it, on whatever host.
    fn items(_: &Self::Plain, _: &Place) -> Vec<Vec<String>> {
        Vec::new()
    }
    /// The same where it hangs on how the host is, or on a password.
    ///
    /// # Errors
    /// Why it cannot be brought about on this host.
    fn items_there(want: &Self::Plain, making: &Making<'_>) -> Result<Vec<Vec<String>>> {
        Ok(Self::items(want, making.place))
    }
    /// How it is: what is recorded of it, and what was seen.
    fn observe(want: &Self::Plain, place: &Place, seen: &HostSurvey) -> Self::Observed;
    /// Checks what a type cannot say, before anything is sent.
    fn check(want: &Self::Plain, place: &Place) -> std::result::Result<(), String>;
    /// Its secret outputs.
    fn secrets(_: &Self::Observed, _: &Secret<String>) -> Vec<(&'static str, Secret<String>)> {
        Vec::new()
    }
}
