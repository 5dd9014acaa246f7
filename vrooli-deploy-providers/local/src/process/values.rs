//! Values of secrets beside a release, on a machine that has no store of its own: one file, only
//! for who runs the supervisor, kept as long as the release is.

use std::collections::BTreeMap;

use vrooli_deploy_core::names::{ReleaseNumber, StackId};
use vrooli_deploy_core::provider::wire::values_digest;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::secrets::{Secret, SecretError, SecretRef};

use super::files::{Durability, absent_ok, create_below, write_shared};
use crate::failure::at;
use crate::layout::Layout;

/// The values that a release refers to.
#[derive(Debug)]
pub(crate) struct Values(BTreeMap<SecretRef, Secret<String>>);

impl Values {
    /// What was kept for a release; `None`: nothing was.
    pub(crate) fn read(layout: &Layout, stack: &StackId, release: ReleaseNumber) -> Result<Option<Self>> {
        let path = layout.release_values(stack, release);
        let Some(bytes) = absent_ok(std::fs::read(&path)).map_err(at("read", &path))? else {
            return Ok(None);
        };
        let bytes = Secret::new(bytes);
        parse(bytes.expose()).map(|values| Some(Self(values))).ok_or_else(|| {
            let message = format!("{} is damaged", path.display());
            ProviderError::new(ErrorKind::Conflict, message).with_help("deploy the release again")
        })
    }

    /// Keeps values for a release, in the place of those that were kept before. None: no file.
    pub(crate) fn keep(
        layout: &Layout,
        stack: &StackId,
        release: ReleaseNumber,
        values: &[(SecretRef, Secret<String>)],
    ) -> Result<()> {
        let path = layout.release_values(stack, release);
        let folder = layout.release_units(stack, release);
        create_below(layout.root(), &folder).map_err(at("make", &folder))?;
        write_shared(&path, text(values)?.expose(), Durability::Synced).map_err(at("write", &path))
    }

    /// What those of a release are known by, for [`FleetSeen`](vrooli_deploy_core::provider::wire::FleetSeen).
    pub(crate) fn known_by(layout: &Layout, stack: &StackId, release: ReleaseNumber) -> String {
        match Self::read(layout, stack, release) {
            Ok(Some(values)) => values_digest(&values.into_all()).to_string(),
            Ok(None) => "none".to_owned(),
            Err(_) => "damaged".to_owned(),
        }
    }

    /// All of them.
    pub(crate) fn into_all(self) -> Vec<(SecretRef, Secret<String>)> {
        self.0.into_iter().collect()
    }

    /// One of them.
    pub(crate) fn get(&self, reference: &SecretRef) -> std::result::Result<Secret<String>, SecretError> {
        let found = self.0.get(reference).cloned();
        found
            .ok_or_else(|| SecretError::NotFound { path: reference.path.clone(), version: reference.version })
    }
}

/// A line of references with the lengths of their values, then the values as they are.
fn text(values: &[(SecretRef, Secret<String>)]) -> Result<Secret<Vec<u8>>> {
    let lengths: Vec<_> = values.iter().map(|(reference, value)| (reference, value.expose().len())).collect();
    let mut header = serde_json::to_vec(&lengths)
        .map_err(|error| ProviderError::new(ErrorKind::Unexpected, error.to_string()))?;
    header.push(b'\n');
    // Of its full size at once, so that no copy of a part is left in memory.
    let size = header.len() + values.iter().map(|(_, value)| value.expose().len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(&header);
    for (_, value) in values {
        bytes.extend_from_slice(value.expose().as_bytes());
    }
    Ok(Secret::new(bytes))
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<SecretRef, Secret<String>>> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (header, mut rest) = (bytes.get(..end)?, bytes.get(end + 1..)?);
    let lengths: Vec<(SecretRef, usize)> = serde_json::from_slice(header).ok()?;
    let mut values = BTreeMap::new();
    for (reference, length) in lengths {
        let value = std::str::from_utf8(rest.get(..length)?).ok()?;
        values.insert(reference, Secret::new(value.to_owned()));
        rest = rest.get(length..)?;
    }
    rest.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn reference(path: &str) -> SecretRef {
        SecretRef { store: "file".to_owned(), path: path.to_owned(), version: 1, hash: "h".to_owned() }
    }

    #[test]
    fn values_are_kept_for_us_alone_and_never_by_half() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let stack = StackId { app: "shop".parse().unwrap(), environment: "default".parse().unwrap() };
        let number = ReleaseNumber(1);
        assert!(Values::read(&layout, &stack, number).unwrap().is_none());
        let values =
            [(reference("a"), Secret::new("x\ny".to_owned())), (reference("b"), Secret::new(String::new()))];
        Values::keep(&layout, &stack, number, &values).unwrap();
        let path = layout.release_values(&stack, number);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Values::read(&layout, &stack, number).unwrap().unwrap();
        assert_eq!(read.get(&reference("a")).unwrap().expose(), "x\ny");
        assert_eq!(read.get(&reference("b")).unwrap().expose(), "");
        assert!(matches!(read.get(&reference("c")), Err(SecretError::NotFound { .. })));
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
        std::fs::write(&path, "x").unwrap();
        assert!(Values::read(&layout, &stack, number).unwrap_err().message().contains("damaged"));
    }
}
