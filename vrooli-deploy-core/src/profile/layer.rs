//! A profile's choices as a part of a manifest.

use serde_json::{Map, Value, json};

use super::{PartSettings, Profile, parts};
use crate::diagnostics::{Checked, rules};
use crate::manifest::shape::nearest;
use crate::manifest::{DeploymentManifest, SwapConfig};

/// The part of a manifest that a profile's choices come to, laid over `base`, which the app's
/// own manifest and the profile's values files say. Pure.
pub fn layer(profile: &Profile, base: &DeploymentManifest) -> Checked<Value> {
    let settings = &profile.settings;
    let mut diagnostics = Vec::new();
    let mut part = Map::new();
    let provider = settings.provider.as_ref().unwrap_or(&base.provider).as_str();

    put(&mut part, "target", Some(&profile.tier));
    put(&mut part, "provider", settings.provider.as_ref());
    let mut app = Map::new();
    put(&mut app, "domain", settings.domain.as_ref());
    put_map(&mut part, "app", app);

    let mut infrastructure = Map::new();
    put(&mut infrastructure, "region", settings.region.as_ref());
    let mut compute = Map::new();
    put(&mut compute, "type", settings.compute.kind.as_ref());
    put(&mut compute, "size", settings.compute.size.as_ref());
    put(&mut compute, "count", settings.compute.count.as_ref());
    if base.infrastructure.compute.is_none() {
        with_kind(&mut compute, parts::compute(provider));
    }
    put_map(&mut infrastructure, "compute", compute);
    let known = &base.infrastructure;
    let swaps = crate::swaps::joined(&base.swaps, &profile.manifest_swaps());
    for (name, chosen, there, usual) in [
        ("database", &settings.database, known.database.is_some(), &["postgres", "mysql"][..]),
        ("cache", &settings.cache, known.cache.is_some(), &["redis"]),
        ("storage", &settings.storage, known.storage.is_some(), &["minio"]),
    ] {
        let mut map = part_settings(chosen);
        if !there {
            with_kind(&mut map, usual_kind(base, &swaps, provider, usual));
        }
        put_map(&mut infrastructure, name, map);
    }
    if !settings.servers.is_empty() {
        put(&mut infrastructure, "servers", Some(&settings.servers));
    }
    put_map(&mut part, "infrastructure", infrastructure);

    let mut networking = Map::new();
    put(&mut networking, "load_balancer", settings.load_balancer.as_ref());
    put(&mut networking, "ssl", settings.ssl.as_ref());
    put(&mut networking, "cdn", settings.cdn.as_ref());
    put_map(&mut part, "networking", networking);

    if let Some(strategy) = settings.strategy {
        part.insert("strategy".to_owned(), json!({"type": strategy}));
    }
    if !settings.env.is_empty() {
        put(&mut part, "env", Some(&settings.env));
        put_map(&mut part, "services", stronger(profile, base));
    }
    let mut secrets = Map::new();
    for variable in settings.env.keys().filter(|variable| base.secrets.contains_key(*variable)) {
        secrets.insert(variable.to_string(), Value::Null);
    }
    for (variable, secret) in &profile.secrets {
        put(&mut secrets, variable.as_str(), Some(secret));
    }
    put_map(&mut part, "secrets", secrets);
    for name in &profile.drop {
        let known =
            base.dependencies.resources.contains_key(name) || base.dependencies.scenarios.contains_key(name);
        if !known {
            let names = base.dependencies.resources.keys().map(|name| name.as_str());
            diagnostics.push(
                rules::DROP_WITHOUT_TARGET
                    .diagnostic(format!("`{name}` is to be dropped, but the app does not declare it"))
                    .help(match nearest(name.as_str(), names) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "check the name".to_owned(),
                    }),
            );
        }
    }
    if !profile.drop.is_empty() {
        put(&mut part, "drop", Some(&profile.drop));
    }
    // One list, one mechanism: what the manifest swaps comes first, then what was chosen. Whether
    // a swap meets anything and what the tier says of it is judged where needs are derived.
    if swaps != base.swaps {
        put(&mut part, "swaps", Some(&swaps));
    }
    Checked { value: Some(Value::Object(part)), diagnostics }
}

/// A service's own variables are stronger than the app's, but not than what was chosen.
fn stronger(profile: &Profile, base: &DeploymentManifest) -> Map<String, Value> {
    let mut services = Map::new();
    for (name, service) in &base.services {
        let mut env = Map::new();
        for (variable, value) in &profile.settings.env {
            if service.env.contains_key(variable) {
                env.insert(variable.to_string(), Value::String(value.clone()));
            }
        }
        if !env.is_empty() {
            services.insert(name.to_string(), json!({"env": env}));
        }
    }
    services
}

fn part_settings(part: &PartSettings) -> Map<String, Value> {
    let mut map = Map::new();
    put(&mut map, "type", part.kind.as_ref());
    put(&mut map, "size", part.size.as_ref());
    put(&mut map, "region", part.region.as_ref());
    put(&mut map, "version", part.version.as_ref());
    map
}

/// A part of which something was chosen needs a kind.
fn with_kind(map: &mut Map<String, Value>, kind: Option<&str>) {
    if !map.is_empty() && !map.contains_key("type") {
        put(map, "type", kind);
    }
}

/// What the provider calls the first of these that the app declares.
fn usual_kind(
    base: &DeploymentManifest,
    swaps: &[SwapConfig],
    provider: &str,
    usual: &[&str],
) -> Option<&'static str> {
    let declares = |wanted: &str| {
        base.dependencies
            .resources
            .iter()
            .any(|(name, resource)| crate::swaps::effective(name, resource, swaps).kind == wanted)
    };
    usual
        .iter()
        .find(|kind| declares(kind))
        .or(usual.first())
        .and_then(|kind| parts::resource(provider, kind))
}

fn put<T: serde::Serialize + ?Sized>(map: &mut Map<String, Value>, key: &str, value: Option<&T>) {
    // Plain data: it can always be written as JSON.
    if let Some(value) = value.and_then(|value| serde_json::to_value(value).ok()) {
        map.insert(key.to_owned(), value);
    }
}

fn put_map(map: &mut Map<String, Value>, key: &str, value: Map<String, Value>) {
    if !value.is_empty() {
        map.insert(key.to_owned(), Value::Object(value));
    }
}
