//! The clean environment of builds, lifecycle steps and the tools that we call: what a
//! program needs to find its way, and nothing that merely happened to be set.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::LazyLock;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
struct Known {
    pass: Vec<String>,
    defaults: BTreeMap<String, String>,
}

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../data/environment.json"), "environment.json"));

/// Variables of a process, by name.
pub type Variables = BTreeMap<OsString, OsString>;

/// What of the current environment may be seen: paths, locale, proxies, certificates and
/// package registries, plus the names in `pass` (`--pass-env`). Cloud keys and `CARGO_*`
/// are not among them.
#[must_use]
pub fn clean(current: impl IntoIterator<Item = (OsString, OsString)>, pass: &[String]) -> Variables {
    let mut kept: Variables = current
        .into_iter()
        .filter(|(name, _)| {
            name.to_str().is_some_and(|name| is_passed(name) || pass.iter().any(|p| p == name))
        })
        .collect();
    for (name, value) in &KNOWN.defaults {
        kept.entry(OsString::from(name)).or_insert_with(|| OsString::from(value));
    }
    kept
}

/// [`clean`] of this process's own environment.
#[must_use]
pub fn of_this_process(pass: &[String]) -> Variables {
    clean(std::env::vars_os(), pass)
}

fn is_passed(name: &str) -> bool {
    KNOWN.pass.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == known,
    })
}

/// The value of a variable.
pub(crate) fn get<'a>(variables: &'a Variables, name: &str) -> Option<&'a OsStr> {
    variables.get(OsStr::new(name)).map(OsString::as_os_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../data/environment.json"));
    }

    #[test]
    fn keys_and_cargo_stay_out() {
        let current = [
            ("PATH", "/bin"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("CARGO_MANIFEST_DIR", "x"),
            ("CARGO_TARGET_DIR", "x"),
            ("RUSTUP_TOOLCHAIN", "x"),
            ("LC_ALL", "C"),
            ("HTTPS_PROXY", "p"),
            ("MINE", "m"),
        ]
        .map(|(n, v)| (OsString::from(n), OsString::from(v)));
        let names: Vec<String> =
            clean(current, &["MINE".to_owned()]).into_keys().map(|n| n.into_string().unwrap()).collect();
        assert_eq!(names, ["HTTPS_PROXY", "LANG", "LC_ALL", "MINE", "PATH"]);
    }
}
