//! A server that is run in a container of the official image, or one made like it. As it
//! gets its settings by standard input each time it is started, no engine starts it by itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vrooli_deploy_core::provider::{OpCtx, Result};
use vrooli_deploy_core::secrets::Secret;

use super::KIND;
use super::server::{Record, Server, wait};
use super::wire::{Answer, ask};
use crate::docker::{self, Phase};
use crate::kinds::marker::Progress;
use crate::kinds::vessel::{self, Contained, Owned, Vessel};
use crate::servers::REDIS_IMAGE_VARIABLE;

/// How long a server that somebody else started may say nothing. One that was started by a
/// killed predecessor may wait for settings that never come.
const SILENCE: Duration = Duration::from_secs(5);

impl Server<'_> {
    fn whose<'a>(&'a self, record: &Record) -> Owned<'a> {
        Owned { kind: KIND, stack: &self.stack, key: &self.key, owner: record.owner, token: record.token }
    }

    pub(super) async fn vessel(&self, cx: &OpCtx, record: &Record, contained: &Contained) -> Result<Vessel> {
        Vessel::open(self.machine, cx, &self.whose(record), contained).await
    }

    fn serving(vessel: &Vessel, image: &str, port: u16) -> Value {
        let known = &docker::KNOWN.redis;
        json!({
            "Image": image,
            "Cmd": ["redis-server", "-"],
            "OpenStdin": true, "StdinOnce": true, "AttachStdin": true,
            "ExposedPorts": { format!("{}/tcp", known.port): {} },
            "HostConfig": {
                "PortBindings": Vessel::publish(known.port, port),
                "Mounts": [vessel.mount(&known.data)],
                "RestartPolicy": { "Name": "no" },
                "SecurityOpt": ["no-new-privileges"],
            },
        })
    }

    /// Starts it unless it runs.
    pub(super) async fn run_contained(
        &self,
        cx: &OpCtx,
        record: &Record,
        contained: &Contained,
    ) -> Result<()> {
        let vessel = self.vessel(cx, record, contained).await?;
        let (port, password) = (record.made.port, self.password()?);
        let mut started = false;
        let mut given_anew = false;
        let mut silent: Option<Instant> = None;
        loop {
            match vessel.container(cx).await? {
                Some(seen) if seen.phase == Phase::Running && Vessel::serves(&seen, port) => {
                    match ask(port, &password).await {
                        Answer::Ready => return Ok(()),
                        Answer::Busy => silent = None,
                        // With another password: the store was lost. Or with none: a killed predecessor
                        // came between our settings and its start. It gets ours, and if it does not take
                        // them it does not start.
                        Answer::Stranger => {
                            vessel.halt(cx).await?;
                            started &= given_anew;
                            given_anew = true;
                        }
                        Answer::Nobody | Answer::Silent => {
                            if !started && silent.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                                vessel.halt(cx).await?;
                            }
                        }
                    }
                }
                Some(seen) if seen.phase == Phase::Running => vessel.discard(cx).await?,
                Some(seen) if seen.phase == Phase::Paused => {
                    vessel.engine.unpause_container(cx, &seen.name).await?;
                }
                Some(seen) if seen.phase == Phase::Changing => {}
                _ if started => return Err(vessel.did_not_start(cx, &self.name()).await),
                seen => {
                    if !vessel.has_volume(cx).await? {
                        if record.progress == Progress::Ready {
                            // A cache: it is missed, not mourned.
                            cx.output.line(&format!("the data of {} is gone: it begins anew", self.name()));
                        }
                        vessel.ensure_volume(self.machine, cx).await?;
                    }
                    let given =
                        self.machine.servers.redis_image.as_ref().filter(|given| **given != contained.image);
                    let image = given.unwrap_or(&contained.image);
                    if given.is_some() {
                        let name = self.name();
                        cx.output
                            .line(&format!("{name} runs from `{image}`, as {REDIS_IMAGE_VARIABLE} says"));
                    }
                    let config = Self::serving(&vessel, image, port);
                    if !seen.is_some_and(|seen| Vessel::fits(&seen, &config)) {
                        vessel.engine.ensure_image(cx, image).await?;
                        vessel.put(cx, &config, Some(port)).await?;
                    }
                    vessel.start(cx, port, Some(&settings(&password))).await?;
                    started = true;
                    continue;
                }
            }
            wait(cx, &self.name()).await?;
        }
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
        vessel::remove_marked(self.machine, cx, KIND, &self.key).await
    }
}

/// All settings: without them it listens to nobody but itself.
fn settings(password: &Secret<String>) -> Secret<String> {
    let known = &docker::KNOWN.redis;
    Secret::new(format!(
        "bind 0.0.0.0\nprotected-mode yes\nport {}\nrequirepass {}\ndir {}\nappendonly yes\n",
        known.port,
        password.expose(),
        known.data
    ))
}
