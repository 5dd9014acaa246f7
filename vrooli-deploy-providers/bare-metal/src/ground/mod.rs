//! What a host is prepared with: seen and changed in as few round trips as can be.
//!
//! Each host keeps a record of each stack that stands on it ([`HostRecord`]); what is in it is there
//! as far as a plan is concerned, and how it is is seen in the same round trip ([`HostSurvey`]).

#[cfg(feature = "native")]
mod backups;
#[cfg(feature = "native")]
mod change;
#[cfg(feature = "native")]
mod databases;
#[cfg(feature = "native")]
mod departure;
#[cfg(feature = "native")]
mod hold;
#[cfg(feature = "native")]
mod ledger;
#[cfg(feature = "native")]
mod on_host;
mod place;
mod prepared;
#[cfg(feature = "native")]
mod queue;
mod record;
#[cfg(feature = "native")]
mod restore;
#[cfg(feature = "native")]
mod servers;
mod survey;
mod written;

#[cfg(feature = "native")]
pub(crate) use backups::ServersBackups;
#[cfg(feature = "native")]
pub(crate) use change::{Change, Verb};
#[cfg(feature = "native")]
pub(crate) use departure::Ending;
#[cfg(feature = "native")]
pub(crate) use ledger::ServersLedger;
#[cfg(feature = "native")]
pub(crate) use on_host::OnHost;
pub(crate) use place::Place;
pub(crate) use prepared::{Making, Prepared};
#[cfg(feature = "native")]
pub(crate) use queue::HostQueue;
pub use record::{HostRecord, Progress, RecordedResource};
#[cfg(feature = "native")]
pub use restore::{BackupFile, Restored};
#[cfg(feature = "native")]
pub use servers::Servers;
pub use survey::{FileSeen, FirewallWay, FolderSeen, HostSurvey, RoleSeen, UserSeen};
pub(crate) use written::{PORT, Written, differences};
