//! Looking, on all hosts at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use vrooli_deploy_core::provider::Cancellation;

use super::judge::{Resolved, Seen, judge_dns, judge_host};
use super::{CheckStatus, HostPreflight, Preflight, PreflightCheck, PreflightOptions, phase};
use crate::facts::Lines;
use crate::host::{HostName, Server};
use crate::remote::{PhaseOutput, RemoteError, RemoteExec, SshConnections};

/// How long a name may take to lead somewhere.
const RESOLVE: Duration = Duration::from_secs(10);

/// Looks at all servers, and at where the domain leads. A host that cannot be looked at is a check
/// that failed, not an error.
///
/// # Errors
/// [`RemoteError::Cancelled`] when the caller asked to stop.
pub async fn preflight(
    connections: &SshConnections,
    servers: &[Server],
    options: &PreflightOptions,
    cancellation: &Cancellation,
) -> Result<Preflight, RemoteError> {
    let domain = options.domain.as_deref();
    let hosts = join_all(servers.iter().map(|server| look(connections, server, options, cancellation)));
    let (hosts, names) = tokio::join!(hosts, resolve_all(domain));
    if cancellation.is_cancelled() {
        return Err(RemoteError::Cancelled { sent: false });
    }
    let mut preflight = Preflight::default();
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    let mut machines: BTreeMap<String, HostName> = BTreeMap::new();
    for looked in hosts {
        if looked.server.role == "app" {
            addresses.extend(looked.addresses);
        }
        let mut checks = looked.checks;
        if let Some(machine) = looked.machine {
            match machines.get(&machine) {
                Some(first) => checks.push(PreflightCheck {
                    id: "one_machine".to_owned(),
                    status: CheckStatus::Fail,
                    details: format!("it is the same machine as {first}"),
                    hint: super::limits::LIMITS.hint("one_machine").map(ToOwned::to_owned),
                    data: BTreeMap::new(),
                }),
                None => {
                    machines.insert(machine, looked.server.host.clone());
                }
            }
        }
        preflight.hosts.push(HostPreflight { server: looked.server, checks });
    }
    if let Some(domain) = domain {
        preflight.app = judge_dns(domain, &addresses, &names);
    }
    Ok(preflight)
}

struct Looked {
    server: Server,
    checks: Vec<PreflightCheck>,
    addresses: Vec<IpAddr>,
    machine: Option<String>,
}

async fn look(
    connections: &SshConnections,
    server: &Server,
    options: &PreflightOptions,
    cancellation: &Cancellation,
) -> Looked {
    let (host, phase) = (connections.host(&server.host), phase());
    let (resolved, seen) = tokio::join!(resolve(server.host.as_str()), timed(host.run(&phase, cancellation)));
    let (sent, output, answered) = seen;
    let mut looked =
        Looked { server: server.clone(), checks: Vec::new(), addresses: Vec::new(), machine: None };
    // A name that only `ssh` knows (a `Host` of its configuration) need not lead anywhere.
    match &resolved {
        Ok(addresses) => looked.addresses.extend(addresses),
        Err(why) if output.is_err() => looked.checks.push(name_leads_nowhere(server, why)),
        Err(_) => {}
    }
    let judged = output.and_then(|output: PhaseOutput| {
        let seen = Seen { stdout: &output.stdout, sent, answered };
        let checks = judge_host(server, seen, &options.artefacts).map_err(|words| {
            RemoteError::Unreadable { host: server.host.clone(), phase: "preflight", words }
        })?;
        let lines = Lines::new(&output.stdout);
        looked.addresses.extend(lines.all("address").filter_map(|text| text.parse::<IpAddr>().ok()));
        looked.machine = lines.get("machine").map(ToOwned::to_owned);
        Ok(checks)
    });
    match judged {
        Ok(checks) => looked.checks.extend(checks),
        Err(error) => {
            let mut check = PreflightCheck::connection(Some((error.to_string(), error.help())));
            check.data.insert("code".to_owned(), error.code().to_string());
            if !error.words().is_empty() {
                check.data.insert("said".to_owned(), error.words().to_owned());
            }
            looked.checks.push(check);
        }
    }
    looked
}

fn name_leads_nowhere(server: &Server, why: &str) -> PreflightCheck {
    PreflightCheck {
        id: "dns_vps_host".to_owned(),
        status: CheckStatus::Warn,
        details: format!("{} leads nowhere: {why}", server.host),
        hint: super::limits::LIMITS.hint("dns_vps_host").map(ToOwned::to_owned),
        data: BTreeMap::new(),
    }
}

/// What came of it, and what our clock said before the host had it and after it had answered:
/// the time that connecting took does not count.
async fn timed(
    run: impl Future<Output = Result<PhaseOutput, RemoteError>>,
) -> (f64, Result<PhaseOutput, RemoteError>, f64) {
    let output = run.await;
    let answered = now();
    let took = output.as_ref().map_or(0.0, |output| output.took.as_secs_f64());
    (answered - took, output, answered)
}

/// Our clock, in seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The domain, and `www` of it where it is a whole one: of `app.example.com` nobody asks for it.
async fn resolve_all(domain: Option<&str>) -> BTreeMap<String, Resolved> {
    let Some(domain) = domain else { return BTreeMap::new() };
    let mut names = vec![domain.to_owned()];
    if domain.matches('.').count() == 1 {
        names.push(format!("www.{domain}"));
    }
    let resolved = join_all(names.iter().map(|name| resolve(name))).await;
    names.into_iter().zip(resolved).collect()
}

async fn resolve(name: &str) -> Resolved {
    match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 443))).await {
        Ok(Ok(found)) => {
            let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
            Ok(addresses.into_iter().collect())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", RESOLVE.as_secs())),
    }
}
