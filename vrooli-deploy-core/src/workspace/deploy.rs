//! Planning a deployment: manifest → requirements → stack → draft → situation → plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::Uuid;

use super::change::{After, Change};
use super::planned_cost::gate;
use super::quotas::within_quotas;
use super::resources_only::{leave_app_out, resources_only};
use super::secrets::PendingSecret;
use super::session::{Interrupted, applies_files, fleet, runs_contained, takes_image};
use super::source::Source;
use super::steps::{expired, serves, start_steps};
use super::{DeployOptions, OperationError, PlanReport, Run, Target, Workspace};
use crate::diagnostics::{Diagnostic, Severity, rules};
use crate::engine::{StackState, Survey, survey};
use crate::manifest::{DeploymentManifest, LoadedManifest, StrategyConfig, StrategyKind, Tier};
use crate::names::{ProviderName, ReleaseNumber, ResourceKey, ResourceKind, VariableName};
use crate::plan::{self, Draft, Plan, PlannedRelease, ReleaseSource, Step};
use crate::provider::{
    BuildRequest, Cancellation, Containers, FleetCapabilities, LowerOptions, OpCtx, Provider,
};
use crate::release::strategy::{Situation, StrategyError};
use crate::release::{Capacity, DraftInput, EnvValue, beyond, draft};
use crate::requirements::{self, DeriveOptions};
use crate::stack::{Reference, Stack};

/// Everything that a plan is made from.
pub(super) struct Prepared {
    manifest: DeploymentManifest,
    pub(super) provider: ProviderName,
    strategy: String,
    pub(super) stack: Stack,
    /// What is not made although the app wants it.
    pub(super) left_out: BTreeSet<ResourceKey>,
    draft: Draft,
    request: BuildRequest,
    secrets: Vec<PendingSecret>,
    source: Source,
    /// Are optional dependencies in it?
    pub(super) include_optional: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Prepared {
    /// The manifest as it is deployed: with the user's choices in it.
    pub(super) fn laid_over(&self, loaded: &LoadedManifest) -> LoadedManifest {
        let mut loaded = loaded.clone();
        loaded.manifest = self.manifest.clone();
        loaded.manifest.provider = self.provider.clone();
        if self.source.region.is_some() {
            loaded.manifest.infrastructure.region.clone_from(&self.source.region);
        }
        loaded
    }

    /// What is built, with what only builders of images ask about.
    fn request_of(&self, fleet: &FleetCapabilities) -> BuildRequest {
        if fleet.builds_images && self.request.image.is_none() {
            return self.image_request();
        }
        match Containers::of(&self.manifest.services).filter(|_| fleet.containers) {
            None => self.request.clone(),
            Some(containers) if containers.builds() => {
                BuildRequest { containers: Some(containers), ..self.image_request() }
            }
            containers => BuildRequest { containers, ..self.request.clone() },
        }
    }

    /// The same for an image.
    pub(super) fn image_request(&self) -> BuildRequest {
        let mut base_images = self.manifest.build.base_images.clone();
        base_images.extend(self.source.base_images.clone());
        let runs = self.manifest.services.values().map(|service| service.run.clone()).collect();
        BuildRequest { runs, base_images, ..self.request.clone() }
    }
}

impl Workspace {
    /// What a deployment would do, and what it would cost. Takes no lease and changes nothing.
    ///
    /// # Errors
    /// When the input cannot be used, the world cannot be looked at, or there is a budget and something has no
    /// price. A budget that is not kept is no error here: see [`PlanReport::gate`].
    pub async fn plan(&self, target: &Target, options: &DeployOptions) -> Result<PlanReport, OperationError> {
        let prepared = self.prepare(target, options).await?;
        let provider = self.provider(&target.stack, &prepared.provider, Some(&prepared.stack)).await?;
        let state = self.0.store.load(&target.stack).await?;
        self.is_nobody_elses(&target.stack, &*provider, &state).await?;
        let cx = self.observe_context(&target.stack, 0, Cancellation::new());
        let mut plan = self.assemble(&prepared, &*provider, &state, &cx, options).await?;
        let cost = self.cost_of_deployment(target, &prepared, &state, &mut plan, &options.cost)?;
        let mut diagnostics = prepared.diagnostics;
        diagnostics.extend(irreversible_ahead(&plan, &state));
        if let Some(open) = &state.open {
            plan.notes.push(format!(
                "`{}` was interrupted; it is resolved first, and this plan made again from what is there then",
                open.plan.command
            ));
        }
        expect(options, &plan)?;
        Ok(PlanReport { plan, cost, diagnostics })
    }

    /// How a plan made now differs from a saved one, in words. Empty: it is the same.
    #[must_use]
    pub fn compare(saved: &Plan, fresh: &Plan) -> Vec<String> {
        if saved.digest == fresh.digest { Vec::new() } else { plan::compare(saved, fresh) }
    }

    /// Plans a deployment under the stack's lease. An interrupted run is resolved first.
    ///
    /// # Errors
    /// When the input cannot be used, someone else holds the lease, the world cannot be looked at, or there is a
    /// budget that is not known to be kept ([`OperationError::Budget`], exit 7).
    pub async fn deploy(
        &self,
        target: &Target,
        options: &DeployOptions,
        run: &Run,
    ) -> Result<Change, OperationError> {
        let mut prepared = self.prepare(target, options).await?;
        let wanted = Some(&prepared.stack);
        let session = self
            .session_for(&target.stack, &prepared.provider, wanted, run, "deploy", Interrupted::Resolve)
            .await?;
        self.is_nobody_elses(&target.stack, &*session.provider, &session.state).await?;
        let cx = session.revive().await?;
        let mut plan = self.assemble(&prepared, &*session.provider, &session.state, &cx, options).await?;
        expect(options, &plan)?;
        let cost = self.cost_of_deployment(target, &prepared, &session.state, &mut plan, &options.cost)?;
        gate(cost.as_ref())?;
        let after = After {
            source: Some(prepared.source.clone()),
            profile: prepared.source.profile,
            stopped: Some(false),
            secrets: std::mem::take(&mut prepared.secrets),
            detach: options.no_wait,
            destroyed: None,
            orphans: None,
        };
        let mut diagnostics = prepared.diagnostics;
        diagnostics.extend(irreversible_ahead(&plan, &session.state));
        Ok(Change { session, plan, cost, diagnostics, after })
    }

    /// Everything that can be decided without looking at the world.
    pub(super) async fn prepare(
        &self,
        target: &Target,
        options: &DeployOptions,
    ) -> Result<Prepared, OperationError> {
        let known = self.source(&target.stack).await?;
        let Some(loaded) = target.manifest.clone() else {
            // It is there, but cannot be used.
            if target.diagnostics.iter().any(|d| d.severity == Severity::Error) {
                return Err(OperationError::Input(target.diagnostics.clone()));
            }
            let place = known.map_or_else(String::new, |s| format!(" (it came from {})", s.root.display()));
            return Err(OperationError::Nothing {
                message: format!("the folder of `{}` is gone{place}", target.stack.app),
                help: "give the folder where it is now, with `--adopt`; stop, start, rollback and destroy work by name".to_owned(),
            });
        };
        if let Some(source) = &known
            && source.root != loaded.root
            && source.root.exists()
            && !options.adopt
        {
            return Err(OperationError::OtherSource {
                name: target.stack.app.to_string(),
                other: source.root.clone(),
            });
        }
        let mut manifest = loaded.manifest.clone();
        manifest.app.name = target.stack.app.clone();
        manifest.drop.extend(options.drop.iter().cloned());
        manifest.swaps.extend(options.swaps.iter().cloned());
        if options.allow_degraded {
            for service in manifest.services.values_mut() {
                if let Some(health) = &mut service.health {
                    health.allow_degraded = true;
                }
            }
        }
        let provider = options.provider.clone().unwrap_or_else(|| manifest.provider.clone());
        if let Some(there) = known.as_ref().map(|source| &source.provider)
            && *there != provider
        {
            let state = self.0.store.load(&target.stack).await?;
            if state.current.is_some() || !state.resources.is_empty() || state.open.is_some() {
                return Err(OperationError::OtherProvider {
                    stack: target.stack.clone(),
                    there: there.clone(),
                    wanted: provider,
                });
            }
        }
        let strategy = options.strategy.clone().unwrap_or_else(|| manifest.strategy.kind.name().to_owned());
        self.0.strategies.get(&strategy)?;
        let kind = options.strategy.as_deref().and_then(StrategyKind::named);
        manifest.strategy = options.strategy_options.over(&manifest.strategy, kind);
        let factory = self.0.registry.get(&provider)?;

        let mut diagnostics = target.diagnostics.clone();
        diagnostics.extend(impossible(&manifest.strategy));
        let chosen = target.profile.as_ref().and_then(|version| version.profile.as_ref());
        let settings = chosen.map(|profile| profile.settings.clone()).unwrap_or_default();
        let derive = DeriveOptions {
            include_optional: options.include_optional || settings.include_optional.unwrap_or(false),
            // What this machine may leave out with a warning, a cloud may not.
            tier: (manifest.target == Tier::Local && provider.as_str() != "local").then_some(Tier::Saas),
            ..DeriveOptions::default()
        };
        let tier = derive.tier.unwrap_or(manifest.target);
        if let Some((_, found)) = requirements::scenarios_around(&loaded, &manifest, tier) {
            diagnostics.extend(found);
        }
        let derived = requirements::derive_at(&manifest, &derive, &loaded.spans);
        let requirements = keep(derived, &mut diagnostics)?;
        let resolved =
            self.secrets(&target.stack, &loaded, &manifest, &requirements, &mut diagnostics).await?;
        let known_port = known.as_ref().and_then(|s| s.port);
        let known_listen = known.as_ref().and_then(|s| s.listen);
        let provided: BTreeSet<VariableName> = manifest
            .env
            .keys()
            .chain(manifest.services.values().flat_map(|s| s.env.keys()))
            .chain(manifest.secrets.keys())
            // A key that is there points to the service that issued it.
            .chain(resolved.references.keys())
            .cloned()
            .collect();
        let region = options.region.clone().or_else(|| known.as_ref().and_then(|s| s.region.clone()));
        let mut infrastructure = manifest.infrastructure.clone();
        if region.is_some() {
            infrastructure.region.clone_from(&region);
        }
        let lower = LowerOptions {
            infrastructure,
            networking: manifest.networking.clone(),
            domain: manifest.app.domain.clone(),
            port: options.port.or(settings.port).or(known_port),
            listen: options.listen.or(settings.listen).or(known_listen),
            provided,
            spans: loaded.spans.clone(),
        };
        let mut stack = keep(factory.lower(&target.stack, &requirements, &lower), &mut diagnostics)?;
        if diagnostics.iter().any(|d| d.severity == Severity::Error) {
            return Err(OperationError::Input(diagnostics));
        }
        let draft = keep(
            draft(&DraftInput {
                manifest: &manifest,
                root: &loaded.root,
                environment: &target.stack.environment,
                requirements: &requirements,
                stack: &stack,
                secrets: &resolved.references,
            }),
            &mut diagnostics,
        )?;
        let left_out = if options.infra_only {
            let state = self.0.store.load(&target.stack).await?;
            let kinds = factory.kinds();
            let runs_app =
                |kind: &ResourceKind| kinds.iter().any(|known| known.kind() == *kind && known.runs_app());
            leave_app_out(&mut stack, runs_app, |key| state.resources.contains_key(key))
        } else {
            BTreeSet::new()
        };
        let pass_env = if options.pass_env.is_empty() {
            known.as_ref().map(|s| s.pass_env.clone()).unwrap_or_default()
        } else {
            options.pass_env.clone()
        };
        let mut base_images = known.as_ref().map(|s| s.base_images.clone()).unwrap_or_default();
        base_images.extend(options.base_images.clone());
        let mut steps = manifest.build.steps.clone();
        steps.extend(manifest.services.values().flat_map(|s| s.build.iter().cloned()));
        let mut exclude = manifest.build.exclude.clone();
        exclude.extend(resolved.private_files);
        let request = BuildRequest {
            root: loaded.root.clone(),
            context: loaded.context.clone(),
            exclude,
            include: manifest.build.include.clone(),
            steps,
            pass_env: pass_env.iter().map(ToString::to_string).collect(),
            env: manifest.env.clone(),
            image: options.image.clone(),
            runs: Vec::new(),
            base_images: BTreeMap::new(),
            containers: None,
        };
        let source = Source {
            root: loaded.root.clone(),
            file: absolute(&loaded.file)?,
            provider: provider.clone(),
            region,
            port: lower.port,
            listen: lower.listen,
            pass_env,
            base_images,
            profile: target.profile.as_ref().map(|version| version.reference()),
            values: target.values.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?,
            stopped: known.is_some_and(|s| s.stopped),
        };
        Ok(Prepared {
            manifest,
            provider,
            strategy,
            stack,
            left_out,
            draft,
            request,
            secrets: resolved.pending,
            source,
            include_optional: derive.include_optional,
            diagnostics,
        })
    }

    async fn assemble(
        &self,
        prepared: &Prepared,
        provider: &dyn Provider,
        state: &StackState,
        cx: &OpCtx,
        options: &DeployOptions,
    ) -> Result<Plan, OperationError> {
        if options.infra_only || prepared.manifest.services.is_empty() {
            return resources_only(prepared, provider, state, cx, options.infra_only).await;
        }
        let fleet = fleet(provider)?;
        takes_image(provider.name(), &fleet.capabilities(), prepared.request.image.as_ref())?;
        runs_contained(provider.name(), &fleet.capabilities(), &prepared.manifest.services)?;
        applies_files(provider.name(), &fleet.capabilities(), &prepared.draft.migrations)?;
        let request = prepared.request_of(&fleet.capabilities());
        // Sources are read while what is there is asked for.
        let (seen, source) = tokio::join!(survey(provider, cx, state), fleet.source_digest(cx, &request));
        let (Survey { inventory, units, routing, .. }, source) = (seen?, source?);
        let draft = Draft { capacity: fleet.capacity(), ..prepared.draft.clone() };
        let incarnation = if state.incarnation.is_nil() { Uuid::new_v4() } else { state.incarnation };
        let resource_options =
            plan::ResourceOptions { first_release: state.current.is_none(), ..Default::default() };
        let resources = plan::resources(&plan::ResourceInput {
            stack: &prepared.stack,
            state,
            inventory: &inventory,
            incarnation,
            provider,
            options: &resource_options,
        })?;
        let unasked = within_quotas(provider, cx, &resources.steps).await?;
        let resource_steps = resources.steps;
        let current = state.current.and_then(|n| state.releases.get(&n)).map(|r| &r.release);
        let changed_keys: BTreeSet<_> = resource_steps.iter().filter_map(plan::changed_key).collect();
        let resolve = |reference: &Reference| -> Option<EnvValue> {
            if changed_keys.contains(&reference.key) {
                return None;
            }
            EnvValue::from_output(state.resources.get(&reference.key)?.outputs.get(&reference.output)?)
        };
        let no_longer_kept = |next| expired(state, next, prepared.manifest.strategy.keep, Timestamp::now());
        let strategy = self.0.strategies.get(&prepared.strategy)?;
        let fleet_capabilities = fleet.capabilities();
        let mut release = None;
        let mut release_steps: Vec<Step> = Vec::new();
        let mut strategy_notes = Vec::new();
        let same = current.is_some_and(|current| draft.equals(&current.bundle, &source, resolve));
        let unchanged = same && !options.force;
        // Read again from what was seen: of servers it costs no round trip.
        let altered = match current.filter(|_| unchanged) {
            Some(current) => fleet.differences(cx, current).await?,
            None => Vec::new(),
        };
        let altered = altered.iter().find(|one| one.part.is_of_release()).map(ToString::to_string);
        let because = match current {
            None => "there is no release yet".to_owned(),
            Some(current) if current.bundle.artefact.source != source => "its source changed".to_owned(),
            Some(current) if !draft.stands_as(&current.bundle) => {
                Capacity::differences(&current.bundle.capacity, &draft.capacity)
            }
            Some(_) if !same => "its configuration changed".to_owned(),
            Some(_) if options.force => "forced".to_owned(),
            Some(_) => altered.clone().unwrap_or_else(|| "what was built of it is gone".to_owned()),
        };
        let serves = current.is_some_and(|current| serves(current, &units, &routing));
        // What another hand removed cannot be started again.
        let is_there = altered.is_none()
            && (serves || !unchanged || {
                let staged = fleet.staged(cx).await?;
                current.is_some_and(|current| staged.iter().any(|there| there.number == current.number))
            });
        match current {
            Some(current) if unchanged && is_there => {
                if !serves {
                    let next = PlannedRelease {
                        number: current.number,
                        source: ReleaseSource::Staged { release: Box::new(current.clone()) },
                    };
                    let expired = no_longer_kept(next.number);
                    release_steps = start_steps(&next, &units, &routing, &fleet_capabilities, &expired);
                    release = Some(next);
                }
            }
            _ => {
                let next = PlannedRelease {
                    number: ReleaseNumber(state.last_release + 1),
                    source: ReleaseSource::Build {
                        request: Box::new(request.clone()),
                        source,
                        draft: Box::new(draft.clone()),
                    },
                };
                let expired = no_longer_kept(next.number);
                let situation = Situation {
                    next: &next,
                    current,
                    routing: &routing,
                    units: &units,
                    fleet: &fleet_capabilities,
                    config: &prepared.manifest.strategy,
                    because: &because,
                    expired: &expired,
                };
                release_steps = strategy.steps(&situation)?;
                strategy_notes = strategy.notes(&situation);
                if options.no_wait && prepared.manifest.strategy.watch_window().is_some() {
                    may_be_left_alone(&fleet_capabilities)?;
                }
                release = Some(next);
            }
        }
        let mut notes = resources.notes;
        notes.extend(unasked);
        notes.extend(strategy_notes);
        if release.as_ref().is_some_and(|next| matches!(next.source, ReleaseSource::Build { .. })) {
            fleet.admits(cx, &draft).await?;
            notes.extend(fleet.foresee(cx, &request).await?);
        }
        if !draft.migrations.is_empty()
            && release.as_ref().is_some_and(|r| matches!(r.source, ReleaseSource::Build { .. }))
        {
            notes.push("SQL files that were applied before are not applied again; applied SQL is not taken back by a rollback".to_owned());
        }
        Ok(plan::assemble(plan::AssembleInput {
            stack: prepared.stack.id.clone(),
            provider: prepared.provider.clone(),
            incarnation,
            command: "deploy".to_owned(),
            resource_steps,
            specs: resources.specs,
            release_steps,
            release,
            current: state.current,
            notes,
            inventory: &inventory,
        })?)
    }
}

/// SQL that this plan applies for the first time, that the running release may not live with
/// and that a rollback does not take back.
fn irreversible_ahead(plan: &Plan, state: &StackState) -> Vec<Diagnostic> {
    let current = state.current.and_then(|n| state.releases.get(&n)).map(|record| &record.release.bundle);
    let (Some(current), Some(PlannedRelease { source: ReleaseSource::Build { draft, .. }, .. })) =
        (current, &plan.release)
    else {
        return Vec::new();
    };
    beyond(&draft.migrations, &current.migrations)
        .flat_map(|file| file.irreversible.iter().map(move |statement| (file, statement)))
        .map(|(file, statement)| {
            rules::IRREVERSIBLE_SQL
                .diagnostic(format!(
                    "{}:{}: `{}` cannot be taken back, and the running release may not live with it",
                    file.file, statement.line, statement.what
                ))
                .help(format!("expand first, contract later: {}", statement.advice))
        })
        .collect()
}

/// What of the strategy's options cannot be followed, wherever they came from.
fn impossible(config: &StrategyConfig) -> impl Iterator<Item = Diagnostic> {
    config.problems().into_iter().filter(|problem| !problem.harmless).map(|problem| {
        rules::STRATEGY_OPTION
            .diagnostic(format!("strategy option `{}`: {}", problem.field, problem.message))
            .help(problem.help)
    })
}

/// A watch that nobody waits for needs something that goes on with it.
fn may_be_left_alone(fleet: &FleetCapabilities) -> Result<(), OperationError> {
    if fleet.keeps_watch { Ok(()) } else { Err(StrategyError::NoWatcher.into()) }
}

fn expect(options: &DeployOptions, plan: &Plan) -> Result<(), OperationError> {
    match &options.expected {
        Some(expected) if *expected != plan.digest => Err(OperationError::PlanChanged {
            differences: vec![format!(
                "the saved plan has digest {}, the plan made now {}",
                expected.short(),
                plan.digest.short()
            )],
        }),
        _ => Ok(()),
    }
}

pub(super) fn keep<T>(
    checked: crate::diagnostics::Checked<T>,
    all: &mut Vec<Diagnostic>,
) -> Result<T, OperationError> {
    let failed = checked.has_errors();
    all.extend(checked.diagnostics);
    match checked.value {
        Some(value) if !failed => Ok(value),
        _ => Err(OperationError::Input(std::mem::take(all))),
    }
}

/// A path that means the same from any folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, OperationError> {
    std::path::absolute(path)
        .map_err(|e| OperationError::Io { path: path.to_owned(), message: e.to_string() })
}
