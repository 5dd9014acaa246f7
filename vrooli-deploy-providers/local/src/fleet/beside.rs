//! Other stacks of the workspace.

use std::collections::{BTreeMap, BTreeSet};

use vrooli_deploy_core::provider::{OpCtx, Result};
use vrooli_deploy_core::release::{Claim, claims};

use super::LocalFleet;
use crate::failure;
use crate::process::{last_routing, public};

impl LocalFleet {
    /// The requests that others get where all apps share an address, by the stack.
    pub(crate) fn claims_of_others(&self, cx: &OpCtx) -> Result<BTreeMap<String, BTreeSet<Claim>>> {
        let layout = &self.machine.layout;
        let mut all = BTreeMap::new();
        for stack in layout.stacks().map_err(failure::at("read", &layout.apps()))? {
            if stack == cx.stack || !public(layout, &stack)?.is_some_and(|public| public.shared) {
                continue;
            }
            let mut theirs = BTreeSet::new();
            for (number, weight) in last_routing(layout, &stack)?.weights {
                // One whose record is gone serves nothing for long.
                if let (1.., Ok(Some(release))) = (weight, self.staged_release(&stack, number)) {
                    theirs.extend(claims(&release.bundle.services, release.bundle.domain.as_deref()));
                }
            }
            if !theirs.is_empty() {
                all.insert(stack.to_string(), theirs);
            }
        }
        Ok(all)
    }
}
