use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::context::OpCtx;
use super::error::Result;
use super::fleet::{Artefact, BuildRequest};
use crate::names::{Digest, StackId};
use crate::render::FileTree;
use crate::secrets::Secret;

/// Makes artefacts on this machine, for fleets that carry them elsewhere.
#[async_trait]
pub trait ArtefactBuilder: Debug + Send + Sync {
    /// See [`Fleet::source_digest`](super::Fleet::source_digest).
    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest>;
    /// See [`Fleet::foresee`](super::Fleet::foresee).
    async fn foresee(&self, _cx: &OpCtx, _request: &BuildRequest) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// See [`Fleet::build`](super::Fleet::build).
    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact>;
    /// The folder that an artefact lies in. It may have been taken away since it was built.
    ///
    /// # Errors
    /// When its location is none of this builder's.
    fn folder(&self, artefact: &Artefact) -> Result<PathBuf>;
    /// Takes away what was built of the stack, but for those artefacts. Where none is needed, as after a first
    /// deployment that failed, what was built last stays for the next try.
    ///
    /// # Errors
    /// When something cannot be removed.
    async fn prune(&self, cx: &OpCtx, keep: &BTreeSet<Digest>) -> Result<()>;
    /// Takes away all that builds of the stack left.
    ///
    /// # Errors
    /// When something cannot be removed.
    async fn forget(&self, cx: &OpCtx) -> Result<()>;
    /// Writes an image that a service of an artefact runs from to a file, as `docker save` does.
    ///
    /// # Errors
    /// `NotFound` when it is not here any more.
    async fn save_image(&self, cx: &OpCtx, id: &Digest, to: &Path) -> Result<()>;
}

/// Opens a builder for a state folder. Makes nothing.
pub type OpenBuilder = Arc<dyn Fn(&Path) -> Arc<dyn ArtefactBuilder> + Send + Sync>;

/// Makes images on this machine, for fleets that run them elsewhere.
#[async_trait]
pub trait ImageBuilder: Debug + Send + Sync {
    /// What an image would be made from. Reads files only, and needs no engine. `platform` is the runtime's,
    /// in the words of images: `linux/amd64`.
    ///
    /// # Errors
    /// `Config` when the app cannot become an image, or a base image is not named by its digest.
    async fn source(&self, cx: &OpCtx, request: &BuildRequest, platform: &str) -> Result<ImageSource>;
    /// The Dockerfile that an image would be built by (`Dockerfile`), with what is left out of its context
    /// (`Dockerfile.dockerignore`), for people and other tools. Reads files only.
    ///
    /// # Errors
    /// As [`source`](Self::source); `AlreadyExists` for an app that has a Dockerfile of its own.
    fn written(&self, stack: &StackId, request: &BuildRequest) -> Result<FileTree>;
    /// Is there what builds images? Asked before anything is made for one.
    ///
    /// # Errors
    /// `Missing` with what to start or install.
    async fn is_ready(&self, cx: &OpCtx) -> Result<()>;
    /// The image of those sources in a repository, whose tag is their digest: the one that is there, else built
    /// and pushed. The artefact's location names it by its digest, its root is the manifest's folder in it.
    ///
    /// # Errors
    /// `App` when a step fails, with its last lines; `Permission` when the registry does not take it; `Config`
    /// when what was built is for another platform.
    async fn publish(
        &self,
        cx: &OpCtx,
        request: &BuildRequest,
        platform: &str,
        to: &ImageRepository,
    ) -> Result<Artefact>;
}

/// What an image would be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// Of files, Dockerfile, base images and platform.
    pub digest: Digest,
    /// What would be done, a sentence each: from which base images.
    pub notes: Vec<String>,
}

/// Where images are kept, and who we are there.
#[derive(Debug, Clone)]
pub struct ImageRepository {
    /// Its name, without a tag: `registry.example.com/shop`.
    pub name: String,
    /// The account.
    pub user: String,
    /// Its password or token.
    pub password: Secret<String>,
}

/// Opens a builder of images for a state folder. Makes nothing.
pub type OpenImageBuilder = Arc<dyn Fn(&Path) -> Arc<dyn ImageBuilder> + Send + Sync>;
