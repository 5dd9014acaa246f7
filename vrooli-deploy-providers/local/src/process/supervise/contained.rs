//! What the container of a unit is made of, by the record of its release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vrooli_deploy_core::manifest::ServiceConfig;
use vrooli_deploy_core::provider::{BuiltImage, ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::Release;

use super::super::container::{self, Container};
use super::super::launch::RunAs;
use super::Supervisor;
use super::unit::UnitKey;
use crate::layout::Layout;

/// The container, which runs as the app's account: what it keeps is the app's.
pub(super) fn container(
    supervisor: &Supervisor,
    named: &Layout,
    key: &UnitKey,
    release: &Release,
    account: Option<RunAs>,
) -> Result<Container> {
    let engine = supervisor.layout().engine_of_release(&key.stack, key.release)?;
    let workspace = supervisor.workspace;
    let own = || RunAs { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    let (data, image) = (named.data(&key.stack), image(release, key)?);
    let RunAs { uid, gid } = account.unwrap_or_else(own);
    Ok(Container {
        stack: key.stack.clone(),
        engine,
        name: container::name(workspace, &key.stack, key.release, &key.unit),
        image: image.id.to_string(),
        // Where its variables say that it is, and where a program of the machine has it.
        folders: vec![(data.clone(), data.clone()), (data, Path::new(&image.root).join("data"))],
        uid,
        gid,
        labels: BTreeMap::from([
            ("vrooli-deploy.workspace".to_owned(), workspace.to_string()),
            ("vrooli-deploy.stack".to_owned(), key.stack.to_string()),
            ("vrooli-deploy.release".to_owned(), key.release.to_string()),
            ("vrooli-deploy.unit".to_owned(), key.unit.to_string()),
        ]),
    })
}

/// The service's working directory, in the image.
pub(super) fn dir(release: &Release, key: &UnitKey, service: &ServiceConfig) -> Result<PathBuf> {
    let root = PathBuf::from(&image(release, key)?.root);
    Ok(service.dir.as_deref().map_or(root.clone(), |dir| root.join(dir)))
}

fn image<'a>(release: &'a Release, key: &UnitKey) -> Result<&'a BuiltImage> {
    release.bundle.artefact.images.get(&key.unit.service).ok_or_else(|| {
        let words =
            format!("release {} of {} has no image of `{}`", key.release, key.stack, key.unit.service);
        ProviderError::new(ErrorKind::NotFound, words).with_help("deploy again: it gets a new number")
    })
}
