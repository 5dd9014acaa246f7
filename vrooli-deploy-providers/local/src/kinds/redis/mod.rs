//! `local.redis`: a private Redis (or Valkey) server, run from what the distribution
//! installed or in a container. The pure half is here, the native half beside it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef,
};

use super::Way;

#[cfg(feature = "native")]
mod contained;
#[cfg(feature = "native")]
mod handler;
#[cfg(feature = "native")]
mod installed;
#[cfg(feature = "native")]
mod server;
#[cfg(feature = "native")]
mod wire;

#[cfg(feature = "native")]
pub(crate) use server::stop_all;
#[cfg(feature = "native")]
pub use server::{ensure_running, stop};

const KIND: &str = "local.redis";

/// The kind `local.redis`.
#[derive(Debug, Clone, Copy)]
pub struct Redis;

/// What is wanted of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSpec {
    /// Version as the app declares it. A hint: what is installed is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What is seen of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RedisObserved {
    /// The port it listens on, on loopback.
    pub port: u16,
    /// Was its making finished?
    pub finished: bool,
    /// How it is run.
    #[serde(default, skip_serializing_if = "Way::is_programs")]
    pub way: Way,
    /// The container engine's volume that holds its data, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

impl ResourceKindDef for Redis {
    type Spec<F: Form> = RedisSpec;
    type Observed = RedisObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name(KIND)
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["host", "port", "database", "password", "url"]
    }
    fn takes_up_data(&self) -> bool {
        true
    }
    fn diff(&self, want: &RedisSpec, have: &RedisObserved) -> Change {
        let RedisSpec { version: _ } = want;
        Diff::new().update("finished", !have.finished).done()
    }
    fn bill(&self, _: &RedisSpec) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, _: Op, _: &RedisSpec) -> Vec<Permission> {
        Vec::new()
    }
    fn ownership(&self, key: &ResourceKey, _: &RedisSpec) -> Ownership {
        Ownership::DerivedName(key.to_string())
    }
    fn outputs(&self, _: &PhysicalId, have: &RedisObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("host", "127.0.0.1".into()), ("port", have.port.into()), ("database", "0".into())])
    }
}
