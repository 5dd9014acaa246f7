//! The first words of PostgreSQL's protocol: does the server take clients?

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long one answer may take. The server is on this machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// Version 3.0 of the protocol.
const VERSION: u32 = 196_608;
/// More of an error than its code is not read.
const ERROR_LIMIT: usize = 1024;

/// Asks as a client would that then goes away before it says its password.
pub(super) async fn takes_clients(port: u16, user: &str) -> bool {
    matches!(tokio::time::timeout(PATIENCE, knock(port, user)).await, Ok(Ok(true)))
}

async fn knock(port: u16, user: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(&startup(user)).await?;
    let mut head = [0_u8; 5];
    stream.read_exact(&mut head).await?;
    let [kind, a, b, c, d] = head;
    if kind != b'E' {
        // It asks who we are.
        return Ok(kind == b'R');
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or_default();
    let mut error = vec![0_u8; length.saturating_sub(4).min(ERROR_LIMIT)];
    stream.read_exact(&mut error).await?;
    Ok(!is_not_yet(&error))
}

fn startup(user: &str) -> Vec<u8> {
    let mut body = VERSION.to_be_bytes().to_vec();
    for word in ["user", user, "database", user] {
        body.extend(word.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    let mut message = length.to_be_bytes().to_vec();
    message.extend(body);
    message
}

/// An error that says that the server starts or stops (`57P03`). Any other comes from one
/// that takes clients, if not this one: too many of them, for instance.
fn is_not_yet(error: &[u8]) -> bool {
    error.split(|byte| *byte == 0).any(|field| field == b"C57P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_as_long_as_it_says() {
        let message = startup("postgres");
        assert_eq!(message.len(), usize::from(message[3]));
        assert!(message.ends_with(b"database\0postgres\0\0"));
    }

    #[test]
    fn a_server_that_starts_says_so() {
        assert!(is_not_yet(b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"));
        assert!(!is_not_yet(b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"));
    }
}
