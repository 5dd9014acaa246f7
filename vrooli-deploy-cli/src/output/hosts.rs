//! Servers, and what is in the way of a deployment to them, as people read it.

use vrooli_deploy_core::names::StackId;
use vrooli_deploy_providers::bare_metal::facts::HostFacts;
use vrooli_deploy_providers::bare_metal::host::{HostName, Server};
use vrooli_deploy_providers::bare_metal::hosts::Origin;
use vrooli_deploy_providers::bare_metal::preflight::{CheckStatus, Preflight, PreflightCheck};
use vrooli_deploy_providers::bare_metal::remote::{Fingerprint, OfferedKey, RemoteError};

use super::json::{HostFactsLine, HostLine, PreflightLine};
use super::style::{Paint, harmless};
use super::{table, word};
use crate::errors::Failure;

/// The question whether a key is the host's.
pub(crate) fn is_it(host: &HostName, offered: &Fingerprint) -> String {
    format!(
        "The key of {host} is not known. It shows\n  {offered}\nOn the server's own console, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows its key.\nIs it this one? [yes/no]"
    )
}

/// A key was vouched for.
pub(crate) fn trusted(host: &HostName, key: &OfferedKey) -> String {
    format!("{host} shows the key {} ({})", key.fingerprint, harmless(&key.algorithm))
}

/// A server is off the list.
pub(crate) fn removed(host: &HostName, lost: bool, changed: bool) -> String {
    match (changed, lost) {
        (false, _) => format!("{host} is not on the list"),
        (true, false) => format!("{host} is off the list; what runs there goes on"),
        (true, true) => format!(
            "{host} is given up: take it out of the manifest, and no deployment asks it any more; `vrooli-deploy hosts add {host}` takes this back"
        ),
    }
}

/// One server in a sentence.
pub(crate) fn host(line: &HostLine) -> String {
    let facts = line.facts.as_ref().map_or_else(String::new, |facts| {
        format!(
            ": {}, {}, {} CPUs, {} of memory, {} free on {}",
            harmless(&facts.os_name),
            harmless(&facts.architecture),
            facts.cpus,
            gib(facts.memory_bytes),
            gib(facts.disk_free_bytes),
            harmless(&facts.disk_mount)
        )
    });
    format!("{} is known as {}{facts}", line.host, line.role)
}

/// A row a server; under those that could not be looked at, why.
pub(crate) fn hosts(paint: Paint, lines: &[HostLine]) -> String {
    let looked = lines.iter().any(|line| line.facts.is_some() || line.error.is_some());
    let rows: Vec<Vec<String>> = lines.iter().map(|line| row(line, looked)).collect();
    let mut text = if looked {
        table(paint, &["HOST", "ROLE", "FROM", "SYSTEM", "MACHINE", "CPUS", "MEMORY", "FREE", "ROOT"], &rows)
    } else {
        table(paint, &["HOST", "ROLE", "FROM"], &rows)
    };
    for line in lines {
        if let Some(error) = &line.error {
            text.push_str(&format!("\n\n{}", super::failure(paint, error)));
        }
    }
    text
}

fn row(line: &HostLine, looked: bool) -> Vec<String> {
    let mut row = vec![line.host.clone(), line.role.clone(), line.from.clone()];
    match &line.facts {
        Some(facts) => row.extend([
            harmless(&facts.os_name),
            harmless(&facts.architecture),
            facts.cpus.to_string(),
            gib(facts.memory_bytes),
            gib(facts.disk_free_bytes),
            facts.root.clone(),
        ]),
        None if looked => row.push(line.error.as_ref().and_then(|e| e.code.clone()).unwrap_or_default()),
        None => {}
    }
    row
}

#[expect(clippy::cast_precision_loss, reason = "shown in tenths of a GiB")]
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1024.0 * 1024.0 * 1024.0))
}

/// A line a check, server by server; with more words also those that passed.
pub(crate) fn preflight(paint: Paint, stack: &StackId, looked: &Preflight, verbose: bool) -> String {
    let mut text = paint.bold(&stack.to_string());
    let width = looked.checks().map(|(_, check)| check.id.len()).max().unwrap_or(0);
    for check in looked.app.iter().filter(|check| verbose || check.status > CheckStatus::Pass) {
        text.push_str(&one(paint, check, width));
    }
    for host in &looked.hosts {
        let passed = host.checks.iter().filter(|check| check.status == CheckStatus::Pass).count();
        let Server { host: name, role } = &host.server;
        text.push_str(&format!(
            "\n{} ({role}): {passed} of {} checks passed",
            paint.bold(name.as_str()),
            host.checks.len()
        ));
        for check in host.checks.iter().filter(|check| verbose || check.status > CheckStatus::Pass) {
            text.push_str(&one(paint, check, width));
        }
    }
    let [passed, warned, failed] =
        [CheckStatus::Pass, CheckStatus::Warn, CheckStatus::Fail].map(|status| looked.count(status));
    text.push_str(&format!(
        "\n\n{} checks: {passed} passed, {warned} warned, {failed} failed",
        passed + warned + failed
    ));
    text
}

fn one(paint: Paint, check: &PreflightCheck, width: usize) -> String {
    let mark = match check.status {
        CheckStatus::Pass => paint.green("✓"),
        CheckStatus::Warn => paint.yellow("!"),
        CheckStatus::Fail => paint.red("✗"),
    };
    let mut text = format!("\n  {mark} {:width$}  {}", check.id, harmless(&check.details));
    if let Some(hint) = &check.hint {
        text.push_str(&paint.dim(&format!("\n      {hint}")));
    }
    text
}

impl HostLine {
    pub(crate) fn new(
        server: &Server,
        origin: Origin,
        looked: Option<Result<HostFacts, RemoteError>>,
    ) -> Self {
        let (facts, error) = match looked {
            None => (None, None),
            Some(Ok(facts)) => (Some(HostFactsLine::from(facts)), None),
            Some(Err(error)) => (None, Some(Failure::from(error))),
        };
        Self { host: server.host.to_string(), role: server.role.clone(), from: word(&origin), facts, error }
    }
}

impl From<HostFacts> for HostFactsLine {
    fn from(facts: HostFacts) -> Self {
        Self {
            name: facts.name,
            user: facts.user,
            root: word(&facts.root),
            os: facts.os,
            os_version: facts.os_version,
            os_name: facts.os_name,
            architecture: facts.architecture,
            kernel: facts.kernel,
            glibc: facts.glibc,
            systemd: facts.systemd,
            cpus: facts.cpus,
            memory_bytes: facts.memory,
            memory_free_bytes: facts.memory_free,
            swap_bytes: facts.swap,
            disk_bytes: facts.disk,
            disk_free_bytes: facts.disk_free,
            disk_mount: facts.disk_mount,
            addresses: facts.addresses,
            clock_synchronized: facts.clock_synchronized,
        }
    }
}

impl PreflightLine {
    pub(crate) fn new(stack: &StackId, host: Option<&HostName>, check: &PreflightCheck) -> Self {
        Self {
            app: stack.app.to_string(),
            environment: stack.environment.to_string(),
            host: host.map(ToString::to_string),
            id: check.id.clone(),
            status: word(&check.status),
            details: check.details.clone(),
            hint: check.hint.clone(),
            data: check.data.clone(),
        }
    }
}
