use std::path::Path;

use super::{OperationError, Target, TargetOptions, Workspace};
use crate::diagnostics::Diagnostic;
use crate::manifest::{self, LoadedManifest};
use crate::names::{AppName, EnvironmentName, StackId};

impl Workspace {
    /// What an argument means: an existing path (scenario folder or manifest file), else the
    /// name of an app of this workspace.
    ///
    /// # Errors
    /// When nothing or more than one thing has that name, or the manifest cannot be used.
    pub async fn resolve(&self, argument: &str, options: &TargetOptions) -> Result<Target, OperationError> {
        let environment = match &options.environment {
            Some(environment) => environment.clone(),
            None => default_environment()?,
        };
        let by_name = match AppName::new(argument) {
            Ok(app) => {
                let stack = StackId { app, environment: environment.clone() };
                self.0.store.stacks().await?.contains(&stack).then_some(stack)
            }
            Err(_) => None,
        };
        let path = Path::new(argument);
        if path.exists() {
            // `./name` and absolute paths are meant as paths; a bare word may be both.
            let loaded = load(path);
            return match (loaded, by_name) {
                (Ok((manifest, diagnostics)), by_name) => {
                    let app = options.name.clone().unwrap_or_else(|| manifest.manifest.app.name.clone());
                    let target = StackId { app, environment };
                    if let Some(named) = by_name
                        && named != target
                    {
                        return Err(OperationError::AmbiguousTarget {
                            argument: argument.to_owned(),
                            first: format!("the folder {}", manifest.root.display()),
                            second: format!("the app `{named}`"),
                        });
                    }
                    Ok(Target { stack: target, manifest: Some(manifest), diagnostics })
                }
                (Err(_), Some(stack)) => self.known(stack).await,
                (Err(error), None) => Err(error),
            };
        }
        match by_name {
            Some(stack) => self.known(stack).await,
            None => Err(self.unknown(argument).await?),
        }
    }

    /// An app known by name: its manifest is read from the folder it came from, if that is still there.
    async fn known(&self, stack: StackId) -> Result<Target, OperationError> {
        let loaded = match self.source(&stack).await? {
            Some(source) if source.file.exists() => load(&source.file).ok(),
            _ => None,
        };
        let (manifest, diagnostics) = loaded.map_or((None, Vec::new()), |(m, d)| (Some(m), d));
        Ok(Target { stack, manifest, diagnostics })
    }

    async fn unknown(&self, argument: &str) -> Result<OperationError, OperationError> {
        let mut near: Vec<(f64, String)> = self
            .0
            .store
            .stacks()
            .await?
            .into_iter()
            .map(|s| (strsim::jaro_winkler(argument, s.app.as_str()), format!("`{}`", s.app)))
            .filter(|(score, _)| *score > 0.8)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.dedup_by(|a, b| a.1 == b.1);
        Ok(OperationError::UnknownTarget {
            argument: argument.to_owned(),
            near: near.into_iter().take(3).map(|(_, name)| name).collect(),
        })
    }
}

fn load(path: &Path) -> Result<(LoadedManifest, Vec<Diagnostic>), OperationError> {
    manifest::load(path).into_result().map_err(OperationError::Input)
}

pub(super) fn default_environment() -> Result<EnvironmentName, OperationError> {
    EnvironmentName::new("default")
        .map_err(|e| OperationError::Nothing { message: e.to_string(), help: String::new() })
}
