//! Looking at an app's secrets and changing them by hand, without a deployment.

use std::collections::BTreeMap;

use super::{Generating, ResolvedSecrets, misshapen};
use crate::diagnostics::{Code, Diagnostic, rules};
use crate::manifest::{LoadedManifest, Tier};
use crate::names::{DependencyName, StackId, VariableName};
use crate::requirements::{self, DeriveOptions};
use crate::secrets::{
    PlannedSecret, Secret, SecretMetadata, SecretOrigin, SecretRef, SecretStatus, SecretsPlan, generate_for,
    identify,
};
use crate::workspace::{OperationError, Target, Workspace};

/// Most bytes of a value.
const LARGEST_VALUE: usize = 64 * 1024;

/// The user's choices for the `secrets` commands.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SecretsOptions {
    /// Another tier than the manifest's.
    pub tier: Option<Tier>,
    /// Secrets of optional dependencies too.
    pub include_optional: bool,
    /// Dependencies to leave out.
    pub drop: Vec<DependencyName>,
}

/// The secrets of an app, and which of them have a value. Holds none.
#[derive(Debug)]
#[non_exhaustive]
pub struct SecretsReport {
    /// Whose.
    pub stack: StackId,
    /// What becomes of each.
    pub plan: SecretsPlan,
    /// The newest stored version of each that has one.
    pub stored: BTreeMap<VariableName, SecretRef>,
    /// What was noticed.
    pub diagnostics: Vec<Diagnostic>,
}

/// A path of the secret store that belongs to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredSecret {
    /// Its path: `<app>/<environment>/…`.
    pub path: String,
    /// Versions that are kept, the oldest first.
    pub versions: Vec<u32>,
}

impl Workspace {
    /// Which secrets an app has on a tier, and which of them are stored. Fetches nothing.
    ///
    /// # Errors
    /// When the app's folder is gone, or the store cannot be read.
    pub async fn identify_secrets(
        &self,
        target: &Target,
        options: &SecretsOptions,
    ) -> Result<SecretsReport, OperationError> {
        let loaded = manifest_of(target)?;
        let mut manifest = loaded.manifest.clone();
        manifest.app.name = target.stack.app.clone();
        manifest.drop.extend(options.drop.iter().cloned());
        let tier = options.tier.unwrap_or(manifest.target);
        let derive = DeriveOptions {
            include_optional: options.include_optional || target.include_optional(),
            tier: Some(tier),
            ..DeriveOptions::default()
        };
        // What is wrong with dependencies is said by `manifest validate` and `plan`.
        let Some(requirements) = requirements::derive(&manifest, &derive).value else {
            return Err(OperationError::Input(target.diagnostics.clone()));
        };
        let metadata = SecretMetadata::load(loaded);
        let mut diagnostics = metadata.diagnostics;
        let plan = identify(&manifest, &requirements, &metadata.value.unwrap_or_default(), tier);
        diagnostics.extend(plan.check());
        let mut stored = BTreeMap::new();
        for secret in &plan.secrets {
            if let Some(path) = secret.path(&target.stack)
                && let Some(reference) = self.0.secrets.latest(&path)?
            {
                stored.insert(secret.name.clone(), reference);
            }
        }
        Ok(SecretsReport { stack: target.stack.clone(), plan, stored, diagnostics })
    }

    /// Looks for a value of each secret as a deployment would, and holds it against its format.
    /// Fetches, stores nothing, generates nothing. What is missing or wrong is in the report's
    /// diagnostics, with where it should come from.
    ///
    /// # Errors
    /// See [`identify_secrets`](Self::identify_secrets).
    pub async fn validate_secrets(
        &self,
        target: &Target,
        options: &SecretsOptions,
    ) -> Result<SecretsReport, OperationError> {
        let mut report = self.identify_secrets(target, options).await?;
        let loaded = manifest_of(target)?;
        let mut sources = self.sources(loaded).await?;
        let mut resolved = ResolvedSecrets::default();
        for (secret, source) in report.plan.carried() {
            self.resolve_secret(
                &target.stack,
                secret,
                source,
                report.plan.tier,
                Generating::Later,
                &mut sources,
                &mut resolved,
                &mut report.diagnostics,
            )
            .await?;
        }
        report.diagnostics.extend(sources.warnings().cloned());
        Ok(report)
    }

    /// Stores a value that a person gives. The next deployment uses it. The reference's version
    /// is the old one when the value is the same.
    ///
    /// # Errors
    /// When the app has no such secret, it is not set by hand, or the value cannot be used.
    pub async fn set_secret(
        &self,
        target: &Target,
        options: &SecretsOptions,
        name: &str,
        value: &Secret<String>,
    ) -> Result<SecretRef, OperationError> {
        let report = self.identify_secrets(target, options).await?;
        let secret = settable(&report, name)?;
        if let Some(why) = unusable(value.expose()) {
            let message = format!("the value of `{name}` cannot be used: {why}");
            return Err(refused(secret.diagnostic(rules::SECRET_VALUE, message)));
        }
        if let Some(diagnostic) = misshapen(secret, value) {
            return Err(refused(diagnostic));
        }
        self.put(&report.stack, secret, value)
    }

    /// Makes every generated secret that has no value yet. Those that have one are kept.
    ///
    /// # Errors
    /// When the store cannot be written; what was made before is stored.
    pub async fn generate_secrets(
        &self,
        target: &Target,
        options: &SecretsOptions,
    ) -> Result<Vec<(VariableName, SecretRef)>, OperationError> {
        let report = self.identify_secrets(target, options).await?;
        let mut made = Vec::new();
        for secret in &report.plan.secrets {
            let Some(spec) = secret.generator() else { continue };
            if report.stored.contains_key(&secret.name) {
                continue;
            }
            let reference = self.put(&report.stack, secret, &generate_for(&spec)?)?;
            made.push((secret.name.clone(), reference));
        }
        Ok(made)
    }

    /// Makes a new value of a generated secret. Releases that are kept refer to the old one; the
    /// next deployment uses the new one.
    ///
    /// # Errors
    /// When the app has no such secret, or it is not one that is generated.
    pub async fn rotate_secret(
        &self,
        target: &Target,
        options: &SecretsOptions,
        name: &str,
    ) -> Result<SecretRef, OperationError> {
        let report = self.identify_secrets(target, options).await?;
        let secret = settable(&report, name)?;
        let Some(spec) = secret.generator() else {
            let message = format!("`{name}` is not generated here: {}", secret.from());
            let help = format!(
                "give a new value with `vrooli-deploy secrets set APP {name}`, or where it comes from"
            );
            return Err(refused(secret.diagnostic(rules::SECRET_FOLLOWS, message).help(help)));
        };
        self.put(&report.stack, secret, &generate_for(&spec)?)
    }

    /// What the store keeps for an app: paths and versions, no values. Also of an app whose
    /// folder is gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn stored_secrets(&self, stack: &StackId) -> Result<Vec<StoredSecret>, OperationError> {
        let mut paths: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for reference in self.0.secrets.list(&format!("{stack}/"))? {
            paths.entry(reference.path).or_default().push(reference.version);
        }
        Ok(paths
            .into_iter()
            .map(|(path, mut versions)| {
                versions.sort_unstable();
                StoredSecret { path, versions }
            })
            .collect())
    }

    fn put(
        &self,
        stack: &StackId,
        secret: &PlannedSecret,
        value: &Secret<String>,
    ) -> Result<SecretRef, OperationError> {
        // Callers have looked: it has a place in the store.
        let path = secret.path(stack).unwrap_or_else(|| format!("{stack}/env/{}", secret.name));
        Ok(self.0.secrets.put(&path, value)?)
    }
}

fn manifest_of(target: &Target) -> Result<&LoadedManifest, OperationError> {
    target.manifest.as_ref().ok_or_else(|| OperationError::Nothing {
        message: format!(
            "the folder of `{}` is gone, and with it what says which secrets it has",
            target.stack.app
        ),
        help: "give the folder where it is now; `vrooli-deploy secrets list` works by name".to_owned(),
    })
}

fn refused(diagnostic: Diagnostic) -> OperationError {
    OperationError::Input(vec![diagnostic])
}

impl SecretsReport {
    /// The secret of that name, if its value passes through this program: one that can be set.
    ///
    /// # Errors
    /// When the app has no such secret, or it is not set by hand.
    pub fn settable(&self, name: &str) -> Result<&PlannedSecret, OperationError> {
        settable(self, name)
    }
}

fn settable<'a>(report: &'a SecretsReport, name: &str) -> Result<&'a PlannedSecret, OperationError> {
    let plan = &report.plan;
    let Some(secret) = plan.get(name) else {
        let diagnostic = unknown(report, name);
        return Err(refused(diagnostic));
    };
    let no =
        |code: Code, message: String, help: &str| Err(refused(secret.diagnostic(code, message).help(help)));
    match (&secret.origin, &secret.status) {
        (SecretOrigin::Source(_), _) => Ok(secret),
        (SecretOrigin::Resource { resource, .. }, _) => no(
            rules::SECRET_FOLLOWS,
            format!("`{name}` follows the resource `{resource}`: it is not set by hand"),
            "the app finds it in its environment; to use one of your own, point to it under `secrets` in a manifest",
        ),
        (SecretOrigin::Environment, _) => no(
            rules::SECRET_FOLLOWS,
            format!("`{name}` is set under `env` in the manifest"),
            "move it to `secrets`, e.g. `from: {prompt: {}}`, to set it by hand",
        ),
        (SecretOrigin::Nothing, SecretStatus::NotNeeded { why }) => no(
            rules::SECRET_FOLLOWS,
            format!("`{name}` is not needed: {why}"),
            "name it under `secrets` in a manifest if it is",
        ),
        (SecretOrigin::Nothing, _) => no(
            rules::SECRET_UNRESOLVED,
            format!("`{name}` is not provided on the tier `{}`: {}", plan.tier, secret.from()),
            "name it under `secrets` in a manifest, e.g. with `from: {prompt: {}}`, and set it then",
        ),
    }
}

fn unknown(report: &SecretsReport, name: &str) -> Diagnostic {
    let plan = &report.plan;
    let left_out = plan.left_out.iter().find(|secret| secret.name.as_str() == name);
    if let Some(secret) = left_out {
        return rules::SECRET_UNKNOWN
            .diagnostic(format!("`{name}` belongs to `{}`, which is left out", secret.resource))
            .help("`--include-optional` takes optional resources in");
    }
    let diagnostic =
        rules::SECRET_UNKNOWN.diagnostic(format!("`{name}` is no secret of `{}`", report.stack.app));
    match plan.nearest(name) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic.help(
            "declare it under `secrets` in a manifest, e.g. with `from: {prompt: {}}`; `vrooli-deploy secrets identify` \
             lists those that there are",
        ),
    }
}

fn unusable(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        Some("it is empty")
    } else if value.len() > LARGEST_VALUE {
        Some("it has more than 64 KiB")
    } else if value.contains('\0') {
        Some("it holds a null character")
    } else {
        None
    }
}
