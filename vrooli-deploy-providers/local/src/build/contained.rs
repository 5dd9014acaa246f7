//! Images of services that run in containers: built here, or pulled, and kept in this machine's engine under names
//! of ours until nothing needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use vrooli_deploy_core::names::{Digest, ImageRef, ServiceName, StackId};
use vrooli_deploy_core::provider::{
    BuildRequest, BuiltImage, Containers, ErrorKind, ImageBuilder as _, OpCtx, ProviderError, Result,
};

use super::image::{Images, to_run_here};
use crate::docker::{Engine, Made};
use crate::layout::Layout;
use crate::process::stack_name;
use crate::{failure, files};

/// What would be done for them, a sentence each.
pub(super) async fn foresee(
    layout: &Layout,
    cx: &OpCtx,
    request: &BuildRequest,
    containers: &Containers,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let images = Images::new(layout.root());
    // Looked for before anything is made.
    images.is_ready(cx).await?;
    if containers.builds() {
        notes = images.source(cx, request, &to_run_here()).await?.notes;
    }
    for (service, given) in &containers.images {
        notes.extend(
            given
                .as_ref()
                .map(|given| format!("`{service}` runs from the image `{given}`, pulled if it is not here")),
        );
    }
    Ok(notes)
}

/// The images of the services that run in containers.
pub(super) async fn make(
    layout: &Layout,
    cx: &OpCtx,
    request: &BuildRequest,
    containers: &Containers,
) -> Result<BTreeMap<ServiceName, BuiltImage>> {
    let images = Images::new(layout.root());
    let engine = images.engine(cx).await?;
    remember(layout, &cx.stack, &engine)?;
    let mut own = None;
    let mut made = BTreeMap::new();
    for (service, given) in &containers.images {
        let image = match (given, &own) {
            (Some(given), _) => pulled(cx, &engine, given).await?,
            (None, Some(own)) => BuiltImage::clone(own),
            (None, None) => {
                let image = images.keep(cx, &engine, request, &repository(layout, &cx.stack)?).await?;
                own.insert(image).clone()
            }
        };
        made.insert(service.clone(), image);
    }
    Ok(made)
}

/// What images of a stack are called here, in this workspace alone; their tags are what they were made from.
fn repository(layout: &Layout, stack: &StackId) -> Result<String> {
    let workspace = layout.workspace_id().map_err(failure::at("read", layout.root()))?;
    Ok(format!("vrooli-deploy/{}", stack_name(workspace, stack)))
}

async fn pulled(cx: &OpCtx, engine: &Engine, given: &ImageRef) -> Result<BuiltImage> {
    engine.ensure_image(cx, given.as_str()).await?;
    let made = engine.made(cx, given.as_str()).await?;
    let (is, runs) = (made.platform(), to_run_here());
    if is != runs {
        let words = format!("the image `{given}` is for {is}, and here it would run on {runs}");
        return Err(ProviderError::new(ErrorKind::Config, words).with_help(
            "name the digest of the list of all platforms: `docker buildx imagetools inspect` shows it",
        ));
    }
    built(made, None)
}

/// An image of an engine as a release knows it. `root`: the app's folder in it, where that is known.
pub(super) fn built(made: Made, root: Option<String>) -> Result<BuiltImage> {
    let platform = made.platform();
    let id = Digest::new(made.id.clone()).map_err(|_| {
        ProviderError::new(ErrorKind::Unexpected, format!("the engine calls an image `{}`", made.id))
    })?;
    let own = Some(made.config.working_dir).filter(|folder| folder.starts_with('/'));
    let root = root.or(own).unwrap_or_else(|| "/".to_owned());
    Ok(BuiltImage { id, platform, root })
}

/// Are all of these images in the engine still?
pub(super) async fn are_there<'a>(
    layout: &Layout,
    cx: &OpCtx,
    images: impl Iterator<Item = &'a BuiltImage>,
) -> Result<bool> {
    let ids: BTreeSet<&Digest> = images.map(|image| &image.id).collect();
    if ids.is_empty() {
        return Ok(true);
    }
    let Some(engine) = remembered(layout, cx).await? else { return Ok(false) };
    for id in ids {
        if engine.image(cx, id.as_str()).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes away what we called images that are none of these, and with it what nothing else needs.
pub(super) async fn tidy(layout: &Layout, cx: &OpCtx, keep: &BTreeSet<Digest>) -> Result<()> {
    // An engine that does not answer keeps what it has until it does.
    let Ok(Some(engine)) = remembered(layout, cx).await else { return Ok(()) };
    for (tag, id) in engine.tags(cx, &repository(layout, &cx.stack)?).await? {
        if keep.iter().any(|kept| kept.as_str() == id) {
            continue;
        }
        match engine.untag(cx, &tag).await {
            // A container that ends runs from it: next time.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            other => other?,
        }
    }
    if keep.is_empty() {
        let place = place(layout, &cx.stack);
        files::absent_is_ok(fs::remove_file(&place)).map_err(failure::at("remove", &place))?;
    }
    Ok(())
}

/// Writes an image to a file, as `docker save` does.
pub(super) async fn save(layout: &Layout, cx: &OpCtx, id: &Digest, to: &std::path::Path) -> Result<()> {
    let engine = remembered(layout, cx).await?.ok_or_else(|| gone(id))?;
    let mut file = tokio::fs::File::create(to).await.map_err(failure::at("write", to))?;
    let mut parts = Box::pin(engine.saved(cx, id.as_str()).await?);
    while let Some(part) = parts.next().await {
        if cx.cancellation.is_cancelled() {
            return Err(failure::cancelled("saving an image"));
        }
        let part = part.map_err(|why| {
            ProviderError::new(ErrorKind::Unavailable, format!("the engine broke off saving an image: {why}"))
        })?;
        file.write_all(&part).await.map_err(failure::at("write", to))?;
    }
    file.flush().await.map_err(failure::at("write", to))
}

fn gone(id: &Digest) -> ProviderError {
    ProviderError::new(ErrorKind::NotFound, format!("the image `{id}` is not here any more"))
        .with_help("deploy its sources again: the release gets a new number")
}

/// Says which engine has images of a stack, as `DOCKER_HOST` would.
fn place(layout: &Layout, stack: &StackId) -> PathBuf {
    layout.stack(stack).join("engine")
}

fn remember(layout: &Layout, stack: &StackId, engine: &Engine) -> Result<()> {
    let place = place(layout, stack);
    let text = format!("unix://{}\n", engine.socket.display());
    files::write_memory(&place, text.as_bytes()).map_err(failure::at("write", &place))
}

/// The engine that has images of a stack, as `DOCKER_HOST` would name it.
pub(crate) fn engine_of(layout: &Layout, stack: &StackId) -> Result<Option<String>> {
    let place = place(layout, stack);
    match fs::read_to_string(&place) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failure::io("read", &place, &error)),
    }
}

async fn remembered(layout: &Layout, cx: &OpCtx) -> Result<Option<Engine>> {
    let Some(host) = engine_of(layout, &cx.stack)? else { return Ok(None) };
    let found = crate::docker::find(cx, Some(&host), None).await?;
    found.map(Some).map_err(|why| why.unavailable(&format!("the image of {}", cx.stack)))
}
