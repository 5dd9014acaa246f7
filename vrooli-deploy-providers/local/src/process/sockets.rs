//! Who listens on which port, as the kernel's own tables say.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Who listens on a port, as far as this user may see.
pub(crate) fn holder(port: u16) -> Option<Holder> {
    let inodes: BTreeSet<u64> =
        listening().filter(|(at, _)| at.port() == port).map(|(_, inode)| inode).collect();
    if inodes.is_empty() {
        return None;
    }
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    for pid in pids {
        if open_sockets(pid).any(|inode| inodes.contains(&inode)) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(Holder { pid, name: name.trim().to_owned() });
        }
    }
    None
}

/// A socket at an address that somebody may want to listen on, to see whether they could. It
/// never listens: such a one keeps neither a listener nor another of its kind away, also where a
/// child that was just forked still holds it.
///
/// # Errors
/// When somebody listens there (`AddrInUse`), or this user or machine cannot.
pub(crate) fn probe(address: SocketAddr) -> io::Result<Socket> {
    let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())?;
    Ok(probe)
}

/// Addresses that a process and its descendants listen on, in order. Empty where that cannot
/// be seen.
#[must_use]
pub fn listeners(pid: u32) -> Vec<SocketAddr> {
    let mut pids = super::table::Table::read().map(|t| t.descendants(pid)).unwrap_or_default();
    pids.insert(pid);
    let mine: BTreeSet<u64> = pids.into_iter().flat_map(open_sockets).collect();
    let found: BTreeSet<SocketAddr> =
        listening().filter(|(_, inode)| mine.contains(inode)).map(|(at, _)| at).collect();
    found.into_iter().collect()
}

/// The loopback address at which a port is reached. Some servers take `localhost` for the
/// IPv6 one alone.
pub(crate) fn loopback(port: u16) -> IpAddr {
    let at: Vec<IpAddr> = listening().filter(|(at, _)| at.port() == port).map(|(at, _)| at.ip()).collect();
    if !at.is_empty() && at.iter().all(|ip| *ip == Ipv6Addr::LOCALHOST) {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// Inodes of the sockets that a process has open.
fn open_sockets(pid: u32) -> impl Iterator<Item = u64> {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// All listening TCP sockets with their inodes.
fn listening() -> impl Iterator<Item = (SocketAddr, u64)> {
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().flat_map(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().filter_map(parse).collect::<Vec<_>>()
    })
}

/// A line of the kernel's table, if its socket listens.
fn parse(line: &str) -> Option<(SocketAddr, u64)> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    // Words of 32 bits, each in the machine's own order.
    let words: Option<Vec<u8>> = (0..address.len() / 8)
        .map(|i| u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat());
    let bytes = words?;
    let address = if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        IpAddr::V4(Ipv4Addr::from(v4))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?))
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(address, port), fields.get(9)?.parse().ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_found_by_port_and_by_process() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("skipped: {address} cannot be bound here");
                continue;
            };
            let at = listener.local_addr().unwrap();
            assert!(listening().any(|(a, _)| a == at), "{at}");
            assert!(listeners(std::process::id()).contains(&at));
            assert_eq!(holder(at.port()).unwrap().pid, std::process::id());
            assert_eq!(loopback(at.port()), at.ip());
        }
    }
}
