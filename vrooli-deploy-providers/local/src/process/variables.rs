//! The environment of an app's process: clean, then what the lifecycle contract asks for,
//! then the release's own.

use std::collections::BTreeMap;
use std::path::Path;

use vrooli_deploy_core::names::{PortName, ServiceName, UnitId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::{EnvValue, Release};
use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef};

use super::failure;
use super::launch::Environment;
use super::ports::UnitPorts;
use super::table::{MARKER, Mark};

/// [`super::SecretResolver`] for the time of a call.
pub(crate) type Resolve<'a> = dyn Fn(&SecretRef) -> std::result::Result<Secret<String>, SecretError> + 'a;

/// What a process gets is put together from this.
pub(crate) struct Origin<'a> {
    /// The part of the deploying program's environment that apps may see.
    pub(crate) base: &'a BTreeMap<String, String>,
    pub(crate) release: &'a Release,
    pub(crate) ports: &'a UnitPorts,
    pub(crate) unit: &'a UnitId,
    pub(crate) data: &'a Path,
    pub(crate) mark: &'a Mark,
    pub(crate) resolve: &'a Resolve<'a>,
}

impl Origin<'_> {
    /// The environment of the unit. Ports given here win over numbers that a manifest holds
    /// for the same variable, because nothing listens on those.
    pub(crate) fn environment(&self) -> Result<Environment> {
        let mut all = Environment::default();
        for (name, value) in self.base {
            all.set(name, value);
        }
        // Without the first a scenario's API refuses to start, without the second it builds
        // itself anew.
        all.set("VROOLI_LIFECYCLE_MANAGED", "true");
        all.set("VROOLI_API_SKIP_STALE_CHECK", "true");
        all.set("SCENARIO_NAME", self.release.bundle.app.as_str());
        if let Some(port) = self.first_port() {
            all.set("PORT", port.to_string());
        }
        for (name, value) in self.release.bundle.env.get(&self.unit.service).into_iter().flatten() {
            match value {
                EnvValue::Value(value) => all.set(name.as_str(), value),
                EnvValue::Secret(reference) => {
                    all.set_secret(name.as_str(), (self.resolve)(reference).map_err(failure::secret)?);
                }
                EnvValue::Port { service, port } => {
                    all.set(name.as_str(), self.port(service, port)?.to_string())
                }
                EnvValue::DataDir => all.set(name.as_str(), self.data.to_string_lossy()),
                EnvValue::Output(reference) => {
                    return Err(ProviderError::new(
                        ErrorKind::Unexpected,
                        format!(
                            "`{name}` of `{}` refers to `{}`, which was not resolved",
                            self.unit, reference.key
                        ),
                    ));
                }
            }
        }
        // Others first, so that of two services with one variable each finds its own.
        let services = &self.release.bundle.services;
        let own = services.get_key_value(&self.unit.service);
        for (service, config) in services.iter().filter(|(s, _)| **s != self.unit.service).chain(own) {
            for (name, config) in &config.ports {
                if let Some(variable) = &config.env_var {
                    all.set(variable.as_str(), self.port(service, name)?.to_string());
                }
            }
        }
        all.set(MARKER, self.mark.as_str());
        Ok(all)
    }

    fn first_port(&self) -> Option<u16> {
        let name = self.release.bundle.services.get(&self.unit.service)?.ports.keys().next()?;
        self.ports.of(self.unit)?.get(name).copied()
    }

    /// The number of a port: the unit's own, or of the first instance of another service.
    fn port(&self, service: &ServiceName, port: &PortName) -> Result<u16> {
        let index = if *service == self.unit.service { self.unit.index } else { 0 };
        self.ports
            .of(&UnitId { service: service.clone(), index })
            .and_then(|p| p.get(port))
            .copied()
            .ok_or_else(|| {
                ProviderError::new(
                    ErrorKind::Config,
                    format!(
                        "`{}` asks for the port `{port}` of `{service}`, which the release does not have",
                        self.unit
                    ),
                )
            })
    }
}

/// The variables of this process that apps may see. A value that holds a password (a proxy's,
/// a registry's) is marked, because it must not be written down.
pub(crate) fn of_this_process() -> BTreeMap<String, String> {
    crate::environment::of_this_process(&[])
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// May a value be written to a file? Not if it is a URL with a user in it.
pub(crate) fn may_be_kept(value: &str) -> bool {
    !(value.contains("://") && value.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let bundle = serde_json::json!({
            "app": "demo", "environment": "default", "version": "1",
            "artefact": {
                "digest": format!("sha256:{}", "0".repeat(64)), "source": format!("sha256:{}", "0".repeat(64)),
                "location": "", "root": "."
            },
            "services": {
                "api": { "run": "./api", "ports": { "api": { "env_var": "API_PORT" } } },
                "ui": { "run": "./ui", "ports": { "ui": { "env_var": "UI_PORT" } } },
                "worker": { "run": "./worker" }
            },
            "env": {
                "api": {
                    "API_PORT": { "value": "15100" },
                    "DATA": "data_dir",
                    "PASSWORD": { "secret": { "$secret": "file", "path": "demo/default/db", "version": 1, "hash": "h" } }
                },
                "worker": { "UPSTREAM": { "port": { "service": "api", "port": "api" } } }
            },
            "smoke": [], "strategy": {}, "resources": [], "migrations": []
        });
        serde_json::from_value(serde_json::json!({
            "number": "r1", "digest": format!("sha256:{}", "0".repeat(64)), "bundle": bundle
        }))
        .unwrap()
    }

    fn environment(unit: &str) -> Environment {
        let ports = UnitPorts(
            [("api.0", "api", 25001), ("api.1", "api", 25002), ("ui.0", "ui", 25003)]
                .map(|(unit, port, number)| {
                    (unit.parse().unwrap(), BTreeMap::from([(PortName::new(port).unwrap(), number)]))
                })
                .into(),
        );
        let base = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
        let resolve: &Resolve<'_> = &|reference| match reference.path.as_str() {
            "demo/default/db" => Ok(Secret::new("hidden".to_owned())),
            path => Err(SecretError::NotFound { path: path.to_owned(), version: reference.version }),
        };
        Origin {
            base: &base,
            release: &release(),
            ports: &ports,
            unit: &unit.parse().unwrap(),
            data: Path::new("/state/apps/demo/default/data"),
            mark: &Mark::new("id/demo/default/r1/api.0"),
            resolve,
        }
        .environment()
        .unwrap()
    }

    #[test]
    fn units_see_each_others_ports_and_their_own_first() {
        let first = environment("api.0");
        assert_eq!(first.get("API_PORT"), Some("25001"));
        assert_eq!(first.get("PORT"), Some("25001"));
        assert_eq!(first.get("UI_PORT"), Some("25003"));
        assert_eq!(environment("api.1").get("API_PORT"), Some("25002"));
        let ui = environment("ui.0");
        assert_eq!((ui.get("API_PORT"), ui.get("PORT")), (Some("25001"), Some("25003")));
        let worker = environment("worker.0");
        assert_eq!((worker.get("UPSTREAM"), worker.get("PORT")), (Some("25001"), None));
    }

    #[test]
    fn the_contract_and_the_secret_are_there_and_nothing_else_is() {
        let all = environment("api.0");
        for (name, value) in [
            ("VROOLI_LIFECYCLE_MANAGED", "true"),
            ("VROOLI_API_SKIP_STALE_CHECK", "true"),
            ("SCENARIO_NAME", "demo"),
            ("PATH", "/bin"),
            ("PASSWORD", "hidden"),
            ("DATA", "/state/apps/demo/default/data"),
        ] {
            assert_eq!(all.get(name), Some(value), "{name}");
        }
        assert_eq!(all.get("CARGO_MANIFEST_DIR"), None);
        assert!(!format!("{all:?}").contains("hidden"));
    }

    #[test]
    fn a_proxy_with_a_password_is_not_kept() {
        assert!(may_be_kept("/usr/bin:/bin"));
        assert!(may_be_kept("http://proxy:3128"));
        assert!(!may_be_kept("http://me:pw@proxy:3128"));
    }
}
