//! What values of secrets are known by, where only that is to be said of them.

use crate::names::Digest;
use crate::secrets::{Secret, SecretRef};

/// The digest of values with their references, in whatever order they come. Who reads it, and the references, can
/// find out whether a guess is right: it is told within a conversation, to who has the values, and written nowhere.
#[must_use]
pub fn values_digest(values: &[(SecretRef, Secret<String>)]) -> Digest {
    let known = |(SecretRef { store, path, version, hash }, value): &(SecretRef, Secret<String>)| {
        format!("{store}\0{path}\0{version}\0{hash}\0{}\0", Digest::of(value.expose().as_bytes()))
    };
    let mut known: Vec<String> = values.iter().map(known).collect();
    known.sort_unstable();
    Digest::of(known.concat().as_bytes())
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
