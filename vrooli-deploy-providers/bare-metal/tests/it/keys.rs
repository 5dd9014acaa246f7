//! Whose key it is.

use std::fs;

use libtest_mimic::Trial;
use vrooli_deploy_provider_bare_metal::remote::{Fingerprint, Phase, RemoteError};

use crate::rig::Rig;
use crate::{host, open, run, trial, trusted};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("unknown_key", unknown_key),
        trial("fingerprints", fingerprints),
        trial("changed_key", changed_key),
        trial("own_known_hosts", own_known_hosts),
        trial("host_on_the_way", host_on_the_way),
    ]
}

fn echo() -> Phase {
    Phase::new("echo", "echo hello")
}

/// Nobody vouched for it: it is told with its fingerprint, and nothing is written down.
async fn unknown_key() {
    let rig = Rig::up(1, &[]);
    let hosts = open(&rig);
    // The user's own configuration cannot make it easier.
    rig.configure_first("Host *\n  StrictHostKeyChecking no");
    let error = run(&hosts, &host(&rig, 1), echo()).await.unwrap_err();
    let RemoteError::UnknownKey { offered, .. } = &error else { panic!("{error:?}") };
    assert_eq!(offered.as_ref().unwrap().to_string(), rig.fingerprint(1, "ed25519"));
    assert!(!hosts.connections().keys().file().exists());
    assert!(!rig.user_known_hosts().exists());
}

/// A fingerprint that is given is the host's, of whichever of its keys; another trusts nothing.
async fn fingerprints() {
    let rig = Rig::up(1, &[]);
    let hosts = open(&rig);
    let name = host(&rig, 1);
    let wrong = Fingerprint::new(&format!("SHA256:{}", "A".repeat(43))).unwrap();
    let error = hosts.trust_fingerprint(&name, &wrong).await.unwrap_err();
    let RemoteError::OtherKey { expected, offered, .. } = &error else { panic!("{error:?}") };
    assert_eq!((expected, offered.to_string()), (&wrong, rig.fingerprint(1, "ed25519")));
    assert!(matches!(run(&hosts, &name, echo()).await, Err(RemoteError::UnknownKey { .. })));
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let shown = Fingerprint::new(&rig.fingerprint(1, kind)).unwrap();
        let key = hosts.trust_fingerprint(&name, &shown).await.unwrap();
        assert!(key.algorithm.contains(kind), "{key:?}");
        let keys = fs::read_to_string(hosts.connections().keys().file()).unwrap();
        assert_eq!(keys.lines().count(), 1, "{keys}");
        // Each time by a connection of its own, by that very key.
        assert_eq!(run(&open(&rig), &name, echo()).await.unwrap().stdout, "hello\n");
    }
    assert!(!rig.user_known_hosts().exists());
}

/// Another key than the known one is an error with both; once it is vouched for, it is the known one.
async fn changed_key() {
    let rig = Rig::up(1, &[]);
    let name = host(&rig, 1);
    let before = rig.fingerprint(1, "ed25519");
    let hosts = trusted(&rig, 1).await;
    run(&hosts, &name, echo()).await.unwrap();
    rig.new_keys(1);
    let after = rig.fingerprint(1, "ed25519");
    assert_ne!(before, after);
    let error = run(&open(&rig), &name, echo()).await.unwrap_err();
    let RemoteError::ChangedKey { known, offered, place, .. } = &error else { panic!("{error:?}") };
    assert_eq!(known.as_ref().unwrap().to_string(), before);
    assert_eq!(offered.as_ref().unwrap().to_string(), after);
    assert!(place.as_ref().unwrap().ends_with("known_hosts:1"), "{place:?}");
    let text = error.to_string();
    assert!(text.contains(&before) && text.contains(&after), "{text}");
    assert!(error.help().contains("--fingerprint"), "{}", error.help());
    // The old one is not good enough any more, and does not come back by being named.
    let old = Fingerprint::new(&before).unwrap();
    assert!(matches!(hosts.trust_fingerprint(&name, &old).await, Err(RemoteError::OtherKey { .. })));
    hosts.trust_fingerprint(&name, &Fingerprint::new(&after).unwrap()).await.unwrap();
    assert_eq!(run(&open(&rig), &name, echo()).await.unwrap().stdout, "hello\n");
}

/// The user's `known_hosts` is read, and never written; a key that has changed there does no
/// harm once the new one was vouched for here.
async fn own_known_hosts() {
    let rig = Rig::up(1, &[]);
    let name = host(&rig, 1);
    let address =
        rig.docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"], 1);
    let key = rig.on(1, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub");
    let line = format!("{address} {key}\n");
    fs::write(rig.user_known_hosts(), &line).unwrap();
    let hosts = open(&rig);
    assert_eq!(run(&hosts, &name, echo()).await.unwrap().stdout, "hello\n");
    rig.new_keys(1);
    let error = run(&open(&rig), &name, echo()).await.unwrap_err();
    assert!(matches!(error, RemoteError::ChangedKey { .. }), "{error:?}");
    let new = Fingerprint::new(&rig.fingerprint(1, "ed25519")).unwrap();
    hosts.trust_fingerprint(&name, &new).await.unwrap();
    assert_eq!(run(&open(&rig), &name, echo()).await.unwrap().stdout, "hello\n");
    assert_eq!(fs::read_to_string(rig.user_known_hosts()).unwrap(), line);
}

/// A host behind another: both keys must be known, and the one that is not is the one that is named.
async fn host_on_the_way() {
    let rig = Rig::up(2, &[]);
    let (way, behind) = (host(&rig, 1), host(&rig, 2));
    rig.configure_first(&format!("Host {behind}\n  ProxyJump {way}"));
    let hosts = open(&rig);
    let error = run(&hosts, &behind, echo()).await.unwrap_err();
    let RemoteError::UnknownKey { name, .. } = &error else { panic!("{error:?}") };
    assert_ne!(
        *name,
        rig.docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"], 2)
    );
    let fingerprint = Fingerprint::new(&rig.fingerprint(1, "ed25519")).unwrap();
    hosts.trust_fingerprint(&way, &fingerprint).await.unwrap();
    let error = run(&hosts, &behind, echo()).await.unwrap_err();
    assert!(matches!(error, RemoteError::UnknownKey { .. }), "{error:?}");
    let fingerprint = Fingerprint::new(&rig.fingerprint(2, "ed25519")).unwrap();
    hosts.trust_fingerprint(&behind, &fingerprint).await.unwrap();
    assert_eq!(
        run(&hosts, &behind, Phase::new("name", "uname -n")).await.unwrap().stdout.trim(),
        behind.as_str()
    );
}
