//! A fleet at the other end of a stream of bytes: the calls of [`Fleet`](super::Fleet) as lines of
//! JSON, many at a time. A program of ours that was started on a server [serves](serve) its own
//! fleet on its standard input and output; who started it there holds a [`RemoteFleet`].
//!
//! Values of secrets follow their line as they are: no type here can write one down.

mod client;
mod exec;
mod message;
mod serve;
mod values;

pub use client::RemoteFleet;
pub use exec::{Exec, Exit, Exited, Incoming, Printed};
pub use message::{FleetSeen, HostSettings, PROTOCOL, ProgramSeen};
pub use serve::{Agent, serve};
pub use values::values_digest;

#[cfg(test)]
mod tests;
