//! How each service is seen to be well: endpoints, checks and times of `lifecycle.health`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::patterns::PATTERNS;
use super::reader::Reader;
use crate::diagnostics::rules;
use crate::manifest::yaml::child;
use crate::manifest::{HealthConfig, PortConfig};
use crate::names::{PortName, ServiceName};

const HEALTH: &str = "/lifecycle/health";

/// An HTTP check of the file, taken apart.
struct HttpCheck {
    name: String,
    at: String,
    variable: Option<String>,
    path: String,
}

/// The health of each service that has a port.
///
/// A service's path is its entry in `endpoints`, else that of a check on its port, else
/// `/health` for services that usually have one. Times in milliseconds; a start may take
/// as long as the grace period says, but never less than the default, nor less than the
/// database's own retries where `needs_database`.
pub(super) fn read(
    reader: &Reader<'_>,
    ports: &BTreeMap<ServiceName, BTreeMap<PortName, PortConfig>>,
    needs_database: bool,
) -> BTreeMap<ServiceName, HealthConfig> {
    let checks = checks(reader);
    let mut used = vec![false; checks.len()];
    let mut health = BTreeMap::new();
    let general_timeout = reader.number(&format!("{HEALTH}/timeout"));
    let general_interval = reader.number(&format!("{HEALTH}/interval"));
    for (service, ports) in ports {
        let endpoint = endpoint(reader, service, ports);
        let of_service: Vec<(usize, &HttpCheck, &PortName)> = checks
            .iter()
            .enumerate()
            .filter_map(|(index, check)| {
                let variable = check.variable.as_deref()?;
                let port = ports
                    .iter()
                    .find(|(_, port)| port.env_var.as_ref().is_some_and(|name| name.as_str() == variable));
                port.map(|(name, _)| (index, check, name))
            })
            .collect();
        let main = of_service
            .iter()
            .find(|(_, check, _)| endpoint.as_ref().is_some_and(|path| *path == check.path))
            .or_else(|| of_service.iter().find(|(_, check, _)| endpoint.is_none() && !check.path.is_empty()))
            .or_else(|| of_service.first().filter(|_| endpoint.is_none()));
        let declared = reader.get(HEALTH).is_some();
        let conventional =
            declared && PATTERNS.health.default_for.iter().any(|name| name == service.as_str());
        let path = endpoint
            .or_else(|| main.map(|(_, check, _)| check.path.clone()))
            .or_else(|| conventional.then(|| PATTERNS.health.default_path.clone()));
        let mut config = HealthConfig {
            path,
            port: main_port(service, ports, main.map(|(_, _, port)| *port)),
            timeout: general_timeout.map(Duration::from_millis),
            interval: general_interval.map(Duration::from_millis),
            startup_grace: startup_grace(reader, service, needs_database),
            allow_degraded: false,
            critical: true,
        };
        if let Some((index, check, _)) = main {
            if let Some(mark) = used.get_mut(*index) {
                *mark = true;
            }
            let at = &check.at;
            config.timeout =
                reader.number(&format!("{at}/timeout")).map(Duration::from_millis).or(config.timeout);
            config.interval =
                reader.number(&format!("{at}/interval")).map(Duration::from_millis).or(config.interval);
            config.critical = reader.flag(&format!("{at}/critical")).unwrap_or(true);
        }
        // A probe that may take no time at all could never succeed.
        config.timeout = config.timeout.filter(|timeout| !timeout.is_zero());
        config.interval = config.interval.filter(|interval| !interval.is_zero());
        health.insert(service.clone(), config);
    }
    for (check, used) in checks.iter().zip(used) {
        if !used {
            reader.note(
                rules::HEALTH_IMPORT,
                &check.at,
                format!(
                    "the health check `{}` is not kept: a service has one, and this asks something else",
                    check.name
                ),
                "a request that a release must answer can stand in a manifest as a smoke test",
            );
        }
    }
    health
}

/// The port that is asked, where the service has several: the first by name may be a side port.
fn main_port(
    service: &ServiceName,
    ports: &BTreeMap<PortName, PortConfig>,
    checked: Option<&PortName>,
) -> Option<PortName> {
    if ports.len() < 2 {
        return None;
    }
    checked
        .or_else(|| ports.keys().find(|name| name.as_str() == service.as_str()))
        .or_else(|| ports.keys().next())
        .cloned()
}

fn endpoint(
    reader: &Reader<'_>,
    service: &ServiceName,
    ports: &BTreeMap<PortName, PortConfig>,
) -> Option<String> {
    let keys = reader.keys(&format!("{HEALTH}/endpoints"));
    let key = keys.into_iter().find(|key| {
        *key == service.as_str() || (*key != "metrics" && ports.keys().any(|port| port.as_str() == *key))
    })?;
    let at = child(&format!("{HEALTH}/endpoints"), key);
    let path = reader.full_text(&at)?;
    if path.starts_with('/') {
        return Some(path);
    }
    match target(&path) {
        Some((_, path)) => Some(path),
        None => {
            reader.note(
                rules::HEALTH_IMPORT,
                &at,
                format!("the health path `{path}` does not start with `/`; `/{path}` is asked"),
                "add the `/`",
            );
            Some(format!("/{path}"))
        }
    }
}

fn checks(reader: &Reader<'_>) -> Vec<HttpCheck> {
    let at = format!("{HEALTH}/checks");
    (0..reader.count(&at))
        .filter_map(|index| {
            let at = format!("{at}/{index}");
            let name = reader.full_text(&format!("{at}/name")).unwrap_or_else(|| format!("check {index}"));
            let kind = reader.full_text(&format!("{at}/type")).unwrap_or_else(|| "http".to_owned());
            if kind != "http" && kind != "https" {
                reader.note(
                    rules::HEALTH_IMPORT,
                    &at,
                    format!("the health check `{name}` of type `{kind}` is not kept: resources are checked by what provides them, processes by what runs them"),
                    "nothing to do",
                );
                return None;
            }
            let text = reader.full_text(&format!("{at}/target"))?;
            match target(&text) {
                Some((Some(variable), path)) => Some(HttpCheck { name, at, variable: Some(variable), path }),
                _ => {
                    reader.note(
                        rules::HEALTH_IMPORT,
                        &at,
                        format!("the health check `{name}` is not kept: its target names no port variable of this app"),
                        "write `http://localhost:${API_PORT}/health`",
                    );
                    None
                }
            }
        })
        .collect()
}

/// Takes `http://localhost:${API_PORT}/health` apart: variable and path.
fn target(text: &str) -> Option<(Option<String>, String)> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    // A `/` inside `${…}` does not end the authority.
    let mut depth = 0_u32;
    let end = rest
        .char_indices()
        .find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            *c == '/' && depth == 0
        })
        .map_or(rest.len(), |(at, _)| at);
    let (authority, path) = rest.split_at(end);
    let port = authority.rsplit_once(":$").map(|(_, port)| port.trim_start_matches('{'));
    let variable = port
        .map(|port| port.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>());
    let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    Some((variable.filter(|name| !name.is_empty() && name != "RESOURCE_PORTS"), path))
}

fn startup_grace(reader: &Reader<'_>, service: &ServiceName, needs_database: bool) -> Option<Duration> {
    let patterns = &PATTERNS.health;
    let declared = reader.number(&format!("{HEALTH}/startup_grace_period")).unwrap_or(0);
    let is_ui = service.as_str() == PATTERNS.routes.ui;
    let least = if needs_database && !is_ui {
        patterns.database_startup_grace_ms
    } else {
        patterns.default_startup_grace_ms
    };
    let grace = declared.max(least);
    if needs_database && !is_ui && declared < least && service.as_str() == PATTERNS.routes.api {
        reader.note(
            rules::HEALTH_IMPORT,
            &format!("{HEALTH}/startup_grace_period"),
            format!(
                "`{service}` may take {} to start: {}",
                crate::duration::format(Duration::from_millis(least)),
                patterns.database_startup_why
            ),
            "nothing to do; a start that is well earlier is taken earlier",
        );
    }
    (grace != patterns.default_startup_grace_ms).then(|| Duration::from_millis(grace))
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn targets_are_taken_apart() {
        let some = |variable: &str, path: &str| Some((Some(variable.to_owned()), path.to_owned()));
        assert_eq!(target("http://localhost:${API_PORT}/health"), some("API_PORT", "/health"));
        assert_eq!(target("http://${ORCHESTRATOR_HOST}:$P/a?b"), some("P", "/a?b"));
        assert_eq!(target("http://h:${API_PORT:-8080}"), some("API_PORT", "/"));
        assert_eq!(target("http://localhost:3252/health"), Some((None, "/health".to_owned())));
        assert_eq!(target("http://localhost:${RESOURCE_PORTS[qdrant]}/x"), Some((None, "/x".to_owned())));
        assert_eq!(target("postgres"), None);
    }
}
