//! What an app says about its dependencies, joined to those that it declares. The names of
//! both seldom agree: they are held together by the catalogue's name of what they are.

use super::{Footprint, ResourceRequirement, Size, catalogue};
use crate::manifest::{DependencyMetadata, DeploymentManifest};
use crate::names::DependencyName;

/// What is said of a resource of this name that is of this kind.
pub(crate) fn said<'a>(
    manifest: &'a DeploymentManifest,
    name: &DependencyName,
    kind: &str,
) -> Option<&'a DependencyMetadata> {
    let said = &manifest.metadata.dependencies;
    said.get(name)
        .filter(|said| {
            // After a swap the name still stands for what was declared.
            !said.scenario
                && manifest.dependencies.resources.get(name).is_none_or(|declared| {
                    catalogue().canonical(declared.kind.as_deref().unwrap_or(name.as_str())) == kind
                })
        })
        .or_else(|| {
            said.iter()
                .find(|(other, said)| !said.scenario && catalogue().canonical(other.as_str()) == kind)
                .map(|(_, said)| said)
        })
}

/// What the app says that a resource takes. What it does not say comes from the catalogue.
pub(super) fn footprint(manifest: &DeploymentManifest, resource: &ResourceRequirement) -> Option<Footprint> {
    let said = said(manifest, &resource.name, &resource.resource)?.footprint.as_ref()?.size();
    if said.is_unknown() {
        return None;
    }
    let known = catalogue()
        .find(&resource.resource)
        .and_then(|known| known.footprint.as_ref())
        .map_or(Size::default(), |known| known.size.minimum);
    Some(Footprint::of(said.or(known)))
}

/// What is to be said of such a name, in whatever file it stands.
pub(crate) fn orphan(name: &DependencyName) -> String {
    format!("something is said of `{name}`, but the app does not declare it")
}

/// Names of dependencies that the app's metadata speaks of, but that it does not declare,
/// under whatever alias.
#[must_use]
pub fn orphans(manifest: &DeploymentManifest) -> Vec<DependencyName> {
    let declared = &manifest.dependencies;
    manifest
        .metadata
        .dependencies
        .keys()
        .filter(|name| {
            let kind = catalogue().canonical(name.as_str());
            let is_resource = declared.resources.iter().any(|(own, resource)| {
                own == *name
                    || catalogue().canonical(resource.kind.as_deref().unwrap_or(own.as_str())) == kind
            });
            !is_resource && !declared.scenarios.contains_key(*name)
        })
        .cloned()
        .collect()
}
