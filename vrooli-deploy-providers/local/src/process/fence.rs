//! Who may change a stack where no supervisor is asked: the highest lease that was seen, in a
//! file of its own that everybody may raise. The supervisor looks at it as well.

use std::io::{self, Read, Seek, Write};

use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use super::files::{absent_ok, create_below};
use super::lock;
use super::supervise::{check_fence, served_fence};
use crate::failure::at;
use crate::layout::Layout;

/// Refuses whoever has lost the lease, and remembers who has it: for a change that the
/// supervisor does not make.
///
/// # Errors
/// `Fenced` when a newer holder was seen; when the file cannot be read or written.
pub(crate) fn admit(layout: &Layout, stack: &StackId, fence: u64) -> Result<()> {
    check_fence(layout, stack, fence)?;
    let path = layout.fence(stack);
    let raise = || -> io::Result<u64> {
        create_below(layout.root(), &layout.locks(stack))?;
        let mut file = lock::open(&path)?;
        // Held for as long as it takes to write a number.
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let seen = number(&text);
        if fence > seen {
            // Always of one length, so that it is written over in one piece.
            file.rewind()?;
            file.write_all(format!("{fence:020}\n").as_bytes())?;
            file.sync_data()?;
        }
        Ok(seen)
    };
    refuse(stack, fence, raise().map_err(at("write", &path))?)
}

/// The same without writing anything: for a change that takes away, perhaps from a stack that
/// is not there.
///
/// # Errors
/// See [`admit`].
pub(crate) fn refuse_older(layout: &Layout, stack: &StackId, fence: u64) -> Result<()> {
    check_fence(layout, stack, fence)?;
    check(layout, stack, fence)
}

/// Refuses whoever has lost the lease by that file alone. Writes nothing.
///
/// # Errors
/// See [`admit`].
pub(crate) fn check(layout: &Layout, stack: &StackId, fence: u64) -> Result<()> {
    let path = layout.fence(stack);
    let text = absent_ok(std::fs::read_to_string(&path)).map_err(at("read", &path))?;
    refuse(stack, fence, text.map_or(0, |text| number(&text)))
}

/// The highest lease that was seen of a stack, by whomever.
///
/// # Errors
/// When what was written down of it cannot be read.
pub(crate) fn highest(layout: &Layout, stack: &StackId) -> Result<u64> {
    let path = layout.fence(stack);
    let text = absent_ok(std::fs::read_to_string(&path)).map_err(at("read", &path))?;
    Ok(text.map_or(0, |text| number(&text)).max(served_fence(layout, stack)?))
}

/// What is no number was never written by us, or cut by a power failure: the supervisor's own
/// record still stands.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_default()
}

/// Refuses a lease that is older than one that was seen.
pub(crate) fn refuse(stack: &StackId, fence: u64, seen: u64) -> Result<()> {
    if fence >= seen {
        return Ok(());
    }
    Err(ProviderError::new(
        ErrorKind::Fenced,
        format!("somebody else works on {stack} by now (lease {seen}, this one is {fence})"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_lease_is_remembered_and_lower_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let stack = StackId { app: "demo".parse().unwrap(), environment: "default".parse().unwrap() };
        check(&layout, &stack, 0).unwrap();
        assert!(!layout.fence(&stack).exists(), "a look leaves nothing");
        for fence in [3, 3, 12] {
            admit(&layout, &stack, fence).unwrap();
        }
        for result in [admit(&layout, &stack, 11), check(&layout, &stack, 11)] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Fenced);
        }
        admit(&layout, &stack, u64::MAX).unwrap();
        assert_eq!(check(&layout, &stack, 12).unwrap_err().kind(), ErrorKind::Fenced);
        std::fs::write(layout.fence(&stack), "cut").unwrap();
        admit(&layout, &stack, 1).unwrap();
        assert_eq!(check(&layout, &stack, 0).unwrap_err().kind(), ErrorKind::Fenced);
    }
}
