//! An app's stack as files for other tools. Makes no call, and needs no secret: a stack holds none.

use std::collections::BTreeMap;
use std::path::Path;

use super::deploy::keep;
use super::{DeployOptions, OperationError, Target, Workspace};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::Tier;
use crate::names::{DependencyName, ImageRef, ProviderName};
use crate::provider::{ImageBuilder, LowerOptions};
use crate::render::{FileTree, FolderError, Renderer, WrittenFiles};
use crate::requirements::{self, DeriveOptions};

/// The user's choices for what is written down.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RenderOptions {
    /// Another provider than the manifest's.
    pub provider: Option<ProviderName>,
    /// Optional dependencies too.
    pub include_optional: bool,
    /// Dependencies to leave out.
    pub drop: Vec<DependencyName>,
    /// Images to build and to run in, by name, for a Dockerfile; they win over the manifest's.
    pub base_images: BTreeMap<String, ImageRef>,
}

/// The format of what an app's image is built by: not of a stack, and of any provider that builds images.
const DOCKERFILE: &str = "dockerfile";

/// A stack, written down.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rendering {
    /// As what.
    pub format: &'static str,
    /// Of which provider.
    pub provider: ProviderName,
    /// The files.
    pub files: FileTree,
    /// What was noticed on the way, and what is left out.
    pub diagnostics: Vec<Diagnostic>,
}

impl Rendering {
    /// Writes the files into a folder; see [`FileTree::write`].
    ///
    /// # Errors
    /// When something is there that is not ours, or the file system refuses.
    pub fn write(&self, folder: &Path, overwrite: bool) -> Result<WrittenFiles, OperationError> {
        Ok(self.files.write(folder, self.format, overwrite)?)
    }
}

impl Workspace {
    /// Writes down what an app stands on, from the same stack that a deployment applies.
    ///
    /// # Errors
    /// When the input cannot be used, the provider has no such format, or something of the stack
    /// cannot be written down safely.
    pub async fn render(
        &self,
        target: &Target,
        format: &str,
        options: &RenderOptions,
    ) -> Result<Rendering, OperationError> {
        let loaded = super::fitness::usable(target)?;
        let mut diagnostics = target.diagnostics.clone();
        let mut manifest = loaded.manifest.clone();
        manifest.app.name = target.stack.app.clone();
        manifest.drop.extend(options.drop.iter().cloned());
        let provider = options.provider.clone().unwrap_or_else(|| manifest.provider.clone());
        let factory = self.registry().get(&provider)?;
        let images = factory.images(&self.0.dir);
        if let Some(images) = images.as_ref().filter(|_| format == DOCKERFILE) {
            return self.render_dockerfile(target, options, provider, &**images).await;
        }
        let renderers = factory.renderers();
        let Some(renderer) = renderers.iter().find(|renderer| renderer.format() == format) else {
            return Err(OperationError::Input(vec![unknown(
                &provider,
                format,
                &renderers,
                images.is_some(),
            )]));
        };
        let derive = DeriveOptions {
            include_optional: options.include_optional || target.include_optional(),
            // What this machine may leave out with a warning, others may not.
            tier: (manifest.target == Tier::Local && provider.as_str() != "local").then_some(Tier::Saas),
            ..DeriveOptions::default()
        };
        let derived = requirements::derive_at(&manifest, &derive, &loaded.spans);
        let requirements = keep(derived, &mut diagnostics)?;
        let lowered = factory.lower(&target.stack, &requirements, &LowerOptions::of(loaded, &manifest));
        let stack = keep(lowered, &mut diagnostics)?;
        let files = keep(renderer.render(&stack), &mut diagnostics)?;
        Ok(Rendering { format: renderer.format(), provider, files, diagnostics })
    }

    /// What a deployment would build the app's image by.
    async fn render_dockerfile(
        &self,
        target: &Target,
        options: &RenderOptions,
        provider: ProviderName,
        images: &dyn ImageBuilder,
    ) -> Result<Rendering, OperationError> {
        let deploy = DeployOptions {
            provider: Some(provider.clone()),
            include_optional: options.include_optional,
            drop: options.drop.clone(),
            base_images: options.base_images.clone(),
            adopt: true,
            ..DeployOptions::default()
        };
        let prepared = self.prepare(target, &deploy).await?;
        let files = images.written(&target.stack, &prepared.image_request())?;
        Ok(Rendering { format: DOCKERFILE, provider, files, diagnostics: prepared.diagnostics })
    }
}

fn unknown(provider: &ProviderName, format: &str, renderers: &[&dyn Renderer], images: bool) -> Diagnostic {
    let formats = renderers.iter().map(|renderer| format!("`{}` ({})", renderer.format(), renderer.about()));
    let image = images.then(|| format!("`{DOCKERFILE}` (what the app's image is built by)"));
    let formats: Vec<String> = formats.chain(image).collect();
    let help = if formats.is_empty() {
        "this provider has no formats; another one may, with `--provider`".to_owned()
    } else {
        format!("its formats are {}", formats.join(", "))
    };
    rules::RENDER_FORMAT.diagnostic(format!("`{provider}` is not written as `{format}`")).help(help)
}

impl From<FolderError> for OperationError {
    fn from(error: FolderError) -> Self {
        let diagnostics = match &error {
            FolderError::Foreign { files } => {
                let foreign = |file: &std::path::PathBuf| {
                    rules::RENDER_FOREIGN
                        .diagnostic(format!(
                            "{} was not written by this program, or was changed since",
                            file.display()
                        ))
                        .help("take another folder, move the file away, or write over it with `--overwrite`")
                };
                files.iter().map(foreign).collect()
            }
            FolderError::OtherFormat { .. } => {
                vec![rules::RENDER_OTHER_FORMAT.diagnostic(error.to_string()).help("take another folder")]
            }
            FolderError::Io { .. } => vec![
                rules::RENDER_FOLDER
                    .diagnostic(error.to_string())
                    .help("mend that and run the command again: it goes on from there"),
            ],
        };
        Self::Input(diagnostics)
    }
}
