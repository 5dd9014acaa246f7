//! Goes on with a plan that waits with both releases there.

use std::sync::Arc;

use super::apply::{Forward, conclude, roll_back};
use super::call::Calls;
use super::codes;
use super::entry::{Entry, StepFailure, StepOutput};
use super::error::ApplyError;
use super::event::Event;
use super::events::EventSink;
use super::failure::{StepError, own};
use super::journal::Journal;
use super::options::ApplyOptions;
use super::outcome::{Outcome, OutcomeKind};
use super::run::{Ending, Opened, leave_open};
use super::stack_state::{Held, OpenPlan, StackState};
use super::{Decision, Engine};
use crate::provider::{ErrorKind, Routing};
use crate::state::Lease;

impl Engine {
    /// Goes on with an open plan that waits, as was decided. `Promote` takes the step that it
    /// waits at for passed, and nothing later in the plan waits for a person again; what is still
    /// to be watched is watched, and goes back if it is worse. `Abort` takes everything back; `Watch` goes on watching, and leaves
    /// what waits for a person alone (outcome `OnHold`).
    ///
    /// # Errors
    /// `NotWaiting` when no plan waits ([`recover`](Self::recover) is for what was interrupted
    /// elsewhere); when the journal cannot be written or the lease is lost.
    pub async fn proceed(
        &self,
        lease: &dyn Lease,
        state: &mut StackState,
        decision: Decision,
        options: ApplyOptions,
        events: &EventSink,
    ) -> Result<Outcome, ApplyError> {
        let open = state.open.as_ref();
        let (Some(open), Some(waiting)) = (open, open.and_then(OpenPlan::waiting)) else {
            return Err(ApplyError::NotWaiting);
        };
        let opened = Opened::new(Arc::new(open.plan.clone()));
        let (held, routed) = (open.held.is_some(), open.routed().cloned());
        let calls = Calls::new(self, &opened.plan, lease.info().fence, options.cancellation, events);
        let mut journal = Journal::new(lease, state, &self.options.hooks);
        match decision {
            Decision::Abort => {
                let failure = own(
                    codes::ABORTED,
                    ErrorKind::Cancelled,
                    format!("{} decided against it", lease.info().holder.name),
                    None,
                );
                return give_up(&mut journal, &calls, &opened, &waiting, failure).await;
            }
            Decision::Watch if !waiting.watching => {
                let ending = Ending { kind: OutcomeKind::OnHold, cause: None, left_behind: Vec::new() };
                return Ok(leave_open(&journal, &calls, ending));
            }
            Decision::Watch | Decision::Promote => {}
        }
        if let Some(routing) = &routed {
            match back_in_force(&calls, &waiting, routing, decision).await {
                Ok(true) => {}
                Ok(false) => {
                    let keeps_watch = calls.fleet().is_ok_and(|fleet| fleet.capabilities().keeps_watch);
                    let failure = own(
                        codes::WENT_BACK,
                        ErrorKind::App,
                        "nobody watched it for too long, and traffic went back by itself",
                        Some(if keeps_watch {
                            "deploy again; `--no-wait` leaves the watch to the supervisor"
                        } else {
                            "deploy again and let the command watch to the end; `--hold` waits for a person's decision instead"
                        }),
                    );
                    return give_up(&mut journal, &calls, &opened, &waiting, failure).await;
                }
                Err(StepError::Stop(error)) => return Err(error),
                Err(StepError::Cancelled) => {
                    let ending =
                        Ending { kind: OutcomeKind::Interrupted, cause: None, left_behind: Vec::new() };
                    return Ok(leave_open(&journal, &calls, ending));
                }
                Err(StepError::Failed(failure) | StepError::Unknown(failure)) => {
                    return give_up(&mut journal, &calls, &opened, &waiting, failure).await;
                }
            }
        }
        let mut entries = Vec::new();
        if held {
            entries.push(Entry::Resumed { step: waiting.step.clone() });
        }
        if decision == Decision::Promote {
            entries.push(Entry::Promoted { step: waiting.step.clone() });
            entries.push(Entry::Succeeded { step: waiting.step.clone(), output: StepOutput::Nothing });
        }
        journal.append(&entries).await?;
        let forward = Forward::new(&opened, &calls, options.detach).resume(journal.state);
        let forward = match forward {
            Ok(forward) => forward.run(&mut journal).await?,
            Err(failure) => return give_up(&mut journal, &calls, &opened, &waiting, failure).await,
        };
        conclude(&mut journal, &calls, &opened, forward).await
    }
}

/// Is traffic as the plan left it? A promotion sees to it; a watch that was left alone for too
/// long is over. From here on it is renewed.
async fn back_in_force(
    calls: &Calls<'_>,
    waiting: &Held,
    routing: &Routing,
    decision: Decision,
) -> Result<bool, StepError> {
    let now = calls.routing(&waiting.step).await?;
    if now.weights != routing.weights && decision == Decision::Watch {
        return Ok(false);
    }
    calls.route(&waiting.step, routing).await?;
    Ok(true)
}

async fn give_up(
    journal: &mut Journal<'_>,
    calls: &Calls<'_>,
    opened: &Opened,
    waiting: &Held,
    failure: StepFailure,
) -> Result<Outcome, ApplyError> {
    calls.events.send(&Event::StepFailed { step: waiting.step.clone(), failure: failure.clone() });
    journal.append(&[Entry::Failed { step: waiting.step.clone(), failure }]).await?;
    roll_back(journal, calls, opened, None).await
}
