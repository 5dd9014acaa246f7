//! What a provider is: kinds of resources (pure half and native half) and a fleet that
//! carries releases. The contract, clause by clause, is `docs/specs/provider.md`.

mod backups;
mod builder;
mod capabilities;
mod census;
mod certificate;
pub mod choosing;
mod context;
mod error;
mod fleet;
mod kind;
mod ledger;
pub mod lowering;
pub mod parts;
pub mod pure;
mod quota;
mod registry;
mod samples;
mod set;
pub mod sizing;
#[cfg(feature = "engine")]
pub mod wire;

pub use backups::{BackupMade, BackupSet, BackupTried, Backups};
pub use builder::{
    ArtefactBuilder, ImageBuilder, ImageRepository, ImageSource, OpenBuilder, OpenImageBuilder,
};
pub use capabilities::{Capabilities, CreateToken, FleetCapabilities, KindSupport};
pub use census::{Census, Marked};
pub use certificate::{CertificateAuthority, CertificateRequest, CertificateSeen, CertificateSource};
pub use context::{Cancellation, OpCtx, OpToken, OutputSink};
pub use error::{ErrorKind, ProviderError, Result, Retryability};
pub use fleet::{
    Artefact, BuildRequest, BuiltImage, Containers, DrainReport, Fleet, FleetDifference, FleetPart,
    LogCursor, LogLine, LogPage, LogQuery, MigrationReport, ProbeReport, Routing, SmokeReport, UnitObserved,
    UnitState,
};
pub use kind::{
    AnyHandler, AnyKind, Change, Created, Diff, Field, Form, Found, Known, Op, OutputValue, Outputs,
    Ownership, Page, Permission, PhysicalId, ResourceHandler, ResourceKindDef, Scope, Wanted, WrapsKind,
};
pub use ledger::{Ledger, PlaceRecord, TakenOver};
pub use quota::{Added, QuotaReading, QuotaSeen, Quotas};
pub use registry::{LowerOptions, OpenContext, ProviderFactory, Registry, UnknownProvider};
pub use samples::{Counters, LatencyHistogram, Reading};
pub use set::{Provider, ProviderSet};
