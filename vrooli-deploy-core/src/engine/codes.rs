//! Codes of this stage, with the phrase that stands for each, and those of provider errors.

use crate::diagnostics::Code;
use crate::provider::ErrorKind;

/// The journal could not be written.
pub const JOURNAL: Code = Code(601);
/// The lease was lost, or a newer holder is at work.
pub const FENCED: Code = Code(602);
/// An interrupted plan must be resolved first.
pub const OPEN: Code = Code(603);
/// The plan is not one that may be run.
pub const REFUSED: Code = Code(604);
/// A call gave no answer in time.
pub const NO_ANSWER: Code = Code(605);
/// It is not known whether it happened.
pub const UNKNOWN: Code = Code(606);
/// A secret that is shown once was lost.
pub const SECRET_LOST: Code = Code(607);
/// A unit is not well.
pub const UNHEALTHY: Code = Code(608);
/// A smoke test failed.
pub const SMOKE: Code = Code(609);
/// A unit died while it was watched.
pub const WATCH: Code = Code(610);
/// The run was interrupted before the step was done.
pub const INTERRUPTED: Code = Code(611);
/// A reference could not be resolved.
pub const REFERENCE: Code = Code(612);
/// An object that was to be changed or taken over is gone.
pub const GONE: Code = Code(613);
/// A secret could not be stored.
pub const SECRET_STORE: Code = Code(614);
/// The journal's records do not follow each other.
pub const DAMAGED: Code = Code(615);
/// A step could not be taken back.
pub const UNDO: Code = Code(616);

/// The new release is worse than the old one.
pub const VERDICT: Code = Code(660);
/// Another command ended the watch or the hold.
pub const ENDED: Code = Code(661);
/// Too little was seen to go on.
pub const UNDECIDED: Code = Code(662);
/// Somebody decided against the release.
pub const ABORTED: Code = Code(663);
/// Traffic had gone back by itself.
pub const WENT_BACK: Code = Code(664);
/// Nothing waits for a decision.
pub const NOT_WAITING: Code = Code(665);

/// All codes of this stage.
pub const ALL: &[(Code, &str)] = &[
    (JOURNAL, "the journal could not be written"),
    (FENCED, "the lease was lost"),
    (OPEN, "an interrupted plan must be resolved first"),
    (REFUSED, "the plan is not one that may be run"),
    (NO_ANSWER, "a call gave no answer in time"),
    (UNKNOWN, "it is not known whether a step happened"),
    (SECRET_LOST, "a secret that is shown once was lost"),
    (UNHEALTHY, "a unit is not well"),
    (SMOKE, "a smoke test failed"),
    (WATCH, "a unit died while it was watched"),
    (INTERRUPTED, "the run was interrupted before the step was done"),
    (REFERENCE, "a reference could not be resolved"),
    (GONE, "an object that was to be changed is gone"),
    (SECRET_STORE, "a secret could not be stored"),
    (DAMAGED, "the journal's records do not follow each other"),
    (UNDO, "a step could not be taken back"),
    (VERDICT, "the new release is worse than the old one"),
    (ENDED, "another command ended the watch or the hold"),
    (UNDECIDED, "too little was seen to go on"),
    (ABORTED, "somebody decided against the release"),
    (WENT_BACK, "traffic had gone back by itself"),
    (NOT_WAITING, "nothing waits for a decision"),
];

/// The code of a provider's error, by its kind.
#[must_use]
pub const fn provider_code(kind: ErrorKind) -> Code {
    Code(match kind {
        ErrorKind::Config => 702,
        ErrorKind::Auth => 703,
        ErrorKind::Permission => 704,
        ErrorKind::NotFound => 705,
        ErrorKind::AlreadyExists => 706,
        ErrorKind::Conflict => 707,
        ErrorKind::Quota => 708,
        ErrorKind::RateLimited => 709,
        ErrorKind::Unsupported => 710,
        ErrorKind::Missing => 711,
        ErrorKind::App => 712,
        ErrorKind::Timeout => 713,
        ErrorKind::Unavailable => 714,
        ErrorKind::Ambiguous => 715,
        ErrorKind::Cancelled => 716,
        ErrorKind::Fenced => 717,
        ErrorKind::Unexpected => 718,
    })
}
