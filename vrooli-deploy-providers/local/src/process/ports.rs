//! The ports that the units of a release get: a number for each port of each unit, so that
//! two releases can run side by side, kept as long as the release is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vrooli_deploy_core::names::{PortName, ReleaseNumber, StackId, UnitId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::Release;

use super::files::{Durability, read_json, remove_tree, write_json};
use super::sockets;
use crate::claims::{Answer, Claim, Claims};
use crate::failure::at;
use crate::kinds::numbers;
use crate::layout::Layout;

#[derive(Debug, Default, Deserialize)]
struct Known {
    range: Range,
    lowest_unprivileged: u16,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Range {
    first: u16,
    last: u16,
}

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../../data/unit_ports.json"), "unit_ports.json"));

/// The ports of the units of one release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UnitPorts(pub(crate) BTreeMap<UnitId, BTreeMap<PortName, u16>>);

impl UnitPorts {
    pub(crate) fn of(&self, unit: &UnitId) -> Option<&BTreeMap<PortName, u16>> {
        self.0.get(unit)
    }
}

/// The units that a release is meant to have.
pub(crate) fn intended(release: &Release) -> impl Iterator<Item = UnitId> {
    release.bundle.services.iter().flat_map(|(service, config)| {
        (0..config.scaling.min.max(1)).map(|index| UnitId { service: service.clone(), index })
    })
}

/// The ports of a release as they were given; empty when none were.
pub(crate) fn read(layout: &Layout, stack: &StackId, release: ReleaseNumber) -> Result<UnitPorts> {
    let path = layout.unit_ports(stack, release);
    Ok(read_json(&path).map_err(at("read", &path))?.unwrap_or_default())
}

/// Gives each unit of the release, and `also`, its ports. Those it has are kept: other units
/// know them. Only when nothing of the release runs (`idle`) and a port was taken by somebody
/// meanwhile it gets another.
pub(crate) fn allocate(
    layout: &Layout,
    workspace: Uuid,
    stack: &StackId,
    release: &Release,
    also: &UnitId,
    idle: bool,
) -> Result<UnitPorts> {
    let before = read(layout, stack, release.number)?;
    let mut taken = reserved(layout, (stack, release.number))?;
    let path = layout.unit_ports(stack, release.number);
    let mut claiming = Claiming::new(&path);
    let mut after = UnitPorts::default();
    let units: BTreeSet<UnitId> =
        intended(release).chain([also.clone()]).chain(before.0.keys().cloned()).collect();
    for unit in units {
        let Some(service) = release.bundle.services.get(&unit.service) else {
            continue;
        };
        let mut ports = BTreeMap::new();
        for (name, config) in &service.ports {
            let had = before.of(&unit).and_then(|p| p.get(name)).copied();
            let number = match (config.port, had) {
                (Some(fixed), _) if unit.index == 0 => fixed,
                (Some(fixed), _) => {
                    return Err(ProviderError::new(
                        ErrorKind::Config,
                        format!(
                            "`{}` cannot have several instances: its port `{name}` is fixed to {fixed}",
                            unit.service
                        ),
                    )
                    .with_help("leave the number out of the manifest, or set `scaling.min` to 1"));
                }
                (None, Some(had)) if !taken.contains(&had) && (!idle || is_free(had)) => had,
                (None, _) => {
                    let seed = format!("{workspace}/{stack}/{}/{unit}/{name}", release.number);
                    claiming.choose(&seed, &taken)?
                }
            };
            taken.insert(number);
            ports.insert(name.clone(), number);
        }
        after.0.insert(unit, ports);
    }
    if after != before {
        write_json(&path, &after, Durability::Synced).map_err(at("write", &path))?;
    }
    Ok(after)
}

/// How long a port may be in use by nobody who can be seen: a process that is just ending, or a
/// child between fork and exec that holds what its parent has closed.
const PASSING: Duration = Duration::from_secs(1);

/// Checks that a unit that is about to start can listen on its ports. Blocks for up to a second
/// where one is in use and nobody is seen to use it.
pub(crate) fn check_free(unit: &UnitId, ports: &BTreeMap<PortName, u16>) -> Result<()> {
    let until = Instant::now() + PASSING;
    for (name, number) in ports {
        while !is_free(*number) {
            let holder = sockets::holder(*number);
            if holder.is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            let who = holder
                .map_or_else(|| "another process".to_owned(), |h| format!("{} (process {})", h.name, h.pid));
            return Err(ProviderError::new(
                ErrorKind::Conflict,
                format!("port {number}, which `{unit}` needs as `{name}`, is in use by {who}"),
            )
            .with_help(
                "stop that process; a fixed port of the manifest can only be used by one release at a time",
            ));
        }
    }
    Ok(())
}

/// Numbers that this workspace gave to others: public ports, and units of other releases.
fn reserved(layout: &Layout, except: (&StackId, ReleaseNumber)) -> Result<BTreeSet<u16>> {
    let mut numbers = BTreeSet::new();
    let apps = layout.apps();
    for stack in layout.stacks().map_err(at("read", &apps))? {
        if let Some(public) = public(layout, &stack)? {
            numbers.insert(public.address.port());
        }
        let units = layout.units(&stack);
        for release in layout.supervised_releases(&stack).map_err(at("read", &units))? {
            if (&stack, release) != except {
                numbers.extend(read(layout, &stack, release)?.0.values().flat_map(BTreeMap::values).copied());
            }
        }
    }
    Ok(numbers)
}

#[derive(Deserialize)]
struct PublicRecord {
    #[serde(alias = "address")]
    listen: IpAddr,
    port: u16,
}

/// Where an app is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) address: SocketAddr,
    /// With all other apps, told apart by their host names?
    pub(crate) shared: bool,
}

/// Where an app is reached, by the record of its port, or with all others; `None` when it has none.
pub(crate) fn public(layout: &Layout, stack: &StackId) -> Result<Option<Public>> {
    let path = layout.port_file(stack);
    let record: Option<PublicRecord> = read_json(&path).map_err(at("read", &path))?;
    if let Some(record) = record {
        return Ok(Some(Public { address: SocketAddr::new(record.listen, record.port), shared: false }));
    }
    Ok(shared_front(layout)?.map(|address| Public { address, shared: true }))
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct FrontRecord {
    listen: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secure: Option<SocketAddr>,
}

/// Where all apps of the workspace are reached together, if that was said.
pub(crate) fn shared_front(layout: &Layout) -> Result<Option<SocketAddr>> {
    Ok(front(layout)?.map(|record| record.listen))
}

/// Where those are reached by TLS that have a certificate, if that was said.
pub(crate) fn secure_front(layout: &Layout) -> Result<Option<SocketAddr>> {
    Ok(front(layout)?.and_then(|record| record.secure))
}

fn front(layout: &Layout) -> Result<Option<FrontRecord>> {
    let path = layout.front_record();
    read_json(&path).map_err(at("read", &path))
}

/// Says where all apps of the workspace are reached together, and where by TLS.
pub(crate) fn share_front(layout: &Layout, listen: SocketAddr, secure: Option<SocketAddr>) -> Result<()> {
    let record = FrontRecord { listen, secure };
    if front(layout)?.as_ref() == Some(&record) {
        return Ok(());
    }
    let path = layout.front_record();
    write_json(&path, &record, Durability::Synced).map_err(at("write", &path))
}

/// Claims the public port of a stack once more: what cleans old files away may have taken the claim.
pub(crate) fn keep(layout: &Layout, stack: &StackId, port: u16) {
    drop(numbers::keep(&Claims::of_machine(), port, &layout.port_file(stack)));
}

/// Numbers that are being given, each claimed until the record is written.
struct Claiming<'a> {
    record: &'a Path,
    claims: Claims,
    held: Vec<Claim>,
}

impl<'a> Claiming<'a> {
    fn new(record: &'a Path) -> Self {
        Self { record, claims: Claims::of_machine(), held: Vec::new() }
    }

    fn choose(&mut self, seed: &str, taken: &BTreeSet<u16>) -> Result<u16> {
        let candidates = usable(KNOWN.range, ephemeral());
        let from = start(seed, candidates.len());
        let mut unclear = None;
        for port in candidates.iter().cycle().skip(from).take(candidates.len()).copied() {
            if taken.contains(&port) || !is_free(port) {
                continue;
            }
            match self.claims.claim(port, self.record) {
                // Whoever had the claim before may have begun to listen meanwhile.
                Answer::Ours(claim) if is_free(port) => {
                    self.held.push(claim);
                    return Ok(port);
                }
                Answer::Ours(claim) => claim.give_up(),
                Answer::Anothers(_) => {}
                Answer::Unclear => unclear = unclear.or(Some(port)),
            }
        }
        unclear.ok_or_else(|| {
            ProviderError::new(ErrorKind::Quota, "no port below the range for outgoing connections is free")
                .with_help("remove apps that are no longer needed")
        })
    }
}

/// Removes what is kept about the units of a release, or of all, and their claims to ports.
pub(crate) fn forget(layout: &Layout, stack: &StackId, release: Option<ReleaseNumber>) -> Result<()> {
    let units = layout.units(stack);
    let releases = match release {
        Some(release) => vec![release],
        None => layout.supervised_releases(stack).map_err(at("read", &units))?,
    };
    let claimed: Vec<_> =
        releases.into_iter().map(|r| (layout.unit_ports(stack, r), read(layout, stack, r))).collect();
    let folder = release.map_or(units, |release| layout.release_units(stack, release));
    remove_tree(&folder).map_err(at("remove", &folder))?;
    let claims = Claims::of_machine();
    // A record that could not be read is gone, and with it what it claimed.
    for (record, ports) in claimed.into_iter().filter_map(|(record, ports)| Some((record, ports.ok()?))) {
        for port in ports.0.values().flat_map(BTreeMap::values) {
            claims.release(*port, &record);
        }
    }
    Ok(())
}

/// The numbers of a range that lie outside the kernel's range for outgoing connections, from
/// which a client's connection could take ours; all unprivileged ones when none do.
fn usable(wanted: Range, ephemeral: Range) -> Vec<u16> {
    let outside = |port: &u16| *port < ephemeral.first || *port > ephemeral.last;
    let kept: Vec<u16> = (wanted.first..=wanted.last).filter(outside).collect();
    if kept.is_empty() {
        (KNOWN.lowest_unprivileged.max(1)..=u16::MAX).filter(outside).collect()
    } else {
        kept
    }
}

fn ephemeral() -> Range {
    let from_kernel =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok().and_then(|text| {
            let mut numbers = text.split_ascii_whitespace().map(str::parse);
            Some(Range { first: numbers.next()?.ok()?, last: numbers.next()?.ok()? })
        });
    // IANA's.
    from_kernel.unwrap_or(Range { first: 49152, last: u16::MAX })
}

/// Where the search begins: the same for the same port, elsewhere for others.
fn start(seed: &str, length: usize) -> usize {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(seed.as_bytes());
    let number = hash.iter().take(4).fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    number.checked_rem(length).unwrap_or(0)
}

/// Can it be listened on, on loopback and on all addresses of both families? A listener on
/// one address keeps others from listening on all, and the other way round.
fn is_free(port: u16) -> bool {
    let addresses: [IpAddr; 4] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    addresses.into_iter().all(|address| match sockets::probe(SocketAddr::new(address, port)) {
        Ok(_) => true,
        // A machine without IPv6 is none that has the port taken.
        Err(e) => address.is_ipv6() && e.kind() != io::ErrorKind::AddrInUse,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_data_file_can_be_read_and_numbers_lie_below_the_ephemeral_range() {
        crate::check_knowledge::<Known>(include_str!("../../data/unit_ports.json"));
        let range = |first, last| Range { first, last };
        assert_eq!(usable(range(25000, 25002), range(25001, 60999)), [25000]);
        assert_eq!(usable(range(25000, 25002), range(1024, 60999)).first(), Some(&61000));
    }

    fn choose(seed: &str, taken: &BTreeSet<u16>) -> u16 {
        Claiming::new(Path::new("/never/written")).choose(seed, taken).unwrap()
    }

    #[test]
    fn what_one_release_was_given_no_other_is() {
        let record = Path::new("/never/written");
        let (mut one, mut other) = (Claiming::new(record), Claiming::new(record));
        let number = one.choose("the same", &BTreeSet::new()).unwrap();
        assert_ne!(other.choose("the same", &BTreeSet::new()).unwrap(), number);
    }

    #[test]
    fn looking_whether_a_port_is_free_takes_it_from_nobody() {
        let port = choose("probed", &BTreeSet::new());
        let probe = sockets::probe((Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
        assert!(is_free(port));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        drop(probe);
        assert!(!is_free(port));
        drop(listener);
    }

    #[test]
    fn a_port_somebody_listens_on_is_not_chosen_and_its_holder_named() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        let unit: UnitId = "api.0".parse().unwrap();
        let ports = BTreeMap::from([(PortName::new("api").unwrap(), port)]);
        let error = check_free(&unit, &ports).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        if cfg!(target_os = "linux") {
            assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
        }
        let first = choose("a", &BTreeSet::new());
        assert_ne!(choose("a", &BTreeSet::from([first])), first);
    }
}
