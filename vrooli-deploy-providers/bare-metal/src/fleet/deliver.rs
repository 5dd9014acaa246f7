//! A release on its way to a server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::manifest::Runtime;
use vrooli_deploy_core::names::Digest;
use vrooli_deploy_core::provider::{BuiltImage, ErrorKind, Fleet as _, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::migration::join_inside;
use vrooli_deploy_core::release::{EnvValue, Release};
use vrooli_deploy_core::secrets::{Secret, SecretRef};

use super::BareMetalFleet;
use super::app_host::{self, AppHost};
use super::by_talk::ByTalk;
use crate::archive::{Archive, IMAGE_PREFIX};
use crate::artefact::{Artefact as Programs, Misfit};
use crate::facts::Machine;
use crate::ground::Place;
use crate::store::{AccountName, Delivery, ImageId, ReleaseFolder, Retention, StoredFile};

/// What was built, packed once for all servers.
#[derive(Debug)]
pub(super) struct Packed {
    digest: Digest,
    folder: PathBuf,
    /// Where there is room for as much.
    place: PathBuf,
    programs: Programs,
    archive: Archive,
}

impl BareMetalFleet {
    /// The values that a release refers to.
    pub(super) fn values(&self, release: &Release) -> Result<Vec<(SecretRef, Secret<String>)>> {
        let of_services = release.bundle.env.values().flat_map(|env| env.values());
        let of_services = of_services.filter_map(|value| match value {
            EnvValue::Secret(reference) => Some(reference),
            _ => None,
        });
        let of_edge = release.bundle.front.own.iter().flat_map(|own| own.values.values());
        let references: BTreeSet<&SecretRef> = of_services.chain(of_edge).collect();
        let value = |reference: &SecretRef| {
            let value = self.secrets.get(reference).map_err(|error| {
                ProviderError::new(ErrorKind::Auth, error.to_string())
                    .with_help("`vrooli-deploy secrets list` shows what is there")
            })?;
            Ok((reference.clone(), value))
        };
        references.into_iter().map(value).collect()
    }

    /// Sees to it that a server has the release, and the values that it refers to. One that has it
    /// is not sent it again.
    pub(super) async fn deliver(
        &self,
        cx: &OpCtx,
        host: &AppHost,
        release: &Release,
        values: &[(SecretRef, Secret<String>)],
    ) -> Result<()> {
        let talk = host.talk(cx).await?;
        let staged = talk.fleet.staged(cx).await?;
        if !staged.iter().any(|there| there.number == release.number && there.digest == release.digest) {
            let packed = self.packed(release).await?;
            let machine = &host.queue().last_seen(cx).await?.machine;
            // Of an app whose services all run in containers no program of it is run there.
            if release.bundle.services.values().any(|service| service.runtime == Runtime::Native) {
                packed.fits(machine)?;
            }
            let place = Place::of(&cx.stack);
            let unusable = |error: &dyn std::fmt::Display| {
                ProviderError::new(ErrorKind::Unexpected, format!("release {}: {error}", release.number))
            };
            let folder = ReleaseFolder {
                number: release.number,
                record: serde_json::to_vec_pretty(release).map_err(|error| unusable(&error))?,
                owner: Some(AccountName::new(place.user).map_err(|error| unusable(&error))?),
            };
            let nothing = staged.is_empty();
            let artefacts = staged.iter().chain([release]).map(|release| &release.bundle.artefact);
            let needed = artefacts.flat_map(|artefact| {
                let images = artefact.images.values().map(|image| image.id.clone());
                images.chain([artefact.digest.clone()])
            });
            let needed = Retention::needing(needed);
            let remote = &ByTalk::new(&talk, host.queue().host(), cx);
            for image in release.bundle.artefact.images.values().collect::<BTreeSet<_>>() {
                fits_image(image, machine)?;
                let id = ImageId::new(image.id.as_str()).map_err(|error| unusable(&error))?;
                let saved = self.saved(cx, &packed, image).await?;
                // Asked first: layers that it has of any image are most of one.
                let delivery = Delivery::image(&cx.stack, &image.id, saved, id).keeping(needed.clone());
                let sent = delivery.send(remote, &cx.cancellation).await?;
                tracing::debug!(host = %host.name(), image = %image.id, bytes = sent.bytes, "delivered an image");
            }
            let digest = &release.bundle.artefact.digest;
            let delivery = Delivery::tree(&cx.stack, digest, &packed.archive, folder).keeping(needed);
            let what = app_host::of(&cx.stack);
            let sent = host.remembered().send(&what, &delivery, nothing, remote, &cx.cancellation).await?;
            tracing::debug!(host = %host.name(), bytes = sent.bytes, phases = sent.phases, "delivered");
            host.queue().forget_seen().await;
        }
        talk.fleet.stage(cx, release).await?;
        talk.fleet.keep_values(cx, release.number, values).await
    }

    /// An image, saved once for all servers.
    async fn saved(&self, cx: &OpCtx, packed: &Packed, image: &BuiltImage) -> Result<StoredFile> {
        let mut saved = self.saved.lock().await;
        if let Some((_, file)) = saved.get(&image.id) {
            return Ok(file.clone());
        }
        let folder = &packed.place;
        let failed = |error: std::io::Error| {
            let words = format!("an image cannot be saved in {}: {error}", folder.display());
            ProviderError::new(ErrorKind::Unexpected, words)
        };
        let file = tempfile::Builder::new().prefix(IMAGE_PREFIX).tempfile_in(folder).map_err(failed)?;
        self.builder()?.save_image(cx, &image.id, file.path()).await?;
        let path = file.into_temp_path();
        let read = path.to_path_buf();
        let stored = tokio::task::spawn_blocking(move || StoredFile::read(&read));
        let stored = stored.await.map_err(|error| failed(error.into()))?.map_err(failed)?;
        saved.insert(image.id.clone(), (path, stored.clone()));
        Ok(stored)
    }

    /// The manifest's folder in what a release was built into. It may be here no more.
    pub(super) fn app_root(&self, release: &Release) -> Result<PathBuf> {
        let artefact = &release.bundle.artefact;
        join_inside(&self.builder()?.folder(artefact)?, &artefact.root).ok_or_else(|| {
            let message = format!("`{}` leads out of its folder", artefact.root);
            ProviderError::new(ErrorKind::Config, message)
        })
    }

    /// What was built, packed.
    async fn packed(&self, release: &Release) -> Result<Arc<Packed>> {
        let artefact = &release.bundle.artefact;
        let mut packed = self.packed.lock().await;
        if let Some(packed) = packed.as_ref().filter(|packed| packed.digest == artefact.digest) {
            return Ok(Arc::clone(packed));
        }
        let folder = self.builder()?.folder(artefact)?;
        if !folder.is_dir() {
            return Err(ProviderError::new(
                ErrorKind::NotFound,
                format!("what release {} was built into is not here any more", release.number),
            )
            .with_help("deploy its sources again: the release gets a new number"));
        }
        let digest = artefact.digest.clone();
        let made = tokio::task::spawn_blocking(move || pack(digest, folder))
            .await
            .map_err(|error| ProviderError::new(ErrorKind::Unexpected, error.to_string()))??;
        let made = Arc::new(made);
        *packed = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// Will an image run there?
fn fits_image(image: &BuiltImage, machine: &Machine) -> Result<()> {
    let runs = match machine.architecture.as_str() {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => other,
    };
    if image.platform == runs {
        return Ok(());
    }
    let message = format!(
        "the image `{}` does not run there: it is for {}, and the host is {runs}",
        image.id, image.platform
    );
    Err(ProviderError::new(ErrorKind::Unsupported, message)
        .with_code(rules::RELEASE_MISFIT.to_string())
        .with_help("build on a machine of the servers' kind, or let the service run natively"))
}

fn pack(digest: Digest, folder: PathBuf) -> Result<Packed> {
    let programs =
        Programs::read(&folder).map_err(|error| ProviderError::new(ErrorKind::App, error.to_string()))?;
    // In the stack's folder, where there is room for as much. Who holds its lease is the only one
    // who packs; what is left was packed by one that was killed.
    let place = folder.parent().and_then(Path::parent).unwrap_or(&folder).to_owned();
    Archive::remove_left_behind(&place);
    let archive = Archive::pack(&folder, &place)?;
    Ok(Packed { digest, folder, place, programs, archive })
}

impl Packed {
    /// Will all of it run there?
    fn fits(&self, machine: &Machine) -> Result<()> {
        let misfits = self.programs.misfits(machine);
        let Some((path, misfit)) = misfits.first() else { return Ok(()) };
        let inside = path.strip_prefix(&self.folder).unwrap_or(path);
        let others = match misfits.len() {
            1 => String::new(),
            count => format!(", nor do {} others", count - 1),
        };
        let message = format!("`{}` does not run there: {misfit}{others}", inside.display());
        Err(ProviderError::new(ErrorKind::Unsupported, message)
            .with_code(rules::RELEASE_MISFIT.to_string())
            .with_help(Misfit::help(misfit)))
    }
}
