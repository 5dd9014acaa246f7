//! One server that runs the app: our program there, and who is talked with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::Mutex;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::wire::{FleetSeen, HostSettings, ProgramSeen, RemoteFleet};
use vrooli_deploy_core::provider::{CertificateSeen, ErrorKind, Fleet as _, OpCtx, ProviderError, Result};

use super::programs::OwnPrograms;
use super::remembered::Remembered;
use crate::ground::{HostQueue, HostSurvey, Servers};
use crate::host::HostName;
use crate::own::{OwnError, Supervisor};
use crate::remote::{Conversation, KeptSession};

/// What our program is remembered by; no app is called so.
const PROGRAM: &str = ".program";

/// What the releases of a stack are remembered by.
pub(super) fn of(stack: &StackId) -> String {
    format!("{}.{}", stack.app, stack.environment)
}

/// A server that runs the app.
#[derive(Debug)]
pub(super) struct AppHost {
    queue: Arc<HostQueue>,
    programs: Arc<OwnPrograms>,
    settings: HostSettings,
    remembered: Remembered,
    talk: Mutex<Option<Arc<Talk>>>,
    /// Was our program seen to, by this run?
    ready: Mutex<bool>,
}

/// A conversation that goes on.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) fleet: RemoteFleet,
    /// Was it begun by who only looks?
    looks: bool,
    /// Up as long as it holds the host.
    alive: Arc<AtomicBool>,
    _session: KeptSession,
}

impl Talk {
    fn is_alive(&self) -> bool {
        let is_alive = self.fleet.is_alive();
        self.alive.store(is_alive, Ordering::SeqCst);
        is_alive
    }
}

impl AppHost {
    pub(super) fn new(
        servers: &Servers,
        host: &HostName,
        programs: Arc<OwnPrograms>,
        settings: HostSettings,
    ) -> Self {
        Self {
            queue: servers.queue(host),
            remembered: Remembered::of(host, &servers.folder().join("sent")),
            programs,
            settings,
            talk: Mutex::default(),
            ready: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &HostName {
        self.queue.name()
    }

    pub(super) fn queue(&self) -> &HostQueue {
        &self.queue
    }

    /// What it was sent before.
    pub(super) fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    pub(super) async fn survey(&self, cx: &OpCtx) -> Result<Arc<HostSurvey>> {
        self.queue.survey(cx, &cx.stack).await
    }

    /// What is there of the stack, by the last survey; none: nothing of ours runs there.
    pub(super) async fn seen(&self, cx: &OpCtx) -> Result<Option<FleetSeen>> {
        let survey = self.survey(cx).await?;
        let unreadable = |words: String| {
            ProviderError::new(
                ErrorKind::Unavailable,
                format!("what serves apps on {} does not say what is there", self.name()),
            )
            .with_context("said", words)
        };
        match (&survey.fleet, &survey.unseen) {
            (Some(text), _) => {
                speaks_ours(self.name(), &program(text))?;
                serde_json::from_str(text).map(Some).map_err(|error| unreadable(error.to_string()))
            }
            (None, Some(words)) => Err(unreadable(words.clone())),
            (None, None) => Ok(None),
        }
    }

    /// Did somebody change the unit of the supervisor? Where another version of our program runs it is that one's.
    pub(super) async fn unit_was_changed(&self, cx: &OpCtx) -> Result<bool> {
        let survey = self.survey(cx).await?;
        let own = survey.fleet.as_deref().and_then(program).is_some_and(|there| there == ProgramSeen::own());
        Ok(own && survey.unit.as_deref() != Some(Supervisor::digest().as_str()))
    }

    /// The certificate that is there: by who is talked with, else by the survey.
    pub(super) async fn certificate(&self, cx: &OpCtx) -> Result<Option<CertificateSeen>> {
        match self.open_talk().await {
            Some(talk) => talk.fleet.look_at_certificate(cx).await,
            None => Ok(self.seen(cx).await?.and_then(|seen| seen.certificate)),
        }
    }

    /// Who was talked with, if that goes on.
    pub(super) async fn open_talk(&self) -> Option<Arc<Talk>> {
        self.talk.lock().await.clone().filter(|talk| talk.is_alive())
    }

    /// Who is talked with; our program is brought there first if it is not, or is another. Who only
    /// looks, by a context without a lease, holds nothing and brings nothing.
    pub(super) async fn talk(&self, cx: &OpCtx) -> Result<Arc<Talk>> {
        let looks = cx.fence == 0;
        let mut talk = self.talk.lock().await;
        if let Some(talk) = talk.as_ref().filter(|talk| talk.is_alive() && (looks || !talk.looks)) {
            return Ok(Arc::clone(talk));
        }
        if !looks {
            self.ready(cx).await?;
        } else if self.queue.last_seen(cx).await?.program.is_none() {
            let message = format!("nothing of ours runs on {}", self.name());
            return Err(
                ProviderError::new(ErrorKind::NotFound, message).with_help("deploy an app to it first")
            );
        }
        *talk = None;
        let (Conversation { reader, writer, session }, alive) = self.queue.serve(cx).await?;
        let fleet = RemoteFleet::greet(self.name().as_str(), reader, writer, &self.settings).await?;
        let made = Arc::new(Talk { fleet, alive, looks, _session: session });
        *talk = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Our program is there and its supervisor runs.
    async fn ready(&self, cx: &OpCtx) -> Result<()> {
        let mut ready = self.ready.lock().await;
        if *ready {
            return Ok(());
        }
        let survey = self.queue.last_seen(cx).await?;
        if let Some(newer) = newer(self.name(), survey.fleet.as_deref())? {
            let name = self.name();
            cx.output
                .line(&format!("{name} uses vrooli-deploy {newer}, a newer one than this: it is left there"));
            *ready = true;
            return Ok(());
        }
        let program = self.programs.choose(self.name(), &survey.machine).await?;
        let host = &**self.queue.host();
        let is_ours = survey.program.as_deref() == Some(program.digest());
        if !is_ours {
            let delivery = program.delivery()?;
            let nothing = survey.program.is_none();
            self.remembered.send(PROGRAM, &delivery, nothing, host, &cx.cancellation).await?;
        }
        let supervised = survey.fleet.as_deref().is_some_and(is_supervised);
        if !is_ours || !supervised || survey.unit.as_deref() != Some(Supervisor::digest().as_str()) {
            Supervisor.install(host, &program, &cx.cancellation).await?;
            self.queue.forget_seen().await;
        }
        *ready = true;
        Ok(())
    }

    /// Ends all that the stack runs there, its data as well if that is said, and takes its releases
    /// away.
    pub(super) async fn forget(&self, cx: &OpCtx, data: bool) -> Result<()> {
        if self.open_talk().await.is_none() && self.survey(cx).await?.program.is_none() {
            return Ok(());
        }
        self.talk(cx).await?.fleet.forget(cx, data).await?;
        self.leave(cx).await
    }

    /// Nothing of the stack is left there: what serves apps goes with the last of them.
    async fn leave(&self, cx: &OpCtx) -> Result<()> {
        *self.talk.lock().await = None;
        *self.ready.lock().await = false;
        self.remembered.forget(&of(&cx.stack));
        let left = Supervisor.leave(&**self.queue.host(), &cx.stack, &cx.cancellation).await;
        self.queue.forget_seen().await;
        if left? {
            self.remembered.forget(PROGRAM);
        }
        Ok(())
    }
}

/// What our program there says of itself; none: it is older than the question.
fn program(said: &str) -> Option<ProgramSeen> {
    let said: Value = serde_json::from_str(said).ok()?;
    serde_json::from_value(said.get("program")?.clone()).ok()
}

/// Does what serves apps run, as our program there says?
fn is_supervised(said: &str) -> bool {
    serde_json::from_str::<Value>(said)
        .is_ok_and(|said| said.get("supervised").and_then(Value::as_bool) == Some(true))
}

/// Refuses a newer program that we do not understand.
fn speaks_ours(host: &HostName, there: &Option<ProgramSeen>) -> std::result::Result<(), OwnError> {
    let own = ProgramSeen::own();
    match there {
        Some(there) if there.is_newer_than(&own) && there.protocol != own.protocol => Err(OwnError::Newer {
            host: host.clone(),
            theirs: there.version.clone(),
            words: format!("they speak versions {} and {} of their protocol", there.protocol, own.protocol),
            own: own.version,
        }),
        _ => Ok(()),
    }
}

/// The version of a newer program that a host uses, which is never replaced by this one; none: it
/// uses none, or one that is no newer. All apps of a host share it, and whoever brought the newer one
/// may rely on what it can do.
fn newer(host: &HostName, said: Option<&str>) -> std::result::Result<Option<String>, OwnError> {
    let (own, Some(said)) = (ProgramSeen::own(), said) else { return Ok(None) };
    let there = program(said);
    speaks_ours(host, &there)?;
    let Some(there) = there.filter(|there| there.is_newer_than(&own)) else { return Ok(None) };
    if !is_supervised(said) {
        let words =
            format!("its supervisor does not run (`systemctl status {}` says why)", Supervisor::unit());
        return Err(OwnError::Newer { host: host.clone(), theirs: there.version, own: own.version, words });
    }
    Ok(Some(there.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(version: &str, protocol: u32, supervised: bool) -> String {
        let program = ProgramSeen { version: version.to_owned(), protocol };
        serde_json::to_string(&FleetSeen { supervised, program: Some(program), ..FleetSeen::default() })
            .unwrap()
    }

    #[test]
    fn a_newer_program_is_used_or_refused_and_an_older_one_is_replaced() {
        let host = HostName::new("web1").unwrap();
        let newer = |text: &str| newer(&host, Some(text));
        let ProgramSeen { version, protocol } = ProgramSeen::own();
        assert_eq!(newer(&said(&version, protocol, true)).unwrap(), None);
        assert_eq!(newer(&said("0.0.1", protocol + 1, true)).unwrap(), None);
        // It was asked before it could say so.
        assert_eq!(newer("{\"supervised\":true,\"units\":[]}").unwrap(), None);
        assert_eq!(newer(&said("99.0.0", protocol, true)).unwrap().as_deref(), Some("99.0.0"));
        for text in [said("99.0.0", protocol + 1, true), said("99.0.0", protocol, false)] {
            let error = newer(&text).unwrap_err();
            assert_eq!(error.code().to_string(), "VD0927");
            assert!(error.to_string().contains("web1 uses vrooli-deploy 99.0.0"), "{error}");
            assert!(error.help().contains("99.0.0 or newer"), "{}", error.help());
        }
    }
}
