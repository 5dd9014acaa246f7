//! Codes of this stage, with the phrase that stands for each.

use crate::diagnostics::Code;

/// The provider has no such kind, or the spec does not fit it.
pub const SPEC: Code = Code(501);
/// Resources need each other in a circle.
pub const CYCLE: Code = Code(502);
/// A resource refers to one, or to an output, that is not there.
pub const REFERENCE: Code = Code(503);
/// It could not be seen whether a resource is there.
pub const UNSEEN: Code = Code(504);
/// Data would be lost.
pub const PROTECTED: Code = Code(505);
/// Old and new cannot stand side by side.
pub const DOWNTIME: Code = Code(506);
/// Nothing would tie the object to its stack.
pub const OWNERSHIP: Code = Code(507);
/// The plan is not one that may be run.
pub const UNSOUND: Code = Code(508);
/// A value in the plan looks like a secret.
pub const SECRET: Code = Code(509);
/// There would be more of something than the account may have.
pub const QUOTAS: Code = Code(510);
/// Resources alone were asked for, and what the app runs on would go.
pub const ENDS_APP: Code = Code(511);

/// All codes of this stage.
pub const ALL: &[(Code, &str)] = &[
    (SPEC, "the provider does not take this resource"),
    (CYCLE, "resources need each other in a circle"),
    (REFERENCE, "a resource refers to what is not there"),
    (UNSEEN, "whether a resource is there could not be seen"),
    (PROTECTED, "data would be lost"),
    (DOWNTIME, "old and new cannot stand side by side"),
    (OWNERSHIP, "nothing would tie the object to its stack"),
    (UNSOUND, "the plan is not one that may be run"),
    (SECRET, "a value in the plan looks like a secret"),
    (QUOTAS, "the account may not have so much"),
    (ENDS_APP, "what the app runs on would be deleted"),
];
