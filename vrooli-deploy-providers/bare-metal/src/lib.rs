//! Servers of the user as a provider.
//!
//! This is the pure half, as far as estimates and comparisons need it: which server is for
//! what, and what it costs by the user's own word. The native half, which prepares servers and
//! carries releases to them, is not part of this version: opening the provider says so.

mod factory;
pub mod kinds;
pub mod lower;

pub use factory::BareMetalFactory;
