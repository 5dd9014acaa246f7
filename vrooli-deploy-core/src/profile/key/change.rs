//! What each key takes, what it changes, and what it takes back.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{SettableKey, refused, shown};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::shape::nearest;
use crate::manifest::{SecretSource, ServerConfig, crosswalk};
use crate::names::{AppName, DependencyName, EnvironmentName, ProfileName, VariableName};
use crate::profile::check::{SSL, absolute, is_host_name, is_word};
use crate::profile::{PartSettings, Profile, Settings, Swap};

/// Does what a key is for, and says it in words.
pub(super) fn change(
    profile: &mut Profile,
    key: SettableKey,
    values: &[String],
    folder: &Path,
) -> Result<String, Box<Diagnostic>> {
    let takes = || refused(format!("`{}` takes {}", key.name, key.takes), key.about);
    if values.is_empty() {
        return Err(takes());
    }
    match key.name {
        "env" => return variable(profile, values, takes),
        "secret" => return secret(profile, values, folder, takes),
        "drop" => {
            for value in values {
                profile.drop.insert(dependency(value)?);
            }
            return Ok(format!("drop {}", values.join(" ")));
        }
        "swap" => return swap(profile, values, takes),
        "values" => {
            for value in values {
                let file = absolute(Path::new(value), folder);
                if !file.is_file() {
                    return Err(refused(
                        format!("{} is no file", shown(value)),
                        "give a values file, YAML or JSON",
                    ));
                }
                if !profile.values.contains(&file) {
                    profile.values.push(file);
                }
            }
            return Ok(format!("values {}", values.join(" ")));
        }
        "server" => {
            let [host, role] = values else { return Err(takes()) };
            if !is_host_name(host) || !is_word(role) {
                return Err(takes());
            }
            profile.settings.servers.retain(|server| server.host != *host);
            profile.settings.servers.push(ServerConfig {
                host: host.clone(),
                role: role.clone(),
                monthly_usd: None,
            });
            return Ok(format!("server {host} {role}"));
        }
        _ => {}
    }
    let [value] = values else { return Err(takes()) };
    let done = single(profile, key, value, folder)?;
    Ok(format!("set {} {done}", key.name))
}

/// Keys that take one value. Returns it as it was understood.
fn single(
    profile: &mut Profile,
    key: SettableKey,
    value: &str,
    folder: &Path,
) -> Result<String, Box<Diagnostic>> {
    let settings = &mut profile.settings;
    let name_error = |error: crate::names::NameError| {
        refused(format!("{} is not a valid {}", shown(value), error.what), error.rule)
    };
    match key.name {
        "tier" => {
            profile.tier = crosswalk::tier(value).map_err(|unknown| {
                Box::new(rules::UNKNOWN_TIER.diagnostic(unknown.to_string()).help(unknown.help()))
            })?;
            return Ok(profile.tier.to_string());
        }
        "provider" => {
            let provider = crosswalk::provider(value).map_err(|unknown| {
                Box::new(rules::UNKNOWN_PROVIDER.diagnostic(unknown.to_string()).help(unknown.help()))
            })?;
            let done = provider.to_string();
            settings.provider = Some(provider);
            return Ok(done);
        }
        "strategy" => {
            let strategy = crosswalk::strategy(value).map_err(|unknown| {
                Box::new(rules::UNKNOWN_STRATEGY.diagnostic(unknown.to_string()).help(unknown.help()))
            })?;
            settings.strategy = Some(strategy);
            return Ok(strategy.to_string());
        }
        "name" => profile.name = ProfileName::new(value).map_err(name_error)?,
        "app" => profile.app = AppName::new(value).map_err(name_error)?,
        "environment" => profile.environment = EnvironmentName::new(value).map_err(name_error)?,
        "scenario" => {
            let path = absolute(Path::new(value), folder);
            if !path.exists() {
                return Err(Box::new(
                    rules::PROFILE_SCENARIO
                        .diagnostic(format!("`{}` does not exist", path.display()))
                        .help("give the app's folder or manifest file"),
                ));
            }
            profile.scenario = path;
        }
        "domain" if is_host_name(value) => settings.domain = Some(value.to_owned()),
        "ssl" if SSL.contains(&value) => settings.ssl = Some(value.to_owned()),
        "ssl" => {
            return Err(refused(
                format!("{} is no word for `ssl`", shown(value)),
                match nearest(value, SSL) {
                    Some(near) => {
                        format!("did you mean `{near}`? Known are `letsencrypt`, `managed`, `none`")
                    }
                    None => "known are `letsencrypt`, `managed`, `none`".to_owned(),
                },
            ));
        }
        "load_balancer" => settings.load_balancer = Some(switch(key, value)?),
        "cdn" => settings.cdn = Some(switch(key, value)?),
        "include_optional" => settings.include_optional = Some(switch(key, value)?),
        "port" => settings.port = Some(number(key, value)?),
        "count.compute" => settings.compute.count = Some(number(key, value)?),
        "listen" => {
            settings.listen =
                Some(value.parse().map_err(|_| {
                    refused(format!("{} is no address", shown(value)), "write e.g. `127.0.0.1`")
                })?);
        }
        _ if is_word(value) => match slot(settings, key.name) {
            Some(slot) => *slot = Some(value.to_owned()),
            None => return Err(refused(format!("`{}` takes {}", key.name, key.takes), key.about)),
        },
        _ => {
            return Err(refused(
                format!("{} cannot be used for `{}`", shown(value), key.name),
                format!("it takes {}: {}", key.takes, key.about),
            ));
        }
    }
    Ok(value.to_owned())
}

/// Where a key keeps its text.
fn slot<'a>(settings: &'a mut Settings, key: &str) -> Option<&'a mut Option<String>> {
    if key == "region" {
        return Some(&mut settings.region);
    }
    let (field, part) = key.split_once('.')?;
    if part == "compute" {
        return match field {
            "type" => Some(&mut settings.compute.kind),
            "size" => Some(&mut settings.compute.size),
            _ => None,
        };
    }
    let part: &mut PartSettings = match part {
        "database" => &mut settings.database,
        "cache" => &mut settings.cache,
        "storage" => &mut settings.storage,
        _ => return None,
    };
    match field {
        "type" => Some(&mut part.kind),
        "size" => Some(&mut part.size),
        "region" => Some(&mut part.region),
        "version" => Some(&mut part.version),
        _ => None,
    }
}

fn switch(key: SettableKey, value: &str) -> Result<bool, Box<Diagnostic>> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(refused(
            format!("{} is neither true nor false", shown(value)),
            format!("`{}` takes {}", key.name, key.takes),
        )),
    }
}

fn number<T: std::str::FromStr + PartialOrd + From<u8>>(
    key: SettableKey,
    value: &str,
) -> Result<T, Box<Diagnostic>> {
    value.parse().ok().filter(|number| *number >= T::from(1_u8)).ok_or_else(|| {
        refused(
            format!("{} is no whole number of at least 1", shown(value)),
            format!("`{}` takes {}", key.name, key.takes),
        )
    })
}

fn dependency(value: &str) -> Result<DependencyName, Box<Diagnostic>> {
    DependencyName::new(value)
        .map_err(|error| refused(format!("{} is not a valid {}", shown(value), error.what), error.rule))
}

fn variable_name(value: &str) -> Result<VariableName, Box<Diagnostic>> {
    VariableName::new(value)
        .map_err(|error| refused(format!("{} is not a valid {}", shown(value), error.what), error.rule))
}

fn variable(
    profile: &mut Profile,
    values: &[String],
    takes: impl Fn() -> Box<Diagnostic>,
) -> Result<String, Box<Diagnostic>> {
    let (name, value) = match values {
        [name, value] => (name.as_str(), value.as_str()),
        [pair] => pair.split_once('=').ok_or_else(takes)?,
        _ => return Err(takes()),
    };
    let name = variable_name(name)?;
    // What was done is shown in lists of versions: the name says enough.
    let done = format!("set env {name}");
    profile.settings.env.insert(name, value.to_owned());
    Ok(done)
}

fn secret(
    profile: &mut Profile,
    values: &[String],
    folder: &Path,
    takes: impl Fn() -> Box<Diagnostic>,
) -> Result<String, Box<Diagnostic>> {
    let [name, from] = values else { return Err(takes()) };
    let name = variable_name(name)?;
    let from = match from.split_once(':') {
        None if from == "generate" => json!({"generate": {}}),
        Some(("environment" | "env", variable)) => json!({"environment": {"name": variable_name(variable)?}}),
        Some(("file", path)) => json!({"file": {"path": absolute(Path::new(path), folder)}}),
        Some(("store", path)) => json!({"store": {"path": path}}),
        // It may be the value itself.
        _ => {
            return Err(refused(
                format!("the secret `{name}` must be a reference, and never a value"),
                "write `generate`, `environment:NAME`, `file:PATH` or `store:PATH`",
            ));
        }
    };
    let source: SecretSource =
        serde_json::from_value(from.clone()).map_err(|error| refused(error.to_string(), ""))?;
    match profile.secrets.get_mut(&name) {
        Some(known) => known.from = source,
        None => {
            let config = serde_json::from_value(json!({"from": from}))
                .map_err(|error| refused(error.to_string(), ""))?;
            profile.secrets.insert(name.clone(), config);
        }
    }
    Ok(format!("set secret {name}"))
}

fn swap(
    profile: &mut Profile,
    values: &[String],
    takes: impl Fn() -> Box<Diagnostic>,
) -> Result<String, Box<Diagnostic>> {
    for value in values {
        let (from, to) = value.split_once('=').ok_or_else(&takes)?;
        let (from, to) = (dependency(from)?, dependency(to)?);
        match profile.swaps.iter_mut().find(|swap| swap.from == from) {
            Some(swap) if swap.to == to => {}
            Some(swap) => *swap = Swap::new(from, to),
            None => profile.swaps.push(Swap::new(from, to)),
        }
    }
    profile.swaps.sort_by(|a, b| a.from.cmp(&b.from));
    Ok(format!("swap {}", values.join(" ")))
}

/// Takes back what a key set, of these names or all.
pub(super) fn take(
    profile: &mut Profile,
    key: SettableKey,
    names: &[String],
    folder: &Path,
) -> Result<(), Box<Diagnostic>> {
    let all = names.is_empty();
    let named = |name: &str| all || names.iter().any(|wanted| wanted == name);
    let settings = &mut profile.settings;
    match key.name {
        "env" => settings.env.retain(|name, _| !named(name.as_str())),
        "secret" => profile.secrets.retain(|name, _| !named(name.as_str())),
        "drop" => profile.drop.retain(|name| !named(name.as_str())),
        "swap" => profile
            .swaps
            .retain(|swap| !named(swap.from.as_str()) && !named(&format!("{}={}", swap.from, swap.to))),
        "values" => {
            let files: Vec<PathBuf> = names.iter().map(|name| absolute(Path::new(name), folder)).collect();
            profile.values.retain(|file| !all && !files.contains(file));
        }
        "server" => settings.servers.retain(|server| !named(&server.host)),
        "provider" => settings.provider = None,
        "domain" => settings.domain = None,
        "strategy" => settings.strategy = None,
        "ssl" => settings.ssl = None,
        "load_balancer" => settings.load_balancer = None,
        "cdn" => settings.cdn = None,
        "include_optional" => settings.include_optional = None,
        "port" => settings.port = None,
        "listen" => settings.listen = None,
        "count.compute" => settings.compute.count = None,
        "environment" => profile.environment = crate::profile::default_environment(),
        name => match slot(settings, name) {
            Some(slot) => *slot = None,
            None => {
                return Err(refused(
                    format!("a profile cannot do without `{name}`"),
                    format!("set it to something else: `profile set PROFILE {name} {}`", key.takes),
                ));
            }
        },
    }
    Ok(())
}
