//! Recipes: programs that use the library, each named after a task. Run one with
//! `cargo run -p vrooli-deploy-examples --example NAME`.
