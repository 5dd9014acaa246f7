//! Is the new release as good as the old one? A pure function of what was measured of both
//! over the same time; it may be asked again and again while more comes in.

mod samples;
mod sequential_judge;

use std::fmt::Debug;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use samples::{Sample, Samples};
pub use sequential_judge::Sequential;

/// What is thought of a new release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Enough was seen, and it is not worse than the old one.
    Pass,
    /// It is worse than the old one.
    Fail {
        /// In what, with figures.
        reason: String,
    },
    /// Too little was seen to say so or so.
    Inconclusive {
        /// What is missing.
        reason: String,
    },
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::Inconclusive { .. } => "inconclusive",
        }
    }

    /// Why, where there is a reason.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Fail { reason } | Self::Inconclusive { reason } => Some(reason),
        }
    }
}

/// Judges a new release by what was measured.
pub trait Judge: Debug + Send + Sync {
    /// The name of the method, for people.
    fn name(&self) -> &'static str;
    /// A verdict on everything seen so far. Asked at every look, with all samples since the
    /// watch began: a method that must know its earlier looks finds them in the slices. `Fail`
    /// ends the watch at once; `Pass` and `Inconclusive` count when its time is over.
    ///
    /// `old` is the release that served before. Where it still gets requests, its slices are
    /// of the same times as those of `new`; where it does not, only what it did before is known.
    fn judge(&self, rules: &WatchRules, old: &Samples, new: &Samples, elapsed: Duration) -> Verdict;
}

/// What a watch goes by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchRules {
    /// Requests to the new release below which nothing is concluded.
    pub min_requests: u64,
    /// What to do when its time is over and too little was seen.
    pub inconclusive: Inconclusive,
    /// The watch ends then, whatever was seen: from its beginning.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub deadline: Duration,
}

/// What to do when too little was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Inconclusive {
    /// Ask the new release itself, by its probes and smoke tests: well is good enough.
    #[default]
    Probe,
    /// Go on watching until the deadline; then fail.
    Extend,
    /// Hold: a person decides.
    Hold,
    /// Go back.
    Fail,
}

impl Inconclusive {
    /// The word for it in manifests.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Extend => "extend",
            Self::Hold => "hold",
            Self::Fail => "fail",
        }
    }
}

/// Requests that are needed for a verdict when the manifest does not say.
pub const MIN_REQUESTS: u64 = 50;
