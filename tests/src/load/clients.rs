//! The clients. Each does one thing until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Reply};
use super::tally::{Kind, Tally};

/// No request takes longer than this unless something holds it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two frames over a WebSocket.
const FRAME_PAUSE: Duration = Duration::from_millis(50);

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;

pub(super) async fn run(kind: Kind, number: usize, to: SocketAddr, pause: Duration, tally: Arc<Tally>) {
    let mut client = Client { kind, to, tally, kept: None, id: format!("{kind:?}-{number}-") };
    for turn in 0_u64.. {
        if client.tally.is_stopped() {
            return;
        }
        let begun = Instant::now();
        let tried = match kind {
            // Their ends are their own.
            Kind::WebSocket => client.socket().await,
            Kind::Events => client.events().await,
            _ => match tokio::time::timeout(PATIENCE, client.ask(turn)).await {
                Ok(tried) => tried,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        };
        if let Err(e) = tried {
            client.kept = None;
            client.tally.fail(kind, begun, e.to_string());
        }
        tokio::time::sleep(pause).await;
    }
}

struct Client {
    kind: Kind,
    to: SocketAddr,
    tally: Arc<Tally>,
    /// A connection for the next request.
    kept: Option<Connection>,
    id: String,
}

impl Client {
    async fn ask(&mut self, turn: u64) -> io::Result<()> {
        let id = format!("{}{turn}", self.id);
        let reply = match self.kind {
            Kind::KeepAlive => {
                let kept = self.kept.take().filter(|kept| !kept.is_closed());
                let mut connection = match kept {
                    Some(kept) => kept,
                    None => Connection::open(self.to).await?,
                };
                let reply = connection.get("/", false).await?;
                self.kept = (!reply.closes).then_some(connection);
                reply
            }
            Kind::Download => Connection::open(self.to).await?.get("/drip/10", true).await?,
            Kind::Post => self.post(&id, 1, Duration::ZERO).await?,
            Kind::Upload => self.post(&id, 10, Duration::from_millis(50)).await?,
            _ => Connection::open(self.to).await?.get("/", true).await?,
        };
        if reply.status != 200 {
            return Err(io::Error::other(format!(
                "{}: {}",
                reply.status,
                String::from_utf8_lossy(&reply.body)
            )));
        }
        match self.kind {
            Kind::Download if !reply.body.ends_with(b"line 10\n") => {
                return Err(io::Error::other("half a download"));
            }
            Kind::Post | Kind::Upload => self.tally.posted(id),
            _ => {}
        }
        if let Some(version) = reply.version() {
            self.tally.saw(version);
        }
        self.tally.count(self.kind);
        Ok(())
    }

    /// Sends an id and padding, in so many pieces.
    async fn post(&self, id: &str, pieces: usize, pause: Duration) -> io::Result<Reply> {
        const PIECE: [u8; 200] = [b' '; 200];
        let mut connection = Connection::open(self.to).await?;
        let length = id.len() + pieces * PIECE.len();
        let head = format!(
            "POST /notes HTTP/1.1\r\nhost: busy.test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{id}"
        );
        connection.send(head).await?;
        for _ in 0..pieces {
            tokio::time::sleep(pause).await;
            connection.send(PIECE).await?;
        }
        connection.reply().await
    }

    /// Sends frames until the other side says goodbye, or we are to stop.
    async fn socket(&self) -> io::Result<()> {
        let mut connection = Connection::open(self.to).await?;
        within(connection.upgrade("/socket")).await?;
        self.tally.count(self.kind);
        for number in 0_u64.. {
            let sent = number.to_string();
            // What was closed meanwhile has said why: that is still to be read.
            let told = connection.send_frame(TEXT, sent.as_bytes()).await;
            let (opcode, payload) = within(connection.frame()).await?;
            match opcode {
                TEXT if payload == sent.as_bytes() => self.tally.echo(),
                CLOSE => {
                    let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                    if !matches!(code, Some(1001 | 1012)) {
                        return Err(io::Error::other(format!("closed with {code:?}")));
                    }
                    self.tally.goodbye(self.kind);
                    return Ok(());
                }
                other => return Err(io::Error::other(format!("frame {other} {payload:?}"))),
            }
            told?;
            if self.tally.is_stopped() {
                return connection.send_frame(CLOSE, &1000_u16.to_be_bytes()).await;
            }
            tokio::time::sleep(FRAME_PAUSE).await;
        }
        Ok(())
    }

    /// Reads events until the stream ends, or we are to stop.
    async fn events(&self) -> io::Result<()> {
        let mut connection = Connection::open(self.to).await?;
        connection.send("GET /events HTTP/1.1\r\nhost: busy.test\r\n\r\n").await?;
        let head = within(connection.head()).await?;
        if head.status != 200 {
            return Err(io::Error::other(format!("{} to events", head.status)));
        }
        self.tally.count(self.kind);
        while within(connection.chunk()).await?.is_some() {
            if self.tally.is_stopped() {
                return Ok(());
            }
        }
        self.tally.goodbye(self.kind);
        Ok(())
    }
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, what).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
