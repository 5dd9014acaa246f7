//! Clients that see every byte, and take nothing for an answer that is not whole.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(have, _)| have == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await?;
        self.reply(true).await
    }

    /// Reads one answer. `body` is false after a HEAD.
    pub(crate) async fn reply(&mut self, body: bool) -> io::Result<Reply> {
        let mut reply = self.head().await?;
        if !body || reply.status == 204 || reply.status == 304 || reply.status < 200 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await? {
                reply.body.extend(chunk);
            }
            reply.trailers = self.fields().await?;
        } else if let Some(length) = reply.header("content-length") {
            reply.body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut reply.body).await?;
        } else {
            self.stream.read_to_end(&mut reply.body).await?;
        }
        Ok(reply)
    }

    pub(crate) async fn head(&mut self) -> io::Result<Reply> {
        let line = self.line().await?;
        let status = line.split(' ').nth(1).and_then(|one| one.parse().ok());
        Ok(Reply {
            status: status.ok_or_else(|| io::Error::other(format!("no status: {line:?}")))?,
            headers: self.fields().await?,
            body: Vec::new(),
            trailers: Vec::new(),
        })
    }

    async fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "", "a header line");
                return Ok(fields);
            };
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// One chunk of a body, none at its proper end.
    pub(crate) async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let length = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk).await?;
        assert_eq!(self.line().await?, "");
        Ok(Some(chunk))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether the server has closed the connection, and sent nothing more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.stream.read_u8().await.is_err()
    }
}

/// One request on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<Reply> {
    fetch(address, format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")).await
}

pub(crate) async fn fetch(address: SocketAddr, request: impl AsRef<[u8]>) -> io::Result<Reply> {
    let mut client = Client::connect(address).await?;
    client.send(request).await?;
    client.reply(true).await
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = Client::connect(address).await.unwrap();
    client.send(bytes).await.unwrap();
    let mut all = Vec::new();
    // A reset after an answer is a close as well.
    let _ = client.stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}
