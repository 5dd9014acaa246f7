//! How a new server is run: from installed programs that the app can do with, else in a
//! container, where an engine answers; or as the user says.

use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use super::PostgresSpec;
use super::binaries::{self, Binaries};
use super::cluster::Server;
use super::contained::{major_of, place_of};
use super::version::VersionWish;
use crate::docker::{self, Engine};
use crate::kinds::Way;
use crate::kinds::vessel::{self, Contained};
use crate::programs;
use crate::servers::{self, POSTGRES_IMAGE_VARIABLE};

/// What to do without a server of our own.
const ELSEWHERE: &str = "or use a server that runs elsewhere: set `POSTGRES_URL` under `secrets` in the manifest; or do without: `--drop postgres`";

/// What a new server is run with.
#[derive(Debug)]
pub(super) enum Chosen {
    Installed(Binaries),
    /// With the major version of its image.
    Contained(Contained, u32),
}

impl Server<'_> {
    /// Chooses. Nothing is made but, where it is not there, the image.
    pub(super) async fn choose(&self, cx: &OpCtx, want: &PostgresSpec) -> Result<Chosen> {
        let wish = VersionWish::read(want.version.as_deref());
        let name = self.name();
        let installed = || {
            self.home.account()?;
            binaries::choose(wish, &name)
        };
        let options = &self.machine.servers;
        let engine = match options.way {
            Some(Way::Programs) => {
                return installed().map(Chosen::Installed).map_err(|error| match error.help() {
                    Some(help) => {
                        let help = format!("{help}; {ELSEWHERE}");
                        error.with_help(help)
                    }
                    None => error,
                });
            }
            Some(Way::Docker) => {
                let found = options.find_engine(cx).await?;
                found.map_err(|why| servers::no_engine(&name, &why, ELSEWHERE))?
            }
            None => match installed() {
                Ok(binaries) => return Ok(Chosen::Installed(binaries)),
                Err(error) if error.kind() == ErrorKind::Missing => {
                    let found = options.find_engine(cx).await?;
                    let engine = found.map_err(|why| servers::no_way(&error, &why, ELSEWHERE))?;
                    cx.output.line(&format!("{}: Docker is used instead", error.message()));
                    engine
                }
                Err(error) => return Err(error),
            },
        };
        self.contained(cx, &engine, wish).await
    }

    /// In a container: of the image that the user named, that data which is there was made
    /// with, or that fits the app.
    async fn contained(&self, cx: &OpCtx, engine: &Engine, wish: VersionWish) -> Result<Chosen> {
        let name = vessel::name_of(self.machine, &self.stack, &self.key)?;
        let kept = vessel::marked(self.machine, cx, &self.stack).await?;
        let kept = kept.into_iter().find(|marked| marked.name == name);
        let has_data = kept.is_some();
        let given = self.machine.servers.postgres_image.clone();
        let image = match (given, kept.and_then(|marked| marked.image)) {
            (Some(image), _) | (None, Some(image)) => image,
            (None, None) => image_for(wish, &self.name())?,
        };
        let seen = engine
            .ensure_image(cx, &image)
            .await
            .map_err(|error| servers::no_image(error, &programs::install("postgres"), ELSEWHERE))?;
        place_of(&image, &seen)?;
        let major = major_of(&seen);
        if let Some(major) = major
            && !has_data
            && !wish.takes(major)
        {
            return Err(ProviderError::new(
                ErrorKind::Missing,
                format!(
                    "{} asks for PostgreSQL {}, and `{image}` holds {major}",
                    self.name(),
                    wish.in_words()
                ),
            )
            .with_help(format!("name another image with {POSTGRES_IMAGE_VARIABLE}, or none")));
        }
        let contained = Contained { engine: engine.socket.clone(), image, name };
        // What an image does not say, its data does when it is made.
        Ok(Chosen::Contained(contained, major.unwrap_or_default()))
    }
}

/// The image that an app can do with: of the usual version, else of the newest that it takes.
fn image_for(wish: VersionWish, what_for: &str) -> Result<String> {
    let known = &docker::KNOWN.postgres;
    let usual = Some(known.default).filter(|major| wish.takes(*major));
    let major = usual.or_else(|| known.images.keys().copied().filter(|major| wish.takes(*major)).max());
    major.and_then(|major| known.images.get(&major)).cloned().ok_or_else(|| {
        let majors: Vec<String> = known.images.keys().map(u32::to_string).collect();
        ProviderError::new(
            ErrorKind::Missing,
            format!(
                "{what_for} asks for PostgreSQL {}, and known are images of {}",
                wish.in_words(),
                majors.join(", ")
            ),
        )
        .with_help(format!(
            "name an image of that version with {POSTGRES_IMAGE_VARIABLE}, or change `version` of the dependency"
        ))
    })
}

/// The image for data of a version.
pub(super) fn image_of_major(major: u32) -> Option<String> {
    docker::KNOWN.postgres.images.get(&major).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_of_a_version_that_the_app_takes() {
        let image = |wish: Option<&str>| image_for(VersionWish::read(wish), "`database/main` of a/default");
        let usual = docker::KNOWN.postgres.default;
        assert!(image(None).unwrap().ends_with(&format!("postgres:{usual}")));
        assert!(image(Some(">=14")).unwrap().ends_with(&format!("postgres:{usual}")));
        assert!(image(Some("15")).unwrap().ends_with("postgres:15"));
        assert!(image(Some("<16")).unwrap().ends_with("postgres:16"));
        let error = image(Some(">=99")).unwrap_err();
        assert!(error.message().contains("99 or newer"), "{error}");
    }
}
