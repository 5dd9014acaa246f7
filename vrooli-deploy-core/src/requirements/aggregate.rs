//! What an app takes in all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Footprint, Requirements, ResourceForm, Size, catalogue, runtime};
use crate::manifest::DeploymentManifest;

/// What an app takes in all: the sum of its services and of what they stand on. It knows
/// what it does not know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Aggregate {
    /// The parts, services first.
    pub parts: Vec<SizedPart>,
    /// Their sum: at least this much.
    pub total: Footprint,
    /// Parts of which nothing is known, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// A part of an app, and what it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SizedPart {
    /// The service, or the dependency as the app calls it.
    pub name: String,
    /// What it is: a runtime or a resource.
    pub what: String,
    /// Is it a service of the app? Else something it stands on.
    pub service: bool,
    /// How many run at least.
    pub count: u32,
    /// What one takes.
    pub size: Footprint,
}

/// Adds up what the services and the resources of an app take. Services of somebody else's
/// and commands take nothing here; what the app holds itself counts where it is known.
#[must_use]
pub fn aggregate(manifest: &DeploymentManifest, requirements: &Requirements) -> Aggregate {
    let mut aggregate = Aggregate::default();
    for (name, service) in &requirements.services {
        let runtime = runtime(manifest, service);
        let what = runtime.map_or("unknown", |runtime| runtime.name.as_str());
        match runtime.and_then(|runtime| runtime.size) {
            Some(size) => aggregate.add(SizedPart {
                name: name.to_string(),
                what: what.to_owned(),
                service: true,
                count: service.scaling.min.max(1),
                size: Footprint::of(size),
            }),
            None => aggregate.unknown.push(name.to_string()),
        }
    }
    for resource in requirements.resources.iter().chain(&requirements.embedded) {
        let form = catalogue().find(&resource.resource).map(|known| known.form);
        match resource.size {
            Some(size) => aggregate.add(SizedPart {
                name: resource.name.to_string(),
                what: resource.resource.clone(),
                service: false,
                count: 1,
                size,
            }),
            None if matches!(form, None | Some(ResourceForm::Server)) => {
                aggregate.unknown.push(resource.name.to_string());
            }
            None => {}
        }
    }
    aggregate
}

impl Aggregate {
    fn add(&mut self, part: SizedPart) {
        for _ in 0..part.count.min(1000) {
            self.total.minimum = self.total.minimum + part.size.minimum;
            self.total.recommended = self.total.recommended + part.size.recommended.or(part.size.minimum);
        }
        self.parts.push(part);
    }

    /// The smallest amount that is known to be enough for what is known.
    #[must_use]
    pub const fn minimum(&self) -> Size {
        self.total.minimum
    }
}
