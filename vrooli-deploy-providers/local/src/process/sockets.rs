//! Who listens on which port, as the kernel says.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::listening::listening;

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Who listens on a port, as far as this user may see.
pub(crate) fn holder(port: u16) -> Option<Holder> {
    let inodes: BTreeSet<u64> =
        listening().into_iter().filter(|(at, _)| at.port() == port).map(|(_, inode)| inode).collect();
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

/// Addresses that a process and what it stands for listen on, in order. Empty where that cannot
/// be seen.
#[must_use]
pub fn listeners(pid: u32) -> Vec<SocketAddr> {
    let mut pids = super::table::Table::read().map(|t| t.kept(pid)).unwrap_or_default();
    pids.insert(pid);
    let mine: BTreeSet<u64> = pids.into_iter().flat_map(open_sockets).collect();
    let found: BTreeSet<SocketAddr> =
        listening().into_iter().filter(|(_, inode)| mine.contains(inode)).map(|(at, _)| at).collect();
    found.into_iter().collect()
}

/// The loopback address at which a port is reached. Some servers take `localhost` for the
/// IPv6 one alone.
pub(crate) fn loopback(port: u16) -> IpAddr {
    let at: Vec<IpAddr> =
        listening().into_iter().filter(|(at, _)| at.port() == port).map(|(at, _)| at.ip()).collect();
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
            assert!(listening().iter().any(|(a, _)| *a == at), "{at}");
            assert!(listeners(std::process::id()).contains(&at));
            assert_eq!(holder(at.port()).unwrap().pid, std::process::id());
            assert_eq!(loopback(at.port()), at.ip());
        }
    }
}
