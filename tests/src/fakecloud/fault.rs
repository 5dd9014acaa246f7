use std::time::Duration;

use vrooli_deploy_core::provider::ErrorKind;

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The client dies before anything was sent.
    BeforeSend,
    /// The call takes effect, and the client dies before it hears so.
    AfterSend,
    /// The call takes effect, and its answer is lost: the client lives and does not know.
    LostReply,
    /// The client dies, and the call takes effect this much later.
    Forwarded(Duration),
    /// The call is refused and has no effect.
    Refuse(ErrorKind, String),
    /// The call takes effect, and is refused: of several calls that it stands for, a later one was.
    RefuseHalfway(ErrorKind, String),
}

impl Fault {
    /// The four ways in which a call and a client can part.
    pub const PARTINGS: [fn() -> Self; 4] = [
        || Self::BeforeSend,
        || Self::AfterSend,
        || Self::LostReply,
        || Self::Forwarded(Duration::from_secs(5)),
    ];

    /// Does the client die of it?
    #[must_use]
    pub fn kills(&self) -> bool {
        matches!(self, Self::BeforeSend | Self::AfterSend | Self::Forwarded(_))
    }
}

/// Which calls a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum When {
    /// The call with this number, counted from 0 since the cloud was made.
    Number(u64),
    /// The next call of this name, about this kind if one is given.
    Call { name: &'static str, kind: Option<String> },
    /// Every call of this name about a subject that contains the text.
    Always { name: &'static str, about: String },
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// `create`, `describe`, `start`, ….
    pub name: &'static str,
    /// The kind, or `fleet`.
    pub kind: String,
    /// What it is about: a key, a unit, a release.
    pub about: String,
    /// Does it change anything?
    pub changes: bool,
}
