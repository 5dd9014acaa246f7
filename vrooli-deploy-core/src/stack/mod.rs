//! The graph of typed resources that outlive a release. Plain data, in key order.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::{OutputName, ResourceKey, ResourceKind, StackId};

/// A stack: everything that an app in an environment stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stack {
    /// Which.
    pub id: StackId,
    /// Its resources, by key.
    pub resources: BTreeMap<ResourceKey, Resource>,
}

/// One resource as it is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// Its kind.
    pub kind: ResourceKind,
    /// `Spec<Wanted>` of the kind as JSON; may hold [`Reference`]s.
    pub spec: Value,
    /// Resources that must be there first, beside those that the spec refers to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<ResourceKey>,
    /// Holds data that cannot be made again: never deleted unless asked by name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_data: bool,
}

/// A reference to an output of another resource, `{"$ref": key, "output": name}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Whose output.
    #[serde(rename = "$ref")]
    pub key: ResourceKey,
    /// Which output.
    pub output: OutputName,
}

/// A value, or a reference to an output that is known only after apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Input<T> {
    /// Of another resource.
    Ref(Reference),
    /// Known now.
    Value(T),
}

impl<T: PartialEq> Input<T> {
    /// Does it differ from what is there? A reference does not say, so it does.
    pub fn differs(&self, have: &T) -> bool {
        match self {
            Self::Value(want) => want != have,
            Self::Ref(_) => true,
        }
    }
}

impl<T> From<T> for Input<T> {
    fn from(value: T) -> Self {
        Self::Value(value)
    }
}
