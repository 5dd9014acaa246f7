//! Picker Wheel: wheels of weighted options, spun by the server so that nobody can cheat.
//!
//! Two programs share this library: `picker-wheel-api` keeps wheels and spins, and
//! `picker-wheel-ui` serves the page and passes `/api/*` on to the API.

pub mod api;
pub mod environment;
pub mod http;
pub mod storage;
pub mod ui;
pub mod wheel;

/// Now, in the form that every timestamp of this app has: RFC 3339, UTC, milliseconds.
pub fn timestamp() -> String {
    humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string()
}
