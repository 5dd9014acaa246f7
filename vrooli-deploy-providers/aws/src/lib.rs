//! Amazon Web Services as a provider.
//!
//! The pure half is always there: [`kinds`] say what can be made, what it costs and which rights
//! that takes; the [`catalogue`] knows regions, sizes and limits, as of a date; [`lower`] turns
//! what an app needs into a stack. The native half, which makes the calls, is behind the feature
//! `native`; without it opening the provider says so. Not all kinds have one yet.

mod bill;
pub mod catalogue;
mod factory;
pub mod kinds;
pub mod lower;
#[cfg(feature = "native")]
pub mod native;
mod policy;
pub mod quotas;

pub use factory::AwsFactory;
