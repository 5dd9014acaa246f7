//! Bytes both ways after a connection changed its protocol.

use std::io;
use std::pin::pin;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::flight::{Flight, Stop};
use crate::metrics::Failure;
use crate::websocket::{CLOSE_GOING_AWAY, CLOSE_RESTART, Frames};

const BUFFER: usize = 16 << 10;
/// How long a client may take to end after its backend did.
const CLIENT_END: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Bytes one way. All state is here and not in a future, so that it can be stopped at any
/// point and still says what was written.
struct Direction<R, W> {
    from: R,
    to: W,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    frames: Option<Frames>,
    done: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Direction<R, W> {
    fn new(from: R, to: W, frames: Option<Frames>) -> Self {
        Self { from, to, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, frames, done: false }
    }

    /// Passes on until the source ends.
    async fn run(&mut self) -> io::Result<()> {
        loop {
            self.write_out().await?;
            if !self.read_in().await? {
                self.to.shutdown().await?;
                self.done = true;
                return Ok(());
            }
        }
    }

    async fn read_in(&mut self) -> io::Result<bool> {
        self.end = self.from.read(&mut self.buffer).await?;
        self.start = 0;
        Ok(self.end > 0)
    }

    async fn write_out(&mut self) -> io::Result<()> {
        while self.start < self.end {
            let rest = &self.buffer[self.start..self.end];
            let written = self.to.write(rest).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            if let Some(frames) = &mut self.frames {
                frames.take(&rest[..written], false);
            }
            self.start += written;
        }
        Ok(())
    }

    /// Ends this direction: a WebSocket with a goodbye after the frame under way, anything
    /// else where it is.
    async fn close(&mut self, goodbye: &[u8]) -> io::Result<()> {
        if let Some(mut frames) = self.frames.take() {
            while !frames.at_boundary() {
                if self.start == self.end && !self.read_in().await? {
                    return self.to.shutdown().await;
                }
                let rest = &self.buffer[self.start..self.end];
                let upto = frames.take(rest, true);
                self.to.write_all(&rest[..upto]).await?;
                self.start += upto;
            }
            if !frames.closed() {
                self.to.write_all(goodbye).await?;
            }
        }
        self.to.shutdown().await
    }
}

type OneWay = Direction<ReadHalf<TokioIo<Upgraded>>, WriteHalf<TokioIo<Upgraded>>>;

/// Waits for both sides to have changed their protocol and passes bytes until both ended, or
/// the flight is stopped.
pub(crate) async fn run(client: OnUpgrade, backend: OnUpgrade, flight: Flight, websocket: bool) {
    let ready = async { Ok::<_, hyper::Error>((client.await?, backend.await?)) };
    let (client, backend) = match flight.state().stop.or(pin!(ready)).await {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an upgrade did not come about");
            return;
        }
        Err(stop) => return flight.failed(stop.failure()),
    };
    let (client_in, client_out) = tokio::io::split(TokioIo::new(client));
    let (backend_in, backend_out) = tokio::io::split(TokioIo::new(backend));
    let mut down = Direction::new(backend_in, client_out, websocket.then(Frames::default));
    let mut up = Direction::new(client_in, backend_out, None);
    let ended = {
        let passing = pin!(both_ways(&mut down, &mut up));
        flight.state().stop.or(passing).await
    };
    match ended {
        Ok(Ok(())) => flight.whole(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a tunnel broke");
            flight.failed(Failure::ClientGone);
        }
        Err(stop) => {
            flight.failed(stop.failure());
            say_goodbye(down, &mut up, stop).await;
        }
    }
}

async fn both_ways(down: &mut OneWay, up: &mut OneWay) -> io::Result<()> {
    let first = {
        let mut downward = pin!(down.run());
        let mut upward = pin!(up.run());
        tokio::select! {
            ended = &mut downward => {
                ended?;
                true
            }
            ended = &mut upward => {
                ended?;
                false
            }
        }
    };
    if first {
        // The backend has ended: what is left is the client's end.
        match tokio::time::timeout(CLIENT_END, up.run()).await {
            Ok(ended) => ended,
            Err(_) => Ok(()),
        }
    } else {
        // A client that only sent its end may listen for as long as it likes.
        down.run().await
    }
}

async fn say_goodbye(mut down: OneWay, up: &mut OneWay, stop: Stop) {
    let goodbye = match stop {
        Stop::EdgeEnds => CLOSE_GOING_AWAY,
        _ => CLOSE_RESTART,
    };
    let farewell = async {
        if !down.done {
            // What finishes the frame under way may hang on what the client still sends.
            let upward = async {
                // Its end changes nothing here.
                let _ = up.run().await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                closed = down.close(&goodbye) => closed?,
                () = upward => {}
            }
        }
        // Read until the client ends, or what we sent could be lost to a reset.
        while up.read_in().await? {}
        io::Result::Ok(())
    };
    // It is over either way.
    let _ = tokio::time::timeout(GOODBYE, farewell).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    type Test = Direction<DuplexStream, DuplexStream>;

    fn direction(frames: bool) -> (Test, DuplexStream, DuplexStream) {
        let (backend, from) = duplex(64);
        let (to, client) = duplex(64);
        let direction = Direction::new(from, to, frames.then(Frames::default));
        (direction, backend, client)
    }

    async fn pass(direction: &mut Test, backend: &mut DuplexStream, bytes: &[u8]) {
        backend.write_all(bytes).await.unwrap();
        assert!(direction.read_in().await.unwrap());
        direction.write_out().await.unwrap();
    }

    async fn rest(client: &mut DuplexStream) -> Vec<u8> {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn a_goodbye_waits_for_the_end_of_the_frame_and_follows_it_at_once() {
        let (mut down, mut backend, mut client) = direction(true);
        pass(&mut down, &mut backend, b"\x82\x04ab").await;
        // The rest, and a frame that is not begun any more.
        backend.write_all(b"cd\x82\x01x").await.unwrap();
        down.close(&CLOSE_RESTART).await.unwrap();
        assert_eq!(rest(&mut client).await, b"\x82\x04abcd\x88\x02\x03\xf4");
    }

    #[tokio::test]
    async fn who_has_said_goodbye_is_not_sent_another() {
        let (mut down, mut backend, mut client) = direction(true);
        pass(&mut down, &mut backend, b"\x88\x02\x03\xe8").await;
        down.close(&CLOSE_RESTART).await.unwrap();
        assert_eq!(rest(&mut client).await, b"\x88\x02\x03\xe8");
    }

    #[tokio::test]
    async fn other_protocols_end_where_they_are() {
        let (mut down, mut backend, mut client) = direction(false);
        pass(&mut down, &mut backend, b"\x82\x04ab").await;
        down.close(&CLOSE_RESTART).await.unwrap();
        assert_eq!(rest(&mut client).await, b"\x82\x04ab");
    }
}
