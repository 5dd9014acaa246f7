//! The deployment engine as a library.
//!
//! Data flows one way: [`import`] or [`manifest`] → [`requirements`] → [`stack`] →
//! [`plan`] → (feature `engine`) `engine` → [`release`]. Everything up to the plan is
//! plain data and pure functions: no clock, no environment, no network, no randomness
//! that is not seeded. `docs/ARCHITECTURE.md` in the repository is the map.

pub mod configuration;
pub mod cost;
pub mod diagnostics;
pub mod duration;
pub mod engine;
pub mod fitness;
pub mod import;
pub mod manifest;
pub mod names;
pub mod plan;
pub mod profile;
pub mod provider;
pub mod release;
pub mod render;
pub mod requirements;
pub mod secrets;
pub mod sources;
pub mod sql;
pub mod stack;
pub mod swaps;
pub mod validate;

#[cfg(feature = "engine")]
pub mod http_client;
#[cfg(feature = "engine")]
pub mod state;
#[cfg(feature = "engine")]
pub mod workspace;
