//! Everything that rules are asked about, worked out once.

use super::scripts::{Script, read_scripts};
use super::source::{SourceText, read_sources};
use super::{Budget, ValidateOptions, of_tier};
use crate::diagnostics::{Checked, Diagnostic, Severity, Span, rules};
use crate::fitness::{AssessOptions, TierFitness, assess};
use crate::manifest::yaml::child;
use crate::manifest::{DeploymentManifest, Dialect, LoadedManifest, Tier};
use crate::names::{ProviderName, ResourceKey, StackId};
use crate::provider::{LowerOptions, Registry};
use crate::requirements::{self, DeriveOptions, Primitive, Requirements};
use crate::secrets::{SecretMetadata, SecretsPlan, identify};
use crate::stack::Stack;

pub(super) struct Facts<'a> {
    pub(super) loaded: &'a LoadedManifest,
    pub(super) manifest: DeploymentManifest,
    pub(super) provider: ProviderName,
    pub(super) tier: Tier,
    pub(super) requirements: Requirements,
    /// What was said when needs were worked out.
    pub(super) derived: Vec<Diagnostic>,
    /// `None`: the build has no such provider, or it makes nothing of the app.
    pub(super) stack: Option<Stack>,
    pub(super) lowered: Vec<Diagnostic>,
    pub(super) fitness: TierFitness,
    pub(super) secrets: SecretsPlan,
    pub(super) secrets_found: Vec<Diagnostic>,
    /// How many connections each database of the stack allows.
    pub(super) connections: Vec<(ResourceKey, u32)>,
    pub(super) scripts: Vec<Script>,
    pub(super) sources: Vec<SourceText>,
    pub(super) budget: Option<&'a Budget>,
}

impl Facts<'_> {
    /// Where the app's own manifest says something; pointers of another dialect mean other things.
    pub(super) fn place(&self, pointer: &str) -> Option<Span> {
        match self.loaded.dialect {
            Dialect::Manifest => self.loaded.spans.value(pointer),
            Dialect::ServiceJson => None,
        }
    }

    /// Where a resource is declared, in any dialect.
    pub(super) fn resource_place(&self, name: &str) -> Option<Span> {
        ["/dependencies/resources", "/dependencies/resources/required", "/dependencies/resources/optional"]
            .iter()
            .find_map(|group| {
                let place = self.loaded.spans.place(&child(group, name))?;
                place.key.clone().or_else(|| place.value.clone())
            })
    }

    /// Databases that somebody else runs for the app: the provider, not the app's own machines.
    pub(super) fn managed_databases(&self) -> impl Iterator<Item = &requirements::ResourceRequirement> {
        self.requirements.resources.iter().filter(|resource| {
            resource.primitive == Primitive::Database
                && requirements::catalogue()
                    .find(&resource.resource)
                    .is_some_and(|known| known.managed_at(Some(&self.provider)).is_some())
        })
    }
}

pub(super) fn gather<'a>(
    registry: &Registry,
    stack: &StackId,
    loaded: &'a LoadedManifest,
    options: &'a ValidateOptions,
) -> Checked<Facts<'a>> {
    let mut manifest = loaded.manifest.clone();
    manifest.app.name = stack.app.clone();
    manifest.drop.extend(options.drop.iter().cloned());
    let provider = options.provider.clone().unwrap_or_else(|| manifest.provider.clone());
    let tier = manifest.target;
    let derive = DeriveOptions { include_optional: options.include_optional, ..DeriveOptions::default() };
    let derived = requirements::derive_at(&manifest, &derive, &loaded.spans);
    let Some(mut requirements) = derived.value else {
        return Checked { value: None, diagnostics: derived.diagnostics };
    };
    let scripts = read_scripts(&loaded.root, &requirements);
    declare_extensions(&mut requirements, &scripts);

    let metadata = SecretMetadata::load(loaded);
    let plan = identify(&manifest, &requirements, &metadata.value.unwrap_or_default(), tier);
    let mut diagnostics = metadata.diagnostics;
    let secrets_found = options.secrets.clone().unwrap_or_else(|| plan.check());

    let mut assess_options = AssessOptions { tiers: vec![tier], ..AssessOptions::default() };
    assess_options.drop.clone_from(&options.drop);
    assess_options.include_optional = options.include_optional;
    assess_options.fitness = options.fitness.clone();
    assess_options.fitness.provider.get_or_insert_with(|| provider.clone());
    // A budget and the values of secrets have checks of their own here.
    assess_options.fitness.cost = None;
    assess_options.fitness.secrets = Some(Vec::new());
    let assessed = assess(loaded, &assess_options);
    let Some(fitness) = assessed.value.and_then(|fitness| of_tier(&fitness, tier)) else {
        diagnostics.extend(assessed.diagnostics);
        return Checked { value: None, diagnostics };
    };
    // What only the look at other scenarios found.
    let mut derived = derived.diagnostics;
    for found in assessed.diagnostics {
        if !derived.iter().any(|known| known.code == found.code && known.message == found.message) {
            derived.push(found);
        }
    }

    let (made, lowered, connections) = lower(registry, stack, loaded, &manifest, &provider, &requirements);
    let sources = read_sources(&loaded.root);
    let facts = Facts {
        loaded,
        manifest,
        provider,
        tier,
        requirements,
        derived,
        stack: made,
        lowered,
        fitness,
        secrets: plan,
        secrets_found,
        connections,
        scripts,
        sources,
        budget: options.budget.as_ref(),
    };
    Checked { value: Some(facts), diagnostics }
}

/// What a schema file makes must be on offer, whether the app declares it or not.
fn declare_extensions(requirements: &mut Requirements, scripts: &[Script]) {
    for resource in &mut requirements.resources {
        for script in scripts.iter().filter(|script| script.resource == resource.name) {
            for (extension, _) in &script.extensions {
                if !resource.extensions.contains(extension) {
                    resource.extensions.push(extension.clone());
                }
            }
        }
    }
}

type Lowered = (Option<Stack>, Vec<Diagnostic>, Vec<(ResourceKey, u32)>);

fn lower(
    registry: &Registry,
    stack: &StackId,
    loaded: &LoadedManifest,
    manifest: &DeploymentManifest,
    provider: &ProviderName,
    requirements: &Requirements,
) -> Lowered {
    let factory = match registry.get(provider) {
        Ok(factory) => factory,
        Err(unknown) => {
            let place = match loaded.dialect {
                Dialect::Manifest => loaded.spans.value("/provider"),
                Dialect::ServiceJson => None,
            };
            let missing = rules::PROVIDER_MISSING
                .diagnostic(unknown.to_string())
                .at(place, "here")
                .help("choose one that this build has, or build with the provider's feature");
            return (None, vec![missing], Vec::new());
        }
    };
    let options = LowerOptions::of(loaded, manifest);
    let Checked { value, diagnostics } = factory.lower(stack, requirements, &options);
    let connections = value
        .iter()
        .flat_map(|stack| &stack.resources)
        .filter_map(|(key, resource)| Some((key.clone(), factory.connections(resource)?)))
        .collect();
    let failed = diagnostics.iter().any(|found| found.severity == Severity::Error);
    (value.filter(|_| !failed), diagnostics, connections)
}
