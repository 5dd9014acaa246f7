//! Answers clients: one socket for what changes something, one for what only reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use super::super::in_process;
use super::super::key::StoreKey;
use super::super::protocol::{Answer, Failure, Greeting, MAX_REQUEST, PROTOCOL, Request, receive, send};
use super::super::socket::{self, Sockets};
use super::{BUILD, End, Supervisor};

/// Answers until the task is aborted.
pub(super) async fn serve(supervisor: Arc<Supervisor>, sockets: Sockets) {
    loop {
        let (accepted, changing) = tokio::select! {
            accepted = sockets.changing.accept() => (accepted, true),
            accepted = sockets.reading.accept() => (accepted, false),
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(e) = socket::check_peer(&stream) {
                    supervisor.note(&format!("refused a client: {e}"));
                    continue;
                }
                let stranger = changing && supervisor.leash.is_some() && !socket::is_own(&stream);
                tokio::spawn(client(Arc::clone(&supervisor), stream, changing, stranger));
            }
            Err(e) => {
                // Out of descriptors, most likely: others will be closed.
                supervisor.note(&format!("cannot accept a client: {e}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Counts a client as long as it is there.
struct Counted(Arc<Supervisor>);

impl Counted {
    fn new(supervisor: Arc<Supervisor>) -> Self {
        supervisor.clients.fetch_add(1, Ordering::SeqCst);
        Self(supervisor)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::SeqCst);
        self.0.touch();
    }
}

/// `stranger`: another program, and only the one that we run in may change something.
async fn client(supervisor: Arc<Supervisor>, stream: UnixStream, changing: bool, stranger: bool) {
    let counted = Counted::new(supervisor);
    let supervisor = &counted.0;
    let heir = socket::peer(&stream).is_some_and(crate::child::is_supervisor);
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let mut greeted = false;
    loop {
        let (answer, then) = match receive::<Request>(&mut from, MAX_REQUEST).await {
            Ok(None) => return,
            Ok(Some(Request::Hello { .. })) if stranger => {
                let error = in_process::runs_in(std::process::id(), &supervisor.called);
                (Answer::Failed(Failure::from(&error)), Then::HangUp)
            }
            Ok(Some(Request::Hello { protocol, .. })) if protocol == PROTOCOL => {
                greeted = true;
                (Answer::Hello(greeting(supervisor)), Then::GoOn)
            }
            Ok(Some(Request::Hello { protocol, version })) => {
                let error = ProviderError::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the supervisor of this workspace is version {BUILD} (protocol {PROTOCOL}), the client is {version} (protocol {protocol})"
                    ),
                );
                (Answer::Failed(Failure::from(&error)), Then::HangUp)
            }
            Ok(Some(request)) if !greeted => {
                let _ = request;
                (refused("the first message must be a greeting"), Then::HangUp)
            }
            Ok(Some(request)) if !changing && !request.only_reads() => {
                (refused("this socket only reads"), Then::HangUp)
            }
            Ok(Some(Request::StepDown)) if supervisor.leash.is_some() => {
                (refused("it runs in a program and has no successor"), Then::GoOn)
            }
            Ok(Some(Request::Keep { length })) => match StoreKey::receive(&mut from, length).await {
                Ok(key) => {
                    supervisor.keep_key(key);
                    (Answer::Done, Then::GoOn)
                }
                Err(e) => (refused(&e.to_string()), Then::HangUp),
            },
            Ok(Some(Request::Inherit)) if !heir => (refused("only a successor gets the key"), Then::HangUp),
            Ok(Some(Request::Inherit)) => {
                let key = supervisor.key().clone();
                let length = key.as_ref().map_or(0, StoreKey::length);
                if send(&mut to, &Answer::Key(length)).await.is_err() {
                    return;
                }
                if let Some(key) = key
                    && key.send(&mut to).await.is_err()
                {
                    return;
                }
                continue;
            }
            Ok(Some(Request::StepDown)) => (Answer::Done, Then::End(End::StepDown)),
            Ok(Some(Request::Shutdown)) => match nothing_left(supervisor) {
                Ok(()) => (Answer::Done, Then::End(End::Idle)),
                Err(e) => (Answer::Failed(Failure::from(&e)), Then::GoOn),
            },
            Ok(Some(request)) => (
                answer(supervisor, request).await.unwrap_or_else(|e| Answer::Failed(Failure::from(&e))),
                Then::GoOn,
            ),
            Err(e) => (refused(&e.to_string()), Then::HangUp),
        };
        let sent = send(&mut to, &answer).await;
        match then {
            Then::GoOn if sent.is_ok() => {}
            Then::GoOn | Then::HangUp => return,
            Then::End(end) => {
                supervisor.end(end);
                return;
            }
        }
    }
}

enum Then {
    GoOn,
    HangUp,
    End(End),
}

fn refused(why: &str) -> Answer {
    Answer::Failed(Failure::from(&ProviderError::new(
        ErrorKind::Config,
        format!("the supervisor refused a message: {why}"),
    )))
}

fn greeting(supervisor: &Supervisor) -> Greeting {
    Greeting {
        protocol: PROTOCOL,
        version: BUILD.to_owned(),
        workspace: supervisor.workspace,
        program: supervisor.called.clone(),
        replaced: supervisor.is_replaced(),
        process: std::process::id(),
        in_process: supervisor.leash.is_some(),
        key: supervisor.key().as_ref().map(StoreKey::mark),
    }
}

fn nothing_left(supervisor: &Supervisor) -> Result<()> {
    match supervisor.all_stacks().iter().find(|stack| stack.is_active()) {
        Some(stack) => Err(ProviderError::new(ErrorKind::Conflict, format!("{} still runs", stack.id))),
        None => Ok(()),
    }
}

async fn answer(supervisor: &Arc<Supervisor>, request: Request) -> Result<Answer> {
    Ok(match request {
        Request::Start { stack, release, unit, fence } => {
            let stack = supervisor.stack(&stack)?;
            // Before the fence is written: a stack that is not there leaves no trace.
            super::prepare::release(supervisor, &stack.id, release)?;
            stack.admit(supervisor, fence).await?;
            Answer::Unit(stack.start(supervisor, release, &unit).await?)
        }
        Request::Stop { stack, release, unit, fence } => {
            let stack = supervisor.stack(&stack)?;
            if stack.is_known(supervisor) {
                stack.admit(supervisor, fence).await?;
                stack.stop(supervisor, release, &unit).await?;
            }
            Answer::Done
        }
        Request::List { stack } => Answer::Units(supervisor.stack(&stack)?.list(supervisor)?),
        Request::Route { stack, routing, fence } => {
            let stack = supervisor.stack(&stack)?;
            if routing.weights.is_empty() && !stack.is_known(supervisor) {
                // What was built or kept for it is there: an older holder must not come after.
                if supervisor.layout().stack(&stack.id).is_dir() {
                    stack.admit(supervisor, fence).await?;
                }
                return Ok(Answer::Routing(routing));
            }
            Answer::Routing(stack.route(supervisor, routing, fence).await?)
        }
        Request::Routing { stack } => Answer::Routing(supervisor.stack(&stack)?.routing().await),
        Request::Drain { stack, release, units, deadline_ms } => {
            let stack = supervisor.stack(&stack)?;
            let deadline = Duration::from_millis(deadline_ms);
            Answer::Drained(stack.drain(supervisor, release, &units, deadline).await?)
        }
        Request::OpenPort { stack, fence } => {
            supervisor.stack(&stack)?.open_port(supervisor, fence).await?;
            Answer::Done
        }
        Request::ClosePort { stack, fence } => {
            let stack = supervisor.stack(&stack)?;
            if stack.is_known(supervisor) {
                stack.close_port(supervisor, fence).await?;
            }
            Answer::Done
        }
        Request::KeepWatch { stack } => {
            let stack = supervisor.stack(&stack)?;
            if stack.is_known(supervisor) {
                stack.keep_watch(supervisor);
            }
            Answer::Done
        }
        Request::Urls { stack } => Answer::Urls(supervisor.stack(&stack)?.urls(supervisor).await?),
        Request::Certificate { stack, fence, order } => {
            let stack = supervisor.stack(&stack)?;
            if !stack.is_known(supervisor) {
                return Ok(Answer::Certificate(None));
            }
            stack.admit(supervisor, fence).await?;
            Answer::Certificate(supervisor.certificates.see_to(supervisor, &stack, order).await?)
        }
        Request::Metrics { stack } => Answer::Metrics(supervisor.front.metrics(&stack).await?),
        Request::Remove { stack, release, fence } => {
            let stack = supervisor.stack(&stack)?;
            if stack.is_known(supervisor) {
                stack.admit(supervisor, fence).await?;
                stack.remove(supervisor, release).await?;
            }
            Answer::Done
        }
        Request::Forget { stack, fence } => {
            let stack = supervisor.stack(&stack)?;
            if stack.is_known(supervisor) {
                stack.admit(supervisor, fence).await?;
                stack.forget(supervisor).await?;
            }
            Answer::Done
        }
        // Answered where the connection is.
        Request::Hello { .. }
        | Request::Keep { .. }
        | Request::Inherit
        | Request::StepDown
        | Request::Shutdown => Answer::Done,
    })
}
