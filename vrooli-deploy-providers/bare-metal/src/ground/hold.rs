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

/// What a script that holds a host reads.
pub(super) fn input(cx: &OpCtx) -> String {
    let name = Place::of(&cx.stack).name;
    let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let here: String = here.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    let who = format!("process {} on {here}", std::process::id());
    format!("{name}\n{}\n{}\n{who}\n{PATIENCE}\n", cx.owner, cx.fence)
}

/// Holds a host for this run: until what is given back is dropped, or nothing was heard of us for
/// 30 s. One that `takes` it is the owner of the stack there from then on, whoever was.
pub(super) async fn hold(host: &Arc<SshHost>, cx: &OpCtx, takes: bool) -> Result<Held> {
    let script = concat!(include_str!("../scripts/host.sh"), include_str!("../scripts/host_hold.sh"));
    let phase = Phase::new("hold the host", script).as_root().within(LONGEST).with_input(format!(
        "{}{}\n",
        input(cx),
        word(takes)
    ));
    let (said, held) = in_time(host, host.hold(&phase, READY, BEAT)).await?;
    is_ready(host, cx, &said)?;
    Ok(held)
}

/// Talks with our program on a host, which holds it for this run as long as that goes on, unless
/// the run `holds` it already.
pub(super) async fn serve(host: &Arc<SshHost>, cx: &OpCtx, holds: bool) -> Result<Conversation> {
    let script = concat!(include_str!("../scripts/host.sh"), include_str!("../scripts/serve.sh"));
    let input = format!("{}{}\n", input(cx), word(holds));
    let phase = Phase::new("serve apps", script).as_root().within(LONGEST).with_input(input);
    let (said, talk) = in_time(host, host.converse(&phase, READY)).await?;
    is_ready(host, cx, &said)?;
    Ok(talk)
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
