//! What a release runs on, where that is made for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What of a release runs in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// How many; none where something scales them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// What each is, for people: `t3.small`.
    pub size: String,
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            Some(count) => write!(f, "{count} × {}", self.size),
            None => f.write_str(&self.size),
        }
    }
}

impl Capacity {
    /// What is different between what a release runs on and what another is to run on, for people. Empty: nothing.
    #[must_use]
    pub fn differences(old: &BTreeMap<String, Self>, new: &BTreeMap<String, Self>) -> String {
        let places: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let differ = places.into_iter().filter_map(|place| {
            let [was, is] =
                [old, new].map(|all| all.get(place).map_or("nothing".to_owned(), Capacity::to_string));
            (was != is).then(|| format!("`{place}` is to run on {is} instead of {was}"))
        });
        differ.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(of: &[(&str, Option<u32>, &str)]) -> BTreeMap<String, Capacity> {
        let one = |(place, count, size): &(&str, Option<u32>, &str)| {
            ((*place).to_owned(), Capacity { count: *count, size: (*size).to_owned() })
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn only_what_differs_is_said() {
        let old =
            all(&[("app", Some(2), "t3.small"), ("jobs", None, "t3.small"), ("mail", Some(1), "t3.small")]);
        let new =
            all(&[("app", Some(2), "t3.large"), ("mail", Some(1), "t3.small"), ("web", None, "t3.nano")]);
        assert_eq!(
            Capacity::differences(&old, &new),
            "`app` is to run on 2 × t3.large instead of 2 × t3.small, `jobs` is to run on nothing instead of \
             t3.small, `web` is to run on t3.nano instead of nothing"
        );
        assert_eq!(Capacity::differences(&old, &old), "");
    }
}
