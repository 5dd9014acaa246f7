//! What tests of the engine and of providers are built on: [`fakecloud`], a [`session`] that
//! deploys to it, and the [`crash`] matrix.

pub mod conformance;
pub mod crash;
pub mod fakecloud;
pub mod fault_proxy;
pub mod load;
pub mod moto;
pub mod registry;
pub mod session;
pub mod simfleet;
