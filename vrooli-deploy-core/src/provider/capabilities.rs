use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::ResourceKind;

/// What this composed stack of provider and layers can do. Tested: what is advertised
/// works, what is not is refused without a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Kinds and how well they are supported.
    pub kinds: BTreeMap<ResourceKind, KindSupport>,
    /// What the fleet can do; `None` when there is no fleet.
    pub fleet: Option<FleetCapabilities>,
}

/// How well a kind is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSupport {
    /// Can calls be made, or is only the pure half compiled?
    pub native: bool,
    /// What keeps a create from happening twice.
    pub create_token: CreateToken,
    /// How long a lost create may still land.
    #[serde(with = "crate::duration")]
    pub settle: Duration,
}

/// What keeps a create from happening twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateToken {
    /// The provider takes an idempotency token.
    Native,
    /// The name is derived from the key and unique.
    Name,
    /// Only marks on the object: found by looking.
    Marks,
}

/// What a fleet can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FleetCapabilities {
    /// The old release can be kept running beside the new one (blue-green and canary need it).
    pub keeps_old: bool,
    /// Traffic can be split by weight.
    pub weights: bool,
    /// A route with `revert_at` goes back by itself when its time has come.
    pub reverts: bool,
    /// Something of ours runs there that goes on watching a release when nobody else does
    /// (`--no-wait` needs it).
    pub keeps_watch: bool,
    /// Files (schema, migrations, seeds) are applied to the databases that a release uses.
    pub migrates: bool,
    /// Requests are counted for each release ([`Fleet::samples`](super::Fleet::samples)).
    pub measures: bool,
    /// It runs images: such as are given by their digests.
    #[serde(default)]
    pub images: bool,
    /// It runs services as programs of its machines, and in containers where they say so.
    #[serde(default)]
    pub containers: bool,
    /// It runs images and can build the app's own, where none is given.
    #[serde(default)]
    pub builds_images: bool,
    /// Units of a release that listen start and stop together: none of them can rest while others
    /// serve. A rolling change moves traffic alone, in the proportion of so many of them at a time.
    #[serde(default)]
    pub whole: bool,
}
