//! The reverse proxy that stands in front of apps while their releases change.
//!
//! One edge serves all apps of a workspace. It owns no policy: a supervisor hands it listening
//! sockets and, for each site, a [`SiteTable`] that says which requests go to which service of
//! which release. Setting another table moves all traffic at once: every request follows
//! either the old or the new one, open connections are kept, and [`EdgeLink::drain`] says when
//! the old release has nothing to do any more.
//!
//! Nothing is refused while processes die. The supervisor keeps duplicates of the sockets, so
//! that connections wait while a killed edge is started again, with its routes from its own
//! file; the edge goes on without its supervisor and gives the sockets back to the next one.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::collections::BTreeMap;
//! use vrooli_deploy_edge::{
//!     Edge, EdgeOptions, ListenerId, ReleaseName, ReleaseRoute, Rule, ServiceName, SiteId,
//!     SiteTable,
//! };
//!
//! let edge = Edge::in_process(EdgeOptions::new("state/edge.json", "state")).await?;
//! let site = SiteId::new("shop/production")?;
//! let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
//! edge.add_listener(ListenerId::from(site.clone()), socket.into()).await?;
//!
//! let ui = ServiceName::new("ui")?;
//! let mut table = SiteTable::new(site, 1);
//! table.rules.push(Rule::any_host("/", ui.clone()));
//! table.releases.insert(
//!     ReleaseName::new("r1")?,
//!     ReleaseRoute {
//!         weight: 100,
//!         backends: BTreeMap::from([(ui, vec!["127.0.0.1:3000".parse()?])]),
//!     },
//! );
//! edge.set_site(table).await?;
//! # Ok(())
//! # }
//! ```

mod access_log;
#[cfg(feature = "acme")]
pub mod acme;
mod assets;
mod body;
mod challenges;
mod control;
mod embedded;
mod error;
mod first_bytes;
mod flight;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gzip;
mod head_watch;
mod headers;
mod health;
mod held;
mod lines;
mod link;
mod metrics;
mod millis;
mod names;
mod network;
mod options;
mod origin;
mod protocol;
mod proxy;
mod reader;
mod replies;
mod routes;
mod run;
mod serve;
mod session;
mod signal;
mod socket;
mod state;
mod stats;
mod sticky;
mod table;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod to_own;
mod tunnel;
mod upstream;
mod websocket;
mod worker;

pub use challenges::{AccountThumbprint, ChallengeAnswer, ChallengeError, ChallengeToken};
pub use embedded::Edge;
pub use error::{EdgeError, Refusal};
pub use link::{EdgeEnd, EdgeLink};
pub use metrics::{Failure, Latency, Metrics, ReleaseMetrics, Sample};
pub use names::{ListenerId, MAX_NAME_BYTES, NameError, ReleaseName, ServiceName, SiteId};
pub use network::{Network, NetworkError};
pub use options::{AccessLogOptions, EdgeOptions, Limits};
pub use origin::{OriginHeader, TrustedProxies};
pub use protocol::{CertificateState, DrainReport, EdgeStatus};
pub use reader::EdgeReader;
pub use run::run;
pub use state::RejectedEntry;
pub use table::{
    HealthCheck, HttpsOnly, MAX_WEIGHT, ReleaseRoute, Revert, Reverted, Rule, SiteState, SiteTable,
    TableError,
};
#[cfg(feature = "tls")]
pub use to_own::connect_to_own;

/// The name of the socket, in [`EdgeOptions::socket_folder`], where a supervisor attaches.
pub const CONTROL_SOCKET: &str = "edge.sock";
/// The name of the socket, in [`EdgeOptions::socket_folder`], that only answers questions.
pub const READING_SOCKET: &str = "edge-read.sock";
