//! From sources to an image in a registry, by the engine of this machine. The app's own Dockerfile is used
//! where it has one; else one is written from its build steps.

mod context;
mod ignore;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::{Digest, ImageRef, StackId};
use vrooli_deploy_core::provider::{
    Artefact, BuildRequest, BuiltImage, Cancellation, ErrorKind, ImageBuilder, ImageRepository, ImageSource,
    OpCtx, ProviderError, Result,
};
use vrooli_deploy_core::render::dockerfile::{self, DockerfileInput};
use vrooli_deploy_core::render::{FilePath, FileTree};

use self::context::Context;
use super::blocking;
use super::hashes::Hash;
use super::select::{Entry, EntryKind};
use super::{contained, source};
use crate::docker::{self, BuildWish, Engine, Login, Made};
use crate::environment;
use crate::layout::{Layout, hexadecimal};
use crate::programs;
use crate::servers::ServerOptions;

/// The name of the Dockerfile that is written, in the context.
const WRITTEN: &str = ".vrooli-deploy.Dockerfile";
const DOCKERFILE: &str = "Dockerfile";
/// Proxies that a build is told of, which Docker keeps out of images.
const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
];

/// Builds images for fleets that run them elsewhere, with the engine that `DOCKER_HOST` says or the first of
/// the usual sockets that answers.
#[must_use]
pub fn image_builder(dir: &Path) -> Arc<dyn ImageBuilder> {
    Arc::new(Images::new(dir))
}

/// Builds images with an engine of this machine.
#[derive(Debug, Clone)]
pub struct Images {
    layout: Layout,
    engine: Option<String>,
}

/// All that an image is made from.
#[derive(Debug)]
struct Recipe {
    context: Context,
    /// The Dockerfile's name in the context.
    dockerfile: String,
    /// The manifest's folder in the image; of a Dockerfile of the app's own the image itself says.
    root: Option<String>,
    digest: Digest,
    notes: Vec<String>,
    /// Base images of a Dockerfile that was written.
    bases: BTreeMap<String, ImageRef>,
}

#[async_trait]
impl ImageBuilder for Images {
    async fn source(&self, cx: &OpCtx, request: &BuildRequest, platform: &str) -> Result<ImageSource> {
        let recipe = self.recipe(cx, request, platform).await?;
        Ok(ImageSource { digest: recipe.digest, notes: recipe.notes })
    }

    fn written(&self, stack: &StackId, request: &BuildRequest) -> Result<FileTree> {
        let source = source::read(&self.layout, stack, request, &Cancellation::new())?;
        let root = source.root.clone();
        let made = recipe(source, request, "")?;
        let Some((_, text)) = made.context.written else {
            return Err(ProviderError::new(ErrorKind::AlreadyExists, "the app has a Dockerfile of its own")
                .with_help("images are built by that one"));
        };
        let ignored = dockerfile::dockerignore(&request.include, &request.exclude, &root);
        let mut files = FileTree::new();
        for (name, text) in [("Dockerfile", text), ("Dockerfile.dockerignore", ignored)] {
            let wrong =
                |error: &dyn std::fmt::Display| ProviderError::new(ErrorKind::Unexpected, error.to_string());
            let path = FilePath::new(name).map_err(|error| wrong(&error))?;
            files.add(path, text).map_err(|error| wrong(&error))?;
        }
        Ok(files)
    }

    async fn is_ready(&self, cx: &OpCtx) -> Result<()> {
        self.engine(cx).await.map(drop)
    }

    async fn publish(
        &self,
        cx: &OpCtx,
        request: &BuildRequest,
        platform: &str,
        to: &ImageRepository,
    ) -> Result<Artefact> {
        docker::check_reference(&to.name).map_err(|rule| ProviderError::new(ErrorKind::Config, rule))?;
        let engine = self.engine(cx).await?;
        let recipe = self.recipe(cx, request, platform).await?;
        let tag = format!("{}:source-{}", to.name, recipe.digest.as_str().trim_start_matches("sha256:"));
        let login = Login {
            user: to.user.clone(),
            password: to.password.clone(),
            server: to.name.split('/').next().unwrap_or_default().to_owned(),
        };
        let root_of = |seen: String| if seen.starts_with('/') { seen } else { "/".to_owned() };
        let (pushed, source) = (engine.in_registry(cx, &tag, Some(&login)).await?, recipe.digest.clone());
        if let Some(digest) = pushed.clone()
            && let Some(root) = recipe.root.clone()
        {
            cx.output.line(&format!("the image of these sources is in `{}` already", to.name));
            return Ok(Artefact {
                location: format!("{}@{digest}", to.name),
                digest,
                source,
                root,
                images: BTreeMap::new(),
            });
        }
        let made = self.make(cx, &engine, &recipe, request, platform, &tag).await?;
        if matches!(made.config.user.as_str(), "" | "0" | "root" | "0:0" | "root:root") {
            cx.output.line("warning: the image runs as root: its Dockerfile names no `USER`");
        }
        cx.output.line(&format!("pushing `{tag}`"));
        let pushed = match pushed {
            Some(digest) => Ok(digest),
            None => engine.push_image(cx, &tag, &login).await,
        };
        engine.untag(cx, &tag).await?;
        let digest = pushed?;
        let root = recipe.root.unwrap_or_else(|| root_of(made.config.working_dir));
        Ok(Artefact {
            location: format!("{}@{digest}", to.name),
            digest,
            source,
            root,
            images: BTreeMap::new(),
        })
    }
}

impl Images {
    /// For a state folder, in which hashes of files are remembered.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { layout: Layout::new(dir), engine: None }
    }

    /// With this engine, as `DOCKER_HOST` names one: `unix:///path/to/socket`.
    #[must_use]
    pub fn with_engine(self, engine: impl Into<String>) -> Self {
        Self { engine: Some(engine.into()), ..self }
    }

    /// The image of those sources in this machine's engine, where it stays under a name in a repository of ours,
    /// whose tag is the digest of what it was made from; built if there is none.
    pub(super) async fn keep(
        &self,
        cx: &OpCtx,
        engine: &Engine,
        request: &BuildRequest,
        repository: &str,
    ) -> Result<BuiltImage> {
        let platform = to_run_here();
        let recipe = self.recipe(cx, request, &platform).await?;
        let tag = format!("{repository}:{}", hexadecimal(&recipe.digest));
        let made = match engine.image(cx, &tag).await? {
            Some(_) => engine.made(cx, &tag).await?,
            None => self.make(cx, engine, &recipe, request, &platform, &tag).await?,
        };
        contained::built(made, recipe.root)
    }

    /// Builds it, under a name that it loses if it is not what it should be.
    async fn make(
        &self,
        cx: &OpCtx,
        engine: &Engine,
        recipe: &Recipe,
        request: &BuildRequest,
        platform: &str,
        tag: &str,
    ) -> Result<Made> {
        for (name, base) in &recipe.bases {
            fits(engine, cx, name, base, platform).await?;
        }
        self.build(cx, engine, recipe, platform, tag).await?;
        let made = engine.made(cx, tag).await?;
        let is = made.platform();
        if is != platform {
            engine.untag(cx, tag).await?;
            return Err(ProviderError::new(
                ErrorKind::Config,
                format!("the image was built for `{is}`, and it is to run on `{platform}`"),
            )
            .with_help(
                "name base images of that platform; an engine of another needs QEMU's binaries for it",
            ));
        }
        // What was read first is what the digest is of.
        if self.recipe(cx, request, platform).await?.digest != recipe.digest {
            engine.untag(cx, tag).await?;
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                "the sources changed while the image was built",
            )
            .with_help("run the same command again when nobody writes there"));
        }
        Ok(made)
    }

    pub(super) async fn engine(&self, cx: &OpCtx) -> Result<Engine> {
        let mut options = ServerOptions::from_environment()?;
        options.engine = self.engine.clone().or(options.engine);
        let found = options.find_engine(cx).await?;
        found.map_err(|why| {
            ProviderError::new(ErrorKind::Missing, format!("an image is to be built, and {why}"))
                .with_code(rules::NO_BUILDER.to_string())
                .with_help(format!(
                    "start Docker or Podman ({}), or give an image that is built already: `--image REPOSITORY@sha256:…`",
                    programs::install("docker")
                ))
        })
    }

    async fn recipe(&self, cx: &OpCtx, request: &BuildRequest, platform: &str) -> Result<Recipe> {
        let (layout, stack, request) = (self.layout.clone(), cx.stack.clone(), request.clone());
        let (cancellation, platform) = (cx.cancellation.clone(), platform.to_owned());
        blocking(move || {
            let source = source::read(&layout, &stack, &request, &cancellation)?;
            recipe(source, &request, &platform)
        })
        .await
    }

    async fn build(
        &self,
        cx: &OpCtx,
        engine: &Engine,
        recipe: &Recipe,
        platform: &str,
        tag: &str,
    ) -> Result<()> {
        let variables = environment::of_this_process(&[]);
        let arguments = PROXIES.iter().filter_map(|name| {
            let value = environment::get(&variables, name)?.to_str()?;
            Some(((*name).to_owned(), value.to_owned()))
        });
        let wish = BuildWish {
            tag,
            dockerfile: &recipe.dockerfile,
            platform,
            arguments: arguments.collect::<BTreeMap<_, _>>(),
            anew: false,
        };
        engine.build_image(cx, &wish, recipe.context.clone().tar()).await
    }
}

/// What images run on here, in the words of images: `linux/amd64`.
pub(super) fn to_run_here() -> String {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{machine}")
}

/// Refuses a base image of another platform: where nothing is run in it the build does not notice. One that
/// says nothing of it, or that only the build can ask for, is left to the build.
async fn fits(engine: &Engine, cx: &OpCtx, name: &str, base: &ImageRef, platform: &str) -> Result<()> {
    let known = engine.platforms(cx, base.as_str()).await.unwrap_or_default();
    if known.is_empty() || known.iter().any(|one| one == platform) {
        return Ok(());
    }
    let words = format!(
        "the base image `{name}` is for {}, and the app is to run on {platform}",
        known.join(" and ")
    );
    Err(ProviderError::new(ErrorKind::Config, words).with_context("image", base.to_string()).with_help(format!(
        "name the digest that is for {platform}, or that of the list of all platforms: `docker buildx imagetools inspect` shows both"
    )))
}

fn recipe(source: source::Source, request: &BuildRequest, platform: &str) -> Result<Recipe> {
    let own = source.root.join(DOCKERFILE);
    let is_own = source.entries.iter().any(|(entry, _)| entry.path == own && entry.kind != EntryKind::Folder);
    if is_own { app_recipe(source, platform) } else { written_recipe(source, request, platform) }
}

/// By the app's own Dockerfile. Its context is its folder, unless it names files by their path from the
/// build's context.
fn app_recipe(source: source::Source, platform: &str) -> Result<Recipe> {
    let path = source.context.join(&source.root).join(DOCKERFILE);
    let text = std::fs::read_to_string(&path).map_err(crate::failure::at("read", &path))?;
    let from_context = source.root.to_str().is_some_and(|root| !root.is_empty() && text.contains(root));
    let base = if from_context { PathBuf::new() } else { source.root.clone() };
    let mut entries: Vec<(Entry, Option<Hash>)> = Vec::new();
    let ignored =
        std::fs::read_to_string(source.context.join(&base).join(".dockerignore")).unwrap_or_default();
    let ignored = ignore::Patterns::read(&ignored)?;
    for (entry, hash) in source.entries {
        let Ok(inside) = entry.path.strip_prefix(&base).map(Path::to_path_buf) else { continue };
        let needed = inside.file_name().is_some_and(|name| name == DOCKERFILE || name == ".dockerignore");
        if !inside.as_os_str().is_empty() && (needed || !ignored.leave_out(&inside)) {
            entries.push((Entry { path: inside, ..entry }, hash));
        }
    }
    let name = if from_context { source.root.join(DOCKERFILE) } else { PathBuf::from(DOCKERFILE) };
    let dockerfile = name.to_string_lossy().into_owned();
    let digest = digest(&entries, &[("dockerfile", &dockerfile), ("platform", platform)]);
    let mut notes =
        vec!["an image is built by the app's own Dockerfile, if there is none of these sources".to_owned()];
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("FROM ")) {
        let image = line.split_whitespace().find(|word| !word.starts_with("--")).unwrap_or_default();
        let is_stage = !image.contains(['/', ':', '.']);
        if !image.contains("@sha256:") && image != "scratch" && !is_stage {
            notes.push(format!("`{image}` in it is no digest: it may be another image tomorrow"));
        }
    }
    let context = Context { folder: source.context.join(&base), entries: Arc::new(entries), written: None };
    Ok(Recipe { context, dockerfile, root: None, digest, notes, bases: BTreeMap::new() })
}

/// By a Dockerfile that is written from the app's build steps.
fn written_recipe(source: source::Source, request: &BuildRequest, platform: &str) -> Result<Recipe> {
    let tree = source.tree();
    let made = dockerfile::dockerfile(&DockerfileInput {
        tree: &tree,
        root: &source.root,
        steps: &request.steps,
        runs: &request.runs,
        env: &request.env,
        base_images: &request.base_images,
    })
    .map_err(|error| {
        let help = error.help();
        ProviderError::new(ErrorKind::Config, error.to_string())
            .with_code(rules::BASE_IMAGE.to_string())
            .with_help(help)
    })?;
    // A file that says what Docker leaves out is about other builds than this.
    let entries: Vec<_> =
        source.entries.into_iter().filter(|(entry, _)| entry.path != Path::new(".dockerignore")).collect();
    let digest = digest(&entries, &[("dockerfile", &made.text), ("platform", platform)]);
    let bases: Vec<String> = made.bases.iter().map(|(name, image)| format!("`{name}` {image}")).collect();
    let mut notes = vec![format!(
        "an image is built for {platform} from {}, if there is none of these sources",
        bases.join(" and ")
    )];
    if !request.pass_env.is_empty() {
        notes.push(format!(
            "builds of images see no variables of this shell: `{}` is not passed",
            request.pass_env.join("`, `")
        ));
    }
    notes.extend(made.notes);
    let context = Context {
        folder: source.context,
        entries: Arc::new(entries),
        written: Some((WRITTEN.to_owned(), made.text)),
    };
    Ok(Recipe {
        context,
        dockerfile: WRITTEN.to_owned(),
        root: Some(made.root),
        digest,
        notes,
        bases: made.bases,
    })
}

/// Of all that the engine is given.
fn digest(entries: &[(Entry, Option<Hash>)], also: &[(&str, &str)]) -> Digest {
    use sha2::{Digest as _, Sha256};
    let mut hasher = Sha256::new();
    let mut part = |label: &str, bytes: &[u8]| {
        for text in [label.as_bytes(), bytes] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
    };
    part("format", b"vrooli-deploy image 1");
    source::add_tree(entries, &mut part);
    for (label, text) in also {
        part(label, text.as_bytes());
    }
    Digest::from_hash(&hasher.finalize().into())
}

#[cfg(test)]
mod tests;
