//! Base images: which there are, what is in them, and by which digest they are meant.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::DockerfileError;
use crate::manifest::crosswalk::embedded;
use crate::names::ImageRef;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Known {
    pub(super) user: u32,
    bases: Vec<Base>,
    /// What `npm` installs, and which version of it if the sources name none.
    pub(super) by_npm: BTreeMap<String, String>,
    pub(super) without_base: Vec<String>,
    pub(super) ignore: Vec<String>,
}

/// An image to build or to run in.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Base {
    pub(super) name: String,
    image: String,
    tag: String,
    /// What a command starts that needs it.
    pub(super) programs: Vec<String>,
    /// A file that tells that sources are built with it.
    #[serde(default)]
    pub(super) marker: Option<String>,
    /// What of it is put beside another; none: it cannot be.
    #[serde(default)]
    pub(super) paths: Vec<String>,
    #[serde(default)]
    pub(super) links: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Where its programs lie, if that is not on everybody's PATH.
    #[serde(default)]
    pub(super) bin: Option<String>,
    /// Folders that are kept between builds and in no image.
    #[serde(default)]
    pub(super) caches: Vec<String>,
}

/// The name of the base that apps run in which need nothing else.
pub(super) const RUNTIME: &str = "runtime";

pub(super) static KNOWN: LazyLock<Known> =
    LazyLock::new(|| embedded(include_str!("../data/dockerfile.json")));

/// A base by its name. The names that there are: [`names`].
pub(super) fn named(name: &str) -> Option<&'static Base> {
    KNOWN.bases.iter().find(|base| base.name == name)
}

/// The names of base images: what `build.base_images` of a manifest may say.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.bases.iter().map(|base| base.name.as_str())
}

/// The base that a program is in.
pub(super) fn with_program(program: &str) -> Option<&'static Base> {
    let name = program.rsplit('/').next().unwrap_or(program);
    KNOWN.bases.iter().find(|base| base.programs.iter().any(|known| known == name))
}

/// All that are built with, by the order in which one is preferred to start from: those that bring a
/// compiler of C before those that do not.
pub(super) fn all() -> impl Iterator<Item = &'static Base> {
    KNOWN.bases.iter()
}

impl Base {
    /// Where it is looked for, with the tag: `docker.io/library/rust:1-slim-trixie`.
    pub(super) fn reference(&self) -> String {
        format!("{}:{}", self.image, self.tag)
    }

    /// The image that is meant.
    pub(super) fn pinned<'a>(
        &self,
        by: &str,
        chosen: &'a BTreeMap<String, ImageRef>,
    ) -> Result<&'a ImageRef, DockerfileError> {
        chosen.get(&self.name).ok_or_else(|| DockerfileError::NotPinned {
            base: self.name.clone(),
            by: by.to_owned(),
            reference: self.reference(),
            image: self.image.clone(),
        })
    }
}

/// Refuses names that no base image has.
///
/// # Errors
/// [`DockerfileError::Unknown`] with the first.
pub(super) fn check(chosen: &BTreeMap<String, ImageRef>) -> Result<(), DockerfileError> {
    match chosen.keys().find(|name| named(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(DockerfileError::Unknown { base: name.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        let known: Known = serde_json::from_str(include_str!("../data/dockerfile.json")).unwrap();
        assert!(known.user > 0 && named(RUNTIME).is_some());
        // What is put beside another says where it lies.
        for base in known.bases.iter().filter(|base| !base.programs.is_empty()) {
            assert!(!base.paths.is_empty() && base.marker.is_some(), "{base:?}");
        }
    }
}
