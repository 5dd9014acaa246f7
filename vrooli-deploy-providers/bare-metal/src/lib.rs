//! Servers of the user as a provider.
//!
//! The pure half: which server is for what, what it costs by the user's own word, and what is
//! asked of it. With the feature `native`: hosts that are known ([`hosts`]), phases that run on
//! them ([`remote`]), and what could be in the way of a deployment ([`preflight`]). Carrying
//! releases to them is not part of this version: opening the provider says so.

#[cfg(feature = "native")]
pub mod archive;
pub mod artefact;
mod factory;
pub mod facts;
pub mod ground;
pub mod host;
#[cfg(feature = "native")]
pub mod hosts;
pub mod kinds;
pub mod lower;
#[cfg(feature = "native")]
pub mod own;
pub mod preflight;
pub mod remote;
pub mod render;
#[cfg(feature = "native")]
pub mod store;

pub use factory::BareMetalFactory;
