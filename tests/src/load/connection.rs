//! One client connection, of which every byte is seen.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// An answer. Its body is whole.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// The server will close the connection.
    pub closes: bool,
    chunked: bool,
    length: Option<usize>,
}

impl Reply {
    /// Of the release that answered.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let answer: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(answer.get("version")?.as_str()?.to_owned())
    }
}

/// A connection over HTTP/1.1.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Has the server closed it? Asks the kernel, so that nothing that has arrived is missed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let mut byte = [0_u8; 1];
        match recv(self.stream.get_ref(), &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => true,
            Ok(_) => false,
            Err(e) => e != rustix::io::Errno::AGAIN,
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Sends a request without a body and reads the whole answer.
    ///
    /// # Errors
    /// Those of the socket, or an answer that is not whole.
    pub async fn get(&mut self, path: &str, close: bool) -> io::Result<Reply> {
        let close = if close { "connection: close\r\n" } else { "" };
        self.send(format!("GET {path} HTTP/1.1\r\nhost: busy.test\r\n{close}\r\n")).await?;
        self.reply().await
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let mut reply = self.head().await?;
        if reply.chunked {
            while let Some(chunk) = self.chunk().await? {
                reply.body.extend(chunk);
            }
        } else if let Some(length) = reply.length {
            reply.body.resize(length, 0);
            self.stream.read_exact(&mut reply.body).await?;
        } else {
            return Err(io::Error::other("an answer without an end"));
        }
        Ok(reply)
    }

    /// Reads the head of an answer.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn head(&mut self) -> io::Result<Reply> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut reply = Reply {
            status: status.ok_or_else(|| io::Error::other(format!("no status: {first:?}")))?,
            body: Vec::new(),
            closes: false,
            chunked: false,
            length: None,
        };
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(reply);
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "connection" => reply.closes = value.eq_ignore_ascii_case("close"),
                "content-length" => reply.length = value.parse().ok(),
                "transfer-encoding" => reply.chunked = value.eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
    }

    /// The next chunk of a body; none at its proper end.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let length = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk).await?;
        self.line().await?;
        Ok((length > 0).then_some(chunk))
    }

    /// Asks for a WebSocket, with the key that the fixtures' server knows.
    ///
    /// # Errors
    /// As [`Connection::get`], or an answer other than 101.
    pub async fn upgrade(&mut self, path: &str) -> io::Result<()> {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nhost: busy.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await?;
        match self.head().await?.status {
            101 => Ok(()),
            other => Err(io::Error::other(format!("{other} to an upgrade"))),
        }
    }

    /// Sends a short frame, masked as a client's must be.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        const MASK: [u8; 4] = [7, 1, 9, 4];
        let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let mut frame = vec![0x80 | opcode, 0x80 | length];
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.send(frame).await
    }

    /// Reads a short frame: its opcode and payload.
    ///
    /// # Errors
    /// Those of the socket; an end without a goodbye is one.
    pub async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await?;
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        self.stream.read_exact(&mut payload).await?;
        Ok((head[0] & 0x0f, payload))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
