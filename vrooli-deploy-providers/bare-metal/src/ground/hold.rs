//! The lease on a host: one run at a time changes a stack there.

use std::time::Duration;

use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use super::Place;
use super::change::refused;
use super::queue::refusal;
use crate::facts::Lines;
use crate::remote::{Conversation, Held, Phase, RemoteError, RemoteExec as _, SshHost};
use std::sync::Arc;
use vrooli_deploy_core::diagnostics::rules;

/// How often the host hears of us. It lets go after six times as long.
const BEAT: Duration = Duration::from_secs(5);
/// How long another run is waited for, in seconds: one that is gone has let go by then.
const PATIENCE: u64 = 35;
/// The line that says whether it may go on.
const READY: &str = "ready\t";
/// No run takes so long.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The line that ends a look, with its status.
const LOOKED: &str = "looked\t";
/// How much a look may say, in bytes.
const LONGEST_LOOK: usize = 512 * 1024;

/// What a script that holds a host reads.
pub(super) fn input(cx: &OpCtx) -> String {
    let name = Place::of(&cx.stack).name;
    let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let here: String = here.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    let who = format!("process {} on {here}", std::process::id());
    format!("{name}\n{}\n{}\n{who}\n{PATIENCE}\n", cx.owner, cx.fence)
}

/// Looks, in a session that can go on to serve or to hold the host: the one that is given, else a new
/// one. The input is that of a survey. None: that session came to nothing, or the look failed.
pub(super) async fn look(
    host: &Arc<SshHost>,
    session: Option<Conversation>,
    input: &str,
) -> std::result::Result<Option<(String, Conversation)>, RemoteError> {
    let wish = format!("look\n{input}");
    let looked = if let Some(mut talk) = session {
        talk.ask(&wish, LOOKED, LONGEST_LOOK).await.map(|said| (said, talk))
    } else {
        let script = concat!(
            include_str!("../scripts/host.sh"),
            include_str!("../scripts/roles.sh"),
            "serve() {\n",
            include_str!("../scripts/serve.sh"),
            "}\nhold() {\n",
            include_str!("../scripts/host_hold.sh"),
            "}\n",
            include_str!("../scripts/host_session.sh")
        );
        let mut phase = Phase::new("survey", script).as_root().within(LONGEST).with_input(wish);
        phase.largest_output = LONGEST_LOOK;
        match host.converse(&phase, LOOKED).await {
            Ok(looked) => Some(looked),
            // A script that is not kept says better why.
            Err(RemoteError::Failed { .. }) => None,
            Err(error) => return Err(error),
        }
    };
    Ok(looked.filter(|(said, _)| Lines::new(said).get("looked") == Some("0")))
}

/// Holds a host for this run: until what is given back is dropped, or nothing was heard of us for
/// 30 s. One that `takes` it is the owner of the stack there from then on, whoever was. The `session` of
/// a look goes on to do that.
pub(super) async fn hold(
    host: &Arc<SshHost>,
    cx: &OpCtx,
    takes: bool,
    session: Option<Conversation>,
) -> Result<Held> {
    let input = format!("{}{}\n", input(cx), word(takes));
    let (said, held) = if let Some((said, talk)) = go_on(host, session, "hold", &input).await? {
        (said, Held::of(talk, BEAT))
    } else {
        let script = concat!(include_str!("../scripts/host.sh"), include_str!("../scripts/host_hold.sh"));
        let phase = Phase::new("hold the host", script).as_root().within(LONGEST).with_input(input);
        in_time(host, host.hold(&phase, READY, BEAT)).await?
    };
    is_ready(host, cx, &said)?;
    Ok(held)
}

/// Talks with our program on a host, which holds it for this run as long as that goes on, unless
/// the run `holds` it already. The `session` of a look goes on to do that.
pub(super) async fn serve(
    host: &Arc<SshHost>,
    cx: &OpCtx,
    holds: bool,
    session: Option<Conversation>,
) -> Result<Conversation> {
    let input = format!("{}{}\n", input(cx), word(holds));
    let (said, talk) = if let Some(begun) = go_on(host, session, "serve", &input).await? {
        begun
    } else {
        let script = concat!(include_str!("../scripts/host.sh"), include_str!("../scripts/serve.sh"));
        let phase = Phase::new("serve apps", script).as_root().within(LONGEST).with_input(input);
        in_time(host, host.converse(&phase, READY)).await?
    };
    is_ready(host, cx, &said)?;
    Ok(talk)
}

/// Asks the session of a look to go on. None: there is none, or not any more.
async fn go_on(
    host: &SshHost,
    session: Option<Conversation>,
    wish: &str,
    input: &str,
) -> Result<Option<(String, Conversation)>> {
    let Some(mut talk) = session else { return Ok(None) };
    let wish = format!("{wish}\n{input}");
    let said = in_time(host, async { Ok(talk.ask(&wish, READY, LONGEST_LOOK).await) }).await?;
    Ok(said.map(|said| (said, talk)))
}

fn word(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

async fn in_time<T>(
    host: &SshHost,
    begin: impl Future<Output = std::result::Result<T, RemoteError>>,
) -> Result<T> {
    match tokio::time::timeout(Duration::from_secs(2 * PATIENCE), begin).await {
        Ok(begun) => Ok(begun?),
        Err(_) => Err(ProviderError::new(
            ErrorKind::Timeout,
            format!("{} did not let itself be held in time", host.host()),
        )),
    }
}

/// Does the host let us?
fn is_ready(host: &SshHost, cx: &OpCtx, said: &str) -> Result<()> {
    let lines = Lines::new(said);
    if lines.get("ready") == Some("yes") {
        return Ok(());
    }
    if let Some(refused) = refused(&lines) {
        return Err(refusal(host.host(), cx, &refused));
    }
    let holder = lines.get("held").unwrap_or("another run");
    Err(ProviderError::new(ErrorKind::Conflict, format!("{} is held by {holder}", host.host()))
        .with_code(rules::HOST_HELD.to_string())
        .with_help("wait for the other run, or end it, and run the command again"))
}
