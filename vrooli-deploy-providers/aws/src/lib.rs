//! Amazon Web Services as a provider.
//!
//! This is the pure half: [`kinds`] say what can be made, what it costs and which rights that
//! takes; the [`catalogue`] knows regions, sizes and limits, as of a date; [`lower`] turns what
//! an app needs into a stack. Nothing here makes a call. The native half, which does, is not
//! part of this version: opening the provider says so.

mod bill;
pub mod catalogue;
mod factory;
pub mod kinds;
pub mod lower;
#[cfg(feature = "native")]
pub mod native;

pub use factory::AwsFactory;
