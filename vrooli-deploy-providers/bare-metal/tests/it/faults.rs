//! Hosts that do not let us in, do not answer, or go away.

use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use vrooli_deploy_core::provider::Cancellation;
use vrooli_deploy_provider_bare_metal::host::HostName;
use vrooli_deploy_provider_bare_metal::remote::{Phase, RemoteError, RemoteExec as _};

use crate::rig::Rig;
use crate::{host, run, trial, trusted, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("wrong_key", wrong_key),
        trial("unreachable", unreachable),
        trial("frozen_host", frozen_host),
        trial("frozen_during_a_phase", frozen_during_a_phase),
        trial("network_cut", network_cut),
        trial("killed_during_a_phase", killed_during_a_phase),
        trial("no_root", no_root),
        trial("too_long", too_long),
        trial("cancelled", cancelled),
        trial("scripts_that_fail", scripts_that_fail),
    ]
}

/// A phase that says that it has begun, on the host, and then takes its time.
fn slow() -> Phase {
    Phase::new("slow", "touch /tmp/begun; sleep 30; touch /tmp/ended").within(Duration::from_secs(60))
}

async fn begun(rig: &Rig) {
    until("the phase begins", || rig.on(1, "ls /tmp").contains("begun")).await;
}

async fn wrong_key() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    rig.on(1, "rm /home/deploy/.ssh/authorized_keys");
    let error = run(&hosts, &host(&rig, 1), slow()).await.unwrap_err();
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert!(error.words().contains("Permission denied (publickey"), "{error:?}");
    assert!(!error.is_ambiguous());
}

async fn unreachable() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    rig.on(1, "systemctl stop ssh.socket ssh.service 2>/dev/null; systemctl stop ssh.service");
    let error = run(&hosts, &host(&rig, 1), slow()).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(error.words().contains("refused"), "{error:?}");
    let nowhere = HostName::new("nowhere.invalid").unwrap();
    let error = run(&hosts, &nowhere, slow()).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
}

/// Frozen before: nothing happened, and that is certain.
async fn frozen_host() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    rig.docker(&["pause"], 1);
    let error = run(&hosts, &host(&rig, 1), slow()).await.unwrap_err();
    rig.docker(&["unpause"], 1);
    assert!(matches!(error, RemoteError::NoAnswer { .. }), "{error:?}");
    assert!(!error.is_ambiguous());
    // It comes back: so do we.
    assert_eq!(run(&hosts, &host(&rig, 1), Phase::new("echo", "echo a")).await.unwrap().stdout, "a\n");
}

/// Frozen while a phase runs: nobody knows what came of it.
async fn frozen_during_a_phase() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let (result, ()) = tokio::join!(run(&hosts, &name, slow()), async {
        begun(&rig).await;
        rig.docker(&["pause"], 1);
    });
    rig.docker(&["unpause"], 1);
    let error = result.unwrap_err();
    assert!(matches!(error, RemoteError::Lost { phase: "slow", .. }), "{error:?}");
    assert!(error.is_ambiguous());
    assert_eq!(run(&hosts, &name, Phase::new("echo", "echo a")).await.unwrap().stdout, "a\n");
}

async fn network_cut() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let cut = |verb: &str| {
        let words = ["network", verb, &rig.network(), name.as_str()];
        assert!(Command::new("docker").args(words).status().unwrap().success());
    };
    let (result, ()) = tokio::join!(run(&hosts, &name, slow()), async {
        begun(&rig).await;
        cut("disconnect");
    });
    let error = result.unwrap_err();
    assert!(matches!(error, RemoteError::Lost { .. }), "{error:?}");
    // Still cut off: now it is certain that nothing happens.
    let error = run(&hosts, &name, slow()).await.unwrap_err();
    assert!(matches!(error, RemoteError::NoAnswer { .. } | RemoteError::Unreachable { .. }), "{error:?}");
    assert!(!error.is_ambiguous());
}

async fn killed_during_a_phase() {
    let rig = Rig::up(2, &[]);
    let hosts = trusted(&rig, 2).await;
    let (first, second) = (host(&rig, 1), host(&rig, 2));
    let (lost, stays, ()) = tokio::join!(
        run(&hosts, &first, slow()),
        run(&hosts, &second, Phase::new("short", "sleep 1; echo done")),
        async {
            begun(&rig).await;
            rig.docker(&["kill"], 1);
        }
    );
    assert!(matches!(lost.unwrap_err(), RemoteError::Lost { .. }));
    assert_eq!(stays.unwrap().stdout, "done\n");
    // Switched on again it is found as it is, by the same object.
    rig.docker(&["start"], 1);
    until("ssh listens", || {
        let state =
            Command::new("docker").args(["exec", first.as_str(), "systemctl", "is-active", "ssh"]).output();
        state.is_ok_and(|state| state.status.success())
    })
    .await;
    let output = run(&hosts, &first, Phase::new("look", "ls /tmp/ended 2>/dev/null || echo never")).await;
    assert_eq!(output.unwrap().stdout, "never\n");
}

async fn no_root() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let who = || Phase::new("who", "id -u");
    assert_eq!(run(&hosts, &name, who()).await.unwrap().stdout, "1000\n");
    assert_eq!(run(&hosts, &name, who().as_root()).await.unwrap().stdout, "0\n");
    rig.on(1, "rm /etc/sudoers.d/deploy");
    let error = run(&hosts, &name, who().as_root()).await.unwrap_err();
    assert!(matches!(error, RemoteError::NoRoot { .. }), "{error:?}");
    assert!(error.words().contains("password is required"), "{error:?}");
    rig.on(1, "mv /usr/bin/sudo /usr/bin/sudo.away");
    let error = run(&hosts, &name, who().as_root()).await.unwrap_err();
    assert!(matches!(error, RemoteError::NoRoot { .. }), "{error:?}");
    rig.configure_first(&format!("Host {name}\n  User root"));
    let hosts = crate::open(&rig);
    assert_eq!(run(&hosts, &name, who().as_root()).await.unwrap().stdout, "0\n");
}

/// The host ends it by itself, children included.
async fn too_long() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let endless = Phase::new("endless", "sleep 1000 & sleep 1000").within(Duration::from_secs(2));
    let error = run(&hosts, &name, endless.clone()).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLong { .. }), "{error:?}");
    until("nothing is left", || rig.on(1, "pgrep -x sleep || true").is_empty()).await;
    let error = run(&hosts, &name, endless.as_root()).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLong { .. }), "{error:?}");
    until("nothing is left", || rig.on(1, "pgrep -x sleep || true").is_empty()).await;
}

/// Whoever stops is answered at once, and the host ends the script by itself.
async fn cancelled() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let cancellation = Cancellation::new();
    let phase = Phase::new("slow", "touch /tmp/begun; sleep 1000").within(Duration::from_secs(3));
    let remote = hosts.connections().host(&name);
    let (result, ()) = tokio::join!(remote.run(&phase, &cancellation), async {
        begun(&rig).await;
        cancellation.cancel();
    });
    let error = result.unwrap_err();
    assert_eq!(error, RemoteError::Cancelled { sent: true });
    assert!(error.is_ambiguous());
    until("nothing is left", || rig.on(1, "pgrep -x sleep || true").is_empty()).await;
    let again = remote.run(&phase, &cancellation).await;
    assert!(matches!(again, Err(RemoteError::Cancelled { .. })));
}

/// Status and words arrive, noise of the login shell does not, and what is cut off is not run.
async fn scripts_that_fail() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    rig.on(1, "echo 'echo welcome; echo to you >&2' >/home/deploy/.bashrc");
    assert_eq!(run(&hosts, &name, Phase::new("echo", "echo a")).await.unwrap().stdout, "a\n");
    for status in [1, 3, 127, 255] {
        let phase = Phase::new("bad", format!("echo out; echo why >&2; exit {status}"));
        let error = run(&hosts, &name, phase).await.unwrap_err();
        let RemoteError::Failed { status: seen, words, .. } = &error else { panic!("{status}: {error:?}") };
        assert_eq!(*seen, status);
        assert!(words.ends_with("why"), "{words}");
    }
    // A group that is never closed: `sh` runs none of it.
    let error = run(&hosts, &name, Phase::new("cut", "touch /tmp/half; if true")).await.unwrap_err();
    assert!(matches!(error, RemoteError::Failed { .. }), "{error:?}");
    assert_eq!(rig.on(1, "ls /tmp/half 2>/dev/null || echo none"), "none");
}
