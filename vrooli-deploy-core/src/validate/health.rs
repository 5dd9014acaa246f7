//! Health checks that say how the app is, and nothing else.

use super::facts::Facts;
use super::source::{Line, PATTERNS, SourceText, found};
use super::{Answer, Finding, counted};
use crate::diagnostics::{Severity, rules};
use crate::manifest::yaml::child;
use crate::requirements::Primitive;

pub(super) fn checks(facts: &Facts<'_>) -> Answer {
    let services = &facts.requirements.services;
    let with_port = services.iter().filter(|(_, service)| !service.ports.is_empty());
    let stores = facts.requirements.resources.iter().any(|resource| {
        matches!(resource.primitive, Primitive::Database | Primitive::Cache | Primitive::ObjectStore)
    });
    let mut answer = Answer::default();
    let mut well = 0;
    for (name, service) in with_port {
        let at = child("/services", name.as_str());
        let place = |field: &str| facts.place(&child(&child(&at, "health"), field));
        let Some(health) = &service.health else {
            let mut diagnostic = rules::HEALTH_SAYS_LITTLE
                .diagnostic(format!("`{name}` says nowhere how it is: that it listens is all that is known"))
                .at(facts.place(&at), "here")
                .help(format!("name a path under `services.{name}.health.path`"));
            diagnostic.severity = Severity::Warning;
            answer.findings.push(Finding::new(diagnostic, format!("services.{name}.health")));
            continue;
        };
        well += 1;
        let field = format!("services.{name}.health");
        if health.allow_degraded && stores {
            let diagnostic = rules::HEALTH_DEGRADES
                .diagnostic(format!("`{name}` passes for healthy while it is degraded: a release without its database would be kept"))
                .at(place("allow_degraded"), "here")
                .help("take `allow_degraded` out, or prove storage with a request under `smoke`");
            answer.findings.push(Finding::new(diagnostic, format!("{field}.allow_degraded")));
        }
        let page = PATTERNS.without_database.iter().any(|without| without == name.as_str());
        if !health.critical && !page {
            let diagnostic = rules::HEALTH_DEGRADES
                .diagnostic(format!(
                    "a release goes on although `{name}` is not well: its check is not critical"
                ))
                .at(place("critical"), "here")
                .help("make the check critical, or leave it so if the app works without the service");
            answer.findings.push(Finding::new(diagnostic, format!("{field}.critical")));
        }
    }
    for line in others(&facts.sources) {
        let diagnostic = rules::HEALTH_ASKS_OTHERS
            .diagnostic(format!("a health check asks `{}`: when that is away, the app counts as unwell", line.1))
            .at(Some(line.0.span()), "here")
            .help("ask others where the answer is needed; a health check speaks of the app and what it stands on");
        answer.findings.push(
            Finding::new(diagnostic, line.0.file.name.clone())
                .step("or report it as degraded, and not as unhealthy"),
        );
    }
    if stores {
        for line in found(&facts.sources, &PATTERNS.database_is_optional) {
            let mut diagnostic = rules::HEALTH_DEGRADES
                .diagnostic(format!("`{}` answers 200 while its database is away", line.file.name))
                .at(Some(line.span()), "here")
                .help("nothing is needed: `degraded` fails a release unless it is allowed; a request under `smoke` proves more");
            diagnostic.severity = Severity::Info;
            answer.findings.push(Finding::new(diagnostic, line.file.name.clone()));
        }
    }
    answer.fine = match well {
        0 => "no service has a port".to_owned(),
        count => counted(count, "service says how it is", "services say how they are"),
    };
    answer
}

/// Lines that speak of health and of a machine that is not the app's, once for each host.
fn others(sources: &[SourceText]) -> Vec<(Line<'_>, String)> {
    let mut all: Vec<(Line<'_>, String)> = Vec::new();
    for file in sources {
        let about = file.name.to_ascii_lowercase().contains("health");
        for line in file.lines() {
            if !about && !line.text.to_ascii_lowercase().contains("health") {
                continue;
            }
            let Some(host) = host(line.text) else { continue };
            if !all.iter().any(|(other, known)| other.file.name == file.name && *known == host) {
                all.push((line, host));
            }
        }
    }
    all
}

/// The machine that a URL in a line leads to, if it is a fixed one and not this.
fn host(line: &str) -> Option<String> {
    let start = line.find("https://").map(|at| at + 8).or_else(|| line.find("http://").map(|at| at + 7))?;
    let rest = line.get(start..)?;
    let end =
        rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
    let host = rest.get(..end)?.to_ascii_lowercase();
    let listed = |list: &[String]| list.contains(&host);
    let fixed =
        host.contains('.') && !host.starts_with('.') && !rest.get(end..)?.starts_with(['$', '{', '%']);
    (fixed && !listed(&PATTERNS.local_hosts) && !listed(&PATTERNS.not_addresses)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_party_is_told_from_the_app_itself() {
        assert_eq!(host("fetch('https://api.stripe.com/v1/health')").as_deref(), Some("api.stripe.com"));
        for own in [
            "fetch(`http://localhost:${API_PORT}/health`)",
            "get(\"http://127.0.0.1:\" + port + \"/health\")",
            "const url = `https://${host}/health`",
            "// see http://www.w3.org/health",
            "healthy := true",
        ] {
            assert_eq!(host(own), None, "{own}");
        }
    }
}
