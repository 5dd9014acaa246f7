//! Which service owns which port, and which port each variable means.

use std::collections::BTreeMap;

use super::commands::folder;
use super::patterns::PATTERNS;
use super::reader::Reader;
use super::steps::ServiceStep;
use crate::diagnostics::{Severity, rules};
use crate::manifest::PortConfig;
use crate::manifest::semantics::parse_range;
use crate::manifest::yaml::child;
use crate::names::{PortName, ServiceName, VariableName};

/// A port that the file declares.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeclaredPort {
    pub name: PortName,
    pub config: PortConfig,
}

/// Reads `ports`.
pub(super) fn read(reader: &Reader<'_>) -> Vec<DeclaredPort> {
    reader.keys("/ports").into_iter().filter_map(|key| port(reader, key)).collect()
}

fn port(reader: &Reader<'_>, key: &str) -> Option<DeclaredPort> {
    let at = child("/ports", key);
    let name = match PortName::new(key) {
        Ok(name) => name,
        Err(error) => {
            reader.note_as(
                Severity::Warning,
                rules::ODD_SHAPE,
                &at,
                format!("{error}; the port is ignored"),
                "rename it",
            );
            return None;
        }
    };
    let mut config = PortConfig::default();
    let value = reader.get(&at)?;
    if !value.is_object() {
        // `"api": 8080`
        config.port =
            reader.number(&at).and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    } else {
        let variable_at = format!("{at}/env_var");
        if let Some(text) = reader.full_text(&variable_at) {
            match VariableName::new(text.trim_start_matches('$')) {
                Ok(variable) => config.env_var = Some(variable),
                Err(error) => reader.note_as(
                    Severity::Warning,
                    rules::PORT_IMPORT,
                    &variable_at,
                    error.to_string(),
                    "give a variable's name, e.g. `API_PORT`",
                ),
            }
        }
        let range_at = format!("{at}/range");
        if let Some(range) = reader.full_text(&range_at) {
            if parse_range(&range).is_some() {
                config.range = Some(range);
            } else {
                reader.note(
                    rules::PORT_IMPORT,
                    &range_at,
                    format!("`{range}` is not a range of ports; it is ignored"),
                    "write e.g. `15000-19999`",
                );
            }
        }
        let port_at = format!("{at}/port");
        let fixed = reader.text(&port_at).filter(|text| !text.contains('$'));
        if let Some(text) = fixed {
            match text.trim().parse::<u16>() {
                Ok(number) if number > 0 => config.port = Some(number),
                _ => reader.note(
                    rules::PORT_IMPORT,
                    &port_at,
                    format!("`{text}` is not a port; it is ignored"),
                    "write a number between 1 and 65535",
                ),
            }
        }
    }
    if config.env_var.is_none()
        && config.port.is_none()
        && let Some(variable) = PATTERNS.ports.conventional_variables.get(key)
    {
        reader.note(
            rules::PORT_IMPORT,
            &at,
            format!("the port `{key}` names no `env_var`; `{variable}` is used, as everywhere"),
            format!("add `\"env_var\": \"{variable}\"`"),
        );
        config.env_var = VariableName::new(variable.as_str()).ok();
    }
    if let (Some(variable), Some(number)) = (&config.env_var, config.port) {
        // Two releases run side by side, and two apps on one machine: a number that the app
        // is told anyway must not be fixed.
        reader.note(
            rules::PORT_IMPORT,
            &format!("{at}/port"),
            format!("the number {number} of the port `{key}` is not kept: the app is told its port in `{variable}`, and each release gets its own"),
            "nothing to do; users reach the app by its URL, which stays",
        );
        config.port = None;
    }
    Some(DeclaredPort { name, config })
}

/// Gives each port to the service that most likely listens on it:
///
/// 1. the service of the same name (`api` → `start-api`), or of a name that usually goes with it;
/// 2. the only service whose command starts in the folder of that name, or names the variable;
/// 3. the service `api`, or the first one: Go APIs serve web sockets and side ports themselves.
pub(super) fn assign(
    reader: &Reader<'_>,
    ports: &[DeclaredPort],
    services: &BTreeMap<ServiceName, ServiceStep>,
) -> BTreeMap<ServiceName, BTreeMap<PortName, PortConfig>> {
    let mut owned: BTreeMap<ServiceName, BTreeMap<PortName, PortConfig>> = BTreeMap::new();
    for port in ports {
        let at = child("/ports", port.name.as_str());
        let Some((owner, certain)) = owner(port, services, ports.len() == 1) else {
            reader.note(
                rules::PORT_IMPORT,
                &at,
                format!("no service listens on the port `{}`", port.name),
                "remove it",
            );
            continue;
        };
        if !certain {
            reader.note(
                rules::PORT_IMPORT,
                &at,
                format!(
                    "the port `{}` is given to the service `{owner}`: no step says whose it is",
                    port.name
                ),
                "name the variable in the step's command, or call the step `start-` and the port's name",
            );
        }
        owned.entry(owner.clone()).or_default().insert(port.name.clone(), port.config.clone());
    }
    owned
}

/// The owner, and whether that is sure enough to say nothing.
fn owner<'a>(
    port: &DeclaredPort,
    services: &'a BTreeMap<ServiceName, ServiceStep>,
    only_port: bool,
) -> Option<(&'a ServiceName, bool)> {
    let key = port.name.as_str().to_ascii_lowercase().replace('_', "-");
    let none = Vec::new();
    let aliases = PATTERNS.ports.aliases.get(port.name.as_str()).unwrap_or(&none);
    let by_name = |wanted: &str| services.keys().find(|name| name.as_str() == wanted);
    if let Some(name) = by_name(&key).or_else(|| aliases.iter().find_map(|alias| by_name(alias))) {
        return Some((name, true));
    }
    let by_folder: Vec<&ServiceName> = services
        .iter()
        .filter(|(_, step)| folder(&step.run).is_some_and(|folder| folder.trim_start_matches("./") == key))
        .map(|(name, _)| name)
        .collect();
    if let [name] = by_folder.as_slice() {
        return Some((name, true));
    }
    if let Some(variable) = &port.config.env_var {
        let mentions: Vec<&ServiceName> = services
            .iter()
            .filter(|(_, step)| mentions(&step.run, variable.as_str()))
            .map(|(name, _)| name)
            .collect();
        if let [name] = mentions.as_slice() {
            return Some((name, true));
        }
    }
    if services.len() == 1 {
        return services.keys().next().map(|name| (name, only_port));
    }
    by_name(&PATTERNS.ports.fallback)
        .or_else(|| services.keys().next())
        .map(|name| (name, aliases.contains(&PATTERNS.ports.fallback)))
}

/// Does the command name the variable as a whole word?
pub(super) fn mentions(run: &str, variable: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    run.match_indices(variable)
        .any(|(at, _)| !run[..at].ends_with(part) && !run[at + variable.len()..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_variable_is_a_whole_word() {
        assert!(mentions("x -p ${UI_PORT}", "UI_PORT") && mentions("UI_PORT=1", "UI_PORT"));
        assert!(!mentions("x $GUI_PORT", "UI_PORT") && !mentions("x $UI_PORT_2", "UI_PORT"));
    }
}
