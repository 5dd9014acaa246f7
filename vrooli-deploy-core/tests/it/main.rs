//! Integration tests of the library, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod corpus;
mod manifest;
mod properties;
mod service_json;
