use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One version of something that a workspace keeps beside its stacks: a profile, a key of
/// its configuration. Versions are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// What sort of thing: `profile`, `config`.
    pub collection: String,
    /// Which: `profile-3`, `do_token`. Never given to another thing, also once it is deleted.
    pub key: String,
    /// Counts from 1, without gaps.
    pub version: u32,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What was done, for people.
    pub reason: String,
    /// A name that no other living thing of the collection has.
    pub name: Option<String>,
    /// What it is from here on; `None`: it is deleted.
    pub body: Option<Value>,
}

/// A version that is to be added. It becomes version `expected + 1`, or nothing is written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRevision {
    /// See [`Revision::collection`].
    pub collection: String,
    /// See [`Revision::key`].
    pub key: String,
    /// The version that must be the last one; 0 when there must be none yet.
    pub expected: u32,
    /// See [`Revision::by`].
    pub by: String,
    /// See [`Revision::reason`].
    pub reason: String,
    /// See [`Revision::name`].
    pub name: Option<String>,
    /// See [`Revision::body`].
    pub body: Option<Value>,
}
