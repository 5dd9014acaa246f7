use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::context::OpCtx;
use super::error::Result;
use super::fleet::{Artefact, BuildRequest};
use crate::names::{Digest, StackId};

/// Makes artefacts on this machine, for fleets that carry them elsewhere.
#[async_trait]
pub trait ArtefactBuilder: Debug + Send + Sync {
    /// See [`Fleet::source_digest`](super::Fleet::source_digest).
    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest>;
    /// See [`Fleet::build`](super::Fleet::build).
    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact>;
    /// The folder that an artefact lies in. It may have been taken away since it was built.
    ///
    /// # Errors
    /// When its location is none of this builder's.
    fn folder(&self, artefact: &Artefact) -> Result<PathBuf>;
    /// Takes away what was built of a stack, but for those artefacts.
    ///
    /// # Errors
    /// When something cannot be removed.
    fn prune(&self, stack: &StackId, keep: &BTreeSet<Digest>) -> Result<()>;
}

/// Opens a builder for a state folder. Makes nothing.
pub type OpenBuilder = Arc<dyn Fn(&Path) -> Arc<dyn ArtefactBuilder> + Send + Sync>;
