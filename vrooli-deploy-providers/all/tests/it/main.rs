//! What the pure halves of all providers promise: every scenario lowers or says why not, and
//! every price that is asked for is in the book. Files that lie beside the checkout are read
//! in place; tests say what they skip where those are absent.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test's own checks")]

mod corpus;
mod example;
mod goldens;
mod lowered;
#[path = "../../../bare-metal/tests/it/no_secrets.rs"]
mod no_secrets;
mod prices;
mod refusals;
mod validate;
