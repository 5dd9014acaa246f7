//! Clients of every kind that ask all the time, and the count of what went wrong for them.
//!
//! They ask the server of the fixtures. They never ask again for what failed; a connection that
//! the server has closed is not used for another request.

mod clients;
mod connection;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub use self::connection::{Connection, Reply};
pub use self::tally::{Failed, Kind, Notes, Tally};

/// How many clients, and how often they ask.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// Clients that keep their connection.
    pub keep_alive: usize,
    /// Clients that connect for each request.
    pub one_shot: usize,
    /// Clients of each of the other kinds.
    pub others: usize,
    /// Pause after each short request.
    pub pause: Duration,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Tally>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts them. Needs a tokio runtime with I/O and time.
    #[must_use]
    pub fn start(address: SocketAddr, options: LoadOptions) -> Self {
        let tally = Arc::new(Tally::default());
        let mut clients = JoinSet::new();
        for kind in Kind::ALL {
            let count = match kind {
                Kind::KeepAlive => options.keep_alive,
                Kind::OneShot => options.one_shot,
                _ => options.others,
            };
            for number in 0..count {
                clients.spawn(clients::run(kind, number, address, options.pause, tally.clone()));
            }
        }
        Self { tally, clients }
    }

    /// What has been counted.
    #[must_use]
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Lets every client finish what it is at.
    pub async fn end(mut self) -> Arc<Tally> {
        self.tally.stop();
        while self.clients.join_next().await.is_some() {}
        self.tally
    }
}
