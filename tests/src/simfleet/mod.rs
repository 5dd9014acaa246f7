//! A fleet of many hosts in memory, on virtual time: hosts that vanish and come back, calls
//! that arrive after their caller is gone, and a watch over what a strategy promises.

mod fleet;
mod session;
mod world;

pub use fleet::SimFleet;
pub use session::{SimError, SimSession, Wanted};
pub use world::{Host, SimWorld};
