//! Tags of what the fleet makes. They are not the marks of resources: those are the stack's, and a plan of
//! resources sees nothing of the fleet's.

use vrooli_deploy_core::release::Release;

use crate::native::Calls;
use crate::native::of_releases::{DIGEST, FLEET, OWNER, RELEASE};

/// Of what a stack has for releases.
pub(super) fn of_fleet(at: &Calls<'_>) -> [(&'static str, String); 2] {
    [(FLEET, at.cx.stack.to_string()), (OWNER, at.cx.owner.to_string())]
}

/// Of what one release has.
pub(super) fn of_release(at: &Calls<'_>, release: &Release) -> [(&'static str, String); 4] {
    let [fleet, owner] = of_fleet(at);
    [fleet, owner, (RELEASE, release.number.0.to_string()), (DIGEST, release.digest.to_string())]
}

/// Are these of what this stack has by this state?
pub(super) fn are_ours<'a>(at: &Calls<'_>, value: impl Fn(&'static str) -> Option<&'a str>) -> bool {
    of_fleet(at).iter().all(|(name, own)| value(name) == Some(own))
}
