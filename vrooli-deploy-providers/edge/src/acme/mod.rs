//! Certificates from an authority by ACME (RFC 8555), for whoever holds the edges' control
//! sockets; never in a worker that carries traffic.
//!
//! Several hosts may stand behind one name, and an authority asks any of them. So an order has
//! three parts, with all hosts between each two: the [answers](Order::answers) are placed on
//! every edge, the authority is [told to look](Order::answers_placed), and the
//! [certificate](Order::certificate) is taken to every edge. [`Certificates`] does all of it, when
//! it is due and never more often than that, through [`Edges`].

mod account;
mod authority;
mod certificate;
mod client;
mod edges;
mod error;
mod keep;
mod name;
mod order;
mod reach;
mod record;
mod schedule;

pub use account::Account;
pub use authority::Authority;
pub use certificate::{Certificate, check};
pub use edges::{Edges, LocalEdge};
pub use error::AcmeError;
pub use keep::{CertificateStatus, Certificates, CertificatesOptions, Clock, Kept, Wanted};
pub use name::{CertificateName, DnsName};
pub use order::Order;
pub use reach::{Resolve, SystemDns, points_here};
pub use schedule::Turn;
