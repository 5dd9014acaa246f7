//! Whose keys encrypt what the app keeps.

use vrooli_deploy_core::manifest::EncryptionKey;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::stack::Input;

use super::Site;
use crate::catalogue::Region;
use crate::kinds::kms_key::{KmsKey, KmsKeySpec, MAIN};

/// The key for what is kept in a region, made at the first that asks; `None` where AWS's own do. A key is of one
/// region, and stays when the app goes: last snapshots are encrypted with it.
pub(super) fn key(lowering: &mut Lowering<'_>, site: Site<'_>, region: &Region) -> Option<Input<String>> {
    if lowering.options().infrastructure.encryption != EncryptionKey::CustomerManaged {
        return None;
    }
    let key = match &region.name {
        name if *name == site.region.name => resource_key(MAIN),
        name => resource_key(&format!("encryption/{name}")),
    };
    if !lowering.of_kind(&KmsKey).any(|(one, _)| *one == key) {
        let stack = lowering.stack();
        let spec = KmsKeySpec {
            region: region.name.clone(),
            // 256 characters with `alias/`, by CreateAlias's reference.
            name: object_name(stack, "data", 250),
            description: format!("encrypts what {stack} keeps"),
            recovery_days: site.known.defaults.key_recovery_days,
        };
        lowering.add(&key, &KmsKey, &spec, true);
    }
    Some(output(&key, "arn"))
}
