use std::path::Path;

use super::source::Source;
use super::{OperationError, Target, TargetOptions, Workspace};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::{self, Layer, Layers, LoadedManifest};
use crate::names::{AppName, EnvironmentName, StackId};
use crate::profile::ProfileVersion;

impl Workspace {
    /// What an argument means: an existing path (scenario folder or manifest file), else a
    /// profile's id or name, else the name of an app of this workspace. An app that was last
    /// deployed with a profile keeps its choices when it is named.
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
        let profile = self.profile_called(argument).await?;
        let path = Path::new(argument);
        if path.exists() {
            // `./name` and absolute paths are meant as paths; a bare word may be more.
            let layers = Layers {
                environment: Some(environment.clone()),
                layers: options.values.iter().cloned().map(Layer::File).collect(),
            };
            match load_layered(path, &layers) {
                Ok((manifest, diagnostics)) => {
                    let app = options.name.clone().unwrap_or_else(|| manifest.manifest.app.name.clone());
                    let target = StackId { app, environment };
                    let second = match (profile, by_name) {
                        (Some(profile), _) => Some(described(&profile)),
                        (None, Some(named)) if named != target => Some(format!("the app `{named}`")),
                        _ => None,
                    };
                    if let Some(second) = second {
                        return Err(OperationError::AmbiguousTarget {
                            argument: argument.to_owned(),
                            first: format!("the folder {}", manifest.root.display()),
                            second,
                        });
                    }
                    return Ok(Target {
                        stack: target,
                        manifest: Some(manifest),
                        diagnostics,
                        profile: None,
                        values: options.values.clone(),
                    });
                }
                Err(diagnostics) if profile.is_none() && by_name.is_none() => {
                    return Err(OperationError::Input(diagnostics));
                }
                // Not a description of an app: the name is meant.
                Err(_) => {}
            }
        }
        match (profile, by_name) {
            (Some(profile), named) => {
                let target = self.profile_target(&profile, options).await?;
                match named {
                    Some(named) if named != target.stack => Err(OperationError::AmbiguousTarget {
                        argument: argument.to_owned(),
                        first: described(&profile),
                        second: format!("the app `{named}`"),
                    }),
                    _ => Ok(target),
                }
            }
            (None, Some(stack)) => self.known(stack, options).await,
            (None, None) => Err(self.unknown(argument).await?),
        }
    }

    /// An app known by name: its manifest is read from the folder it came from, if that is
    /// still there, with the profile and the values files that it was last deployed with.
    async fn known(&self, stack: StackId, options: &TargetOptions) -> Result<Target, OperationError> {
        let mut target = Target {
            stack,
            manifest: None,
            diagnostics: Vec::new(),
            profile: None,
            values: options.values.clone(),
        };
        let Some(source) = self.source(&target.stack).await? else { return Ok(target) };
        if target.values.is_empty() {
            target.values.clone_from(&source.values);
        }
        if let Some(reference) = source.profile {
            match self.profile_called(&reference.id.to_string()).await? {
                Some(profile) => {
                    let options = TargetOptions {
                        environment: Some(target.stack.environment.clone()),
                        name: Some(target.stack.app.clone()),
                        values: target.values.clone(),
                    };
                    return self.profile_target(&profile, &options).await;
                }
                None => target.diagnostics.push(gone(&source)),
            }
        }
        if source.file.exists() {
            let layers = Layers {
                environment: Some(target.stack.environment.clone()),
                layers: target.values.iter().cloned().map(Layer::File).collect(),
            };
            match load_layered(&source.file, &layers) {
                Ok((manifest, found)) => {
                    target.manifest = Some(manifest);
                    target.diagnostics.extend(found);
                }
                Err(found) => target.diagnostics.extend(found),
            }
        }
        Ok(target)
    }

    async fn unknown(&self, argument: &str) -> Result<OperationError, OperationError> {
        let apps = self.0.store.stacks().await?.into_iter().map(|stack| stack.app.to_string());
        let profiles = self.profiles().await?;
        let profiles = profiles.iter().filter_map(|version| Some(version.profile.as_ref()?.name.to_string()));
        let mut near: Vec<(f64, String)> = apps
            .chain(profiles)
            .map(|name| (strsim::jaro_winkler(argument, &name), format!("`{name}`")))
            .filter(|(score, _)| *score > 0.8)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        near.dedup_by(|a, b| a.1 == b.1);
        Ok(OperationError::UnknownTarget {
            argument: argument.to_owned(),
            near: near.into_iter().take(3).map(|(_, name)| name).collect(),
        })
    }
}

fn described(version: &ProfileVersion) -> String {
    match &version.profile {
        Some(profile) => {
            format!("the profile `{}` ({}, for `{}`)", profile.name, version.id, profile.stack())
        }
        None => format!("the profile {}", version.id),
    }
}

fn gone(source: &Source) -> Diagnostic {
    let id = source.profile.map(|profile| profile.to_string()).unwrap_or_default();
    rules::PROFILE_GONE
        .diagnostic(format!(
            "the profile that the app was deployed with is deleted ({id}): its choices no longer hold"
        ))
        .help("deploy with another profile, or with the app's folder to go on without one")
}

pub(super) fn load_layered(
    path: &Path,
    layers: &Layers,
) -> Result<(LoadedManifest, Vec<Diagnostic>), Vec<Diagnostic>> {
    manifest::load_with(path, layers).into_result()
}

pub(super) fn default_environment() -> Result<EnvironmentName, OperationError> {
    EnvironmentName::new("default")
        .map_err(|e| OperationError::Nothing { message: e.to_string(), help: String::new() })
}
