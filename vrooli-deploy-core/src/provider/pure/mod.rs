//! What the pure halves of kinds have in common, in every provider.

mod check;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::check::{Answer, check_all, check_kind};
use super::{ErrorKind, Op, Permission, ProviderError};
use crate::names::{OutputName, ProviderName, ResourceKind};
use crate::stack::Input;

/// A kind's name, which is a literal in the kind's file.
///
/// # Panics
/// Where it is no valid name: a provider's tests ask every kind for its name.
#[must_use]
pub fn kind_name(name: &'static str) -> ResourceKind {
    match ResourceKind::new(name) {
        Ok(kind) => kind,
        Err(error) => unreachable!("{error}"),
    }
}

/// A provider's name, which is a literal in its factory.
///
/// # Panics
/// Where it is no valid name: a provider's tests ask its factory for its name.
#[must_use]
pub fn provider_name(name: &'static str) -> ProviderName {
    match ProviderName::new(name) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

/// Outputs by name; the names are literals in the kind's file, and checked by [`check_kind`].
#[must_use]
pub fn outputs<const N: usize>(pairs: [(&'static str, Value); N]) -> BTreeMap<OutputName, Value> {
    pairs.into_iter().filter_map(|(name, value)| Some((OutputName::new(name).ok()?, value))).collect()
}

/// The actions of a kind, by operation.
#[derive(Debug, Clone, Copy)]
pub struct Actions {
    /// Looking for objects and listing them.
    pub find: &'static [&'static str],
    /// Making one.
    pub create: &'static [&'static str],
    /// Changing one in place.
    pub update: &'static [&'static str],
    /// Removing one.
    pub delete: &'static [&'static str],
}

impl Actions {
    /// What an operation needs. Looking is part of every other operation, and is not limited
    /// to one object: calls that describe know no resources.
    #[must_use]
    pub fn of(self, op: Op, resource: impl Into<String>) -> Vec<Permission> {
        let resource = resource.into();
        let own: &[&str] = match op {
            Op::Find | Op::List => &[],
            Op::Create => self.create,
            Op::Update => self.update,
            Op::Delete => self.delete,
        };
        let look = self.find.iter().map(|action| (*action, "*".to_owned()));
        let change = own.iter().map(|action| (*action, resource.clone()));
        look.chain(change)
            .map(|(action, resource)| Permission { action: action.to_owned(), resource })
            .collect()
    }
}

/// Do two sets of ids differ? The order says nothing; a reference is not known and differs.
#[must_use]
pub fn ids_differ(want: &[Input<String>], have: &[String]) -> bool {
    want.len() != have.len()
        || want.iter().any(|id| match id {
            Input::Value(id) => !have.contains(id),
            Input::Ref(_) => true,
        })
}

/// Does an id that may be absent differ?
#[must_use]
pub fn id_differs(want: Option<&Input<String>>, have: Option<&String>) -> bool {
    match (want, have) {
        (Some(want), Some(have)) => want.differs(have),
        (None, None) => false,
        _ => true,
    }
}

/// Is the version that is wanted newer than what runs, or older? `16` is any 16.
#[must_use]
pub fn version_change(want: &str, have: &str) -> (bool, bool) {
    let numbers =
        |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    let want = numbers(want);
    let mut have = numbers(have);
    have.truncate(want.len());
    (want > have, want < have)
}

/// Reads a data file that is part of the provider. The file's own test reads it strictly, so that
/// the default is never met.
#[must_use]
pub fn included<T: DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

/// The answer of a provider that can plan and price, but of which this build has no native half.
#[must_use]
pub fn pure_half_only(provider: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Unsupported,
        format!(
            "this build has only the pure half of `{provider}`: it plans and prices, but cannot make calls"
        ),
    )
    .with_code("VD0778")
    .with_help("estimates and plans work; to deploy, build with the native half of the provider")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_ids_says_nothing() {
        let want = [Input::Value("a".to_owned()), Input::Value("b".to_owned())];
        assert!(!ids_differ(&want, &["b".to_owned(), "a".to_owned()]));
        assert!(ids_differ(&want, &["b".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn a_newer_version_is_installed_in_place_and_an_older_one_is_not() {
        assert_eq!(version_change("17", "16.4"), (true, false));
        assert_eq!(version_change("16", "16.4"), (false, false), "any 16 will do");
        assert_eq!(version_change("15", "16.4"), (false, true));
        assert_eq!(version_change("8.4", "8.0.39"), (true, false));
        assert_eq!(version_change("16.10", "16.9"), (true, false), "versions are numbers, not text");
    }
}
