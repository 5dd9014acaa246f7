//! Calls about resources, and what is done when one gave no clear answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::call::{Call, Calls};
use super::codes;
use super::entry::{StepFailure, StepOutput};
use super::event::Event;
use super::failure::{StepError, StepResult, interrupted, own};
use super::stack_state::ResourceState;
use crate::names::{OutputName, ResourceKey, ResourceKind};
use crate::plan::StepId;
use crate::provider::{
    Change, CreateToken, Created, ErrorKind, Found, KindSupport, OpToken, OutputValue, Outputs, PhysicalId,
    Retryability,
};
use crate::secrets::{Secret, SecretRef};

/// How often a change whose answer was lost is looked up and made again.
const ROUNDS: u32 = 4;

/// How long reading back what was just made may fail: reading does no harm, losing does.
const READ_BACK: Duration = Duration::from_secs(120);

/// One resource in a call: everything that the call needs, owned.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) step: StepId,
    pub(super) key: ResourceKey,
    pub(super) kind: ResourceKind,
    /// The token it is, or was, made with.
    pub(super) token: Option<OpToken>,
    /// The spec, resolved.
    pub(super) spec: Value,
    /// Outputs that something refers to.
    pub(super) needed: BTreeSet<OutputName>,
    /// What the state knows of the object, when it is changed and not made.
    pub(super) known: Option<ResourceState>,
    /// An object with the same marks that is another: the one that is being replaced.
    pub(super) other: Option<PhysicalId>,
}

/// What looking for an object that may have been made found.
enum Lookup {
    /// It is there.
    There(Box<StepOutput>),
    /// It is not.
    Absent,
    /// It was there, could not be used without its lost secret, and is deleted.
    Removed,
}

impl Calls<'_> {
    fn support(&self, kind: &ResourceKind) -> KindSupport {
        self.engine.capabilities.kinds.get(kind).copied().unwrap_or(KindSupport {
            native: true,
            create_token: CreateToken::Marks,
            settle: Duration::ZERO,
        })
    }

    /// Makes a resource. An answer that was lost is looked up before anything is made again.
    pub(super) async fn create(&self, subject: &Subject) -> StepResult<StepOutput> {
        let support = self.support(&subject.kind);
        let started = Instant::now();
        let mut looked = false;
        let mut last = None;
        for _ in 0..ROUNDS {
            match self.create_once(subject).await {
                Ok(created) => {
                    let output = self.finish(subject, created).await?;
                    if output_covers(subject, &output) {
                        if looked {
                            self.remove_twins(subject, &output).await;
                        }
                        return Ok(output);
                    }
                    // Found, not made: by an attempt that died before it had stored the secret.
                    last = Some(secret_lost(subject, "the next run makes it anew"));
                }
                Err(error) if error.retry() == Retryability::LookUpFirst => last = Some(self.failure(&error)),
                Err(error) => {
                    if error.kind() != ErrorKind::Cancelled {
                        self.remove_half_made(subject).await;
                    }
                    return Err(self.step_error(&subject.step, &error));
                }
            }
            looked = true;
            match self.look_up(subject, support, started.elapsed()).await? {
                Lookup::There(output) => {
                    let completed = self.complete(subject, *output).await;
                    if matches!(completed, Err(StepError::Failed(_))) {
                        self.remove_half_made(subject).await;
                    }
                    return completed;
                }
                Lookup::Removed if support.create_token == CreateToken::Native => {
                    return Err(StepError::Failed(secret_lost(subject, "the next run makes it anew")));
                }
                Lookup::Removed | Lookup::Absent => {}
            }
        }
        Err(StepError::Unknown(last.unwrap_or_else(|| unknown("the create gave no clear answer"))))
    }

    /// What was found after a create without a clear answer may be half of what is wanted.
    async fn complete(&self, subject: &Subject, output: StepOutput) -> StepResult<StepOutput> {
        let StepOutput::Resource { id, observed, .. } = &output else { return Ok(output) };
        let kind = self.provider().kind(&subject.kind).map_err(|e| self.step_error(&subject.step, &e))?;
        let change = kind.diff(&subject.spec, observed).map_err(|e| self.step_error(&subject.step, &e))?;
        match change {
            Change::InPlace(_) => self.update(subject, id, observed).await,
            // What could only be made anew is for the next plan to say.
            Change::None | Change::Replace(_) => Ok(output),
        }
    }

    async fn create_once(&self, subject: &Subject) -> crate::provider::Result<Created<Value>> {
        let call =
            Call::new(&subject.step, "create", self.engine.options.deadlines.change).token(subject.token);
        self.make(call, |cx| async move {
            self.provider().create(&cx, &subject.kind, &subject.key, &subject.spec).await
        })
        .await
    }

    /// Resolves a create that an interrupted run left behind, `ago` after it was written down.
    /// With a token it is simply made again, which settles it: the provider remembers the token.
    /// Without one its absence is believed only once a lost create can no longer land. A unique
    /// name is no token: it is free again after a delete, and a late create would take it.
    pub(super) async fn recover_create(&self, subject: &Subject, ago: Duration) -> StepResult<StepOutput> {
        let support = self.support(&subject.kind);
        match self.look_up(subject, support, ago).await? {
            Lookup::There(output) => Ok(*output),
            Lookup::Removed => Err(StepError::Failed(interrupted(
                "it had been made, but its secret was lost with the run: it is deleted and made anew",
            ))),
            Lookup::Absent if support.create_token != CreateToken::Native => {
                Err(StepError::Failed(interrupted("it was never made")))
            }
            Lookup::Absent => match self.create(subject).await {
                Err(StepError::Failed(failure)) => {
                    Err(StepError::Failed(interrupted(&format!("it was never made: {}", failure.message))))
                }
                other => other,
            },
        }
    }

    /// Looks for what a create may have made.
    async fn look_up(&self, subject: &Subject, support: KindSupport, ago: Duration) -> StepResult<Lookup> {
        let mut mine = self.mine(subject).await?;
        if mine.is_empty() && support.create_token != CreateToken::Native {
            let wait = support.settle.saturating_sub(ago);
            if !wait.is_zero() {
                self.events.send(&Event::Note {
                    message: format!(
                        "waiting {} to be sure that `{}` was not made",
                        crate::duration::format(wait),
                        subject.key
                    ),
                });
                sleep(wait).await;
                mine = self.mine(subject).await?;
            }
        }
        let mut mine = mine.into_iter();
        let Some(first) = mine.next() else { return Ok(Lookup::Absent) };
        for twin in mine {
            self.remove_twin(subject, &twin).await;
        }
        let made_here = first.token.is_some() && first.token == subject.token;
        let id = first.id.clone();
        match self.usable(subject, first, self.support(&subject.kind)).await? {
            Some(output) => Ok(Lookup::There(Box::new(output))),
            None if made_here => {
                self.delete(subject, &id).await?;
                Ok(Lookup::Removed)
            }
            None => Err(StepError::Failed(secret_lost(
                subject,
                "it was there before, so it is not deleted; put its secret into the store, or delete it yourself",
            ))),
        }
    }

    /// Objects with our marks that this create may have made, oldest first.
    async fn mine(&self, subject: &Subject) -> StepResult<Vec<Found<Value>>> {
        let found = self.find(subject, None).await?;
        Ok(found
            .into_iter()
            .filter(|f| Some(&f.id) != subject.other.as_ref())
            .filter(|f| f.token.is_none() || subject.token.is_none() || f.token == subject.token)
            .collect())
    }

    /// What cannot be looked up is not known: it stays open.
    async fn find(&self, subject: &Subject, id: Option<&PhysicalId>) -> StepResult<Vec<Found<Value>>> {
        let call = Call::new(&subject.step, "find", self.engine.options.deadlines.find).repeatable();
        self.make(call, |cx| async move { self.provider().find(&cx, &subject.kind, &subject.key, id).await })
            .await
            .map_err(|error| match self.step_error(&subject.step, &error) {
                StepError::Failed(failure) => StepError::Unknown(StepFailure { ambiguous: true, ..failure }),
                other => other,
            })
    }

    /// The output of an object that was found; `None` when a secret that something needs is lost.
    async fn usable(
        &self,
        subject: &Subject,
        found: Found<Value>,
        support: KindSupport,
    ) -> StepResult<Option<StepOutput>> {
        let mut outputs = self.outputs(subject, &found.id, &found.observed, BTreeMap::new())?;
        if !covers(subject, &outputs) && support.create_token != CreateToken::Marks {
            // Made again with the same token it is the same object, and may tell its secret again.
            if let Ok(Created::Read { id, secrets, .. } | Created::Unread { id, secrets }) =
                self.create_once(subject).await
                && id == found.id
            {
                let stored = self.store(subject, secrets)?;
                outputs = self.outputs(subject, &found.id, &found.observed, stored)?;
            }
        }
        Ok(covers(subject, &outputs).then_some(StepOutput::Resource {
            id: found.id,
            observed: found.observed,
            outputs,
        }))
    }

    /// Stores secrets, reads back what could not be read, and collects outputs.
    async fn finish(&self, subject: &Subject, created: Created<Value>) -> StepResult<StepOutput> {
        let (id, observed, secrets) = match created {
            Created::Read { id, observed, secrets } => (id, Some(observed), secrets),
            Created::Unread { id, secrets } => (id, None, secrets),
        };
        // First of all: a secret that is shown once must not wait for a read.
        let stored = self.store(subject, secrets)?;
        let observed = match observed {
            Some(observed) => observed,
            None => self.read_back(subject, &id).await?,
        };
        let outputs = self.outputs(subject, &id, &observed, stored)?;
        Ok(StepOutput::Resource { id, observed, outputs })
    }

    async fn read_back(&self, subject: &Subject, id: &PhysicalId) -> StepResult<Value> {
        let give_up = Instant::now() + READ_BACK;
        for attempt in 1.. {
            let found = self.find(subject, Some(id)).await?;
            if let Some(found) = found.into_iter().find(|f| f.id == *id) {
                return Ok(found.observed);
            }
            if Instant::now() >= give_up {
                break;
            }
            sleep(self.pause(&subject.step, attempt)).await;
        }
        Err(StepError::Unknown(unknown(&format!("{id} was made, but cannot be read back"))))
    }

    fn outputs(
        &self,
        subject: &Subject,
        id: &PhysicalId,
        observed: &Value,
        stored: BTreeMap<OutputName, SecretRef>,
    ) -> StepResult<Outputs> {
        let kind = self.provider().kind(&subject.kind).map_err(|e| self.step_error(&subject.step, &e))?;
        let mut outputs = kind.outputs(id, observed).map_err(|e| self.step_error(&subject.step, &e))?;
        outputs.extend(stored.into_iter().map(|(name, secret)| (name, OutputValue::Secret(secret))));
        for name in kind.output_names() {
            let Ok(name) = OutputName::new(*name) else { continue };
            if outputs.contains_key(&name) {
                continue;
            }
            let before = subject.known.as_ref().and_then(|known| match known.outputs.get(&name) {
                Some(OutputValue::Secret(secret)) => Some(secret.clone()),
                _ => None,
            });
            let secret = match before {
                Some(secret) => Some(secret),
                None => self.stored(subject, &name)?,
            };
            if let Some(secret) = secret {
                outputs.insert(name, OutputValue::Secret(secret));
            }
        }
        Ok(outputs)
    }

    /// A secret that an earlier attempt at the same object has stored.
    fn stored(&self, subject: &Subject, name: &OutputName) -> StepResult<Option<SecretRef>> {
        let secrets = &self.engine.secrets;
        let broken = |e: crate::secrets::SecretError| StepError::Failed(secret_failure(&e));
        if subject.token.is_some() {
            return secrets.latest(&self.secret_path(subject, name)).map_err(broken);
        }
        // Its marks do not tell with which token it was made: one secret of that name is it, two are a guess.
        let prefix = format!("{}/{}/", self.stack, subject.key);
        let mut paths: BTreeMap<String, SecretRef> = BTreeMap::new();
        for secret in secrets.list(&prefix).map_err(broken)? {
            let rest = secret.path.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
            if rest.is_some_and(|(_, last)| last == name.as_str())
                && paths.get(&secret.path).is_none_or(|known| known.version < secret.version)
            {
                paths.insert(secret.path.clone(), secret);
            }
        }
        Ok(if paths.len() == 1 { paths.into_values().next() } else { None })
    }

    fn store(
        &self,
        subject: &Subject,
        secrets: BTreeMap<OutputName, Secret<String>>,
    ) -> StepResult<BTreeMap<OutputName, SecretRef>> {
        let mut stored = BTreeMap::new();
        for (name, secret) in secrets {
            let reference = self
                .engine
                .secrets
                .put(&self.secret_path(subject, &name), &secret)
                .map_err(|e| StepError::Unknown(secret_failure(&e)))?;
            stored.insert(name, reference);
        }
        Ok(stored)
    }

    /// `<app>/<environment>/<key>/<token>/<output>`: a new generation never finds the secret of an old one.
    fn secret_path(&self, subject: &Subject, name: &OutputName) -> String {
        if let Some(OutputValue::Secret(secret)) = subject.known.as_ref().and_then(|k| k.outputs.get(name)) {
            return secret.path.clone();
        }
        let token = subject.token.map_or_else(|| "adopted".to_owned(), |token| token.0.to_string());
        format!("{}/{}/{token}/{name}", self.stack, subject.key)
    }

    /// A create of several calls may be refused in the middle: half an object is of no use, and in no
    /// state that would take it back. What may have begun on older data stays, and is told.
    async fn remove_half_made(&self, subject: &Subject) {
        if subject.token.is_none() {
            return;
        }
        // Not being able to look harms nothing more: the next plan sees it in the inventory.
        let Ok(mine) = self.mine(subject).await else { return };
        let stays = self.provider().kind(&subject.kind).is_ok_and(|kind| kind.takes_up_data());
        for half in mine.into_iter().filter(|found| found.token == subject.token) {
            let why = if stays {
                "is left, as it may hold data"
            } else if self.delete(subject, &half.id).await.is_err() {
                "cannot be deleted"
            } else {
                continue;
            };
            let message =
                format!("`{}` was begun, and {} {why}: the next run takes it over", subject.key, half.id);
            self.events.send(&Event::Note { message });
        }
    }

    /// Looks once more after a create whose first answer was lost.
    async fn remove_twins(&self, subject: &Subject, output: &StepOutput) {
        let StepOutput::Resource { id, .. } = output else { return };
        // Not being able to look harms nothing: the next plan sees a twin in the inventory.
        let Ok(mine) = self.mine(subject).await else { return };
        for twin in mine.into_iter().filter(|found| found.id != *id) {
            self.remove_twin(subject, &twin).await;
        }
    }

    /// A younger object with our token that nothing refers to (or the provider refuses).
    async fn remove_twin(&self, subject: &Subject, twin: &Found<Value>) {
        if twin.token.is_none() || twin.token != subject.token {
            return;
        }
        let message = match self.delete(subject, &twin.id).await {
            Ok(()) => format!("`{}` had been made twice; {} is deleted", subject.key, twin.id),
            Err(_) => format!("`{}` was made twice, and {} cannot be deleted", subject.key, twin.id),
        };
        self.events.send(&Event::Note { message });
    }

    /// Changes a resource.
    pub(super) async fn update(
        &self,
        subject: &Subject,
        id: &PhysicalId,
        have: &Value,
    ) -> StepResult<StepOutput> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let call = Call::new(&subject.step, "update", self.engine.options.deadlines.change);
            let updated = self
                .make(call, |cx| async move {
                    self.provider().update(&cx, &subject.kind, &subject.key, id, have, &subject.spec).await
                })
                .await;
            let error = match updated {
                Ok(created) => return self.finish(subject, created).await,
                Err(error) => error,
            };
            if error.retry() != Retryability::LookUpFirst {
                return Err(self.step_error(&subject.step, &error));
            }
            last = Some(self.failure(&error));
            if let Some(output) = self.recover_update(subject, id).await? {
                return Ok(output);
            }
        }
        Err(StepError::Failed(last.unwrap_or_else(|| unknown("the update gave no clear answer"))))
    }

    /// The output of an update that has taken effect; `None` when it has not.
    pub(super) async fn recover_update(
        &self,
        subject: &Subject,
        id: &PhysicalId,
    ) -> StepResult<Option<StepOutput>> {
        let found = self.find(subject, Some(id)).await?;
        let Some(found) = found.into_iter().find(|f| f.id == *id) else {
            return Err(StepError::Failed(gone(subject, id)));
        };
        let kind = self.provider().kind(&subject.kind).map_err(|e| self.step_error(&subject.step, &e))?;
        let change =
            kind.diff(&subject.spec, &found.observed).map_err(|e| self.step_error(&subject.step, &e))?;
        if change != Change::None {
            return Ok(None);
        }
        let outputs = self.outputs(subject, id, &found.observed, BTreeMap::new())?;
        Ok(Some(StepOutput::Resource { id: found.id, observed: found.observed, outputs }))
    }

    /// Takes over an object that is there.
    pub(super) async fn adopt(&self, subject: &Subject, id: &PhysicalId) -> StepResult<StepOutput> {
        let found = self.find(subject, Some(id)).await?;
        let Some(found) = found.into_iter().find(|f| f.id == *id) else {
            return Err(StepError::Failed(gone(subject, id)));
        };
        let subject = Subject { token: found.token, ..subject.clone() };
        let outputs = self.outputs(&subject, id, &found.observed, BTreeMap::new())?;
        if covers(&subject, &outputs) {
            Ok(StepOutput::Resource { id: found.id, observed: found.observed, outputs })
        } else {
            Err(StepError::Failed(secret_lost(
                &subject,
                "put its secret into the store, or delete the object yourself if its data is not needed",
            )))
        }
    }

    /// Removes an object. What is not there any more is fine.
    pub(super) async fn delete(&self, subject: &Subject, id: &PhysicalId) -> StepResult<()> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let call = Call::new(&subject.step, "delete", self.engine.options.deadlines.change);
            let deleted =
                self.make(call, |cx| async move {
                    self.provider().delete(&cx, &subject.kind, &subject.key, id).await
                })
                .await;
            let error = match deleted {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.retry() != Retryability::LookUpFirst {
                return Err(self.step_error(&subject.step, &error));
            }
            last = Some(self.failure(&error));
            if self.is_gone(subject, id).await? {
                return Ok(());
            }
        }
        Err(StepError::Failed(last.unwrap_or_else(|| unknown("the delete gave no clear answer"))))
    }

    /// Is an object no longer there?
    pub(super) async fn is_gone(&self, subject: &Subject, id: &PhysicalId) -> StepResult<bool> {
        Ok(!self.find(subject, Some(id)).await?.iter().any(|found| found.id == *id))
    }
}

fn output_covers(subject: &Subject, output: &StepOutput) -> bool {
    matches!(output, StepOutput::Resource { outputs, .. } if covers(subject, outputs))
}

fn covers(subject: &Subject, outputs: &Outputs) -> bool {
    subject.needed.iter().all(|name| outputs.contains_key(name))
}

fn gone(subject: &Subject, id: &PhysicalId) -> StepFailure {
    own(
        codes::GONE,
        ErrorKind::NotFound,
        format!("`{}` ({id}) is gone", subject.key),
        Some("run the command again: it is planned from what is there then"),
    )
}

fn secret_lost(subject: &Subject, help: &str) -> StepFailure {
    own(
        codes::SECRET_LOST,
        ErrorKind::NotFound,
        format!("the secret of `{}` is shown only once, and was lost", subject.key),
        Some(help),
    )
}

/// Says no part of a value: [`SecretError`](crate::secrets::SecretError) holds none.
fn secret_failure(error: &crate::secrets::SecretError) -> StepFailure {
    own(
        codes::SECRET_STORE,
        ErrorKind::Unexpected,
        error.to_string(),
        Some("make the secret store usable and run the command again"),
    )
}

fn unknown(message: &str) -> StepFailure {
    StepFailure {
        ambiguous: true,
        ..own(
            codes::UNKNOWN,
            ErrorKind::Ambiguous,
            message,
            Some("run the command again; it is looked up first"),
        )
    }
}
