//! From what was seen to what it means. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::limits::{LIMITS, Limit};
use super::{CheckStatus, PreflightCheck};
use crate::artefact::Artefact;
use crate::facts::{HostFacts, Lines, Root, facts};
use crate::host::Server;

/// What a name leads to, or why to nothing.
pub type Resolved = Result<Vec<IpAddr>, String>;

/// What was heard of a host.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What the phase printed.
    pub stdout: &'a str,
    /// Our own clock when it was sent, in seconds since 1970.
    pub sent: f64,
    /// Our own clock when the answer was there.
    pub answered: f64,
}

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn check(id: &str, status: CheckStatus, details: impl Into<String>) -> PreflightCheck {
    let hint = if status == CheckStatus::Pass { None } else { LIMITS.hint(id).map(ToOwned::to_owned) };
    PreflightCheck { id: id.to_owned(), status, details: details.into(), hint, data: BTreeMap::new() }
}

impl PreflightCheck {
    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.data.insert(name.to_owned(), value.to_string());
        self
    }

    /// The connection to a host, or what is wrong with it.
    #[must_use]
    pub fn connection(error: Option<(String, String)>) -> Self {
        match error {
            None => check("ssh_connect", CheckStatus::Pass, "connected"),
            Some((message, help)) => {
                Self { hint: Some(help), ..check("ssh_connect", CheckStatus::Fail, message) }
            }
        }
    }
}

/// Below the limits it is worse.
fn at_least(value: f64, limit: Limit) -> CheckStatus {
    if value < limit.fail {
        CheckStatus::Fail
    } else if value < limit.warn {
        CheckStatus::Warn
    } else {
        CheckStatus::Pass
    }
}

/// All checks of a host that answered.
///
/// # Errors
/// What of the answer cannot be read.
pub fn judge_host(
    server: &Server,
    seen: Seen<'_>,
    artefacts: &[Artefact],
) -> Result<Vec<PreflightCheck>, String> {
    let lines = Lines::new(seen.stdout);
    let facts = facts(&lines)?;
    let mut checks = vec![PreflightCheck::connection(None), root(&facts), system(&facts), systemd(&facts)];
    if server.role == "app" {
        checks.push(ports(&lines, &facts));
        checks.push(firewall(&lines, &facts));
        checks.extend(artefacts.iter().map(|artefact| fits(artefact, &facts)));
    }
    checks.extend([outbound(&lines), disk(&facts), memory(&facts), clock(&facts, seen)]);
    checks.extend(commands(&lines));
    checks.extend([packages(&lines), stale(&lines)]);
    Ok(checks)
}

fn root(facts: &HostFacts) -> PreflightCheck {
    match facts.root {
        Root::Login => check("root", CheckStatus::Pass, "logged in as root"),
        Root::Sudo => {
            check("root", CheckStatus::Pass, format!("`{}` uses sudo without a password", facts.user))
        }
        Root::None => {
            let why = facts.root_why.as_deref().unwrap_or("there is no sudo");
            check("root", CheckStatus::Fail, format!("`{}` cannot be root: {why}", facts.user))
        }
    }
}

fn system(facts: &HostFacts) -> PreflightCheck {
    let release = |releases: &[String]| releases.contains(&facts.os_version);
    let status = match LIMITS.systems.get(&facts.os) {
        Some(system) if release(&system.good) => CheckStatus::Pass,
        Some(_) => CheckStatus::Warn,
        None => CheckStatus::Fail,
    };
    let details = match LIMITS.systems.get(&facts.os) {
        Some(system) if release(&system.old) => {
            format!("{}: {} {} is old", facts.os_name, system.name, facts.os_version)
        }
        Some(_) if status == CheckStatus::Warn => format!("{}: not tried", facts.os_name),
        Some(_) => facts.os_name.clone(),
        None => format!("{}: only {} are known", facts.os_name, known_systems()),
    };
    check("os_release", status, details)
        .with("os", &facts.os)
        .with("version", &facts.os_version)
        .with("architecture", &facts.architecture)
        .with("glibc", facts.glibc.as_deref().unwrap_or("none"))
}

fn known_systems() -> String {
    LIMITS.systems.values().map(|system| system.name.as_str()).collect::<Vec<_>>().join(" and ")
}

fn systemd(facts: &HostFacts) -> PreflightCheck {
    match facts.systemd {
        Some(version) if f64::from(version) >= LIMITS.systemd.fail => {
            check("systemd", CheckStatus::Pass, format!("systemd {version}"))
        }
        Some(version) => check("systemd", CheckStatus::Fail, format!("systemd {version} is too old")),
        None => check("systemd", CheckStatus::Fail, "process 1 is not systemd"),
    }
}

/// Who listens on the ports that the edge needs. The edge of an earlier deployment is no stranger.
fn ports(lines: &Lines<'_>, facts: &HostFacts) -> PreflightCheck {
    const ID: &str = "ports_80_443";
    if lines.get("sockets").is_none() {
        return check(ID, CheckStatus::Warn, "`ss` is not there: nobody can say who listens");
    }
    let (mut strangers, mut ours) = (Vec::new(), false);
    for line in lines.all("listen") {
        let mut words = line.split(' ');
        let (port, pid) = (words.next().unwrap_or_default(), words.next().unwrap_or("-"));
        let rest: Vec<&str> = words.collect();
        if !LIMITS.ports.iter().any(|wanted| wanted.to_string() == port) {
            continue;
        }
        let (unit, command) =
            rest.split_last().map_or(("-", String::new()), |(unit, command)| (*unit, command.join(" ")));
        if LIMITS.edge_units.iter().any(|own| own == unit) {
            ours = true;
        } else {
            strangers.push((port, pid, command, unit));
        }
    }
    // On IPv4 and on IPv6.
    let strangers: BTreeSet<_> = strangers.into_iter().collect();
    let Some((port, pid, command, unit)) = strangers.first() else {
        let who = if ours { "our own edge listens" } else { "free" };
        return check(ID, CheckStatus::Pass, who);
    };
    let told: Vec<String> = strangers
        .iter()
        .map(|(port, pid, command, unit)| match (*pid, *unit) {
            ("-", _) => format!("{port} is taken; who has it shows only to root"),
            (pid, "-") => format!("{port} is taken by `{command}` (pid {pid})"),
            (pid, unit) => format!("{port} is taken by `{command}` (pid {pid}, {unit})"),
        })
        .collect();
    // Without root our own edge looks like anybody.
    let status = if facts.root == Root::None && *pid == "-" { CheckStatus::Warn } else { CheckStatus::Fail };
    check(ID, status, told.join("; "))
        .with("port", port)
        .with("pid", pid)
        .with("command", command)
        .with("unit", unit)
}

fn firewall(lines: &Lines<'_>, facts: &HostFacts) -> PreflightCheck {
    const ID: &str = "firewall_inbound";
    let ports: Vec<String> = LIMITS.ports.iter().map(ToString::to_string).collect();
    let Some(firewall) = lines.get("firewall") else {
        return match facts.root {
            Root::None => check(ID, CheckStatus::Warn, "rules show only to root"),
            _ => check(ID, CheckStatus::Pass, "none is in force on the server"),
        };
    };
    let closed: Vec<&str> = if firewall == "iptables" {
        let rules: Vec<&str> = lines.all("rule").collect();
        ports.iter().filter(|port| !lets_in(&rules, port)).map(String::as_str).collect()
    } else {
        let words = |port: &str| LIMITS.firewall_words.get(port).into_iter().flatten();
        let open = |port: &str| lines.all("allows").any(|rule| words(port).any(|word| rule == word));
        ports.iter().map(String::as_str).filter(|port| !open(port)).collect()
    };
    let result = if closed.is_empty() {
        check(ID, CheckStatus::Pass, format!("{firewall} lets {} in", ports.join(" and ")))
    } else {
        check(ID, CheckStatus::Fail, format!("{firewall} does not let {} in", closed.join(" and ")))
    };
    result.with("firewall", firewall)
}

/// Do rules of `iptables -S INPUT` let a new connection to a port in? Rules on other chains,
/// interfaces and sources are passed over.
fn lets_in(rules: &[&str], port: &str) -> bool {
    for rule in rules.iter().filter(|rule| rule.starts_with("-A INPUT")) {
        let narrow = [" -i ", " -s ", " -p udp", " -p icmp", " --ctstate ", " --state ", " -p ipv6-icmp"];
        if narrow.iter().any(|part| rule.contains(part)) {
            continue;
        }
        let about = match rule.split_once("--dport ").or_else(|| rule.split_once("--dports ")) {
            Some((_, rest)) => {
                let ports = rest.split(' ').next().unwrap_or_default();
                ports.split(',').any(|one| one == port)
            }
            None => true,
        };
        if about {
            if rule.ends_with("-j ACCEPT") {
                return true;
            }
            if rule.contains("-j DROP") || rule.contains("-j REJECT") {
                return false;
            }
        }
    }
    !rules.iter().any(|rule| *rule == "-P INPUT DROP" || *rule == "-P INPUT REJECT")
}

/// Will what was built run there? Told with the first that will not.
fn fits(artefact: &Artefact, facts: &HostFacts) -> PreflightCheck {
    const ID: &str = "artefact";
    let misfits = artefact.misfits(&facts.machine());
    let all = artefact.programs.len();
    let result = match misfits.first() {
        None => check(ID, CheckStatus::Pass, format!("{all} programs and libraries fit")),
        Some((path, misfit)) => {
            // A path that is joined with nothing ends with a separator.
            let path = path.components().collect::<std::path::PathBuf>();
            let details = format!("{} of {all} do not fit: {}: {misfit}", misfits.len(), path.display());
            PreflightCheck { hint: Some(misfit.help()), ..check(ID, CheckStatus::Fail, details) }
        }
    };
    result.with("path", artefact.path.display())
}

fn outbound(lines: &Lines<'_>) -> PreflightCheck {
    const ID: &str = "outbound_network";
    match lines.get("outbound") {
        Some("yes") => check(ID, CheckStatus::Pass, "the internet is reached"),
        Some(why) => check(ID, CheckStatus::Warn, why.trim_start_matches("no: ")),
        None => check(ID, CheckStatus::Warn, "not tried: `curl` is not there"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown in tenths of a GiB")]
fn disk(facts: &HostFacts) -> PreflightCheck {
    let free = facts.disk_free as f64 / GIB;
    let details = format!("{free:.1} GiB free on {}", facts.disk_mount);
    check("disk_free", at_least(free, LIMITS.disk_free_gib), details)
        .with("free_bytes", facts.disk_free)
        .with("mount", &facts.disk_mount)
        .with("wanted_gib", LIMITS.disk_free_gib.fail)
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown in tenths of a GiB")]
fn memory(facts: &HostFacts) -> PreflightCheck {
    let total = facts.memory as f64 / GIB;
    // A machine that is sold with 1 GiB shows a little less: the kernel keeps some for itself.
    let status = at_least(total * 1.1, LIMITS.memory_gib);
    check("ram_total", status, format!("{total:.1} GiB"))
        .with("total_bytes", facts.memory)
        .with("swap_bytes", facts.swap)
        .with("wanted_gib", LIMITS.memory_gib.fail)
}

/// Clocks are held against each other as closely as the way there and back allows.
fn clock(facts: &HostFacts, seen: Seen<'_>) -> PreflightCheck {
    // The host looked at its clock at some time in between.
    let behind = seen.sent - facts.clock;
    let ahead = facts.clock - seen.answered;
    let off = behind.max(ahead).max(0.0);
    let status = if off > LIMITS.clock_seconds.fail {
        CheckStatus::Fail
    } else if off > LIMITS.clock_seconds.warn || facts.clock_synchronized == Some(false) {
        CheckStatus::Warn
    } else {
        CheckStatus::Pass
    };
    let kept = match facts.clock_synchronized {
        Some(true) => "kept right",
        Some(false) => "nothing keeps it right",
        None => "nobody says whether something keeps it right",
    };
    let details = match (behind > ahead, off > LIMITS.clock_seconds.warn) {
        (_, false) => kept.to_owned(),
        (true, true) => format!("{off:.0} s behind this machine; {kept}"),
        (false, true) => format!("{off:.0} s ahead of this machine; {kept}"),
    };
    check("clock_offset", status, details).with("seconds_at_least", format!("{off:.3}"))
}

fn commands(lines: &Lines<'_>) -> Vec<PreflightCheck> {
    let there: BTreeSet<&str> = lines.all("command").collect();
    let one = |name: &String| {
        let id = format!("cmd_{name}");
        if there.contains(name.as_str()) {
            check(&id, CheckStatus::Pass, format!("`{name}` is there"))
        } else {
            check(&id, CheckStatus::Warn, format!("`{name}` is not there"))
        }
    };
    LIMITS.commands.iter().map(one).collect()
}

fn packages(lines: &Lines<'_>) -> PreflightCheck {
    const ID: &str = "apt_access";
    let Some(said) = lines.get("packages") else {
        return check(ID, CheckStatus::Fail, "there is no `apt-get`");
    };
    if let Some(why) = lines.get("interrupted") {
        return check(ID, CheckStatus::Fail, format!("a package run was interrupted: {why}"))
            .with("mend", "dpkg --configure -a");
    }
    match said.split_once(": ") {
        Some(("yes", archive)) => match lines.get("busy") {
            Some(busy) => check(ID, CheckStatus::Warn, format!("packages are being changed: {busy}")),
            None => check(ID, CheckStatus::Pass, "the archive answers").with("archive", archive),
        },
        Some((_, why)) => check(ID, CheckStatus::Fail, why),
        None => check(ID, CheckStatus::Fail, said),
    }
}

fn stale(lines: &Lines<'_>) -> PreflightCheck {
    const ID: &str = "stale_processes";
    let stale: Vec<String> = lines
        .all("stale")
        .filter_map(|line| line.split_once(' '))
        .map(|(pid, program)| format!("`{program}` (pid {pid})"))
        .collect();
    if stale.is_empty() {
        check(ID, CheckStatus::Pass, "none")
    } else {
        check(ID, CheckStatus::Warn, format!("no unit knows {}", stale.join(", ")))
    }
}

/// Does the app's domain lead to its servers? `servers` are the addresses of those that run it;
/// `names` what domain and `www` lead to, by name.
#[must_use]
pub fn judge_dns(
    domain: &str,
    servers: &BTreeSet<IpAddr>,
    names: &BTreeMap<String, Resolved>,
) -> Vec<PreflightCheck> {
    let mut checks = Vec::new();
    let Some(apex) = names.get(domain) else { return checks };
    checks.push(leads("dns_edge_apex", domain, apex, servers, CheckStatus::Fail));
    if let Ok(addresses) = apex {
        let elsewhere: Vec<String> = addresses
            .iter()
            .filter(|address| {
                address.is_ipv6() && !servers.contains(address) && LIMITS.proxy(**address).is_none()
            })
            .map(ToString::to_string)
            .collect();
        // Of servers whose addresses of that kind nobody knows, nothing can be said.
        let known = servers.iter().any(IpAddr::is_ipv6) || !servers.is_empty();
        checks.push(if elsewhere.is_empty() || !known {
            check("dns_edge_ipv6", CheckStatus::Pass, "no address of IPv6 leads elsewhere")
        } else {
            check("dns_edge_ipv6", CheckStatus::Warn, format!("{domain} leads to {}", elsewhere.join(", ")))
        });
    }
    let www = format!("www.{domain}");
    if let Some(resolved) = names.get(&www) {
        checks.push(leads("dns_edge_www", &www, resolved, servers, CheckStatus::Warn));
    }
    checks
}

fn leads(
    id: &str,
    name: &str,
    resolved: &Resolved,
    servers: &BTreeSet<IpAddr>,
    bad: CheckStatus,
) -> PreflightCheck {
    let addresses = match resolved {
        Ok(addresses) => addresses,
        Err(why) => return check(id, bad, format!("{name} leads nowhere: {why}")),
    };
    let v4 = || addresses.iter().filter(|address| address.is_ipv4());
    let told = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(proxy) = addresses.iter().find_map(|address| LIMITS.proxy(*address)) {
        return check(id, CheckStatus::Pass, format!("{name} leads to {proxy}")).with("addresses", told);
    }
    let relevant: Vec<_> = if v4().next().is_some() { v4().collect() } else { addresses.iter().collect() };
    if !relevant.is_empty() && relevant.iter().all(|address| servers.contains(address)) {
        return check(id, CheckStatus::Pass, format!("{name} leads to {told}")).with("addresses", told);
    }
    // A server behind a router does not know the address that the world has for it.
    let private = servers.iter().all(is_private);
    let status = if private { CheckStatus::Warn } else { bad };
    let ours = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    check(id, status, format!("{name} leads to {told}; the app's servers have {ours}"))
        .with("addresses", told)
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::SAMPLE;
    use crate::host::HostName;

    const MORE: &str =
        "sockets\tyes\npackages\tyes: http://deb.debian.org/debian/\ncommand\tcurl\noutbound\tyes\n";

    fn judged(more: &str) -> BTreeMap<String, PreflightCheck> {
        let server = Server { host: HostName::new("web1").unwrap(), role: "app".to_owned() };
        let stdout = format!("{SAMPLE}{MORE}{more}");
        let seen = Seen { stdout: &stdout, sent: 1_795_000_000.0, answered: 1_795_000_000.5 };
        judge_host(&server, seen, &[]).unwrap().into_iter().map(|check| (check.id.clone(), check)).collect()
    }

    #[test]
    fn a_good_host_passes_but_for_what_is_convenient() {
        for (id, check) in judged("") {
            let expected = if id.starts_with("cmd_") && id != "cmd_curl" {
                CheckStatus::Warn
            } else {
                CheckStatus::Pass
            };
            assert_eq!(check.status, expected, "{check:?}");
            assert_eq!(check.hint.is_none(), expected == CheckStatus::Pass, "{check:?}");
        }
    }

    #[test]
    fn strangers_on_the_ports_fail_and_our_own_edge_does_not() {
        let ours = "listen\t80 7 vrooli-deploy vrooli-deploy-edge.service\nlisten\t443 7 vrooli-deploy vrooli-deploy-edge.service\n";
        assert_eq!(judged(ours)["ports_80_443"].details, "our own edge listens");
        let stranger = judged("listen\t80 9 nginx: worker nginx.service\nlisten\t8080 1 x -\n")
            .remove("ports_80_443")
            .unwrap();
        assert_eq!(stranger.status, CheckStatus::Fail);
        assert_eq!(stranger.details, "80 is taken by `nginx: worker` (pid 9, nginx.service)");
        assert_eq!(
            judged(&format!("{ours}listen\t443 9 caddy -\n"))["ports_80_443"].status,
            CheckStatus::Fail
        );
    }

    #[test]
    fn firewalls_are_understood() {
        for (rules, status) in [
            ("firewall\tufw\nallows\t22/tcp\n", CheckStatus::Fail),
            ("firewall\tufw\nallows\t80/tcp\n", CheckStatus::Fail),
            ("firewall\tufw\nallows\tNginx Full\n", CheckStatus::Pass),
            ("firewall\tiptables\nrule\t-P INPUT ACCEPT\n", CheckStatus::Pass),
            ("firewall\tiptables\nrule\t-P INPUT DROP\nrule\t-A INPUT -i lo -j ACCEPT\n", CheckStatus::Fail),
            (
                "firewall\tiptables\nrule\t-P INPUT DROP\nrule\t-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT\n",
                CheckStatus::Pass,
            ),
            (
                "firewall\tiptables\nrule\t-P INPUT ACCEPT\nrule\t-A INPUT -p tcp -m tcp --dport 443 -j DROP\n",
                CheckStatus::Fail,
            ),
            (
                "firewall\tiptables\nrule\t-P INPUT ACCEPT\nrule\t-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nrule\t-A INPUT -j REJECT --reject-with icmp-host-prohibited\n",
                CheckStatus::Fail,
            ),
        ] {
            assert_eq!(judged(rules)["firewall_inbound"].status, status, "{rules}");
        }
    }

    #[test]
    fn limits_are_kept() {
        let judged = |from: &str, to: &str, id: &str| {
            let server = Server { host: HostName::new("web1").unwrap(), role: "app".to_owned() };
            let stdout = format!("{}{MORE}", SAMPLE.replace(from, to));
            let seen = Seen { stdout: &stdout, sent: 1_795_000_000.0, answered: 1_795_000_000.5 };
            let checks = judge_host(&server, seen, &[]).unwrap();
            checks.into_iter().find(|check| check.id == id).unwrap().status
        };
        let (pass, warn, fail) = (CheckStatus::Pass, CheckStatus::Warn, CheckStatus::Fail);
        for (from, to, id, status) in [
            ("disk_free_kib\t10485760", "disk_free_kib\t5242879", "disk_free", fail),
            ("disk_free_kib\t10485760", "disk_free_kib\t5242880", "disk_free", warn),
            ("memory_kib\t2048000", "memory_kib\t512000", "ram_total", fail),
            ("memory_kib\t2048000", "memory_kib\t1000000", "ram_total", warn),
            ("clock\t1795000000.25", "clock\t1794999990.0", "clock_offset", warn),
            ("clock\t1795000000.25", "clock\t1795000600.0", "clock_offset", fail),
            ("synchronized\tyes", "synchronized\tno", "clock_offset", warn),
            ("synchronized\tyes", "synchronized\t", "clock_offset", pass),
            ("os_id\tdebian", "os_id\tfedora", "os_release", fail),
            ("os_version\t12", "os_version\t11", "os_release", warn),
            ("os_version\t12", "os_version\t14", "os_release", warn),
            ("systemd\t252", "systemd\t219", "systemd", fail),
            ("systemd\t252", "", "systemd", fail),
            ("root\tsudo", "root\tnone", "root", fail),
        ] {
            assert_eq!(judged(from, to, id), status, "{to}");
        }
    }

    #[test]
    fn the_domain_must_lead_here() {
        let addresses =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let judge = |servers: &[&str], names: &[(&str, Resolved)]| {
            let servers = addresses(servers).into_iter().collect();
            let names = names.iter().map(|(name, to)| ((*name).to_owned(), to.clone())).collect();
            let told = judge_dns("a.example", &servers, &names);
            told.into_iter().map(|check| (check.id, check.status)).collect::<BTreeMap<_, _>>()
        };
        let to = |texts: &[&str]| Ok(addresses(texts));
        let here = judge(&["192.0.2.1", "192.0.2.2"], &[("a.example", to(&["192.0.2.1", "192.0.2.2"]))]);
        assert_eq!(here["dns_edge_apex"], CheckStatus::Pass);
        assert!(!here.contains_key("dns_edge_www"));
        let elsewhere = judge(
            &["192.0.2.1"],
            &[("a.example", to(&["192.0.2.9", "2001:db8::9"])), ("www.a.example", Err("no".to_owned()))],
        );
        assert_eq!(elsewhere["dns_edge_apex"], CheckStatus::Fail);
        assert_eq!(elsewhere["dns_edge_ipv6"], CheckStatus::Warn);
        assert_eq!(elsewhere["dns_edge_www"], CheckStatus::Warn);
        let behind = judge(&["10.0.0.1"], &[("a.example", to(&["192.0.2.9"]))]);
        assert_eq!(behind["dns_edge_apex"], CheckStatus::Warn);
        let proxied = judge(&["192.0.2.1"], &[("a.example", to(&["104.16.0.1"]))]);
        assert_eq!(proxied["dns_edge_apex"], CheckStatus::Pass);
    }
}
