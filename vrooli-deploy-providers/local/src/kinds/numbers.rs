//! Port numbers that are chosen once and kept: below the range from which the kernel
//! takes numbers for outgoing connections, which could take ours while we are down.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use crate::claims::{Answer, Claim, Claims};
use crate::failure;
use crate::layout::Layout;
use crate::process::sockets::{holder, probe};

/// A range of port numbers, both ends included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

#[derive(Debug, Default, Deserialize)]
struct Known {
    public: PortRange,
    lowest_unprivileged: u16,
}

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../../data/ports.json"), "ports.json"));

/// The range from which public ports are chosen.
pub(crate) fn public() -> PortRange {
    KNOWN.public
}

/// The kernel's range for outgoing connections.
#[must_use]
pub fn ephemeral() -> PortRange {
    let from_kernel = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok().and_then(|text| {
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        Some(PortRange { first: numbers.next()?.ok()?, last: numbers.next()?.ok()? })
    });
    // IANA's, which macOS uses too.
    from_kernel.unwrap_or(PortRange { first: 49152, last: u16::MAX })
}

/// The part of a range that is outside the ephemeral one; when nothing is left, all that
/// lies outside of it.
fn usable(wanted: PortRange, ephemeral: PortRange) -> Vec<u16> {
    let outside = |port: &u16| *port < ephemeral.first || *port > ephemeral.last;
    let kept: Vec<u16> = (wanted.first..=wanted.last).filter(outside).collect();
    if kept.is_empty() { (KNOWN.lowest_unprivileged..=u16::MAX).filter(outside).collect() } else { kept }
}

/// Where in a range a search starts: the same for the same resource, different for others
/// and in other workspaces, whose stopped servers no record here tells of.
fn start(workspace: uuid::Uuid, stack: &StackId, key: &ResourceKey, length: usize) -> usize {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(format!("{workspace}/{stack}/{key}").as_bytes());
    let number = hash.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    usize::try_from(number % (length.max(1) as u64)).unwrap_or(0)
}

/// Can this port be listened on?
fn is_free(listen: IpAddr, port: u16) -> io::Result<bool> {
    match probe(SocketAddr::new(listen, port)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error),
    }
}

/// All numbers that records of this workspace hold, those of stopped servers included.
///
/// # Errors
/// When the state folder cannot be read.
pub fn reserved(layout: &Layout) -> Result<BTreeSet<u16>> {
    let mut numbers = BTreeSet::new();
    for app in folders(&layout.apps())? {
        for environment in folders(&app)? {
            collect(&environment.join("port.json"), &mut numbers)?;
            for sort in ["postgres", "redis"] {
                for server in folders(&environment.join(sort))? {
                    collect(&server.join("resource.json"), &mut numbers)?;
                }
            }
        }
    }
    if let Some(servers) = super::postgres::folder_for_root(layout)? {
        for app in folders(&servers)? {
            for environment in folders(&app)? {
                for server in folders(&environment.join("postgres"))? {
                    collect(&server.join("resource.json"), &mut numbers)?;
                }
            }
        }
    }
    Ok(numbers)
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    made: Option<Made>,
}

#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    port: Option<u16>,
}

fn collect(record: &Path, numbers: &mut BTreeSet<u16>) -> Result<()> {
    match fs::read(record) {
        // A damaged record is the business of whoever owns it.
        Ok(text) => {
            if let Ok(record) = serde_json::from_slice::<Numbered>(&text) {
                numbers.extend(record.port);
                numbers.extend(record.made.and_then(|made| made.port));
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure::io("read", record, &error)),
    }
}

fn folders(parent: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failure::io("read", parent, &error)),
    };
    entries.map(|entry| entry.map(|e| e.path()).map_err(failure::at("read", parent))).collect()
}

/// A number and the claim to it, which is to be held until the record says so.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) port: u16,
    pub(crate) claim: Claim,
}

/// Chooses a number that nobody listens on, and neither a record of this workspace nor one of
/// another holds, and claims it for a record. Call it with the workspace's port lock held
/// ([`lock`]) and write the record before letting go.
pub(crate) fn choose(
    layout: &Layout,
    stack: &StackId,
    key: &ResourceKey,
    record: &Path,
    listen: IpAddr,
    range: PortRange,
) -> Result<Chosen> {
    let taken = reserved(layout)?;
    let claims = Claims::of_machine();
    let mut unclear = None;
    let candidates = usable(range, ephemeral());
    let workspace = layout.workspace_id().map_err(failure::at("read the id of", layout.root()))?;
    let from = start(workspace, stack, key, candidates.len());
    for port in candidates.iter().cycle().skip(from).take(candidates.len()) {
        if taken.contains(port) {
            continue;
        }
        // A server that listens on one address keeps us from listening on all, and the
        // other way round, so both are tried.
        let is_free = || -> Result<bool> {
            Ok(try_free(listen, *port)? && try_free(IpAddr::V4(Ipv4Addr::LOCALHOST), *port)?)
        };
        if !is_free()? {
            continue;
        }
        match claims.claim(*port, record) {
            // Whoever had the claim before may have begun to listen meanwhile.
            Answer::Ours(claim) if is_free()? => return Ok(Chosen { port: *port, claim }),
            Answer::Ours(claim) => claim.give_up(),
            Answer::Anothers(_) => {}
            Answer::Unclear => unclear = unclear.or(Some(*port)),
        }
    }
    if let Some(port) = unclear {
        return Ok(Chosen { port, claim: Claim::none() });
    }
    Err(ProviderError::new(
        ErrorKind::Quota,
        format!("no port between {} and {} is free for {stack}", range.first, range.last),
    )
    .with_help("remove an app that is no longer needed, or give a number with `--port`"))
}

fn try_free(listen: IpAddr, port: u16) -> Result<bool> {
    is_free(listen, port).map_err(|error| {
        ProviderError::new(
            ErrorKind::Config,
            format!("cannot listen on {}: {error}", SocketAddr::new(listen, port)),
        )
        .with_help("choose an address of this machine with `--listen`")
    })
}

/// Claims a number that somebody asked for: free now and in no other record.
pub(crate) fn check_fixed(
    layout: &Layout,
    record: &Path,
    listen: IpAddr,
    port: u16,
    own: Option<u16>,
) -> Result<Claim> {
    let claims = Claims::of_machine();
    if own == Some(port) {
        return Ok(keep(&claims, port, record));
    }
    if reserved(layout)?.contains(&port) {
        return Err(ProviderError::new(
            ErrorKind::Conflict,
            format!("port {port} belongs to another app of this workspace"),
        )
        .with_help("choose another number with `--port`, or leave it out"));
    }
    let claim = match claims.claim(port, record) {
        Answer::Ours(claim) => claim,
        Answer::Anothers(who) => {
            let of = who.map_or_else(String::new, |who| format!(" (`{}`)", who.display()));
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("port {port} belongs to an app of another workspace{of}"),
            )
            .with_help("choose another number with `--port`, leave it out, or destroy that app"));
        }
        // Somebody asked for it, and the kernel has the last word.
        Answer::Unclear => Claim::none(),
    };
    let seen = match is_free(listen, port) {
        Ok(true) => return Ok(claim),
        seen => {
            claim.give_up();
            seen
        }
    };
    Err(match seen {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            ProviderError::new(ErrorKind::Permission, format!("this user may not listen on port {port}"))
                .with_help("choose a number from 1024 on, or run as a user that may")
        }
        Err(error) => ProviderError::new(
            ErrorKind::Config,
            format!("cannot listen on {}: {error}", SocketAddr::new(listen, port)),
        )
        .with_help("choose an address of this machine with `--listen`"),
        Ok(_) => taken(listen, port),
    })
}

/// The claim to a number that a record has already, once more: what cleans old files away may have
/// taken it.
pub(crate) fn keep(claims: &Claims, port: u16, record: &Path) -> Claim {
    match claims.claim(port, record) {
        Answer::Ours(claim) => claim,
        Answer::Anothers(_) | Answer::Unclear => Claim::none(),
    }
}

/// Somebody else listens there: says who, where the kernel tells.
pub(crate) fn taken(listen: IpAddr, port: u16) -> ProviderError {
    let who = match holder(port) {
        Some(holder) => format!("{} (process {})", holder.name, holder.pid),
        None => "another process".to_owned(),
    };
    ProviderError::new(ErrorKind::Conflict, format!("port {port} on {listen} is in use by {who}"))
        .with_help("stop that process, or choose another port with `--port`")
}

/// The lock under which numbers are chosen in a workspace.
pub(crate) async fn lock(cx: &vrooli_deploy_core::provider::OpCtx, layout: &Layout) -> Result<fs::File> {
    crate::files::lock(cx, &layout.root().join("ports.lock"), "choosing a port").await
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../../data/ports.json"));
    }

    #[test]
    fn ephemeral_numbers_are_left_out() {
        let range = |first, last| PortRange { first, last };
        assert_eq!(usable(range(20000, 20002), range(32768, 60999)), [20000, 20001, 20002]);
        assert_eq!(usable(range(20000, 20002), range(20001, 60999)), [20000]);
        let elsewhere = usable(range(20000, 20002), range(1024, 60999));
        assert_eq!(elsewhere.first(), Some(&61000));
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if !Path::new("/proc/net/tcp").exists() {
            println!("skipped: no /proc here");
            return;
        }
        let error = taken(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
    }
}
