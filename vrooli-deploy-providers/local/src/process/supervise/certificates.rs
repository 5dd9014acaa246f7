//! Certificates of the apps that are served here: taken into use, and renewed without anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use vrooli_deploy_core::diagnostics::rules;
use vrooli_deploy_core::names::StackId;
use vrooli_deploy_core::provider::{CertificateSeen, ErrorKind, ProviderError, Result};
use vrooli_deploy_edge as edge;
use vrooli_deploy_edge::acme::{AcmeError, Certificate, CertificateName, Edges, LocalEdge};

use super::super::certificates::{Kept, failed, seen};
use super::super::ports;
use super::Supervisor;
use super::front;
use super::stack::Stack;

/// How often it is looked whether something is due, at least and at most.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Whoever deploys orders the first certificate. If that fails the servers do, one after the other.
const FIRST_TRY: SignedDuration = SignedDuration::from_mins(2);
const NEXT_SERVER: SignedDuration = SignedDuration::from_mins(30);

/// Keeps certificates of stacks.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    secured: Mutex<BTreeMap<StackId, Secured>>,
    /// One at a time of each stack.
    working: Mutex<BTreeMap<StackId, Arc<tokio::sync::Mutex<()>>>>,
    changed: Notify,
}

/// How a stack is served that has a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secured {
    /// Where requests without TLS are sent.
    pub(super) https: Option<edge::HttpsOnly>,
}

impl Keeper {
    /// How a stack is served by TLS, if it is.
    pub(super) fn secured(&self, stack: &StackId) -> Option<Secured> {
        self.secured.lock().unwrap_or_else(PoisonError::into_inner).get(stack).cloned()
    }

    /// Says so. Was it otherwise before?
    fn set_secured(&self, stack: &StackId, to: Option<Secured>) -> bool {
        let mut secured = self.secured.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match to.clone() {
            Some(to) => secured.insert(stack.clone(), to),
            None => secured.remove(stack),
        };
        before != to
    }

    /// Brings back what served before this supervisor was started; orders nothing.
    pub(super) async fn recover(&self, supervisor: &Arc<Supervisor>, stacks: &[StackId]) {
        for stack in stacks {
            let layout = supervisor.layout();
            let serves = seen(layout, stack).ok().flatten().is_some_and(|seen| seen.serves);
            let Ok(Some(kept)) = Kept::read(layout, stack) else { continue };
            if !serves {
                continue;
            }
            let opened = match ports::secure_front(layout) {
                Ok(Some(address)) => supervisor.front.open_secure(supervisor, stack, address).await,
                Ok(None) => continue,
                Err(e) => Err(e),
            };
            if let Err(e) = opened {
                supervisor.note(&format!("{stack}: {}", e.message()));
            }
            self.set_secured(stack, Some(secured_by(&kept)));
        }
        if let Err(e) = self.tell_accounts(supervisor).await {
            supervisor.note(e.message());
        }
    }

    /// Serves a stack by TLS as its files say, or not; with `order` a certificate is ordered if one is
    /// due. What the stack has then.
    pub(super) async fn see_to(
        &self,
        supervisor: &Arc<Supervisor>,
        stack: &Stack,
        order: bool,
    ) -> Result<Option<CertificateSeen>> {
        let done = self.keep(supervisor, stack, order.then_some(Who::Person)).await;
        self.changed.notify_one();
        done?;
        seen(supervisor.layout(), &stack.id)
    }

    async fn keep(&self, supervisor: &Arc<Supervisor>, stack: &Stack, order: Option<Who>) -> Result<()> {
        let lock = {
            let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(working.entry(stack.id.clone()).or_default())
        };
        let _one = lock.lock().await;
        let (layout, id) = (supervisor.layout(), &stack.id);
        let Some(kept) = Kept::read(layout, id)? else {
            self.set_secured(id, None);
            stack.tell_edge(supervisor).await?;
            supervisor.front.close_secure(id).await?;
            self.remove_file(supervisor, id).await;
            return self.tell_accounts(supervisor).await;
        };
        let here = Here { supervisor };
        let wanted = kept.wanted(id)?;
        let is_there = if kept.is_ordered() {
            let Some(certificates) = kept.certificates(layout, id)? else { return Ok(()) };
            if let Some(carried) = Kept::take_carried(layout, id)? {
                certificates.take(&wanted, &carried).await.map_err(|e| failed(&e))?;
            }
            self.tell_accounts(supervisor).await?;
            let kept = match order {
                Some(Who::Person) => certificates.keep_now(&wanted, &here).await.map(drop),
                Some(Who::Time) => certificates.keep(&wanted, &here).await.map(drop),
                None => Ok(()),
            };
            match (kept, order) {
                (Ok(()), Some(_)) => true,
                (Ok(()), None) => certificates.install(&wanted, &here).await.map_err(|e| failed(&e))?,
                (Err(error), _) => {
                    // What is there is served on with.
                    let there = certificates.install(&wanted, &here).await.unwrap_or(false);
                    if there {
                        self.serve(supervisor, stack, &kept_again(layout, id)?).await?;
                    }
                    return Err(failed(&error));
                }
            }
        } else if let Some(own) = kept.own(layout, id)? {
            here.install(&wanted.name, &own).await.map_err(|e| failed(&e))?;
            true
        } else {
            false
        };
        if is_there { self.serve(supervisor, stack, &kept).await } else { Ok(()) }
    }

    /// Its edge has the certificate: it is reached by TLS from here on, and sent there if that is asked.
    async fn serve(&self, supervisor: &Arc<Supervisor>, stack: &Stack, kept: &Kept) -> Result<()> {
        let (layout, id) = (supervisor.layout(), &stack.id);
        let Some(address) = ports::secure_front(layout)? else { return Ok(()) };
        supervisor.front.open_secure(supervisor, id, address).await.map_err(|e| {
            ProviderError::new(e.kind(), e.message().to_owned())
                .with_code(rules::NOT_SECURE.to_string())
                .with_help("stop and disable what listens on port 443, then deploy again")
        })?;
        if self.set_secured(id, Some(secured_by(kept))) {
            stack.tell_edge(supervisor).await?;
        }
        Kept::note_serves(layout, id, true)
    }

    /// The stack goes.
    pub(super) async fn forget(&self, supervisor: &Supervisor, stack: &StackId) {
        self.set_secured(stack, None);
        self.remove_file(supervisor, stack).await;
    }

    async fn remove_file(&self, supervisor: &Supervisor, stack: &StackId) {
        let Ok(name) = Kept::name(stack) else { return };
        let path = front::certificates(supervisor.layout()).join(format!("{name}.pem"));
        if !path.exists() {
            return;
        }
        let removed = std::fs::remove_file(&path);
        if let (Ok(()), Some(link)) = (removed, supervisor.front.running().await)
            && let Err(e) = link.load_certificates().await
        {
            supervisor.note(&format!("the edge does not read its certificates again: {e}"));
        }
    }

    /// Tells the edge as whose accounts it answers authorities.
    async fn tell_accounts(&self, supervisor: &Supervisor) -> Result<()> {
        let layout = supervisor.layout();
        let mut accounts = BTreeMap::new();
        for stack in layout.stacks().unwrap_or_default() {
            let Ok(Some(kept)) = Kept::read(layout, &stack) else { continue };
            let Some(account) = Kept::account(layout, &stack).filter(|_| kept.is_ordered()) else { continue };
            accounts.extend(kept.request.names.iter().map(|name| (name.clone(), account.clone())));
        }
        supervisor.front.answer_for(accounts).await
    }
}

/// On whose behalf something is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Person,
    Time,
}

fn kept_again(layout: &crate::layout::Layout, stack: &StackId) -> Result<Kept> {
    Kept::read(layout, stack)?
        .ok_or_else(|| ProviderError::new(ErrorKind::Conflict, "it is not to be served by TLS any more"))
}

fn secured_by(kept: &Kept) -> Secured {
    let https = edge::HttpsOnly { port: 443, remember_seconds: kept.request.hsts_seconds };
    Secured { https: kept.request.redirect.then_some(https) }
}

/// Renews what is due, as long as the task runs.
pub(super) async fn renew(supervisor: Arc<Supervisor>) {
    loop {
        let mut next = Timestamp::now() + SignedDuration::from_hours(1);
        for stack in supervisor.all_stacks() {
            let Ok(Some(kept)) = Kept::read(supervisor.layout(), &stack.id) else { continue };
            let Ok(Some(there)) = seen(supervisor.layout(), &stack.id) else { continue };
            if !kept.is_ordered() || kept.authority.is_none() {
                continue;
            }
            let turn = i32::try_from(kept.request.turn).unwrap_or(i32::MAX);
            let first = kept.asked_at + FIRST_TRY + NEXT_SERVER * turn;
            if there.not_after.is_none() && Timestamp::now() < first {
                next = next.min(first);
                continue;
            }
            if let Err(e) = supervisor.certificates.keep(&supervisor, &stack, Some(Who::Time)).await {
                supervisor.note(&format!("{}: {}", stack.id, e.message()));
            }
            if let (Ok(Some(certificates)), Ok(wanted)) =
                (kept.certificates(supervisor.layout(), &stack.id), kept.wanted(&stack.id))
            {
                next = next.min(certificates.next(&wanted));
            }
        }
        let wait = Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::select! {
            () = supervisor.certificates.changed.notified() => {}
            () = tokio::time::sleep(wait.clamp(LOOK.0, LOOK.1)) => {}
        }
    }
}

/// The one edge of this server: it knows the account already.
struct Here<'a> {
    supervisor: &'a Supervisor,
}

impl Edges for Here<'_> {
    async fn place(&self, _: &[edge::ChallengeAnswer]) -> std::result::Result<(), AcmeError> {
        Ok(())
    }

    async fn take_back(&self, _: &[edge::ChallengeToken]) {}

    async fn install(
        &self,
        name: &CertificateName,
        certificate: &Certificate,
    ) -> std::result::Result<(), AcmeError> {
        let host = "this server".to_owned();
        let Some(link) = self.supervisor.front.running().await else {
            let (what, reason) = (format!("the certificate `{name}`"), "no edge runs".to_owned());
            return Err(AcmeError::NotPlaced { host, what, reason });
        };
        let certificates = front::certificates(self.supervisor.layout());
        let edge = LocalEdge { host, link: (*link).clone(), certificates };
        std::slice::from_ref(&edge).install(name, certificate).await
    }
}
