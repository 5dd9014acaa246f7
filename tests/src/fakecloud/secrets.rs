use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vrooli_deploy_core::names::Digest;
use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef, SecretStore};

/// A secret store in memory.
#[derive(Default)]
pub struct MemorySecrets {
    values: Mutex<BTreeMap<String, Vec<String>>>,
}

impl std::fmt::Debug for MemorySecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemorySecrets")
    }
}

impl MemorySecrets {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reference(path: &str, versions: &[String]) -> Option<SecretRef> {
        let value = versions.last()?;
        Some(SecretRef {
            store: "memory".to_owned(),
            path: path.to_owned(),
            version: u32::try_from(versions.len()).unwrap_or(u32::MAX),
            hash: Digest::of(format!("key of the store: {value}").as_bytes()).short().to_owned(),
        })
    }

    /// All values, to look for them where they must not be.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().values().flatten().cloned().collect()
    }
}

impl SecretStore for MemorySecrets {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn put(&self, path: &str, value: &Secret<String>) -> Result<SecretRef, SecretError> {
        let mut values = self.lock();
        let versions = values.entry(path.to_owned()).or_default();
        if versions.last() != Some(value.expose()) {
            versions.push(value.expose().clone());
        }
        Self::reference(path, versions)
            .ok_or_else(|| SecretError::NotFound { path: path.to_owned(), version: 0 })
    }

    fn get(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let at = (reference.version as usize).wrapping_sub(1);
        let value = self.lock().get(&reference.path).and_then(|versions| versions.get(at).cloned());
        value
            .map(Secret::new)
            .ok_or_else(|| SecretError::NotFound { path: reference.path.clone(), version: reference.version })
    }

    fn latest(&self, path: &str) -> Result<Option<SecretRef>, SecretError> {
        Ok(self.lock().get(path).and_then(|versions| Self::reference(path, versions)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<SecretRef>, SecretError> {
        Ok(self
            .lock()
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .filter_map(|(path, versions)| Self::reference(path, versions))
            .collect())
    }

    fn remove(&self, references: &[SecretRef]) -> Result<(), SecretError> {
        let mut values = self.lock();
        for reference in references {
            values.remove(&reference.path);
        }
        Ok(())
    }
}
