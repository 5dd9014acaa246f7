//! What becomes of phases on real hosts: real systemd and sshd, killed, frozen and cut off.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests say what went wrong by panicking, and what they skip by printing"
)]

mod faults;
mod ground;
mod keys;
mod looking;
mod no_secrets;
mod render;
mod rig;
mod roles;
mod sessions;
mod store;

use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use vrooli_deploy_core::provider::Cancellation;
use vrooli_deploy_provider_bare_metal::host::HostName;
use vrooli_deploy_provider_bare_metal::hosts::Hosts;
use vrooli_deploy_provider_bare_metal::remote::{
    Fingerprint, Phase, PhaseOutput, RemoteError, RemoteExec as _, SshOptions,
};

use rig::Rig;

fn main() -> std::process::ExitCode {
    // On hosts this binary is the program that takes releases.
    vrooli_deploy_provider_bare_metal::run_if_child();
    let trials = [
        keys::trials(),
        faults::trials(),
        sessions::trials(),
        looking::trials(),
        store::trials(),
        ground::trials(),
        render::trials(),
        roles::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit_code()
}

/// A test that says why it does nothing where there can be no hosts.
fn trial<F: Future<Output = ()>>(name: &str, run: impl FnOnce() -> F + Send + 'static) -> Trial {
    let shown = name.to_owned();
    Trial::test(name, move || {
        if let Some(why) = rig::absent() {
            println!("skipped: {shown}: {why}");
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(run());
        Ok(())
    })
}

/// Quicker to give up than users would be.
fn options(rig: &Rig) -> SshOptions {
    let mut options = SshOptions::default();
    options.config = Some(rig.ssh_config());
    options.connect = Duration::from_secs(4);
    options.alive = Duration::from_secs(1);
    options
}

/// The hosts of a workspace whose state is in the rig's folder.
fn open(rig: &Rig) -> Hosts {
    Hosts::open(&rig.folder().join("state"), options(rig)).unwrap()
}

fn host(rig: &Rig, number: u32) -> HostName {
    HostName::new(rig.name(number)).unwrap()
}

/// The same, and every host's key is vouched for.
async fn trusted(rig: &Rig, count: u32) -> Hosts {
    let hosts = open(rig);
    for number in 1..=count {
        let fingerprint = Fingerprint::new(&rig.fingerprint(number, "ed25519")).unwrap();
        hosts.trust_fingerprint(&host(rig, number), &fingerprint).await.unwrap();
    }
    hosts
}

async fn run(hosts: &Hosts, host: &HostName, phase: Phase) -> Result<PhaseOutput, RemoteError> {
    hosts.connections().host(host).run(&phase, &Cancellation::new()).await
}

/// Waits until it is so, for at most a minute.
async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within a minute");
}
