//! Servers of the user as a provider.
//!
//! This is the pure half, as far as estimates and comparisons need it: which server is for
//! what, and what it costs by the user's own word. The native half, which prepares servers and
//! carries releases to them, is not part of this version: opening the provider says so.

mod factory;
pub mod kinds;
pub mod lower;

pub use factory::BareMetalFactory;

/// The provider's price book, in the form of the others: a server costs so many dollars as the
/// manifest says, at one dollar each.
pub const PRICES: &str = include_str!("../data/prices-bare-metal.json");
