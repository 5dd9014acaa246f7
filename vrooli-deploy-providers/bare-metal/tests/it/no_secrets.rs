//! A store for what keeps and reads no secret.

use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef, SecretStore};

/// Whoever uses it fails.
#[derive(Debug)]
pub(crate) struct NoSecrets;

impl SecretStore for NoSecrets {
    fn name(&self) -> &str {
        "none"
    }
    fn put(&self, _: &str, _: &Secret<String>) -> Result<SecretRef, SecretError> {
        panic!("nothing is stored")
    }
    fn get(&self, _: &SecretRef) -> Result<Secret<String>, SecretError> {
        panic!("nothing is read")
    }
    fn latest(&self, _: &str) -> Result<Option<SecretRef>, SecretError> {
        panic!("nothing is read")
    }
    fn list(&self, _: &str) -> Result<Vec<SecretRef>, SecretError> {
        panic!("nothing is read")
    }
    fn remove(&self, _: &[SecretRef]) -> Result<(), SecretError> {
        panic!("nothing is removed")
    }
}
