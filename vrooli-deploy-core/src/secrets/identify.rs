//! Which secrets an app has, and what becomes of each on a tier. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::class::words;
use super::metadata::{Declaration, MadeBy, SecretPrompt, Vocabulary, needs};
use super::plan::{LeftOutSecret, PlannedSecret, Said, SecretOrigin, SecretStatus, SecretsPlan};
use super::{GeneratorSpec, SecretClass, SecretMetadata, SecretStrategy};
use crate::manifest::{DeploymentManifest, GeneratorKind, SecretConfig, SecretSource, Tier};
use crate::names::{DependencyName, VariableName};
use crate::requirements::{Requirements, ResourceRequirement, catalogue};

/// Finds every secret of an app and decides what becomes of it on a tier. What is said first
/// in this list is believed:
///
/// 1. the manifest's own `secrets`, then its `env`;
/// 2. a resource of this deployment makes it: it follows the resource;
/// 3. an explicit strategy for this tier, then one for all tiers;
/// 4. a class (`class`, `bundle_hints.class`), then "requires user input";
/// 5. a classification (`infrastructure`, `service`, `user`, …);
/// 6. the secret's type, then its name.
///
/// A required secret of the infrastructure that nothing makes, and one that is kept in a
/// store which cannot be read, is [`SecretStatus::Unresolved`].
#[must_use]
pub fn identify(
    manifest: &DeploymentManifest,
    requirements: &Requirements,
    metadata: &SecretMetadata,
    tier: Tier,
) -> SecretsPlan {
    let identifying = Identifying { manifest, requirements, metadata, tier };
    let mut declared: BTreeMap<&VariableName, Vec<&Declaration>> = BTreeMap::new();
    let known = requirements.resources.iter().flat_map(|requirement| needs(&requirement.resource));
    for declaration in metadata.declarations.iter().chain(known) {
        declared.entry(&declaration.name).or_default().push(declaration);
    }
    for name in manifest.secrets.keys() {
        declared.entry(name).or_default();
    }
    let mut plan =
        SecretsPlan { app: manifest.app.name.clone(), tier, secrets: Vec::new(), left_out: Vec::new() };
    for (name, mut declarations) in declared {
        // Of another tier tells less than of this one, whoever says it.
        declarations.sort_by_key(|d| (d.tier.is_some_and(|of| of != tier), d.vocabulary));
        let config = manifest.secrets.get(name);
        if config.is_none()
            && let Some(resource) = identifying.left_out(name, &declarations)
        {
            plan.left_out.push(LeftOutSecret { name: name.clone(), resource });
            continue;
        }
        plan.secrets.push(identifying.secret(name, config, &declarations));
    }
    plan
}

struct Identifying<'a> {
    manifest: &'a DeploymentManifest,
    requirements: &'a Requirements,
    metadata: &'a SecretMetadata,
    tier: Tier,
}

/// The first that says anything.
fn first<T>(declarations: &[&Declaration], pick: impl Fn(&Declaration) -> Option<T>) -> Option<T> {
    declarations.iter().find_map(|declaration| pick(declaration))
}

impl Identifying<'_> {
    /// The dependency that a declaration's resource means, whatever it is called there.
    fn dependency(&self, resource: &str) -> Option<&DependencyName> {
        let canonical =
            |name: &str| catalogue().find(name).map_or_else(|| name.to_owned(), |k| k.name.clone());
        let wanted = canonical(resource);
        self.manifest.dependencies.resources.iter().find_map(|(name, dependency)| {
            let kind = dependency.kind.as_deref().unwrap_or(name.as_str());
            (name.as_str() == resource || canonical(kind) == wanted).then_some(name)
        })
    }

    /// The resource of a secret that exists only for resources which are not provided here.
    fn left_out(&self, name: &VariableName, declarations: &[&Declaration]) -> Option<DependencyName> {
        let mut out = None;
        for declaration in declarations {
            let Some(resource) = &declaration.resource else {
                // A list of names alone tells nothing about who needs them.
                if declaration.vocabulary == Vocabulary::ValuesFile {
                    continue;
                }
                return None;
            };
            let dependency = self.dependency(resource);
            let provided = dependency.is_some_and(|dependency| {
                self.requirements.resources.iter().any(|requirement| requirement.name == *dependency)
            });
            if provided {
                return None;
            }
            // The app's own word for a key that a person gives weighs more than the silence of
            // its dependencies; what belongs to an infrastructure that is not there does not.
            let own_word = declaration.vocabulary < Vocabulary::ResourceSecrets;
            let infrastructure = declaration.classification == Some(SecretClass::Infrastructure);
            if dependency.is_none() && own_word && !infrastructure {
                return None;
            }
            out = out.or_else(|| dependency.cloned().or_else(|| DependencyName::new(resource.as_str()).ok()));
        }
        // Names of a values file that nothing else speaks of: the contract of a resource that
        // is declared but not provided, or nobody's.
        out.or_else(|| {
            let of = |dependency: &DependencyName| {
                let kind = self.manifest.dependencies.resources.get(dependency)?.kind.clone();
                catalogue().find(kind.as_deref().unwrap_or(dependency.as_str()))
            };
            self.manifest
                .dependencies
                .resources
                .keys()
                .filter(|dependency| !self.requirements.resources.iter().any(|r| r.name == **dependency))
                .find(|dependency| of(dependency).is_some_and(|known| known.env.contains_key(name)))
                .cloned()
        })
    }

    fn secret(
        &self,
        name: &VariableName,
        config: Option<&SecretConfig>,
        declarations: &[&Declaration],
    ) -> PlannedSecret {
        let explicit =
            first(declarations, |d| d.strategy(self.tier).filter(|s| *s != SecretStrategy::Unspecified));
        // A name in a list of somebody's values: theirs, not one that is made up here.
        let names_alone = declarations.iter().all(|d| d.vocabulary == Vocabulary::ValuesFile);
        // A password that is made with a resource, which nobody makes here.
        let with_resource = first(declarations, |d| d.made_by) == Some(MadeBy::Resource);
        let class_by_rule = if with_resource && self.contract(name).is_none() {
            Some(SecretClass::Infrastructure)
        } else if names_alone && !words().is_configuration(name.as_str()) {
            Some(SecretClass::UserPrompt)
        } else {
            None
        };
        let declared_class = class_by_rule
            .or_else(|| first(declarations, |d| d.class))
            .or_else(|| declarations.iter().any(|d| d.asks).then_some(SecretClass::UserPrompt))
            .or_else(|| first(declarations, |d| d.classification))
            .or_else(|| first(declarations, |d| d.by_type))
            .or_else(|| words().by_name(name.as_str()));
        let class = config
            .and_then(|config| class_of(&config.from))
            .or_else(|| explicit.and_then(SecretStrategy::class))
            .or(declared_class)
            .unwrap_or(SecretClass::Infrastructure);
        let (origin, status) = self.origin(name, config, declarations, explicit, class);
        let strategy = match (&origin, explicit) {
            (SecretOrigin::Source(source), _) => match class_of(source).unwrap_or(class) {
                SecretClass::PerInstallGenerated => SecretStrategy::Generate,
                SecretClass::UserPrompt => SecretStrategy::Prompt,
                SecretClass::RemoteFetch => SecretStrategy::Fetch,
                SecretClass::Infrastructure => SecretStrategy::Unspecified,
            },
            (_, Some(explicit)) => explicit,
            (SecretOrigin::Resource { .. }, None) => SecretStrategy::Generate,
            (_, None) => SecretStrategy::Unspecified,
        };
        let required = config.map(|config| config.required).unwrap_or_else(|| {
            // A setting's name in somebody's list is no reason to refuse a deployment.
            first(declarations, |d| d.required).unwrap_or_else(|| {
                let guessed = declarations.iter().all(|d| d.vocabulary == Vocabulary::ValuesFile);
                !guessed && !words().is_configuration(name.as_str())
            })
        });
        let manifest_place =
            self.metadata.places.iter().find(|(own, _)| own == name).map(|(_, span)| span.clone());
        let own = config.map(|_| Said {
            vocabulary: Vocabulary::Manifest,
            place: manifest_place,
            holds_values: false,
        });
        let theirs = declarations.iter().map(|d| Said {
            vocabulary: d.vocabulary,
            place: d.place.clone(),
            holds_values: d.holds_values,
        });
        let resource = match &origin {
            SecretOrigin::Resource { resource, .. } => Some(resource.clone()),
            _ => first(declarations, |d| d.resource.clone())
                .and_then(|resource| self.dependency(&resource).cloned()),
        };
        PlannedSecret {
            name: name.clone(),
            class,
            strategy,
            origin,
            status,
            required,
            said: own.into_iter().chain(theirs).collect(),
            resource,
            description: config
                .and_then(|config| config.description.clone())
                .or_else(|| first(declarations, |d| d.description.clone())),
            format: config
                .and_then(|config| config.format.clone())
                .or_else(|| first(declarations, |d| d.format.clone())),
            prompt: match config.map(|config| &config.from) {
                Some(SecretSource::Prompt { label: Some(label) }) => {
                    Some(SecretPrompt { label: Some(label.clone()), description: None })
                }
                _ => first(declarations, |d| d.prompt.clone()),
            },
            services: config.map(|config| config.services.clone()).unwrap_or_default(),
            if_unavailable: config.map(|config| config.if_unavailable).unwrap_or_default(),
            in_manifest: config.is_some(),
        }
    }

    fn origin(
        &self,
        name: &VariableName,
        config: Option<&SecretConfig>,
        declarations: &[&Declaration],
        explicit: Option<SecretStrategy>,
        class: SecretClass,
    ) -> (SecretOrigin, SecretStatus) {
        if let Some(config) = config {
            return from_source(config.from.clone());
        }
        let in_env = self.manifest.env.contains_key(name)
            || self.manifest.services.values().any(|service| service.env.contains_key(name));
        if in_env {
            return (SecretOrigin::Environment, SecretStatus::SetInManifest);
        }
        if let Some((requirement, output)) = self.contract(name) {
            if let Some(by) = self.pointed_elsewhere(requirement) {
                let why = format!("the app is pointed to another `{}` by `{by}`", requirement.name);
                return (SecretOrigin::Nothing, SecretStatus::NotNeeded { why });
            }
            let issued = first(declarations, |d| d.made_by).is_some_and(|by| by != MadeBy::Resource);
            if !issued {
                let resource = requirement.name.clone();
                return (SecretOrigin::Resource { resource, output }, SecretStatus::FollowsResource);
            }
        }
        if let Some(store) = first(declarations, |d| d.foreign_store.clone()) {
            let why = format!("it is kept in `{store}`, which cannot be read");
            return (SecretOrigin::Nothing, SecretStatus::Unresolved { why });
        }
        let generator = first(declarations, |d| d.generator);
        match class {
            SecretClass::PerInstallGenerated => from_source(generator.unwrap_or_default().into()),
            SecretClass::UserPrompt => {
                let label =
                    first(declarations, |d| d.prompt.as_ref().and_then(|prompt| prompt.label.clone()));
                from_source(SecretSource::Prompt { label })
            }
            SecretClass::RemoteFetch => from_source(
                first(declarations, |d| d.source.clone())
                    .unwrap_or_else(|| SecretSource::Environment { name: name.clone() }),
            ),
            SecretClass::Infrastructure if explicit == Some(SecretStrategy::Strip) => {
                let why = format!("left out on the tier `{}`", self.tier);
                (SecretOrigin::Nothing, SecretStatus::NotNeeded { why })
            }
            SecretClass::Infrastructure => {
                let why = "it belongs to the infrastructure, and nothing here makes it".to_owned();
                (SecretOrigin::Nothing, SecretStatus::Unresolved { why })
            }
        }
    }

    /// The required resource in whose contract the variable is, and the output that fills it.
    fn contract(&self, name: &VariableName) -> Option<(&ResourceRequirement, String)> {
        self.requirements
            .resources
            .iter()
            .find_map(|requirement| Some((requirement, requirement.env.get(name)?.clone())))
    }

    /// The variable by which the manifest points to a resource that is there already.
    fn pointed_elsewhere<'r>(&self, requirement: &'r ResourceRequirement) -> Option<&'r VariableName> {
        let given: BTreeSet<&VariableName> = self
            .manifest
            .env
            .keys()
            .chain(self.manifest.services.values().flat_map(|service| service.env.keys()))
            .chain(self.manifest.secrets.keys())
            .collect();
        requirement
            .env
            .iter()
            .filter(|(_, output)| matches!(output.as_str(), "url" | "host" | "endpoint"))
            .map(|(variable, _)| variable)
            .find(|variable| given.contains(variable))
    }
}

/// The class of what comes from there; `None` for the store, which keeps all sorts.
const fn class_of(source: &SecretSource) -> Option<SecretClass> {
    match source {
        SecretSource::Generate { .. } => Some(SecretClass::PerInstallGenerated),
        SecretSource::Prompt { .. } => Some(SecretClass::UserPrompt),
        SecretSource::Environment { .. } | SecretSource::File { .. } | SecretSource::Vault(_) => {
            Some(SecretClass::RemoteFetch)
        }
        SecretSource::Store { .. } => None,
    }
}

fn from_source(source: SecretSource) -> (SecretOrigin, SecretStatus) {
    let status = match &source {
        SecretSource::Generate { .. } => SecretStatus::Generated,
        SecretSource::Prompt { .. } | SecretSource::Store { .. } => SecretStatus::Asked,
        SecretSource::Environment { .. } | SecretSource::File { .. } | SecretSource::Vault(_) => {
            SecretStatus::Fetched
        }
    };
    (SecretOrigin::Source(source), status)
}

impl From<GeneratorSpec> for SecretSource {
    fn from(spec: GeneratorSpec) -> Self {
        match spec {
            GeneratorSpec::Uuid => {
                Self::Generate { kind: Some(GeneratorKind::Uuid), length: None, charset: None }
            }
            GeneratorSpec::Random { length, charset } => {
                Self::Generate { kind: None, length: Some(length), charset: Some(charset) }
            }
        }
    }
}

impl SecretSource {
    /// How the value is generated, if it is.
    #[must_use]
    pub fn generator(&self) -> Option<GeneratorSpec> {
        let Self::Generate { kind, length, charset } = self else { return None };
        Some(match kind {
            Some(GeneratorKind::Uuid) => GeneratorSpec::Uuid,
            Some(GeneratorKind::Random) | None => GeneratorSpec::Random {
                length: length.unwrap_or(super::GENERATED_LENGTH),
                charset: charset.unwrap_or_default(),
            },
        })
    }
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Generate { .. } => write!(f, "{}", self.generator().unwrap_or_default()),
            Self::Prompt { .. } => f.write_str("given with `secrets set`"),
            Self::Environment { name } => write!(f, "the environment variable `{name}`"),
            Self::File { path } => write!(f, "the file `{}`", path.display()),
            Self::Store { path } => write!(f, "the secret store, at `{path}`"),
            Self::Vault(vault) => {
                let mount = vault.mount.as_deref().unwrap_or(super::DEFAULT_MOUNT);
                write!(f, "Vault, key `{}` of `{}` in `{mount}`", vault.key, vault.path)
            }
        }
    }
}
