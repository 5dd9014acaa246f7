//! Processes that outlive the program that started them.
//!
//! A *supervisor* a workspace starts, restarts and stops units, owns the
//! listening sockets and tells the edge what goes where. A *shim* an instance is the parent
//! of an app's processes and knows how they ended. Both are hidden subcommands of the
//! embedding program ([`crate::child`]) and are found again through files and locks in the
//! state folder, so that any of them may be killed at any moment. [`SupervisorClient`] is
//! what the rest of this crate talks to.
//!
//! A program that wants none of these processes runs all of it in itself ([`Supervision`]):
//! then everything ends with it, however it ends.

mod adopt;
#[cfg_attr(not(feature = "tls"), path = "no_certificates.rs")]
pub(crate) mod certificates;
mod client;
mod config;
mod container;
mod fence;
mod files;
mod identity;
mod in_process;
mod key;
mod launch;
mod listening;
mod lock;
mod log;
mod paths;
mod pipe;
mod ports;
mod protocol;
mod record;
mod service;
mod shim;
mod socket;
pub(crate) mod sockets;
mod supervise;
mod supervision;
mod table;
mod values;
mod variables;

use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef};

pub use adopt::observe;
pub use client::SupervisorClient;
pub use config::{LogConfig, Program, SupervisorConfig};
pub use identity::ProcessIdentity;
pub use in_process::InProcess;
pub(crate) use key::given_key;
pub use paths::UnitLayout;
pub use record::{Ended, ExitRecord, InstanceRecord, UnitRecord};
pub use service::Service;
pub use sockets::listeners;
pub(crate) use supervise::OpenSecrets;
pub use supervise::{SupervisorOptions, last_routing};
pub use supervision::Supervision;
pub use table::MARKER;

pub(crate) use container::{become_contained, keep as keep_container, name as container_name, stack_name};
pub(crate) use fence::{admit, highest, refuse_older};
pub(crate) use in_process::resolver;
pub(crate) use launch::become_app;
pub(crate) use ports::{public, secure_front, share_front};
pub(crate) use shim::run as run_shim;
pub(crate) use supervise::{edge_folder, run as run_supervisor, run_edge};
pub(crate) use table::memory;
pub(crate) use values::Values;

/// Finds the value of a secret. The supervisor calls it when it starts a process.
pub type SecretResolver = dyn Fn(&SecretRef) -> Result<Secret<String>, SecretError> + Send + Sync;
