//! Files of SQL that a release brings: which there are, what of them cannot be taken back, and
//! applying each once and never twice, to whichever server holds the database.

mod apply;
mod files;
mod irreversible;
mod script;
mod session;

pub use apply::{Databases, Migrated, apply, missing_tables};
pub(crate) use files::declared_files;
pub use files::{join_inside, migrations};
pub use irreversible::{Irreversible, irreversible};
pub use session::{Database, SqlAnswer, SqlSession, add_extensions, identifier, literal, refused};
