//! The values of an app's secrets: one way to find them, for deployments and for the
//! `secrets` commands alike.

mod manage;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{OperationError, Workspace};
use crate::diagnostics::{Diagnostic, Severity, rules};
use crate::manifest::{
    DeploymentManifest, IfUnavailable, LoadedManifest, SecretSource, Tier, VaultSource, VaultToken,
};
use crate::names::{StackId, VariableName};
use crate::plan::{Plan, PlannedRelease, ReleaseSource};
use crate::release::EnvValue;
use crate::requirements::Requirements;
use crate::secrets::{
    FetchError, FetchOptions, Format, PlannedSecret, Secret, SecretMetadata, SecretOrigin, SecretRef,
    SecretsPlan, Sources, VAULT_ADDRESS, VAULT_ADDRESS_KEY, generate_for, identify,
};

pub use manage::{SecretsOptions, SecretsReport, StoredSecret};

/// A value that must be in the store before the plan runs.
#[derive(Debug)]
pub(super) struct PendingSecret {
    variable: VariableName,
    path: String,
    value: Secret<String>,
}

/// What was found for the secrets of an app.
#[derive(Debug, Default)]
pub(super) struct ResolvedSecrets {
    /// A value that is not stored yet has version 0 until [`store_secrets`] has put it there.
    pub(super) references: BTreeMap<VariableName, SecretRef>,
    /// Values that the store lacks.
    pub(super) pending: Vec<PendingSecret>,
    /// Files that hold values, as patterns under the build context: a value that lies in the
    /// app's folder must not be copied with its source.
    pub(super) private_files: Vec<String>,
}

/// What is done about secrets that are generated and not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generating {
    /// They are made.
    Now,
    /// Only looked at: a generated secret is never missing.
    Later,
}

impl Workspace {
    /// Finds the app's secrets and a value for each. What is wrong goes into `diagnostics`.
    pub(super) async fn secrets(
        &self,
        stack: &StackId,
        loaded: &LoadedManifest,
        manifest: &DeploymentManifest,
        requirements: &Requirements,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<ResolvedSecrets, OperationError> {
        let metadata = SecretMetadata::load(loaded);
        diagnostics.extend(metadata.diagnostics);
        let plan = identify(manifest, requirements, &metadata.value.unwrap_or_default(), manifest.target);
        diagnostics.extend(plan.check());
        let mut sources = self.sources(loaded).await?;
        let mut resolved =
            ResolvedSecrets { private_files: private_files(&plan, loaded), ..ResolvedSecrets::default() };
        for (secret, source) in plan.carried() {
            self.resolve_secret(
                stack,
                secret,
                source,
                plan.tier,
                Generating::Now,
                &mut sources,
                &mut resolved,
                diagnostics,
            )
            .await?;
        }
        diagnostics.extend(sources.warnings().cloned());
        Ok(resolved)
    }

    async fn sources(&self, loaded: &LoadedManifest) -> Result<Sources, OperationError> {
        let configured = self.configuration().await?.value(VAULT_ADDRESS_KEY)?;
        let address = configured.map(|found| found.value.expose().clone());
        let options = FetchOptions::default().with_variables(move |name| match name {
            VAULT_ADDRESS => address.clone(),
            _ => std::env::var(name).ok(),
        });
        let sources = Sources::new(Arc::clone(&self.0.secrets), &loaded.root, options);
        Ok(sources.hiding(self.redactor().await?))
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a loop whose parts all live outside it")]
    async fn resolve_secret(
        &self,
        stack: &StackId,
        secret: &PlannedSecret,
        source: &SecretSource,
        tier: Tier,
        generating: Generating,
        sources: &mut Sources,
        resolved: &mut ResolvedSecrets,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), OperationError> {
        let store = &self.0.secrets;
        let Some(path) = secret.path(stack) else { return Ok(()) };
        let latest = store.latest(&path)?;
        let fetched = match (secret.generator(), &latest) {
            (Some(_), Some(_)) => Ok(None),
            (Some(_), None) if generating == Generating::Later => return Ok(()),
            (Some(spec), None) => Ok(Some(generate_for(&spec)?)),
            (None, _) => sources.fetch(source).await,
        };
        let (value, is_new) = match (fetched, latest) {
            (Ok(Some(value)), latest) => {
                let stored = latest.as_ref().map(|reference| store.get(reference)).transpose()?;
                let same = stored.is_some_and(|stored| stored.expose() == value.expose());
                match latest.filter(|_| same) {
                    Some(reference) => {
                        resolved.references.insert(secret.name.clone(), reference);
                        (value, false)
                    }
                    None => (value, true),
                }
            }
            (failed, Some(reference)) => {
                if let Err(error) = failed {
                    kept(secret, &error, diagnostics);
                }
                let value = store.get(&reference)?;
                resolved.references.insert(secret.name.clone(), reference);
                (value, false)
            }
            (failed, None) => {
                diagnostics.push(missing(secret, source, failed.err(), tier));
                return Ok(());
            }
        };
        diagnostics.extend(misshapen(secret, &value));
        if is_new {
            let unstored = SecretRef {
                store: store.name().to_owned(),
                path: path.clone(),
                version: 0,
                hash: String::new(),
            };
            resolved.references.insert(secret.name.clone(), unstored);
            resolved.pending.push(PendingSecret { variable: secret.name.clone(), path, value });
        }
        Ok(())
    }
}

/// Files of values and tokens, and files about secrets that hold values beside the names.
fn private_files(plan: &SecretsPlan, loaded: &LoadedManifest) -> Vec<String> {
    let sources = plan.carried().filter_map(|(_, source)| match source {
        SecretSource::File { path } => Some(loaded.root.join(path)),
        SecretSource::Vault(VaultSource { token: Some(VaultToken::File { path }), .. }) => {
            Some(loaded.root.join(path))
        }
        _ => None,
    });
    let said = plan.secrets.iter().flat_map(|secret| &secret.said).filter(|said| said.holds_values);
    // A `service.json` is a part of the app, whatever stands in it.
    let about = said
        .filter_map(|said| said.place.as_ref().map(|place| place.file.clone()))
        .filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("secrets")));
    let mut patterns: Vec<String> = sources
        .chain(about)
        .filter_map(|path| {
            let path = std::fs::canonicalize(path).ok()?;
            let inside = path.strip_prefix(&loaded.context).ok()?.to_str()?;
            // Characters that mean something in gitignore's syntax are meant as they are.
            let special = |c: char| "\\*?[]!# ".contains(c).then_some('\\');
            Some(format!(
                "/{}",
                inside.chars().flat_map(|c| special(c).into_iter().chain([c])).collect::<String>()
            ))
        })
        .collect();
    patterns.sort();
    patterns.dedup();
    patterns
}

/// The value could not be fetched, and an earlier one is there.
fn kept(secret: &PlannedSecret, error: &FetchError, diagnostics: &mut Vec<Diagnostic>) {
    if secret.if_unavailable == IfUnavailable::Refuse {
        let message = format!("secret `{}` cannot be fetched: {error}", secret.name);
        diagnostics.push(secret.diagnostic(error.code(), message).help(error.help()));
        return;
    }
    // A variable that is set in one shell and not in the next is everyday life.
    if matches!(error, FetchError::Unset { .. } | FetchError::File { .. }) {
        return;
    }
    let message = format!("`{}` is kept as it was: {error}", secret.name);
    diagnostics.push(secret.diagnostic(rules::SECRET_KEPT, message).help(error.help()));
}

fn missing(
    secret: &PlannedSecret,
    source: &SecretSource,
    error: Option<FetchError>,
    tier: Tier,
) -> Diagnostic {
    let name = &secret.name;
    let set = format!("set it with `vrooli-deploy secrets set APP {name}`");
    let (code, why, help) = match (&error, source) {
        (Some(error), _) => (error.code(), error.to_string(), format!("{}; or {set}", error.help())),
        (None, SecretSource::Store { path }) => (
            rules::SECRET_MISSING,
            format!("the secret store has nothing at `{path}`"),
            "set it where the manifest says it comes from, or change `from`".to_owned(),
        ),
        (None, _) => (rules::SECRET_MISSING, "nobody has given it yet".to_owned(), set),
    };
    let mut diagnostic = secret.diagnostic(code, format!("secret `{name}` has no value: {why}"));
    // What only others speak of may be set otherwise on a developer's machine.
    let guessed = tier == Tier::Local && !secret.in_manifest;
    diagnostic.severity = match (secret.required, guessed) {
        (true, false) => Severity::Error,
        (true, true) => Severity::Warning,
        (false, false) => Severity::Warning,
        (false, true) => Severity::Info,
    };
    diagnostic.help(help)
}

/// The value does not have the form that was asked for. Says nothing about the value.
fn misshapen(secret: &PlannedSecret, value: &Secret<String>) -> Option<Diagnostic> {
    let format = secret.format.as_deref()?;
    // A format that cannot be read is said with the plan.
    let fits = Format::new(format).is_ok_and(|format| !format.matches(value));
    fits.then(|| {
        let message = format!("the value of `{}` does not have its format `{format}`", secret.name);
        let help = match &secret.origin {
            SecretOrigin::Source(SecretSource::Prompt { .. }) => {
                format!("give it again with `vrooli-deploy secrets set APP {}`", secret.name)
            }
            _ => format!("mend it where it comes from: {}", secret.from()),
        };
        secret.diagnostic(rules::SECRET_FORMAT, message).help(help)
    })
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
        if let Some(value) = draft.front.own.as_mut().and_then(|own| own.values.get_mut(&secret.variable)) {
            *value = reference.clone();
        }
        for env in draft.env.values_mut() {
            if let Some(value @ EnvValue::Secret(_)) = env.get_mut(&secret.variable) {
                *value = EnvValue::Secret(reference.clone());
            }
        }
    }
    Ok(())
}
