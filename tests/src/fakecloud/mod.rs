//! A cloud in memory on virtual time, for tests of the engine and as the model of a
//! provider: kinds with every way of being idempotent, eventual consistency, slow states,
//! quotas, throttles, and calls that part from their client at every point.

mod census;
mod client;
mod cloud;
mod fault;
mod fleet;
pub mod kinds;
mod quotas;
mod secrets;
mod world;

pub use cloud::{FakeCloud, FakeCloudOptions};
pub use fault::{CallRecord, Fault};
pub use fleet::FakeFleet;
pub use secrets::MemorySecrets;
pub use world::{FleetWorld, Marks, Object, World};
