//! Many phases at the same time, and what is seen of them.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use libtest_mimic::Trial;
use vrooli_deploy_core::provider::Cancellation;
use vrooli_deploy_provider_bare_metal::hosts::Hosts;
use vrooli_deploy_provider_bare_metal::remote::{Phase, RemoteError, RemoteExec as _};

use crate::rig::Rig;
use crate::{host, run, trial, trusted, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("one_connection", one_connection),
        trial("few_sessions", few_sessions),
        trial("input_and_output", input_and_output),
        trial("nothing_secret_in_arguments", nothing_secret_in_arguments),
        trial("connections_end", connections_end),
        trial("connections_stay_for_the_next", connections_stay_for_the_next),
    ]
}

/// More phases at once than `sshd` allows sessions: one connection, and all are answered.
async fn one_connection() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let phases =
        (0..25).map(|number| run(&hosts, &name, Phase::new("echo", format!("sleep 0.2; echo {number}"))));
    let outputs = join_all(phases).await;
    for (number, output) in outputs.into_iter().enumerate() {
        assert_eq!(output.unwrap().stdout.trim(), number.to_string());
    }
    let seen = hosts.connections().host(&name).round_trips();
    assert_eq!((seen.connections, seen.phases), (1, 25));
}

/// A host that allows fewer sessions than is usual.
async fn few_sessions() {
    let rig = Rig::up(1, &[]);
    rig.on(1, "echo MaxSessions 2 >>/etc/ssh/sshd_config.d/test.conf; systemctl restart ssh");
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let phases = (0..12).map(|_| run(&hosts, &name, Phase::new("echo", "sleep 0.1; echo a")));
    for output in join_all(phases).await {
        assert_eq!(output.unwrap().stdout, "a\n");
    }
    assert_eq!(hosts.connections().round_trips().connections, 1);
}

/// Bytes arrive as they are, and no more output is kept than is allowed.
async fn input_and_output() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let phase = Phase::new("sum", "sha256sum; echo over").with_input(bytes.clone());
    let output = run(&hosts, &name, phase).await.unwrap();
    fs::write(rig.folder().join("bytes"), &bytes).unwrap();
    let expected = std::process::Command::new("sha256sum").arg(rig.folder().join("bytes")).output().unwrap();
    assert_eq!(
        output.stdout.split(' ').next(),
        String::from_utf8(expected.stdout).unwrap().split(' ').next()
    );
    // What is not read does not hold the phase up.
    let phase = Phase::new("deaf", "exec <&-; echo a").with_input(bytes);
    assert_eq!(run(&hosts, &name, phase).await.unwrap().stdout, "a\n");
    let mut phase = Phase::new("loud", "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last >&2");
    phase.largest_output = 1000;
    let output = run(&hosts, &name, phase).await.unwrap();
    assert!(output.truncated);
    assert!(output.stdout.len() < 1000 && output.stdout.starts_with("xxx"), "{}", output.stdout.len());
    assert_eq!(output.stderr, "last");
}

const CANARY: &str = "planted-canary-5f1c";

/// Neither here nor there does a secret, or the script that handles it, stand in any argument
/// list, at any moment of a run.
async fn nothing_secret_in_arguments() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    let over = Arc::new(AtomicBool::new(false));
    // The host's processes are this machine's, too: both sides are looked at.
    let watch = tokio::task::spawn_blocking({
        let over = Arc::clone(&over);
        move || {
            let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
            while !over.load(Ordering::SeqCst) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
                    let line = String::from_utf8_lossy(&line).replace('\0', " ");
                    if line.contains(CANARY) {
                        found.push(line.clone());
                    }
                    if line.contains("ssh") || line.contains("head -c") {
                        seen.insert(line);
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            (seen, found)
        }
    });
    for root in [false, true] {
        let script = format!("read -r value; sleep 1; : {CANARY}; printf %s \"$value\" | wc -c");
        let phase = Phase::new("secret", script).with_input(format!("{CANARY}\n"));
        let phase = if root { phase.as_root() } else { phase };
        let output = run(&hosts, &name, phase).await.unwrap();
        assert_eq!(output.stdout.trim(), CANARY.len().to_string());
    }
    over.store(true, Ordering::SeqCst);
    let (seen, found) = watch.await.unwrap();
    assert_eq!(found, Vec::<String>::new());
    // It was looked at the right things: our `ssh`, and what it runs on the host.
    assert!(seen.iter().any(|line| line.contains(name.as_str())), "{seen:?}");
    assert!(seen.iter().any(|line| line.contains("head -c")), "{seen:?}");
}

/// Nothing is left of a connection: no process, no socket, no folder.
async fn connections_end() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let name = host(&rig, 1);
    run(&hosts, &name, Phase::new("echo", "echo a")).await.unwrap();
    let running = |name: &str| {
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.starts_with("ssh") && line.contains(name)
        })
    };
    let state = rig.folder().join("state/hosts");
    let left = || {
        let names =
            fs::read_dir(&state).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".ssh")).collect::<Vec<_>>()
    };
    assert_eq!(left().len(), 1);
    assert!(running(name.as_str()));
    drop(hosts);
    // At once, and not only because nobody uses it: that takes a minute.
    for _ in 0..200 {
        if running(name.as_str()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(!running(name.as_str()));
    assert_eq!(left(), Vec::<String>::new());
    // Whoever stops while connecting leaves nothing either.
    rig.docker(&["pause"], 1);
    let hosts = crate::open(&rig);
    let cancellation = Cancellation::new();
    let (remote, phase) = (hosts.connections().host(&name), Phase::new("echo", "echo a"));
    let (_, ()) = tokio::join!(remote.run(&phase, &cancellation), async {
        until("it connects", || running(name.as_str())).await;
        cancellation.cancel();
    });
    until("nothing connects", || !running(name.as_str())).await;
    rig.docker(&["unpause"], 1);
}

/// A connection that was made by one program is used by the next one, as long as all that it stands on is the same
/// and it is alive.
async fn connections_stay_for_the_next() {
    let rig = Rig::up(1, &[]);
    drop(trusted(&rig, 1).await);
    let (name, state) = (host(&rig, 1), rig.folder().join("state"));
    let mut options = crate::options(&rig);
    options.keep = Duration::from_secs(5);
    // How many connections it took.
    let next = async || {
        let hosts = Hosts::open(&state, options.clone()).unwrap();
        let output = run(&hosts, &name, Phase::new("echo", "echo a")).await.unwrap();
        assert_eq!(output.stdout, "a\n");
        hosts.connections().round_trips().connections
    };
    assert_eq!((next().await, next().await, next().await), (1, 0, 0));
    // Two at a time.
    let (one, other) = futures_util::future::join(next(), next()).await;
    assert_eq!(one + other, 0);
    // Only we can use it.
    let folder = state.join("hosts/.kept");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&folder).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);

    // It ended over there, or all of it is forgotten here.
    rig.on(1, "pkill -f 's[s]hd: deploy'; true");
    until("the connection has ended", || fs::read_dir(&folder).unwrap().count() == 0 || !alive(&folder))
        .await;
    assert_eq!((next().await, next().await), (1, 0));
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!((next().await, next().await), (1, 0));
    // Whose key is to be believed was changed.
    let known = state.join("hosts/known_hosts");
    let text = fs::read_to_string(&known).unwrap();
    fs::write(&known, "").unwrap();
    let hosts = Hosts::open(&state, options.clone()).unwrap();
    let error = run(&hosts, &name, Phase::new("echo", "echo a")).await.unwrap_err();
    assert!(matches!(error, RemoteError::UnknownKey { .. }), "{error:?}");
    fs::write(&known, text).unwrap();
    // A host that is frozen is found out, and one that is back is reached.
    assert_eq!(next().await, 0);
    rig.docker(&["pause"], 1);
    let hosts = Hosts::open(&state, options.clone()).unwrap();
    let error = run(&hosts, &name, Phase::new("echo", "echo a")).await.unwrap_err();
    assert!(matches!(error, RemoteError::NoAnswer { .. } | RemoteError::Unreachable { .. }), "{error:?}");
    rig.docker(&["unpause"], 1);
    assert_eq!(next().await, 1);
    // Nobody came.
    until("the connection has ended by itself", || !alive(&state)).await;
    assert_eq!(next().await, 1);
    // Without being asked to, nothing stays.
    options.keep = Duration::ZERO;
    fs::remove_dir_all(&folder).unwrap();
    let hosts = Hosts::open(&state, options.clone()).unwrap();
    run(&hosts, &name, Phase::new("echo", "echo a")).await.unwrap();
    drop(hosts);
    assert!(!folder.exists());
}

/// Does a connection of this workspace stand? To ask its socket would keep it.
fn alive(state: &std::path::Path) -> bool {
    let own = format!("-F\0{}", state.display());
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&own))
    })
}
