//! The few words of Redis's protocol that we speak.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use vrooli_deploy_core::secrets::Secret;

/// How long one answer may take. The server is on this machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server said when asked whether it is there and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody listens.
    Nobody,
    /// Ours, and ready.
    Ready,
    /// Reads its data.
    Busy,
    /// Does not answer, or hangs up.
    Silent,
    /// Somebody who does not know our password.
    Stranger,
}

/// Asks.
pub(super) async fn ask(port: u16, password: &Secret<String>) -> Answer {
    match tokio::time::timeout(PATIENCE, converse(port, password)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Nobody,
        Ok(Err(_)) | Err(_) => Answer::Silent,
    }
}

async fn converse(port: u16, password: &Secret<String>) -> io::Result<Answer> {
    let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
    let password = password.expose();
    let request =
        Secret::new(format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n*1\r\n$4\r\nPING\r\n", password.len()));
    stream.write_all(request.expose().as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if line.is_empty() {
        return Ok(Answer::Silent);
    }
    if !line.starts_with("+OK") {
        return Ok(if line.starts_with("-LOADING") { Answer::Busy } else { Answer::Stranger });
    }
    line.clear();
    stream.read_line(&mut line).await?;
    Ok(if line.starts_with("+PONG") { Answer::Ready } else { Answer::Busy })
}
