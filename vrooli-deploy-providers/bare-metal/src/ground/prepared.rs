use vrooli_deploy_core::provider::{Field, ResourceKindDef};

use super::{HostSurvey, Place};

/// A kind that is prepared on a host: how it is seen, and what its function of the script reads.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "partly only asked for by the native half"))]
pub(crate) trait Prepared: ResourceKindDef + Copy {
    /// What every form of the spec is: it holds no reference.
    type Plain: Field;
    /// The word for the kind in the script.
    const WORD: &'static str;
    /// In which order kinds are changed.
    const RANK: u8;
    /// The server.
    fn host(want: &Self::Plain) -> &str;
    /// What we call it, after the server's name.
    fn name(want: &Self::Plain, place: &Place) -> String;
    /// What the script reads to bring it about, or to remove it.
    fn items(want: &Self::Plain, place: &Place) -> Vec<Vec<String>>;
    /// How it is: what is recorded of it, and what was seen.
    fn observe(want: &Self::Plain, place: &Place, seen: &HostSurvey) -> Self::Observed;
    /// Checks what a type cannot say, before anything is sent.
    fn check(want: &Self::Plain, place: &Place) -> std::result::Result<(), String>;
}
