//! Artefacts on a host: by their content, so that only what is missing is sent.
//!
//! A host keeps the pieces that artefacts consist of in `/var/lib/vrooli-deploy/store`, only for
//! root, each under its SHA-256, and for each app a list of what its artefacts are made of. A
//! [`Delivery`] asks what is missing (one round trip, which also takes away what is needed for
//! nothing any more and looks whether there is room), and then sends that and has it put together
//! (one more). On the host our own program does that, which was brought there before by a script. Pieces that have arrived stay when sending breaks off, and whatever is there is
//! held against its digest before it is used.

mod delivery;
mod error;
mod host;
mod pieces;
mod retention;
mod stored_file;
mod survey;

pub use delivery::{AccountName, AccountNameError, Delivery, ImageId, ImageIdError, ReleaseFolder, Sent};
pub use error::DeliveryError;
pub use host::run_if_child;
pub(crate) use pieces::Cutter;
pub use retention::Retention;
pub use stored_file::StoredFile;
pub(crate) use stored_file::hex;
pub use survey::{SURVEY, Staged};

/// Where everything of ours is on a host.
pub(crate) const BASE: &str = "/var/lib/vrooli-deploy";
