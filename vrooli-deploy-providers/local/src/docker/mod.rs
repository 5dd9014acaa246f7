//! A container engine on this machine, spoken to through its Unix socket: Docker, rootless
//! Docker, Docker Desktop, or Podman's compatible socket.
//!
//! The API and not the `docker` program, so that no secret is ever an argument or lies in a
//! container's settings: what is secret goes to a process's standard input.

mod build;
mod call;
mod container;
mod exec;
mod find;
mod image;
mod kept;
mod progress;
mod push;
mod stream;
mod volume;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::Deserialize;

pub(crate) use build::BuildWish;
pub(crate) use container::{Container, Phase};
pub(crate) use exec::Ended;
pub(crate) use find::{NoEngine, find};
pub(crate) use image::{Image, check_reference};
pub(crate) use kept::Kept;
pub(crate) use push::{Login, Made};

/// What is known of engines and of the images that servers are run from.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Known {
    sockets: Vec<String>,
    newest_api: String,
    pub(crate) postgres: KnownPostgres,
    pub(crate) redis: KnownRedis,
    log: BTreeMap<String, String>,
}

/// PostgreSQL's images, and what they have in common.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct KnownPostgres {
    /// The major version that an app gets which asks for none.
    pub(crate) default: u32,
    /// An image by the major version in it.
    pub(crate) images: BTreeMap<u32, String>,
    /// Where the server listens inside.
    pub(crate) port: u16,
    /// The account that owns its data.
    pub(crate) user: String,
    /// An image that has an extension, by the extension's name; `{major}` is the version.
    #[serde(default)]
    pub(crate) extension_images: BTreeMap<String, String>,
    /// `/dev/shm`, which parallel queries use; what engines give is too small for them.
    pub(crate) shared_memory_bytes: u64,
}

/// Redis's image.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct KnownRedis {
    pub(crate) image: String,
    /// Where the server listens inside.
    pub(crate) port: u16,
    /// Where its data lies inside.
    pub(crate) data: String,
}

pub(crate) static KNOWN: LazyLock<Known> =
    LazyLock::new(|| crate::knowledge(include_str!("../../data/docker.json"), "docker.json"));

/// An engine that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Engine {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// The version of the API that is spoken with it.
    version: String,
    /// Is it Podman? A few settings of containers are Docker's alone.
    podman: bool,
}

impl Engine {
    /// The program to type for what a person is to do by hand.
    pub(crate) fn program(&self) -> &'static str {
        if self.podman { "podman" } else { "docker" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_can_be_read() {
        crate::check_knowledge::<Known>(include_str!("../../data/docker.json"));
        assert!(KNOWN.postgres.images.contains_key(&KNOWN.postgres.default));
        for image in KNOWN.postgres.images.values().chain([&KNOWN.redis.image]) {
            check_reference(image).unwrap();
        }
    }
}
