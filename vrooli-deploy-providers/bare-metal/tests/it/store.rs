//! Files by their content: only what is missing is sent.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use vrooli_deploy_core::provider::Cancellation;
use vrooli_deploy_provider_bare_metal::hosts::Hosts;
use vrooli_deploy_provider_bare_metal::remote::{RemoteError, Sent, StoredFile};

use crate::rig::Rig;
use crate::{host, trial, trusted, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("only_what_is_missing_is_sent", only_what_is_missing_is_sent),
        trial("sending_goes_on", sending_goes_on),
        trial("a_small_disk_is_refused_before", a_small_disk_is_refused_before),
    ]
}

/// Bytes without a pattern, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn stored(path: &Path, bytes: &[u8]) -> StoredFile {
    fs::write(path, bytes).unwrap();
    StoredFile::read(path).unwrap()
}

async fn send(rig: &Rig, hosts: &Hosts, file: &StoredFile) -> Result<Sent, RemoteError> {
    file.send(&*hosts.connections().host(&host(rig, 1)), &Cancellation::new()).await
}

/// The file on the host is the file here.
fn is_there(rig: &Rig, file: &StoredFile) -> bool {
    rig.on(1, &format!("sha256sum <{}", file.path_on_host())).starts_with(file.digest())
}

async fn only_what_is_missing_is_sent() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let path = rig.folder().join("file");
    let mut bytes = noise(20 << 20);
    let first = stored(&path, &bytes);
    let sent = send(&rig, &hosts, &first).await.unwrap();
    assert_eq!((sent.phases, sent.bytes), (2, first.size()));
    assert!(is_there(&rig, &first));
    let sent = send(&rig, &hosts, &first).await.unwrap();
    assert_eq!((sent.phases, sent.pieces), (1, 0));
    // A change in the middle that moves all that comes after.
    bytes.splice(9_000_000..9_000_000, *b"one line more");
    let second = stored(&path, &bytes);
    let sent = send(&rig, &hosts, &second).await.unwrap();
    assert_eq!(sent.phases, 2);
    assert!((1..=3).contains(&sent.pieces), "{sent:?}");
    assert!(is_there(&rig, &first) && is_there(&rig, &second));
    // A file that changed after it was looked at is not sent as what it was.
    let third = stored(&path, &noise(3 << 20));
    fs::write(&path, b"another").unwrap();
    assert!(matches!(send(&rig, &hosts, &third).await, Err(RemoteError::File { .. })));
    // Nobody but root can read any of it, and nothing is left over.
    assert_eq!(rig.on(1, "stat -c %a /var/lib/vrooli-deploy/store"), "700");
    assert_eq!(rig.on(1, "find /var/lib/vrooli-deploy -name '.new-*'"), "");
}

/// The host goes away while pieces arrive: those that have arrived are not sent again.
async fn sending_goes_on() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    // Slow enough to be cut off in the middle.
    let slow = "#!/bin/sh\nsleep 0.3\nexec /usr/bin/sha256sum \"$@\"\n";
    rig.on(1, &format!("printf '%s' '{slow}' >/usr/local/bin/sha256sum; chmod 755 /usr/local/bin/sha256sum"));
    let file = stored(&rig.folder().join("file"), &noise(30 << 20));
    let arrived = || -> usize {
        rig.on(1, "ls /var/lib/vrooli-deploy/store/pieces 2>/dev/null | wc -l").parse().unwrap()
    };
    let (result, ()) = tokio::join!(send(&rig, &hosts, &file), async {
        until("pieces arrive", || arrived() >= 3).await;
        rig.on(1, "pkill -KILL -f 'sshd: [d]eploy'");
    });
    assert!(matches!(result, Err(RemoteError::Lost { .. })), "{result:?}");
    // What was running there sees the end of its input, and gives no name to what is not whole.
    until("the script ends", || rig.on(1, "pgrep -x timeout || true").is_empty()).await;
    let before = arrived();
    rig.on(1, "rm /usr/local/bin/sha256sum");
    let sent = send(&rig, &hosts, &file).await.unwrap();
    assert_eq!(sent.phases, 2);
    assert!(sent.pieces > 0 && sent.bytes < file.size(), "{sent:?}");
    assert_eq!(arrived(), before + sent.pieces);
    assert!(is_there(&rig, &file));
}

async fn a_small_disk_is_refused_before() {
    let rig = Rig::up(1, &["--tmpfs", "/var/lib/vrooli-deploy:size=120m"]);
    let hosts = trusted(&rig, 1).await;
    let file = stored(&rig.folder().join("file"), &noise(60 << 20));
    let error = send(&rig, &hosts, &file).await.unwrap_err();
    assert!(matches!(error, RemoteError::NoRoom { .. }), "{error:?}");
    assert_eq!(rig.on(1, "find /var/lib/vrooli-deploy -type f"), "");
    let small = stored(&rig.folder().join("small"), &noise(5 << 20));
    send(&rig, &hosts, &small).await.unwrap();
    assert!(is_there(&rig, &small));
}
