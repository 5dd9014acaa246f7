//! Services that ask each other at `localhost` must run where that is the same machine.

use std::sync::LazyLock;

use serde::Deserialize;

use super::facts::Facts;
use super::source::{Line, PATTERNS, found};
use super::{Answer, ByName, Finding};
use crate::diagnostics::{Severity, rules};
use crate::manifest::crosswalk::embedded;
use crate::names::ServiceName;

#[derive(Debug, Default, Deserialize)]
struct Placement {
    providers: ByName<OfProvider>,
}

#[derive(Debug, Default, Deserialize)]
struct OfProvider {
    default: Sharing,
    #[serde(default)]
    types: ByName<Sharing>,
}

/// Who shares a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sharing {
    /// All services of the app.
    Together,
    /// Those with a port; each of the others is by itself.
    PortsTogether,
    /// Nobody knows.
    #[default]
    Unknown,
}

static PLACEMENT: LazyLock<Placement> = LazyLock::new(|| embedded(include_str!("data/placement.json")));

fn sharing(facts: &Facts<'_>) -> Sharing {
    let Some(provider) = PLACEMENT.providers.get(facts.provider.as_str()) else { return Sharing::Unknown };
    let kind = facts
        .manifest
        .infrastructure
        .compute
        .as_ref()
        .map(|compute| compute.kind.to_ascii_lowercase().replace(['_', ' '], "-"));
    kind.and_then(|kind| provider.types.get(&kind).copied()).unwrap_or(provider.default)
}

/// The service whose folder a line stands in.
fn owner<'a>(facts: &'a Facts<'_>, line: &Line<'_>) -> Option<&'a ServiceName> {
    let first = line.file.name.split('/').next().unwrap_or_default();
    facts
        .requirements
        .services
        .iter()
        .filter(|(name, service)| {
            let dir =
                service.dir.as_deref().unwrap_or_default().trim_start_matches("./").trim_end_matches('/');
            (!dir.is_empty() && line.file.name.starts_with(&format!("{dir}/"))) || name.as_str() == first
        })
        .map(|(name, _)| name)
        .next()
}

pub(super) fn shared(facts: &Facts<'_>) -> Answer {
    let services = &facts.requirements.services;
    let mut by_file: ByName<(usize, Line<'_>)> = ByName::new();
    for line in found(&facts.sources, &PATTERNS.asks_own_machine) {
        by_file.entry(line.file.name.clone()).or_insert((0, line)).0 += 1;
    }
    if by_file.is_empty() || services.len() < 2 {
        return Answer::fine("no service asks another at `localhost`, as far as its source shows");
    }
    let sharing = sharing(facts);
    let mut answer = Answer::fine(format!(
        "services that ask each other at `localhost` run side by side at {}",
        facts.provider
    ));
    for (name, (_, line)) in by_file {
        let owner = owner(facts, &line);
        let alone =
            owner.and_then(|owner| services.get(owner)).is_some_and(|service| service.ports.is_empty());
        let severity = match sharing {
            Sharing::Together => Severity::Info,
            Sharing::PortsTogether if alone => Severity::Error,
            Sharing::PortsTogether => Severity::Info,
            Sharing::Unknown => Severity::Warning,
        };
        let who = owner.map_or_else(|| format!("`{name}`"), |owner| format!("`{owner}` ({name})"));
        let mut diagnostic = rules::NETWORK_NOT_SHARED
            .diagnostic(match severity {
                Severity::Error => format!("{who} asks the API at `localhost`, but a service without a port runs by itself at {}", facts.provider),
                Severity::Warning => format!("{who} asks the API at `localhost`: both must share a machine, and whether they do at {} is not known", facts.provider),
                Severity::Info => format!("{who} asks the API at `localhost`: both must stay on one machine"),
            })
            .at(Some(line.span()), "here")
            .help("read the address from a variable, e.g. `API_URL`, with `http://localhost:${API_PORT}` as its default");
        diagnostic.severity = severity;
        answer.findings.push(
            Finding::new(diagnostic, name)
                .step("or run the app on machines of its own, where all services are together"),
        );
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_can_be_read() {
        let data: Placement = serde_json::from_str(include_str!("data/placement.json")).unwrap();
        assert_eq!(data.providers["digitalocean"].types["droplet"], Sharing::Together);
        assert_eq!(data.providers["aws"].default, Sharing::PortsTogether);
    }
}
