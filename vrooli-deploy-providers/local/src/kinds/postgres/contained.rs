//! A server that is run in a container of the official image, or one made like it.
//!
//! Its data is made by `initdb` in a container of its own, so that passwords go in by
//! standard input; what serves is then the image's own entry point on data that is there.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::migration::{identifier, literal};
use vrooli_deploy_core::secrets::Secret;

use super::binaries::KNOWN;
use super::choice::image_of_major;
use super::cluster::{Record, Server, wait};
use super::psql::Through;
use super::version::VersionWish;
use super::{KIND, PostgresSpec, SETTINGS, wire};
use crate::docker::{self, Image, Phase};
use crate::kinds::marker::Progress;
use crate::kinds::password;
use crate::kinds::vessel::{Contained, Owned, Vessel};
use crate::servers::POSTGRES_IMAGE_VARIABLE;

/// Makes the data, unless a killed predecessor had made all of it; then says its version.
/// The last thing that is written tells that nothing is missing.
const INITIALISE: &str = r#"
umask 077
IFS= read -r password
last='host all all all scram-sha-256'
if ! grep -qsxF "$last" "$PGDATA/pg_hba.conf"; then
    mkdir -p "$PGDATA"
    find "$PGDATA" -mindepth 1 -delete
    printf '%s\n' "$password" | initdb -D "$PGDATA" -U "$1" --pwfile=/dev/stdin \
        --auth=scram-sha-256 --encoding=UTF8 --locale="$2" >&2
    echo "$last" >>"$PGDATA/pg_hba.conf"
    sync "$PGDATA/pg_hba.conf" "$PGDATA" 2>/dev/null || sync
fi
cat "$PGDATA/PG_VERSION"
"#;

/// Gives a statement to a server that has no other clients.
const ALONE: &str = r#"exec postgres --single -c log_min_error_statement=panic -D "$PGDATA" postgres"#;

/// Where an image keeps data: the folder that it means to be a volume, around `PGDATA`.
pub(super) fn place_of<'a>(reference: &str, image: &'a Image) -> Result<&'a str> {
    let data = image.variables.get("PGDATA").map(String::as_str).unwrap_or_default();
    let around = |folder: &&String| {
        data.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    image.volumes.iter().filter(around).max_by_key(|folder| folder.len()).map(String::as_str).ok_or_else(|| {
        ProviderError::new(
            ErrorKind::Config,
            format!("`{reference}` is not made like the official image of PostgreSQL: it names no volume for its PGDATA"),
        )
        .with_help(format!("name one that is with {POSTGRES_IMAGE_VARIABLE}, e.g. `{}`", example()))
    })
}

fn example() -> &'static str {
    let known = &docker::KNOWN.postgres;
    known.images.get(&known.default).map_or("postgres", String::as_str)
}

/// The major version in an image, where it says so.
pub(super) fn major_of(image: &Image) -> Option<u32> {
    image.variables.get("PG_MAJOR")?.parse().ok()
}

/// An extension that the image does not have.
pub(super) fn extension_missing(name: &str, major: u32, what_for: &str) -> ProviderError {
    let advice = match docker::KNOWN.postgres.extension_images.get(name) {
        Some(image) => {
            format!(
                "use one that has it: {POSTGRES_IMAGE_VARIABLE}={}",
                image.replace("{major}", &major.to_string())
            )
        }
        None => format!("name an image of PostgreSQL {major} that has it with {POSTGRES_IMAGE_VARIABLE}"),
    };
    ProviderError::new(
        ErrorKind::Missing,
        format!("{what_for} needs the extension `{name}`, and the image of PostgreSQL {major} has no such extension"),
    )
    .with_help(advice)
}

/// Settings as arguments: those of a server here, but for where it listens.
fn arguments() -> Vec<String> {
    let mut settings = BTreeMap::from([("listen_addresses", "*".to_owned())]);
    for line in SETTINGS.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim();
        if !matches!(name, "port" | "unix_socket_directories" | "listen_addresses") {
            settings.insert(name, value.trim().trim_matches('\'').to_owned());
        }
    }
    settings.insert("port", docker::KNOWN.postgres.port.to_string());
    let words = settings.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
    std::iter::once("postgres".to_owned()).chain(words).collect()
}

impl Server<'_> {
    fn whose<'a>(&'a self, record: &Record) -> Owned<'a> {
        Owned { kind: KIND, stack: &self.stack, key: &self.key, owner: record.owner, token: record.token }
    }

    pub(super) async fn vessel(&self, cx: &OpCtx, record: &Record, contained: &Contained) -> Result<Vessel> {
        Vessel::open(self.machine, cx, &self.whose(record), contained).await
    }

    /// A container that runs a script of ours on the data.
    fn once(vessel: &Vessel, contained: &Contained, place: &str, script: &str, words: &[&str]) -> Value {
        let mut command = vec![script, "sh"];
        command.extend(words);
        json!({
            "Image": contained.image,
            "Entrypoint": ["/bin/sh", "-ec"],
            "Cmd": command,
            "User": docker::KNOWN.postgres.user,
            "Healthcheck": { "Test": ["NONE"] },
            "OpenStdin": true, "StdinOnce": true,
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [vessel.mount(place)],
                "RestartPolicy": { "Name": "no" },
                "SecurityOpt": ["no-new-privileges"],
            },
        })
    }

    /// The container that serves.
    fn serving(vessel: &Vessel, image: &str, place: &str, port: u16) -> Value {
        let inside = docker::KNOWN.postgres.port;
        json!({
            "Image": image,
            "Cmd": arguments(),
            // Fast, whatever the image says: clients are cut off.
            "StopSignal": "SIGINT",
            "ExposedPorts": { format!("{inside}/tcp"): {} },
            "HostConfig": {
                "PortBindings": Vessel::publish(inside, port),
                "Mounts": [vessel.mount(place)],
                "ShmSize": docker::KNOWN.postgres.shared_memory_bytes,
                // As every server of an app: started by whoever needs it, not at boot.
                "RestartPolicy": { "Name": "no" },
                "SecurityOpt": ["no-new-privileges"],
            },
        })
    }

    /// Makes the data, or takes what is there whole.
    pub(super) async fn initialise_contained(
        &self,
        cx: &OpCtx,
        mut record: Record,
        want: &PostgresSpec,
    ) -> Result<Record> {
        let Some(mut contained) = record.made.contained.clone() else { return Ok(record) };
        let vessel = self.vessel(cx, &record, &contained).await?;
        let image = vessel.engine.ensure_image(cx, &contained.image).await?;
        let place = place_of(&contained.image, &image)?;
        // Kept before it is used: whatever happens next, nobody is locked out.
        let superuser = password::kept(self.machine, &self.stack, &self.key, "superuser")?;
        self.password()?;
        let had_data = vessel.has_volume(cx).await?;
        vessel.ensure_volume(self.machine, cx).await?;
        let input = Secret::new(format!("{}\n", superuser.expose()));
        let mut said = String::new();
        let mut version = None;
        for locale in &KNOWN.locales {
            let config = Self::once(&vessel, &contained, place, INITIALISE, &[&KNOWN.superuser, locale]);
            let ended = vessel.once(cx, &config, &input).await?;
            if ended.code == 0 {
                version = ended.stdout.trim().split('.').next().and_then(|major| major.parse::<u32>().ok());
                break;
            }
            said = ended.stderr;
            if !said.contains("locale") {
                break;
            }
        }
        let Some(major) = version else {
            let kind = if said.contains("No space left") { ErrorKind::Quota } else { ErrorKind::Unexpected };
            let line = said.lines().find(|line| line.contains("error:")).or_else(|| said.lines().last());
            let line = line.unwrap_or("its container ended and said nothing").trim().to_owned();
            return Err(ProviderError::new(kind, format!("cannot make {}: {line}", self.name()))
                .with_context("initdb", said));
        };
        if !had_data && !VersionWish::read(want.version.as_deref()).takes(major) {
            return Err(ProviderError::new(
                ErrorKind::Missing,
                format!(
                    "`{}` holds PostgreSQL {major}, which {} cannot do with",
                    contained.image,
                    self.name()
                ),
            ));
        }
        if major_of(&image).is_some_and(|of_image| of_image != major) {
            // Data of a lost record, older than the image that was chosen.
            contained.image =
                image_of_major(major).ok_or_else(|| wrong_image(&self.name(), major, &contained.image))?;
        }
        record.made.major = major;
        record.made.contained = Some(contained);
        record.progress = Progress::Initialized;
        record.write(&self.home.folder)?;
        Ok(record)
    }

    /// The image to run existing data with: another than it was made with only if the user
    /// names one of the same version.
    async fn image_for_data(
        &self,
        cx: &OpCtx,
        vessel: &Vessel,
        record: &Record,
        contained: &Contained,
    ) -> Result<(String, Image)> {
        if let Some(given) =
            self.machine.servers.postgres_image.as_ref().filter(|given| **given != contained.image)
        {
            let image = vessel.engine.ensure_image(cx, given).await?;
            return match major_of(&image) {
                Some(major) if major == record.made.major => {
                    cx.output.line(&format!(
                        "{} runs from `{given}`, as {POSTGRES_IMAGE_VARIABLE} says",
                        self.name()
                    ));
                    Ok((given.clone(), image))
                }
                _ => Err(wrong_image(&self.name(), record.made.major, given)),
            };
        }
        Ok((contained.image.clone(), vessel.engine.ensure_image(cx, &contained.image).await?))
    }

    /// Starts it unless it runs.
    pub(super) async fn run_contained(
        &self,
        cx: &OpCtx,
        record: &Record,
        contained: &Contained,
    ) -> Result<()> {
        let vessel = self.vessel(cx, record, contained).await?;
        let port = record.made.port;
        let mut started = false;
        loop {
            match vessel.container(cx).await? {
                Some(seen) if seen.phase == Phase::Running && Vessel::serves(&seen, port) => {
                    if wire::takes_clients(port, &KNOWN.superuser).await {
                        return Ok(());
                    }
                }
                // One that made data, or that serves on a port that was given up.
                Some(seen) if seen.phase == Phase::Running => vessel.discard(cx).await?,
                Some(seen) if seen.phase == Phase::Paused => {
                    vessel.engine.unpause_container(cx, &seen.name).await?;
                }
                Some(seen) if seen.phase == Phase::Changing => {}
                _ if started => return Err(vessel.did_not_start(cx, &self.name()).await),
                seen => {
                    if !vessel.has_volume(cx).await? {
                        return Err(vessel.volume_gone(&self.name()));
                    }
                    let (reference, image) = self.image_for_data(cx, &vessel, record, contained).await?;
                    let config = Self::serving(&vessel, &reference, place_of(&reference, &image)?, port);
                    if !seen.is_some_and(|seen| Vessel::fits(&seen, &config)) {
                        vessel.put(cx, &config, Some(port)).await?;
                    }
                    vessel.start(cx, port, None).await?;
                    started = true;
                    continue;
                }
            }
            wait(cx, &self.name()).await?;
        }
    }

    pub(super) async fn through_container(
        &self,
        cx: &OpCtx,
        record: &Record,
        contained: &Contained,
    ) -> Result<Through> {
        let vessel = self.vessel(cx, record, contained).await?;
        Ok(Through::Container { engine: vessel.engine, name: vessel.name })
    }

    /// The store was lost and the data was not: who owns the data may set the password.
    pub(super) async fn reset_contained(
        &self,
        cx: &OpCtx,
        record: &Record,
        contained: &Contained,
    ) -> Result<Secret<String>> {
        let vessel = self.vessel(cx, record, contained).await?;
        vessel.halt(cx).await?;
        let password = password::kept(self.machine, &self.stack, &self.key, "superuser")?;
        let statement = Secret::new(format!(
            "ALTER ROLE {} PASSWORD {}\n",
            identifier(&KNOWN.superuser),
            literal(password.expose())
        ));
        let (reference, image) = self.image_for_data(cx, &vessel, record, contained).await?;
        let contained = Contained { image: reference, ..contained.clone() };
        let place = place_of(&contained.image, &image)?;
        let config = Self::once(&vessel, &contained, place, ALONE, &[]);
        let ended = vessel.once(cx, &config, &statement).await?;
        if ended.code != 0 || ended.stderr.contains("ERROR:") {
            return Err(ProviderError::new(
                ErrorKind::Unexpected,
                format!("cannot set the password of {} anew", self.name()),
            )
            .with_context("postgres", ended.stderr));
        }
        self.run_contained(cx, record, &contained).await?;
        Ok(password)
    }

    pub(super) async fn remove_contained(
        &self,
        cx: &OpCtx,
        record: &Record,
        contained: &Contained,
    ) -> Result<()> {
        let vessel = self.vessel(cx, record, contained).await?;
        vessel.remove(self.machine, cx, &self.whose(record)).await
    }

    /// Removes data that no record tells of any more.
    pub(super) async fn remove_marked(&self, cx: &OpCtx) -> Result<()> {
        crate::kinds::vessel::remove_marked(self.machine, cx, KIND, &self.key).await
    }
}

fn wrong_image(what: &str, major: u32, image: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Config,
        format!("the data of {what} was made by PostgreSQL {major}, and `{image}` is not of that version"),
    )
    .with_help(format!("name an image of PostgreSQL {major} with {POSTGRES_IMAGE_VARIABLE}; a server reads only its own version's data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(data: &str, volumes: &[&str]) -> Image {
        Image {
            variables: [("PGDATA".to_owned(), data.to_owned()), ("PG_MAJOR".to_owned(), "18".to_owned())]
                .into(),
            volumes: volumes.iter().map(|volume| (*volume).to_owned()).collect(),
        }
    }

    #[test]
    fn data_lies_where_the_image_means_it_to() {
        let old = image("/var/lib/postgresql/data", &["/var/lib/postgresql/data"]);
        assert_eq!(place_of("postgres:17", &old).unwrap(), "/var/lib/postgresql/data");
        let new = image("/var/lib/postgresql/18/docker", &["/var/lib/postgresql"]);
        assert_eq!(place_of("postgres:18", &new).unwrap(), "/var/lib/postgresql");
        assert_eq!(major_of(&new), Some(18));
        for other in [image("", &["/data"]), image("/var/lib/postgresql-data", &["/var/lib/postgresql"])] {
            let error = place_of("x", &other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn settings_are_those_of_every_server_but_where_it_listens() {
        let words = arguments();
        assert_eq!(words[0], "postgres");
        for wanted in [
            "listen_addresses=*",
            "port=5432",
            "password_encryption=scram-sha-256",
            "log_line_prefix=%m [%p] ",
        ] {
            assert!(words.iter().any(|word| word == wanted), "{wanted}: {words:?}");
        }
        assert!(!words.iter().any(|word| word.contains("@PORT@") || word.contains("socket")), "{words:?}");
    }
}
