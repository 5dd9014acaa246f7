//! The values of a manifest's secrets: where they come from, and when they are stored.

use std::collections::BTreeMap;
use std::path::Path;

use super::{OperationError, Workspace};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::manifest::{DeploymentManifest, SecretSource};
use crate::names::{StackId, VariableName};
use crate::plan::{Plan, PlannedRelease, ReleaseSource};
use crate::release::EnvValue;
use crate::secrets::{Secret, SecretRef, generate};

/// Characters of a generated secret when the manifest does not say.
const GENERATED_LENGTH: usize = 32;

/// A value that must be in the store before the plan runs.
#[derive(Debug)]
pub(super) struct PendingSecret {
    variable: VariableName,
    path: String,
    value: Secret<String>,
}

impl Workspace {
    /// References to the manifest's secrets, and the values that the store lacks. A value that
    /// is not stored yet has version 0 until [`store_secrets`] has put it there.
    pub(super) fn secrets(
        &self,
        stack: &StackId,
        root: &Path,
        manifest: &DeploymentManifest,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(BTreeMap<VariableName, SecretRef>, Vec<PendingSecret>), OperationError> {
        let store = &self.0.secrets;
        let mut references = BTreeMap::new();
        let mut pending = Vec::new();
        for (variable, config) in &manifest.secrets {
            let path = match &config.from {
                SecretSource::Store { path } => path.clone(),
                _ => format!("{stack}/env/{variable}"),
            };
            let latest = store.latest(&path)?;
            let value = match &config.from {
                SecretSource::Store { .. } => None,
                SecretSource::Generate { length } => match &latest {
                    Some(_) => None,
                    None => Some(Ok(generate(length.unwrap_or(GENERATED_LENGTH))?)),
                },
                SecretSource::Environment { name } => Some(
                    std::env::var(name.as_str())
                        .map(Secret::new)
                        .map_err(|_| format!("the environment variable `{name}` is not set")),
                ),
                SecretSource::File { path } => {
                    Some(read_secret(&root.join(path)).map_err(|e| format!("`{}`: {e}", path.display())))
                }
            };
            match (value, latest) {
                (Some(Ok(value)), latest) => {
                    let same = match &latest {
                        Some(reference) => store.get(reference)?.expose() == value.expose(),
                        None => false,
                    };
                    match latest {
                        Some(reference) if same => {
                            references.insert(variable.clone(), reference);
                        }
                        _ => {
                            references.insert(
                                variable.clone(),
                                SecretRef {
                                    store: store.name().to_owned(),
                                    path: path.clone(),
                                    version: 0,
                                    hash: String::new(),
                                },
                            );
                            pending.push(PendingSecret { variable: variable.clone(), path, value });
                        }
                    }
                }
                (_, Some(reference)) => {
                    references.insert(variable.clone(), reference);
                }
                (problem, None) => {
                    let why = match problem {
                        Some(Err(why)) => why,
                        _ => format!("the secret store has nothing at `{path}`"),
                    };
                    let severity = if config.required { Severity::Error } else { Severity::Warning };
                    diagnostics.push(
                        Diagnostic::new(
                            Code(810),
                            severity,
                            format!("secret `{variable}` has no value: {why}"),
                        )
                        .help("set it where the manifest says it comes from, or change `from`"),
                    );
                }
            }
        }
        Ok((references, pending))
    }
}

fn read_secret(path: &Path) -> std::io::Result<Secret<String>> {
    let mut text = std::fs::read_to_string(path)?;
    let trimmed = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(trimmed);
    Ok(Secret::new(text))
}

/// Puts pending values in the store and their references in the plan. The digest stays: a
/// version is a token of the store, not a decision.
pub(super) fn store_secrets(
    workspace: &Workspace,
    plan: &mut Plan,
    pending: Vec<PendingSecret>,
) -> Result<(), OperationError> {
    for secret in pending {
        let reference = workspace.0.secrets.put(&secret.path, &secret.value)?;
        let Some(PlannedRelease { source: ReleaseSource::Build { draft, .. }, .. }) = &mut plan.release
        else {
            continue;
        };
        for env in draft.env.values_mut() {
            if let Some(value @ EnvValue::Secret(_)) = env.get_mut(&secret.variable) {
                *value = EnvValue::Secret(reference.clone());
            }
        }
    }
    Ok(())
}
