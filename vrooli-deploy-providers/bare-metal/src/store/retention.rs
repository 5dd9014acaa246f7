use std::collections::BTreeSet;

use vrooli_deploy_core::names::Digest;

/// Which artefacts of an app stay on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// So many stay beside those that are needed, the ones that were delivered last. What would
    /// not fit otherwise is made room for: then none of them do. Default 3.
    pub keep: usize,
    /// These stay, however old, by the digests that they were delivered under: what runs, and what
    /// a rollback would go to.
    pub needed: BTreeSet<Digest>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: 3, needed: BTreeSet::new() }
    }
}

impl Retention {
    /// The default, with what is needed.
    #[must_use]
    pub fn needing(needed: impl IntoIterator<Item = Digest>) -> Self {
        Self { needed: needed.into_iter().collect(), ..Self::default() }
    }
}
