//! The calls: one [`Account`] makes them, `Calls` are those of one operation. `Native` is what a
//! kind's native half says, and `OnAws` makes a handler of it. The halves themselves are beside the
//! pure ones, in `kinds/<kind>/native.rs`.

mod account;
mod answers;
mod arn;
mod begun;
mod calls;
mod census;
pub(crate) mod ec2;
mod error;
mod fleet;
mod ledger;
mod marks;
pub(crate) mod of_releases;
mod on_aws;
mod owner;
mod provider;
mod quotas;
mod tagged;
mod tags;

pub use account::{Account, AccountOptions, Regional};
pub(crate) use begun::{begun, made_once};
pub(crate) use calls::{Calls, together};
pub(crate) use error::{accept, completed, name_taken, unexpected};
pub(crate) use marks::{MARKS, Marks, RESOURCE, STACK};
pub(crate) use on_aws::{Look, Native, OnAws, Seen, secret_output};
pub use provider::provider;
pub(crate) use tagged::Asked;
pub(crate) use tags::SdkTag;

/// What all of some names begin with; `None` of no names.
pub(crate) fn common_start(mut names: impl Iterator<Item = String>) -> Option<String> {
    let mut start = names.next()?;
    for name in names {
        let same = start.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        // Names of AWS's objects are ASCII, as far as we make them.
        while !start.is_char_boundary(same.min(start.len())) {
            start.pop();
        }
        start.truncate(same);
    }
    Some(start)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_begin_alike() {
        let start = |names: &[&str]| super::common_start(names.iter().map(|&name| name.to_owned()));
        assert_eq!(start(&[]), None);
        assert_eq!(start(&["/shop/default"]).as_deref(), Some("/shop/default"));
        assert_eq!(start(&["shop-a-x", "shop-b"]).as_deref(), Some("shop-"));
        assert_eq!(start(&["a", "b"]).as_deref(), Some(""));
    }
}
