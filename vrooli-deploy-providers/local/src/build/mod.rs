//! From sources to an artefact: in a work copy that is kept between builds, in a clean
//! environment, with the user's tree only ever read.

mod artefact;
mod contained;
mod guard;
mod hashes;
mod image;
mod node;
mod page;
mod select;
mod source;
mod step;
mod work;

pub use guard::{Guard, run_build_step};
pub use image::{Images, image_builder};

pub(crate) use contained::engine_of;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use vrooli_deploy_core::manifest::BuildStep;
use vrooli_deploy_core::names::{Digest, StackId};
use vrooli_deploy_core::provider::{
    Artefact, ArtefactBuilder, BuildRequest, ErrorKind, OpCtx, ProviderError, Result,
};
use vrooli_deploy_core::release::migration::join_inside;
use vrooli_deploy_core::sources::node::outside_workspace;

use crate::layout::Layout;
use crate::{environment, failure, files};
use source::Source;
use step::{Console, Stage};

/// Builds apps in one workspace.
#[derive(Debug, Clone)]
pub struct Builder {
    layout: Layout,
    guard: Arc<Guard>,
}

/// Builds for fleets that carry artefacts elsewhere, with the hidden subcommands of this program.
#[must_use]
pub fn builder(dir: &Path) -> Arc<dyn ArtefactBuilder> {
    let supervision = crate::process::Supervision::default();
    Arc::new(Builder::new(Layout::new(dir), supervision.build_guard()))
}

#[async_trait]
impl ArtefactBuilder for Builder {
    async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        Builder::source_digest(self, cx, request).await
    }

    async fn foresee(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Vec<String>> {
        Builder::foresee(self, cx, request).await
    }

    async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        Builder::build(self, cx, request).await
    }

    fn folder(&self, artefact: &Artefact) -> Result<PathBuf> {
        Ok(self.layout.root().join(files::inside(&artefact.location)?))
    }

    async fn prune(&self, cx: &OpCtx, keep: &BTreeSet<Digest>) -> Result<()> {
        Builder::prune(self, cx, keep).await
    }

    async fn forget(&self, cx: &OpCtx) -> Result<()> {
        self.forget_images(cx).await?;
        forget(&self.layout, &cx.stack)
    }

    async fn save_image(&self, cx: &OpCtx, id: &Digest, to: &Path) -> Result<()> {
        contained::save(&self.layout, cx, id, to).await
    }
}

impl Builder {
    /// A builder whose steps are started by this guard.
    #[must_use]
    pub fn new(layout: Layout, guard: Guard) -> Self {
        Self { layout, guard: Arc::new(guard) }
    }

    /// The digest of everything that a build reads: files, steps, what they may see, tools.
    /// Reads only. An unchanged tree costs a look at each file.
    ///
    /// # Errors
    /// When a file cannot be read, or the request does not fit together.
    pub async fn source_digest(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Digest> {
        Ok(self.read(cx, request).await?.digest)
    }

    /// Which images would be built and pulled for services that run in containers, a sentence each. Reads only.
    ///
    /// # Errors
    /// When the app cannot become an image, or a file cannot be read.
    pub async fn foresee(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Vec<String>> {
        match &request.containers {
            None => Ok(Vec::new()),
            Some(containers) => contained::foresee(&self.layout, cx, request, containers).await,
        }
    }

    /// Builds, or returns what was built from the same sources before.
    ///
    /// # Errors
    /// `App` when a step fails, with its last lines; `Missing` for a tool that is not
    /// installed, with the package that brings it; `Cancelled`, `Timeout`; what the disk says.
    pub async fn build(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Artefact> {
        let stack = &cx.stack;
        let place = self.layout.locks(stack).join("build");
        // Where nobody else builds, one look is enough.
        let alone =
            if place.exists() { files::try_lock(&place).map_err(failure::at("lock", &place))? } else { None };
        let mut source = self.read(cx, request).await?;
        if let Some(artefact) = self.built(cx, &source).await? {
            return Ok(artefact);
        }
        let lock = match alone {
            Some(lock) => lock,
            None => {
                let lock = files::lock(cx, &place, &format!("the build of {stack}")).await?;
                // Read again: whoever held the lock may have built it, and the hashes of a first
                // look are only remembered in a folder that is there by now.
                source = self.read(cx, request).await?;
                if let Some(artefact) = self.built(cx, &source).await? {
                    return Ok(artefact);
                }
                lock
            }
        };
        artefact::clean(&self.layout, stack)?;
        let source = Arc::new(source);
        let work = self.layout.work(stack);
        {
            let (source, work, cancellation) = (Arc::clone(&source), work.clone(), cx.cancellation.clone());
            blocking(move || work::update(&source, &work, &cancellation)).await?;
        }
        let images = match &request.containers {
            None => BTreeMap::new(),
            Some(containers) => contained::make(&self.layout, cx, request, containers).await?,
        };
        if !request.containers.as_ref().is_some_and(|containers| containers.all) {
            self.run(cx, request, &source, &lock).await?;
        }
        let (layout, stack, cancellation) = (self.layout.clone(), stack.clone(), cx.cancellation.clone());
        blocking(move || artefact::keep(&layout, &stack, &source, images, &cancellation)).await
    }

    /// Takes away what was built of the stack, but for those artefacts. Where none is needed what was built last
    /// stays: a first deployment that failed is tried again.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub async fn prune(&self, cx: &OpCtx, keep: &BTreeSet<Digest>) -> Result<()> {
        artefact::prune(&self.layout, &cx.stack, keep)?;
        contained::tidy(&self.layout, cx, &artefact::images(&self.layout, &cx.stack)?).await
    }

    /// Takes the images of the stack away.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn forget_images(&self, cx: &OpCtx) -> Result<()> {
        contained::tidy(&self.layout, cx, &BTreeSet::new()).await
    }

    /// What was built of these sources, if all of it is still there.
    async fn built(&self, cx: &OpCtx, source: &Source) -> Result<Option<Artefact>> {
        let Some(artefact) = artefact::built(&self.layout, &cx.stack, &source.digest)? else {
            return Ok(None);
        };
        let there = contained::are_there(&self.layout, cx, artefact.images.values()).await?;
        Ok(there.then_some(artefact))
    }

    async fn read(&self, cx: &OpCtx, request: &BuildRequest) -> Result<Source> {
        let (layout, stack, request) = (self.layout.clone(), cx.stack.clone(), request.clone());
        let cancellation = cx.cancellation.clone();
        blocking(move || source::read(&layout, &stack, &request, &cancellation)).await
    }

    async fn run(&self, cx: &OpCtx, request: &BuildRequest, source: &Source, lock: &File) -> Result<()> {
        let work =
            fs::canonicalize(self.layout.work(&cx.stack)).map_err(failure::at("find", self.layout.root()))?;
        let root = work.join(&source.root);
        let mut variables = environment::of_this_process(&request.pass_env);
        variables.extend(
            request.env.iter().map(|(name, value)| (OsString::from(name.as_str()), OsString::from(value))),
        );
        let mut stage = Stage { cx, guard: &self.guard, variables, lock, console: self.console(cx)? };
        let tree = source.tree();
        let steps: Vec<&BuildStep> =
            request.steps.iter().filter(|step| is_due(step, source, &root)).collect();
        if !steps.is_empty() {
            node::build_local_packages(&mut stage, source, &tree, &work).await?;
        }
        for step in &steps {
            let changed = outside_workspace(&step.run, &source.root, &tree);
            if changed.is_some() {
                stage.console.line(&format!(
                    "`{}`: the workspace above does not list this folder, so pnpm installs with `--ignore-workspace`",
                    step.name
                ));
            }
            stage.run(&step.name, changed.as_ref().unwrap_or(&step.run), &root).await?;
        }
        if !steps.is_empty() {
            for warning in page::missing(&root) {
                stage.console.line(&warning);
            }
        }
        Ok(())
    }

    /// The log of this build; that of the one before is kept beside it.
    fn console(&self, cx: &OpCtx) -> Result<Console> {
        let folder = self.layout.logs(&cx.stack);
        files::make_private(&folder).map_err(failure::at("make", &folder))?;
        let path = build_log(&self.layout, &cx.stack);
        files::absent_is_ok(fs::rename(&path, path.with_extension("1.log")))
            .map_err(failure::at("rename", &path))?;
        let log = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(failure::at("write", &path))?;
        Ok(Console::new(cx.output.clone(), log, path))
    }
}

/// The log of a stack's last build.
#[must_use]
pub fn build_log(layout: &Layout, stack: &StackId) -> PathBuf {
    layout.logs(stack).join("build.log")
}

/// Removes everything that builds of a stack left: work copy, memory, artefacts, logs.
///
/// # Errors
/// When something cannot be removed.
pub fn forget(layout: &Layout, stack: &StackId) -> Result<()> {
    let work = layout.work(stack);
    let log = build_log(layout, stack);
    let all = [
        work.with_extension("list"),
        work.with_extension("pending"),
        work.with_extension("packages"),
        work,
        layout.stack(stack).join("hashes"),
        layout.built(stack),
        layout.artefacts(stack),
        log.with_extension("1.log"),
        log,
    ];
    all.iter().try_for_each(|path| files::remove_tree(path).map_err(failure::at("remove", path)))
}

/// Does a step's condition hold, as it would in a fresh copy? What earlier builds left
/// must not make a step look done: only the sources count for `unless_exists`.
fn is_due(step: &BuildStep, source: &Source, root: &Path) -> bool {
    let inside = |path: &str| join_inside(Path::new(""), path);
    let is_source = |path: &str| {
        inside(path).is_some_and(|path| {
            let path = source.root.join(path);
            source.entries.iter().any(|(entry, _)| entry.path.starts_with(&path))
        })
    };
    let exists = |path: &str| inside(path).is_some_and(|path| root.join(path).exists());
    step.if_exists.iter().all(|path| exists(path)) && !step.unless_exists.iter().any(|path| is_source(path))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        ProviderError::new(ErrorKind::Unexpected, format!("a task of the build ended early: {error}"))
    })?
}
