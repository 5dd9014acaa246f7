//! What values of secrets are known by, where only that is to be said of them.

use crate::names::Digest;
use crate::secrets::{Secret, SecretRef};

/// The digest of values with their references, in whatever order they come. The keyed hash of each reference is
/// in it, so that nobody who hears only the digest can try values against it.
#[must_use]
pub fn values_digest(values: &[(SecretRef, Secret<String>)]) -> Digest {
    let mut sorted: Vec<_> = values.iter().collect();
    sorted.sort_by_key(|(reference, _)| (&reference.path, reference.version));
    let mut text = Vec::with_capacity(sorted.iter().map(|(_, value)| value.expose().len() + 512).sum());
    for (reference, value) in sorted {
        let version = reference.version.to_string();
        for part in [&reference.store, &reference.path, &version, &reference.hash, value.expose()] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
    }
    Digest::of(Secret::new(text).expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_value_or_reference_is_another_digest_and_another_order_is_not() {
        let of = |path: &str, hash: &str, value: &str| {
            let (store, hash) = ("file".to_owned(), hash.to_owned());
            let reference = SecretRef { store, path: path.to_owned(), version: 1, hash };
            (reference, Secret::new(value.to_owned()))
        };
        let digest = |values: &[_]| values_digest(values);
        let (a, b) = (of("a", "1", "x"), of("b", "2", "y"));
        let both = digest(&[a.clone(), b.clone()]);
        assert_eq!(digest(&[b.clone(), a.clone()]), both);
        for other in [of("a", "1", "z"), of("a", "3", "x"), of("c", "1", "x")] {
            assert_ne!(digest(&[other, b.clone()]), both);
        }
        assert_ne!(digest(&[a]), both);
        assert_ne!(digest(&[]), both);
    }
}
