//! All TCP sockets that listen: asked of the kernel itself, else read in its tables.
//!
//! The tables hold every connection of the machine as well, and to read them the kernel walks all
//! slots of a hash that is as large as its memory allows: milliseconds where nothing is connected.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// All listening TCP sockets of this network namespace with their inodes.
pub(super) fn listening() -> Vec<(SocketAddr, u64)> {
    asked().unwrap_or_else(|_| read())
}

/// What the kernel says to who asks for listeners only (sock_diag(7)).
#[cfg(target_os = "linux")]
fn asked() -> io::Result<Vec<(SocketAddr, u64)>> {
    use std::time::Duration;

    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    };

    /// The kernel answers at once, or it is none that knows this.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// As much as the kernel puts into one answer.
    const LARGEST: usize = 32 * 1024;

    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut all = Vec::new();
    let mut buffer = vec![0; LARGEST];
    for (number, family) in [(1, AddressFamily::INET), (2, AddressFamily::INET6)] {
        send(&socket, &diag::question(number, family.as_raw()), SendFlags::empty())?;
        loop {
            let (got, whole) = recv(&socket, &mut buffer[..], RecvFlags::TRUNC)?;
            let answer = buffer.get(..got).filter(|_| whole == got).ok_or_else(diag::unreadable)?;
            if diag::read(answer, number, &mut all)? {
                break;
            }
        }
    }
    Ok(all)
}

#[cfg(not(target_os = "linux"))]
fn asked() -> io::Result<Vec<(SocketAddr, u64)>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The messages of `NETLINK_SOCK_DIAG`, as in linux/netlink.h and linux/inet_diag.h.
#[cfg(target_os = "linux")]
mod diag {
    use super::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, io};

    const HEADER: usize = 16;
    const REQUEST: usize = 56;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    /// It asks for something, and for all there are.
    const REQUEST_DUMP: u16 = 0x301;
    /// Something changed while it was told.
    const INTERRUPTED: u16 = 0x10;
    const TCP: u8 = 6;
    const LISTEN: u32 = 10;

    pub(super) fn unreadable() -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be read")
    }

    /// Asks for all listeners of a family.
    pub(super) fn question(number: u32, family: u16) -> Vec<u8> {
        let mut text = Vec::with_capacity(HEADER + REQUEST);
        text.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
        text.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        text.extend(REQUEST_DUMP.to_ne_bytes());
        text.extend(number.to_ne_bytes());
        // Whose port: the kernel knows. Then family, protocol, nothing more than that, and states.
        text.extend([0; 4]);
        text.extend([family as u8, TCP, 0, 0]);
        text.extend((1_u32 << LISTEN).to_ne_bytes());
        // Of any address and port.
        text.resize(HEADER + REQUEST, 0);
        text
    }

    /// Reads what the kernel said in one go. Was that all?
    pub(super) fn read(mut text: &[u8], number: u32, all: &mut Vec<(SocketAddr, u64)>) -> io::Result<bool> {
        while !text.is_empty() {
            let length = word(text, 0).ok_or_else(unreadable)? as usize;
            let message = text.get(..length).filter(|m| m.len() >= HEADER).ok_or_else(unreadable)?;
            let (kind, flags) = (half(message, 4), half(message, 6));
            let body = &message[HEADER..];
            if word(message, 8) != Some(number) || flags.is_none_or(|flags| flags & INTERRUPTED != 0) {
                return Err(unreadable());
            }
            match kind {
                Some(SOCK_DIAG_BY_FAMILY) => all.extend(listener(body)),
                Some(DONE) => return Ok(true),
                Some(ERROR) => {
                    let number = word(body, 0).ok_or_else(unreadable)?.cast_signed();
                    return Err(io::Error::from_raw_os_error(number.saturating_neg()));
                }
                _ => return Err(unreadable()),
            }
            // Each begins at a multiple of four.
            text = text.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }

    /// One socket: family and state, four bytes later the ports and addresses, at the end the inode.
    fn listener(body: &[u8]) -> Option<(SocketAddr, u64)> {
        const INET: u8 = 2;
        const INET6: u8 = 10;
        let (family, state) = (*body.first()?, *body.get(1)?);
        let port = u16::from_be_bytes(part(body, 4)?);
        let ip = match family {
            INET => IpAddr::V4(Ipv4Addr::from(part::<4>(body, 8)?)),
            INET6 => IpAddr::V6(Ipv6Addr::from(part::<16>(body, 8)?)),
            _ => return None,
        };
        let inode = word(body, 68)?;
        (u32::from(state) == LISTEN).then_some((SocketAddr::new(ip, port), inode.into()))
    }

    fn part<const N: usize>(text: &[u8], at: usize) -> Option<[u8; N]> {
        text.get(at..)?.first_chunk().copied()
    }

    fn word(text: &[u8], at: usize) -> Option<u32> {
        part(text, at).map(u32::from_ne_bytes)
    }

    fn half(text: &[u8], at: usize) -> Option<u16> {
        part(text, at).map(u16::from_ne_bytes)
    }
}

/// What stands in the kernel's tables; nothing where there are none.
fn read() -> Vec<(SocketAddr, u64)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(parse).collect()
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
    use std::net::{TcpListener, TcpStream};

    /// Hundreds, so that the kernel tells them in more than one answer.
    #[test]
    fn the_kernel_says_what_stands_in_its_tables() {
        let addresses = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"].repeat(100);
        let mine: Vec<TcpListener> = addresses.iter().filter_map(|at| TcpListener::bind(at).ok()).collect();
        let connected = TcpStream::connect(mine[0].local_addr().unwrap()).unwrap();
        let asked = match asked() {
            Ok(asked) => asked,
            Err(error) => return println!("skipped: this kernel does not answer: {error}"),
        };
        let read = read();
        for listener in &mine {
            let at = listener.local_addr().unwrap();
            let of = |all: &[(SocketAddr, u64)]| all.iter().find(|(a, _)| *a == at).copied();
            assert!(of(&asked).is_some(), "{at}");
            assert_eq!(of(&asked), of(&read));
        }
        // A connection listens to nobody.
        let own = connected.local_addr().unwrap();
        assert!(!asked.iter().chain(&read).any(|(at, _)| *at == own));
    }

    #[test]
    fn a_refusal_and_half_an_answer_are_no_empty_list() {
        let message = |kind: u16, flags: u16, number: u32, body: &[u8]| {
            let mut text = (16 + body.len() as u32).to_ne_bytes().to_vec();
            text.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
            text.extend(number.to_ne_bytes());
            text.extend([0; 4]);
            text.extend(body);
            text
        };
        let mut all = Vec::new();
        let mut read = |text: &[u8]| diag::read(text, 7, &mut all);
        assert!(read(&message(3, 0, 7, &[0; 4])).unwrap());
        assert!(!read(&[]).unwrap());
        let refused = read(&message(2, 0, 7, &(-2_i32).to_ne_bytes())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert!(read(&message(3, 0x10, 7, &[0; 4])).is_err(), "something changed meanwhile");
        assert!(read(&message(3, 0, 8, &[0; 4])).is_err(), "an answer to another question");
        assert!(read(&message(99, 0, 7, &[0; 4])).is_err());
        let whole = message(20, 0, 7, &[0; 72]);
        for cut in 1..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "{cut}");
        }
    }
}
