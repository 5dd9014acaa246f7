use std::collections::BTreeSet;
use std::fmt::{self, Debug};

use async_trait::async_trait;
use serde_json::Value;

use super::context::OpCtx;
use super::error::Result;
use crate::names::{ResourceKey, ResourceKind};

/// Says, before anything is made, what the limits of an account leave for it.
#[async_trait]
pub trait Quotas: Debug + Send + Sync {
    /// Of each limit that these resources count against what it is, what is in use (by whomever), and
    /// what they add. Reads only. Where nothing counts against any, no call is made. What cannot be
    /// asked is [`QuotaSeen::Unknown`] and no error: whether there is room shows when it is made.
    async fn readings(&self, cx: &OpCtx, added: &[Added<'_>]) -> Result<Vec<QuotaReading>>;
}

/// A resource that a plan makes.
#[derive(Debug, Clone, Copy)]
pub struct Added<'a> {
    /// Its key.
    pub key: &'a ResourceKey,
    /// Its kind.
    pub kind: &'a ResourceKind,
    /// `Spec<Wanted>`.
    pub spec: &'a Value,
}

/// A limit of an account, held against what a plan adds.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaReading {
    /// What the provider calls it.
    pub name: String,
    /// Where it holds: a region, a zone; `None`: in the whole account.
    pub place: Option<String>,
    /// How much is added, in the limit's own unit.
    pub needed: f64,
    /// What adds it.
    pub keys: BTreeSet<ResourceKey>,
    /// What there is.
    pub seen: QuotaSeen,
    /// What to do when that is too little: the command that raises it, where it can be raised.
    pub raise: String,
}

/// What is known of a limit.
#[derive(Debug, Clone, PartialEq)]
pub enum QuotaSeen {
    /// It was asked.
    Known {
        /// How much there may be.
        limit: f64,
        /// How much there is already.
        in_use: f64,
    },
    /// It could not be asked.
    Unknown {
        /// Why not.
        why: String,
        /// How much an account may have as a rule, where that is known.
        usual: Option<f64>,
    },
}

impl QuotaReading {
    /// Would there be more than there may?
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.seen, QuotaSeen::Known { limit, in_use } if in_use + self.needed > limit)
    }
}

/// `"VPCs per Region" of us-east-1 is 5: 5 in use, 1 more wanted (network/vpc)`.
impl fmt::Display for QuotaReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.name)?;
        if let Some(place) = &self.place {
            write!(f, " of {place}")?;
        }
        let keys = self.keys.iter().map(ResourceKey::as_str).collect::<Vec<_>>().join(", ");
        match &self.seen {
            QuotaSeen::Known { limit, in_use } => {
                write!(f, " is {limit}: {in_use} in use, {} more wanted ({keys})", self.needed)
            }
            QuotaSeen::Unknown { usual, .. } => {
                write!(f, " is not known")?;
                if let Some(usual) = usual {
                    write!(f, " (as a rule {usual})")?;
                }
                write!(f, ": {} more wanted ({keys})", self.needed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(needed: f64, seen: QuotaSeen) -> QuotaReading {
        let keys = BTreeSet::from([ResourceKey::new("network/vpc").unwrap()]);
        let place = Some("us-east-1".to_owned());
        QuotaReading { name: "VPCs per Region".to_owned(), place, needed, keys, seen, raise: String::new() }
    }

    fn no_right() -> QuotaSeen {
        QuotaSeen::Unknown { why: "no right".to_owned(), usual: Some(5.0) }
    }

    #[test]
    fn what_just_fits_is_not_over() {
        let of = |needed, in_use| reading(needed, QuotaSeen::Known { limit: 5.0, in_use });
        assert!(!of(1.0, 4.0).is_over());
        assert!(of(1.0, 5.0).is_over());
        assert!(of(0.25, 4.8).is_over());
        assert!(!reading(9.0, no_right()).is_over());
    }

    #[test]
    fn it_reads_as_a_sentence() {
        let known = reading(1.0, QuotaSeen::Known { limit: 5.0, in_use: 4.5 });
        assert_eq!(
            known.to_string(),
            "\"VPCs per Region\" of us-east-1 is 5: 4.5 in use, 1 more wanted (network/vpc)"
        );
        let unknown = QuotaReading { place: None, ..reading(1.0, no_right()) };
        assert_eq!(
            unknown.to_string(),
            "\"VPCs per Region\" is not known (as a rule 5): 1 more wanted (network/vpc)"
        );
    }
}
