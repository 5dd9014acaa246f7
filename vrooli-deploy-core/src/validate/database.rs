//! How the app reaches its database: encrypted, and within what the plan of it allows.

use super::facts::Facts;
use super::source::{PATTERNS, found};
use super::{Answer, Finding, counted};
use crate::diagnostics::{Severity, Span, rules};
use crate::manifest::yaml::child;
use crate::provider::sizing::database_pool;
use crate::requirements::Primitive;

/// The variables that a manifest sets, where they stand, and for which service.
fn settings<'a>(facts: &'a Facts<'_>) -> Vec<(String, Option<Span>, &'a str, &'a str)> {
    let manifest = &facts.manifest;
    let mut all: Vec<_> = manifest
        .env
        .iter()
        .map(|(name, value)| {
            let place = facts.place(&child("/env", name.as_str()));
            (format!("env.{name}"), place, name.as_str(), value.as_str())
        })
        .collect();
    for (service, config) in &manifest.services {
        for (name, value) in &config.env {
            let pointer = child(&child(&child("/services", service.as_str()), "env"), name.as_str());
            let field = format!("services.{service}.env.{name}");
            all.push((field, facts.place(&pointer), name.as_str(), value.as_str()));
        }
    }
    all
}

/// The word for TLS in a connection string or in a variable of its own.
fn tls_word<'a>(name: &str, value: &'a str) -> Option<&'a str> {
    if name.ends_with("SSLMODE") {
        return Some(value.trim());
    }
    let (_, rest) = value.split_once("sslmode=")?;
    Some(rest.split(['&', ' ', '\'', '"', ';']).next().unwrap_or_default())
}

/// A managed server takes encrypted connections only, and an app's default may be to try without.
pub(super) fn tls(facts: &Facts<'_>) -> Answer {
    let managed: Vec<&str> = facts.managed_databases().map(|resource| resource.name.as_str()).collect();
    let mut answer = Answer::fine(if managed.is_empty() {
        "no database is reached over a network that is not the app's own".to_owned()
    } else {
        format!("{} will be reached with TLS: the deployment says so to the app", managed.join(", "))
    });
    let means = |list: &str, word: &str| {
        PATTERNS.tls_words.get(list).is_some_and(|words| words.iter().any(|known| known == word))
    };
    for (field, place, name, value) in settings(facts) {
        if !PATTERNS.connection_variables.iter().any(|known| known == name) {
            continue;
        }
        let Some(word) = tls_word(name, value) else { continue };
        let far = !managed.is_empty() || is_elsewhere(value);
        let (off, weak) = (means("off", word), means("weak", word));
        if !far || !(off || weak) {
            continue;
        }
        let mut diagnostic = rules::DATABASE_WITHOUT_TLS
            .diagnostic(if off {
                format!("`{field}` turns TLS off for a database that is reached over a network")
            } else {
                format!("`{field}` lets a connection go on without TLS: `sslmode={word}`")
            })
            .at(place, "here")
            .help("write `require`, or `verify-full` with the server's certificate");
        diagnostic.severity = if off { Severity::Error } else { Severity::Warning };
        answer.findings.push(
            Finding::new(diagnostic, field)
                .step("or take the variable out: the deployment gives the app a URL with `sslmode`"),
        );
    }
    if !managed.is_empty() {
        for line in found(&facts.sources, &PATTERNS.tls_off) {
            let mut diagnostic = rules::DATABASE_WITHOUT_TLS
                .diagnostic(format!("`{}` turns TLS off in the app's own code", line.file.name))
                .at(Some(line.span()), "here")
                .help("read `sslmode` from POSTGRES_URL or POSTGRES_SSLMODE, which the deployment sets");
            // A default that the variable replaces looks the same.
            diagnostic.severity = Severity::Warning;
            answer.findings.push(Finding::new(diagnostic, line.file.name.clone()));
        }
    }
    answer
}

/// Does a URL lead to another machine?
fn is_elsewhere(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    !host.is_empty()
        && !host.starts_with('/')
        && !PATTERNS.local_hosts.iter().any(|local| host.starts_with(local.as_str()))
}

/// All instances together open no more connections than the database's plan allows, also while
/// two releases overlap.
pub(super) fn pool(facts: &Facts<'_>) -> Answer {
    let databases: Vec<_> = facts
        .connections
        .iter()
        .filter(|(key, _)| {
            let mut needed =
                facts.requirements.resources.iter().filter(|r| r.primitive == Primitive::Database);
            needed.any(|resource| resource.key().as_ref() == Some(key))
        })
        .collect();
    if databases.is_empty() {
        return Answer::fine(match facts.connections.first() {
            Some((key, most)) => format!("`{key}` allows {most}, and nothing that is known uses it"),
            None => "no database has a limit that is known".to_owned(),
        });
    }
    let counted_services: Vec<_> = facts
        .requirements
        .services
        .iter()
        .filter(|(name, _)| !PATTERNS.without_database.iter().any(|without| without == name.as_str()))
        .collect();
    let chosen: Vec<_> =
        settings(facts).into_iter().filter(|(_, _, name, _)| *name == PATTERNS.pool_variable).collect();
    let count = facts.manifest.infrastructure.compute.as_ref().and_then(|compute| compute.count).unwrap_or(1);
    let mut total: u64 = 0;
    let mut largest = 0;
    let mut wrong = None;
    for (name, service) in &counted_services {
        let own = format!("services.{name}.env.{}", PATTERNS.pool_variable);
        let all = format!("env.{}", PATTERNS.pool_variable);
        let set = chosen
            .iter()
            .find(|(field, ..)| *field == own)
            .or(chosen.iter().find(|(field, ..)| *field == all));
        let pool = match set {
            Some((field, place, _, value)) => match value.trim().parse::<u32>() {
                Ok(pool) if pool > 0 => pool,
                _ => {
                    wrong = Some((field.clone(), place.clone()));
                    database_pool()
                }
            },
            None => database_pool(),
        };
        largest = largest.max(pool);
        // Far below 2^64.
        total += u64::from(pool) * u64::from(service.scaling.max.max(count).max(1));
    }
    let mut answer = Answer::fine(String::new());
    if let Some((field, place)) = wrong {
        let mut diagnostic = rules::POOL_OVER_LIMIT
            .diagnostic(format!("`{field}` is no number of connections"))
            .at(place, "here")
            .help("write a whole number, at least 1");
        diagnostic.severity = Severity::Error;
        answer.findings.push(Finding::new(diagnostic, field));
    }
    let mut fine = Vec::new();
    let who = counted(counted_services.len(), "service opens", "services open");
    for (key, most) in databases {
        let most = u64::from(*most);
        let overlap = total.saturating_mul(2);
        let said = format!("{who} up to {total}");
        if overlap <= most {
            fine.push(format!(
                "{said} of {most} connections of `{key}`, {overlap} while two releases overlap"
            ));
            continue;
        }
        let instances = (total / u64::from(largest.max(1))).max(1);
        let fits = (most / 2 / instances).max(1);
        let now = total > most;
        let mut diagnostic = rules::POOL_OVER_LIMIT
            .diagnostic(if now {
                format!("{said} connections, and `{key}` allows {most}")
            } else {
                format!("{said} connections, {overlap} while two releases overlap, and `{key}` allows {most}")
            })
            .at(chosen.first().and_then(|(_, place, ..)| place.clone()), "here")
            .help(format!(
                "set `{}` to {fits}: under `env`, or `profile set PROFILE env {} {fits}`",
                PATTERNS.pool_variable, PATTERNS.pool_variable
            ));
        // A pool that was chosen is meant; a default may never be filled.
        diagnostic.severity = if now && !chosen.is_empty() { Severity::Error } else { Severity::Warning };
        let cause = match chosen.first() {
            Some((field, _, _, value)) => format!("{field} = {value}"),
            None => format!(
                "{} is not set: {} is the default of packages/api-core",
                PATTERNS.pool_variable,
                database_pool()
            ),
        };
        answer.findings.push(Finding::new(diagnostic, cause).step("or choose a larger size of the database"));
    }
    answer.fine = fine.join("; ");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_for_tls_is_found_in_both_forms() {
        assert_eq!(tls_word("POSTGRES_SSLMODE", "disable"), Some("disable"));
        assert_eq!(tls_word("POSTGRES_URL", "postgres://h/d?a=b&sslmode=require&c=d"), Some("require"));
        assert_eq!(tls_word("DATABASE_URL", "host=h sslmode=disable"), Some("disable"));
        assert_eq!(tls_word("POSTGRES_URL", "postgres://h/d"), None);
    }

    #[test]
    fn another_machine_is_told_from_this_one() {
        assert!(is_elsewhere("postgres://u:p@db.example.com:5432/x"));
        for here in
            ["postgres://u@localhost/x", "postgres://127.0.0.1:5432/x", "postgres://[::1]:5/x", "", "host=h"]
        {
            assert!(!is_elsewhere(here), "{here}");
        }
    }
}
