use super::{Profile, parts};
use crate::diagnostics::{Checked, Severity, rules};
use crate::manifest::yaml::SpanIndex;
use crate::manifest::{
    ComputeConfig, DeploymentManifest, PartConfig, PasswordKeeper, SCHEMA_URL, SCHEMA_VERSION, Tier,
};
use crate::requirements::{self, DeriveOptions, Primitive};

/// The whole manifest that a profile comes to. `manifest` is the app's own with the profile's
/// choices laid over it ([`layer`](super::layer())). Kinds that nobody chose are the provider's
/// usual ones, as far as they are known; sizes that nobody chose are left to the provider. Pure:
/// the same input gives the same manifest. `spans` are the places of the app's own.
pub fn generate(
    profile: &Profile,
    manifest: &DeploymentManifest,
    spans: &SpanIndex,
) -> Checked<DeploymentManifest> {
    let options = DeriveOptions {
        include_optional: profile.settings.include_optional.unwrap_or(false),
        ..DeriveOptions::default()
    };
    let derived = requirements::derive_at(manifest, &options, spans);
    let mut diagnostics = derived.diagnostics;
    let local = manifest.provider.as_str() == "local";
    if local && profile.settings.provider.is_none() && matches!(profile.tier, Tier::Saas | Tier::Enterprise) {
        diagnostics.push(
            rules::NO_PROVIDER
                .diagnostic(format!(
                    "nobody chose who runs `{}` on tier `{}`",
                    manifest.app.name, profile.tier
                ))
                .help(format!(
                    "choose one: `profile set {} provider digitalocean`, `aws`, `bare-metal`, …",
                    profile.name
                )),
        );
    }
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Checked { value: None, diagnostics };
    }
    let mut manifest = manifest.clone();
    manifest.schema = Some(SCHEMA_URL.to_owned());
    manifest.schema_version = SCHEMA_VERSION.to_owned();
    manifest.app.name = profile.app.clone();
    if options.include_optional {
        // A manifest has no such switch: what is wanted is declared as needed.
        for resource in manifest.dependencies.resources.values_mut().filter(|resource| resource.enabled) {
            resource.required = true;
        }
    }
    let provider = manifest.provider.as_str();
    let infrastructure = &mut manifest.infrastructure;
    if infrastructure.compute.is_none()
        && !manifest.services.is_empty()
        && let Some(kind) = parts::compute(provider)
    {
        infrastructure.compute = Some(ComputeConfig { kind: kind.to_owned(), size: None, count: None });
    }
    for resource in derived.value.iter().flat_map(|needs| &needs.resources) {
        let slot = match resource.primitive {
            Primitive::Database => &mut infrastructure.database,
            Primitive::Cache => &mut infrastructure.cache,
            Primitive::ObjectStore => &mut infrastructure.storage,
            _ => continue,
        };
        if slot.is_none()
            && let Some(kind) = parts::resource(provider, &resource.resource)
        {
            *slot = Some(PartConfig {
                kind: kind.to_owned(),
                size: None,
                region: None,
                version: None,
                password: PasswordKeeper::default(),
            });
        }
    }
    Checked { value: Some(manifest), diagnostics }
}
