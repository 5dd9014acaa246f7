//! What every change stands on: the stack's lease, its state, its provider, and an
//! interrupted run resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use super::{OperationError, Run, Workspace};
use crate::diagnostics::rules;
use crate::engine::{Engine, EngineOptions, Entry, Event, RecoverOptions, Redact, StackState};
use crate::manifest::{Runtime, ServiceConfig};
use crate::names::{ImageRef, ProviderName, ResourceKey, ResourceKind, ServiceName, StackId};
use crate::plan::StepAction;
use crate::provider::{
    Cancellation, ErrorKind, Fleet, FleetCapabilities, OpCtx, OpenContext, Provider, ProviderError,
};
use crate::release::Migration;
use crate::secrets::Redactor;
use crate::stack::Stack;
use crate::state::{Holder, Lease};

/// How long looking at a whole stack may take.
const OBSERVE: Duration = Duration::from_secs(60);

/// How long it may take until an authority has looked at every name and signed.
const SECURE: Duration = Duration::from_secs(300);
/// How long data may take to be saved or restored.
const DATA: Duration = Duration::from_secs(2 * 3600);

/// What becomes of an interrupted run that cannot be resolved whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// It stays open and the command does not go on: a person decides.
    Resolve,
    /// The same, but for one that waits for a decision: the command is about that.
    Decide,
    /// It is closed all the same: the stack goes anyway.
    Abandon,
}

/// A stack that is being changed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) workspace: Workspace,
    pub(super) stack: StackId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) lease: Box<dyn Lease>,
    pub(super) state: StackState,
    pub(super) run: Run,
}

impl Workspace {
    pub(super) async fn provider(
        &self,
        stack: &StackId,
        name: &ProviderName,
        wanted: Option<&Stack>,
    ) -> Result<Arc<dyn Provider>, OperationError> {
        let factory = self.0.registry.get(name)?;
        let state = self.0.store.load(stack).await?;
        Ok(factory.open(&OpenContext {
            dir: self.0.dir.clone(),
            owner: self.0.store.id(),
            stack: stack.clone(),
            secrets: Arc::clone(&self.0.secrets),
            configuration: self.configuration().await?,
            leaving: leaving(wanted, &state),
            kinds: kinds(wanted, &state),
            resources: resources(wanted, &state),
            ids: state.resources.iter().map(|(key, there)| (key.clone(), there.id.clone())).collect(),
        })?)
    }

    pub(super) fn observe_context(&self, stack: &StackId, fence: u64, cancellation: Cancellation) -> OpCtx {
        OpCtx::new(stack.clone(), self.0.store.id(), fence, Instant::now() + OBSERVE, cancellation)
    }

    /// Takes the lease, loads the state and resolves an interrupted run.
    pub(super) async fn session(
        &self,
        stack: &StackId,
        provider: &ProviderName,
        run: &Run,
        command: &str,
        interrupted: Interrupted,
    ) -> Result<Session, OperationError> {
        self.session_for(stack, provider, None, run, command, interrupted).await
    }

    /// The same for a stack that is wanted.
    pub(super) async fn session_for(
        &self,
        stack: &StackId,
        provider: &ProviderName,
        wanted: Option<&Stack>,
        run: &Run,
        command: &str,
        interrupted: Interrupted,
    ) -> Result<Session, OperationError> {
        let holder = run.holder.clone().unwrap_or_else(|| Holder {
            id: Uuid::now_v7(),
            name: format!("{command} (pid {})", std::process::id()),
            host: self.0.host.clone(),
            run_url: run.run_url.clone(),
        });
        let provider = self.provider(stack, provider, wanted).await?;
        let lease = self.acquire(stack, &holder).await?;
        if self.is_being_rebuilt(stack).await? {
            return Err(OperationError::Nothing {
                message: format!(
                    "the state of `{stack}` is only half built again: a `state rebuild` was interrupted"
                ),
                help: "run it again; it goes on from there".to_owned(),
            });
        }
        let state = self.0.store.load(stack).await?;
        let mut session = Session {
            workspace: self.clone(),
            stack: stack.clone(),
            provider,
            lease,
            state,
            run: run.clone(),
        };
        let waits = session.state.open.as_ref().is_some_and(|open| open.waiting().is_some());
        if session.state.open.is_some() && !(waits && interrupted == Interrupted::Decide) {
            let engine = session.engine().await?;
            let options = RecoverOptions {
                cancellation: run.cancellation.clone(),
                abandon: interrupted == Interrupted::Abandon,
                ..RecoverOptions::default()
            };
            let report = engine.recover(&*session.lease, &mut session.state, &options, &run.events).await?;
            // Still open: stuck, or stopped on request. Nothing new begins on top of that.
            if session.state.open.is_some()
                && let Some(outcome) = report.outcome
            {
                return Err(OperationError::Unresolved(Box::new(outcome)));
            }
        }
        // Whoever resumes is told with the outcome, and whoever watches knows.
        if !matches!(command, "resume" | "watch")
            && session.state.open.is_none()
            && let Some((release, failure)) = session.state.went_back_unseen()
        {
            let message =
                format!("{release} was rolled back while nobody waited for it: {}", failure.message);
            run.events.send(&Event::Note { message });
        }
        Ok(session)
    }
}

/// Key and spec of what is wanted, of what is there, and of what an open plan makes.
fn resources(wanted: Option<&Stack>, state: &StackState) -> Vec<(ResourceKey, Value)> {
    let wanted = wanted.into_iter().flat_map(|stack| &stack.resources);
    let mut all: Vec<_> = wanted.map(|(key, resource)| (key.clone(), resource.spec.clone())).collect();
    all.extend(state.resources.iter().map(|(key, resource)| (key.clone(), resource.spec.clone())));
    for step in state.open.iter().flat_map(|open| &open.plan.steps) {
        if let StepAction::Create { key, spec, .. }
        | StepAction::Update { key, spec, .. }
        | StepAction::Adopt { key, spec, .. } = &step.action
        {
            all.push((key.clone(), spec.clone()));
        }
    }
    all
}

/// The kind of each of them. What is wanted of a key comes before what is there.
fn kinds(wanted: Option<&Stack>, state: &StackState) -> BTreeMap<ResourceKey, ResourceKind> {
    let there = state.resources.iter().map(|(key, resource)| (key.clone(), resource.kind.clone()));
    let open = state.open.iter().flat_map(|open| &open.plan.steps).filter_map(|step| match &step.action {
        StepAction::Create { key, kind, .. }
        | StepAction::Update { key, kind, .. }
        | StepAction::Adopt { key, kind, .. } => Some((key.clone(), kind.clone())),
        StepAction::Delete { .. } | StepAction::Release { .. } => None,
    });
    let wanted = wanted.into_iter().flat_map(|stack| &stack.resources);
    let wanted = wanted.map(|(key, resource)| (key.clone(), resource.kind.clone()));
    there.chain(open).chain(wanted).collect()
}

/// What there is, or is being made, that is not wanted any more.
fn leaving(wanted: Option<&Stack>, state: &StackState) -> BTreeSet<ResourceKey> {
    let Some(wanted) = wanted else { return BTreeSet::new() };
    let there = resources(None, state).into_iter().map(|(key, _)| key);
    there.filter(|key| !wanted.resources.contains_key(key)).collect()
}

impl Session {
    /// Brings back what a kill or a reboot took, before it is looked at what there is: by the context that
    /// is given back, so that what was seen for the one is seen for the other.
    pub(super) async fn revive(&self) -> Result<OpCtx, OperationError> {
        let cx = self.context();
        let Some(fleet) = self.provider.fleet() else { return Ok(cx) };
        fleet.revive(&cx).await?;
        // What is looked at after a long time gets all of its own.
        let is_late = cx.deadline.saturating_duration_since(Instant::now()) < OBSERVE * 3 / 4;
        Ok(if is_late { self.context() } else { cx })
    }

    /// Gives the lease up. A watch that is left open is taken over by what runs there, if it did
    /// not make way for somebody.
    pub(super) async fn end(self, made_way: bool) -> Result<(), OperationError> {
        let cx = self.context();
        let watched =
            self.state.open.as_ref().and_then(|open| open.held.as_ref()).is_some_and(|h| h.watching);
        let fleet =
            self.provider.fleet().filter(|fleet| watched && !made_way && fleet.capabilities().keeps_watch);
        self.lease.release().await?;
        if let Some(fleet) = fleet {
            fleet.keep_watch(&cx).await?;
        }
        Ok(())
    }

    /// Sees to it that what serves now is reached by TLS as it says. What could not be done is told,
    /// and fails nothing.
    pub(super) async fn secure(&self) {
        let current = self.state.current.and_then(|number| self.state.releases.get(&number));
        let (Some(current), Some(fleet)) = (current, self.provider.fleet()) else { return };
        let mut cx = self.context();
        cx.deadline = Instant::now() + SECURE;
        for message in fleet.secure(&cx, &current.release).await {
            self.run.events.send(&Event::Note { message });
        }
    }

    /// Forgets a stack that is not this workspace's, once nothing of it is left to be done.
    pub(super) async fn forget(&mut self) -> Result<(), OperationError> {
        for record in self.lease.append(self.state.seq, &[Entry::Destroyed]).await? {
            // The store refuses what cannot follow; folding our own copy cannot fail after that.
            let _ = self.state.apply(&record);
        }
        Ok(self.workspace.0.store.forget(&self.stack).await?)
    }

    pub(super) fn context(&self) -> OpCtx {
        self.workspace.observe_context(&self.stack, self.lease.info().fence, self.run.cancellation.clone())
    }

    /// For what takes as long as there are data.
    pub(super) fn long_context(&self) -> OpCtx {
        OpCtx { deadline: Instant::now() + DATA, ..self.context() }
    }

    pub(super) fn fleet(&self) -> Result<Arc<dyn Fleet>, OperationError> {
        fleet(&*self.provider)
    }

    /// An engine whose messages hold none of the stack's secrets.
    pub(super) async fn engine(&self) -> Result<Engine, OperationError> {
        let inner = &self.workspace.0;
        let redactor = self.workspace.redactor().await?;
        let options = EngineOptions {
            owner: inner.store.id(),
            hooks: inner.hooks.clone(),
            redact: Redact::new(move |text| redactor.redact(text)),
            ..EngineOptions::default()
        };
        Ok(Engine::new(Arc::clone(&self.provider), Arc::clone(&inner.secrets), options))
    }
}

impl Workspace {
    /// Hides every secret of the workspace (an app may read one from a path of its own, and a
    /// provider may repeat the one that it was called with) and the credentials that providers
    /// are given.
    pub(super) async fn redactor(&self) -> Result<Redactor, OperationError> {
        let mut values = self.configuration().await?.secret_values()?;
        for reference in self.0.secrets.list("")? {
            values.push(self.0.secrets.get(&reference)?);
        }
        Ok(Redactor::new(&values))
    }
}

/// Refuses files that a fleet would not apply before any call: applied half way, a release would find
/// a database without its tables. Fleets of embedding programs need not be able to.
pub(super) fn applies_files(
    provider: &ProviderName,
    fleet: &FleetCapabilities,
    files: &[Migration],
) -> Result<(), OperationError> {
    let Some(file) = files.first().filter(|_| !fleet.migrates) else { return Ok(()) };
    Err(OperationError::Provider(
        ProviderError::new(
            ErrorKind::Unsupported,
            format!("provider `{provider}` does not apply files to databases: `{}`", file.file),
        )
        .with_code(rules::NO_MIGRATIONS.to_string())
        .with_help("let the app apply them when it starts, or apply them with a tool of yours, and remove them from `initialization`"),
    ))
}

/// Refuses an image where apps are built, and the lack of one where they are not, before any call.
pub(super) fn takes_image(
    provider: &ProviderName,
    fleet: &FleetCapabilities,
    image: Option<&ImageRef>,
) -> Result<(), OperationError> {
    let (words, help) = match (fleet.images, image) {
        (true, None) if fleet.builds_images => return Ok(()),
        (true, None) => (
            format!("provider `{provider}` runs images and builds none in this program"),
            "build and push it with a tool of yours, and name it by its digest: `--image REPOSITORY@sha256:…`",
        ),
        (false, Some(image)) => (
            format!("provider `{provider}` builds the app from its source and runs no images: `{image}`"),
            "leave `--image` out, name it in each service that runs from it (`runtime: docker`, `image`), or choose a provider that runs images (`--provider aws`)",
        ),
        _ => return Ok(()),
    };
    let error = ProviderError::new(ErrorKind::Unsupported, words);
    Err(OperationError::Provider(error.with_code(rules::IMAGES.to_string()).with_help(help)))
}

/// Refuses services that are to run in containers where they cannot, and images of services where the app has
/// one image, before any call.
pub(super) fn runs_contained(
    provider: &ProviderName,
    fleet: &FleetCapabilities,
    services: &BTreeMap<ServiceName, ServiceConfig>,
) -> Result<(), OperationError> {
    let named = |test: fn(&ServiceConfig) -> bool| {
        services.iter().find(|(_, service)| test(service)).map(|(name, _)| name)
    };
    let without = named(|service| service.image.is_some() && service.runtime != Runtime::Docker);
    let (words, help) = if let Some(service) =
        named(|service| service.image.is_some()).filter(|_| fleet.images)
    {
        (
            format!(
                "provider `{provider}` runs all services of an app from one image, and `{service}` names its own"
            ),
            "leave `image` out of the service, or give the app's image by `--image`",
        )
    } else if let Some(service) = without.filter(|_| fleet.containers) {
        (
            format!("`{service}` names an image and does not run in a container"),
            "add `runtime: docker` to the service, or leave `image` out",
        )
    } else if let Some(service) =
        named(|service| service.runtime == Runtime::Docker).filter(|_| !fleet.containers && !fleet.images)
    {
        (
            format!("provider `{provider}` runs no containers, and `{service}` is to run in one"),
            "leave `runtime` out, or choose a provider that does (`bare-metal`, `local`, `aws`)",
        )
    } else {
        return Ok(());
    };
    let error = ProviderError::new(ErrorKind::Unsupported, words);
    Err(OperationError::Provider(error.with_code(rules::IMAGES.to_string()).with_help(help)))
}

pub(super) fn fleet(provider: &dyn Provider) -> Result<Arc<dyn Fleet>, OperationError> {
    provider.fleet().ok_or_else(|| {
        let words = match provider.no_fleet() {
            Some(why) => format!("provider `{}` carries no releases of this stack: {why}", provider.name()),
            None => format!("provider `{}` carries no releases in this build", provider.name()),
        };
        OperationError::Provider(
            ProviderError::new(
                ErrorKind::Unsupported,
                words,
            )
            .with_code(rules::NO_RELEASES.to_string())
            .with_help("`--infra-only` plans and makes all that the app stands on there; apps run with `--provider local` or `bare-metal`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Digest;

    #[test]
    fn an_image_is_for_those_who_run_images_and_they_need_one() {
        let provider = ProviderName::new("acme").unwrap();
        let image = ImageRef::new(format!("shop@{}", Digest::of(b"x"))).unwrap();
        let mut fleet = FleetCapabilities::default();
        assert!(takes_image(&provider, &fleet, None).is_ok());
        let error = takes_image(&provider, &fleet, Some(&image)).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), (rules::IMAGES, 1));
        assert!(error.to_string().contains("`acme`") && error.help().is_some(), "{error}");
        fleet.images = true;
        assert!(takes_image(&provider, &fleet, Some(&image)).is_ok());
        let error = takes_image(&provider, &fleet, None).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), (rules::IMAGES, 1));
        fleet.builds_images = true;
        assert!(takes_image(&provider, &fleet, None).is_ok());
    }

    #[test]
    fn containers_are_for_those_who_run_them() {
        let provider = ProviderName::new("acme").unwrap();
        let services = |more: &str| -> BTreeMap<ServiceName, ServiceConfig> {
            let text = format!(r#"{{ "api": {{ "run": "./api" }}, "web": {{ "run": "./web"{more} }} }}"#);
            serde_json::from_str(&text).unwrap()
        };
        let image = format!(r#", "image": "shop@{}""#, Digest::of(b"x"));
        let contained = r#", "runtime": "docker""#;
        let machines = FleetCapabilities { containers: true, ..FleetCapabilities::default() };
        let images = FleetCapabilities { images: true, ..FleetCapabilities::default() };
        let neither = FleetCapabilities::default();
        for (fleet, more, good) in [
            (&machines, String::new(), true),
            (&machines, contained.to_owned(), true),
            (&machines, format!("{contained}{image}"), true),
            (&machines, image.clone(), false),
            (&images, contained.to_owned(), true),
            (&images, format!("{contained}{image}"), false),
            (&neither, String::new(), true),
            (&neither, contained.to_owned(), false),
        ] {
            let said = runs_contained(&provider, fleet, &services(&more));
            assert_eq!(said.is_ok(), good, "{fleet:?} {more}");
            if let Err(error) = said {
                assert!(error.to_string().contains("`web`") && error.help().is_some(), "{error}");
                assert_eq!(error.code(), rules::IMAGES);
            }
        }
    }

    #[test]
    fn files_that_a_fleet_does_not_apply_are_refused_by_name() {
        let provider = ProviderName::new("acme").unwrap();
        let file = Migration {
            resource: "main".to_owned(),
            file: "initialization/postgres/schema.sql".to_owned(),
            digest: Digest::of(b"x"),
            irreversible: Vec::new(),
        };
        let mut fleet = FleetCapabilities::default();
        let error = applies_files(&provider, &fleet, std::slice::from_ref(&file)).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), (rules::NO_MIGRATIONS, 1));
        assert!(error.to_string().contains("`acme`") && error.to_string().contains(&file.file), "{error}");
        assert!(error.help().is_some());
        assert!(applies_files(&provider, &fleet, &[]).is_ok());
        fleet.migrates = true;
        assert!(applies_files(&provider, &fleet, &[file]).is_ok());
    }
}
