//! This program on servers: sent once, run by systemd, there after a restart, and gone cleanly.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use vrooli_deploy_core::provider::Cancellation;
use vrooli_deploy_providers::bare_metal::facts::{self, HostFacts};
use vrooli_deploy_providers::bare_metal::host::HostName;
use vrooli_deploy_providers::bare_metal::hosts::Hosts;
use vrooli_deploy_providers::bare_metal::own::{Installed, OwnError, OwnProgram, Programs, Supervisor};
use vrooli_deploy_providers::bare_metal::remote::{Fingerprint, Phase, RemoteExec as _, SshHost, SshOptions};
use vrooli_deploy_providers::bare_metal::store::{SURVEY, Staged};

use crate::rig::{self, Rig};

const UNIT: &str = "vrooli-deploy-supervisor";
const BASE: &str = "/var/lib/vrooli-deploy";

struct Server {
    rig: Rig,
    hosts: Hosts,
    name: HostName,
}

impl Server {
    async fn new() -> Self {
        let rig = Rig::up(1, &[]);
        let mut options = SshOptions::default();
        options.config = Some(rig.ssh_config());
        options.connect = Duration::from_secs(4);
        options.alive = Duration::from_secs(1);
        let hosts = Hosts::open(&rig.folder().join("state"), options).unwrap();
        let name = HostName::new(rig.name(1)).unwrap();
        let fingerprint = Fingerprint::new(&rig.fingerprint(1, "ed25519")).unwrap();
        hosts.trust_fingerprint(&name, &fingerprint).await.unwrap();
        Self { rig, hosts, name }
    }

    fn remote(&self) -> std::sync::Arc<SshHost> {
        self.hosts.connections().host(&self.name)
    }

    async fn facts(&self) -> HostFacts {
        let output = self.remote().run(&facts::phase(), &Cancellation::new()).await.unwrap();
        facts::read(&self.name, &output).unwrap()
    }

    /// The program and its unit, and how many round trips that took.
    async fn set_up(&self, program: &OwnProgram) -> (Installed, u64) {
        let (remote, before) = (self.remote(), self.remote().round_trips().phases);
        program.send(&*remote, &Cancellation::new()).await.unwrap();
        let installed = Supervisor.install(&*remote, program, &Cancellation::new()).await.unwrap();
        (installed, remote.round_trips().phases - before)
    }

    fn on(&self, script: &str) -> String {
        self.rig.on(1, script)
    }

    fn is_active(&self) -> bool {
        self.on(&format!("systemctl is-active {UNIT} || true")) == "active"
    }

    async fn until(&self, what: &str, is: impl Fn() -> bool) {
        for _ in 0..600 {
            if is() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what}: not within a minute: {}", self.on(&format!("journalctl -u {UNIT} -n 30 || true")));
    }
}

/// The program under test, as a user has it: beside it may be those for other machines.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vrooli-deploy"))
}

fn trial<F: Future<Output = ()>>(test: &str, run: impl FnOnce() -> F) {
    if let Some(why) = rig::absent() {
        println!("skipped: {test}: {why}");
        return;
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(run());
}

/// The program, if it runs on the server. On a machine with a newer C library than the server has
/// it does not, and that is what the user is told.
async fn chosen(test: &str, server: &Server) -> Option<OwnProgram> {
    let programs = programs(&[], program());
    match programs.choose(&server.name, &server.facts().await.machine()) {
        Ok(program) => Some(program),
        Err(error @ OwnError::NoProgram { .. }) => {
            println!("skipped: {test}: {error}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn programs(named: &[(&str, &Path)], running: &Path) -> Programs {
    let mut programs = Programs::default();
    programs.named = named
        .iter()
        .map(|(machine, path)| ((*machine).to_owned(), path.to_path_buf()))
        .collect::<BTreeMap<_, _>>();
    programs.running = Some(running.to_owned());
    programs
}

#[test]
fn a_supervisor_is_there_and_stays() {
    const TEST: &str = "a_supervisor_is_there_and_stays";
    trial(TEST, async || {
        let server = Server::new().await;
        let Some(program) = chosen(TEST, &server).await else { return };
        let (installed, trips) = server.set_up(&program).await;
        assert!(installed.changed && installed.started, "{installed:?}");
        assert_eq!(trips, 3);
        // Ready means that it can be talked to.
        assert!(server.is_active());
        assert_eq!(server.on(&format!("ls {BASE}/workspace/run | grep -c '^supervisor.lock$'")), "1");
        assert_eq!(
            server.on(&format!("readlink /proc/{}/exe", installed.process)),
            format!("{BASE}/programs/{}", program.digest())
        );
        let unit = format!("/etc/systemd/system/{UNIT}.service");
        assert_eq!(server.on(&format!("systemd-analyze verify --man=no {unit} 2>&1")), "");
        assert!(server.on(&format!("sha256sum {unit}")).starts_with(&Supervisor::digest()));
        // Nothing has changed: nothing is touched, and it is the same process.
        let (again, trips) = server.set_up(&program).await;
        assert_eq!(
            (again.changed, again.started, again.process, trips),
            (false, false, installed.process, 2)
        );
        let survey = Phase::new("survey", SURVEY).as_root();
        let survey = server.remote().run(&survey, &Cancellation::new()).await.unwrap();
        assert_eq!(Staged::read(&survey.stdout).program.as_deref(), Some(program.digest()));
        // It stays although it has nothing to do: longer than one on a user's own machine would.
        let age = || server.on(&format!("ps -o etimes= -p {} || echo gone", installed.process));
        server
            .until("it grows old", || age() == "gone" || age().trim().parse().is_ok_and(|age: u32| age > 7))
            .await;
        assert!(server.is_active() && age() != "gone");
        // Killed, it is back; somebody changed the unit: it is put right.
        server.on(&format!("kill -KILL {}", installed.process));
        server
            .until("it is back", || {
                server.is_active()
                    && server.on(&format!("systemctl show -p MainPID --value {UNIT}"))
                        != installed.process.to_string()
            })
            .await;
        server.on(&format!("echo '# mine' >>{unit}; systemctl disable --quiet {UNIT}"));
        let (mended, _) = server.set_up(&program).await;
        assert!(mended.changed && mended.started, "{mended:?}");
        assert!(
            server
                .on(&format!("sha256sum {unit}; systemctl is-enabled {UNIT}"))
                .starts_with(&Supervisor::digest())
        );
        // The host restarts.
        server.rig.docker(&["restart", "-t", "20"], 1);
        let up = || server.is_active() && server.on("systemctl is-active ssh || true") == "active";
        server.until("it is up again", up).await;
        let (after, trips) = server.set_up(&program).await;
        assert_eq!((after.changed, after.started, trips), (false, false, 2));
    });
}

/// Another program: what runs is replaced by it, and a program that is none is not left to fail.
#[test]
fn a_program_is_replaced() {
    const TEST: &str = "a_program_is_replaced";
    trial(TEST, async || {
        let server = Server::new().await;
        let Some(first) = chosen(TEST, &server).await else { return };
        let (installed, _) = server.set_up(&first).await;
        // The same with something after its end runs as well, and is another.
        let other = server.rig.folder().join("vrooli-deploy");
        fs::copy(program(), &other).unwrap();
        let mut bytes = fs::read(&other).unwrap();
        bytes.extend_from_slice(b"another version");
        fs::write(&other, bytes).unwrap();
        let second = OwnProgram::read(&other).unwrap();
        let sent = second.send(&*server.remote(), &Cancellation::new()).await.unwrap();
        assert!(sent.phases == 2 && sent.pieces <= 2 && sent.bytes < 2 << 20, "{sent:?}");
        println!(
            "a program of {} bytes, changed at its end: {} bytes",
            fs::metadata(&other).unwrap().len(),
            sent.bytes
        );
        // What runs goes on from the file that it was started from.
        assert!(server.is_active());
        assert!(server.on(&format!("readlink /proc/{}/exe", installed.process)).ends_with(first.digest()));
        let replaced = Supervisor.install(&*server.remote(), &second, &Cancellation::new()).await.unwrap();
        assert!(
            !replaced.changed && replaced.started && replaced.process != installed.process,
            "{replaced:?}"
        );
        assert!(server.on(&format!("readlink /proc/{}/exe", replaced.process)).ends_with(second.digest()));
        // A file that somebody damaged is not believed.
        server.on(&format!("printf x | dd of={BASE}/programs/{} seek=100 bs=1 conv=notrunc status=none || true; rm {BASE}/program", first.digest()));
        let (back, _) = server.set_up(&first).await;
        assert!(
            back.started
                && server.on(&format!("readlink /proc/{}/exe", back.process)).ends_with(first.digest())
        );
        // It does not come up: that is said with what it says, and where no unit was, none stays.
        Supervisor.remove(&*server.remote(), &Cancellation::new()).await.unwrap();
        let none = server.rig.folder().join("none");
        fs::write(&none, "#!/bin/sh\necho this is no supervisor >&2\nexit 1\n").unwrap();
        let none = OwnProgram::read(&none).unwrap();
        none.send(&*server.remote(), &Cancellation::new()).await.unwrap();
        let error = Supervisor.install(&*server.remote(), &none, &Cancellation::new()).await.unwrap_err();
        assert!(matches!(error, OwnError::DoesNotStart { .. }), "{error:?}");
        assert!(error.words().contains("this is no supervisor"), "{}", error.words());
        assert_eq!(server.on(&format!("ls /etc/systemd/system/{UNIT}.service 2>/dev/null || true")), "");
    });
}

#[test]
fn nothing_is_left_of_a_supervisor() {
    const TEST: &str = "nothing_is_left_of_a_supervisor";
    trial(TEST, async || {
        let server = Server::new().await;
        let Some(program) = chosen(TEST, &server).await else { return };
        let state = || {
            server.on("systemctl list-unit-files --no-legend 'vrooli*'; ls /var/lib /etc/systemd/system /run/systemd/system; ps -eo args | grep '[_]_vrooli-deploy-child' || true")
        };
        let before = state();
        server.set_up(&program).await;
        assert_ne!(state(), before);
        // While an app has something there it stays.
        server.on(&format!(
            "mkdir -p {BASE}/store/refs/shop/default && touch {BASE}/store/refs/shop/default/{}",
            "0".repeat(64)
        ));
        let error = Supervisor.remove(&*server.remote(), &Cancellation::new()).await.unwrap_err();
        assert!(
            matches!(&error, OwnError::StillUsed { stacks, .. } if *stacks == ["shop/default"]),
            "{error:?}"
        );
        assert!(server.is_active());
        server.on(&format!("rm -r {BASE}/store/refs/shop"));
        // Once and once again.
        for _ in 0..2 {
            Supervisor.remove(&*server.remote(), &Cancellation::new()).await.unwrap();
            assert_eq!(state(), before);
        }
    });
}

/// What an app answers with on the server, by way of nothing but what is there.
const RESPOND: &str = "while read -r line; do [ ${#line} -gt 1 ] || break; done\nprintf 'HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nfine'\n";
const MANIFEST: &str = r#"schema_version: v0.1
target: local
provider: local
app:
  name: shop
services:
  api:
    run: "exec systemd-socket-activate --inetd -a -l 127.0.0.1:$PORT sh respond.sh"
    ports:
      http: { env_var: PORT }
    health: { path: / }
    routes: [{ path: / }]
"#;

/// A restart of the unit, a kill and an upgrade drop no request: apps and the edge go on, and the
/// listening sockets with them. After a restart of the server the app serves again by itself.
#[test]
fn what_serves_outlives_the_supervisor() {
    const TEST: &str = "what_serves_outlives_the_supervisor";
    trial(TEST, async || {
        let server = Server::new().await;
        let Some(program) = chosen(TEST, &server).await else { return };
        server.set_up(&program).await;
        let folder = server.rig.folder().join("app");
        fs::create_dir(&folder).unwrap();
        for (name, text) in [("shop.yaml", MANIFEST), ("respond.sh", RESPOND)] {
            fs::write(folder.join(name), text).unwrap();
        }
        let to = format!("{}:/root/app", server.name);
        let copied = std::process::Command::new("docker").arg("cp").arg(&folder).arg(&to).output().unwrap();
        assert!(copied.status.success(), "{copied:?}");
        // The program there is the whole of it: it deploys to the supervisor that runs.
        let url = server.on(&format!(
            "cd /root && VROOLI_DEPLOY_HOME={BASE}/workspace {BASE}/program up app/shop.yaml --quiet"
        ));
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        assert_eq!(server.on(&format!("curl -fsS {url}")), "fine");
        let supervisors = || server.on("ps -eo args | grep -c '[_]_vrooli-deploy-child supervisor'");
        assert_eq!(supervisors(), "1");
        let under_load = |what: &str| {
            let load = format!(
                "(while [ ! -e /tmp/over ]; do curl -fsS -m 10 -o /dev/null {url} && echo ok || echo failed; done) >/tmp/answers 2>&1"
            );
            let answers = "grep -c ok /tmp/answers || true";
            // So many before, and as many after.
            let more = format!(
                "want=$(( $({answers}) + 20 )); for i in $(seq 300); do [ $({answers}) -lt $want ] || break; sleep 0.1; done; [ $({answers}) -ge $want ]"
            );
            server.on(&format!("rm -f /tmp/over; : >/tmp/answers; {load} & {more}; {what}; {more}; touch /tmp/over; wait; grep -v ok /tmp/answers || true"))
        };
        assert_eq!(under_load(&format!("systemctl restart {UNIT}")), "");
        let kill = format!(
            "systemctl kill --kill-who=main -s KILL {UNIT}; for i in $(seq 300); do ! systemctl is-active -q {UNIT} || break; sleep 0.1; done"
        );
        assert_eq!(under_load(&kill), "");
        // Another program: the edge is exchanged as well.
        let other = server.rig.folder().join("vrooli-deploy");
        let bytes = [fs::read(program.path()).unwrap(), b"another version".to_vec()].concat();
        fs::write(&other, bytes).unwrap();
        let second = OwnProgram::read(&other).unwrap();
        second.send(&*server.remote(), &Cancellation::new()).await.unwrap();
        let edge = || {
            server.on("for p in $(pgrep -f '[_]_vrooli-deploy-child edge'); do readlink /proc/$p/exe; done")
        };
        assert_eq!(under_load(&format!("systemctl restart {UNIT}")), "");
        server.until("the edge is exchanged", || edge().contains(second.digest())).await;
        assert_eq!(supervisors(), "1");
        server.rig.docker(&["restart", "-t", "20"], 1);
        let serves = || server.on(&format!("curl -fsS -m 5 {url} 2>/dev/null || true")) == "fine";
        server.until("it serves again", serves).await;
        // Removed, nothing of it runs any more.
        server.on(&format!("rm -rf {BASE}/store/refs/shop"));
        Supervisor.remove(&*server.remote(), &Cancellation::new()).await.unwrap();
        assert_eq!(server.on("ps -eo args | grep '[_]_vrooli-deploy-child\\|[r]espond' || true"), "");
    });
}

/// What does not run there is refused before anything is sent.
#[test]
fn a_program_for_another_machine_is_refused() {
    trial("a_program_for_another_machine_is_refused", async || {
        let server = Server::new().await;
        let folder = server.rig.folder().join("other");
        fs::create_dir(&folder).unwrap();
        // A program says in bytes 18 and 19 of it which machine it is for: 183 is aarch64.
        let mut bytes = fs::read(program()).unwrap();
        bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
        let other = folder.join("vrooli-deploy");
        fs::write(&other, bytes).unwrap();
        let facts = server.facts().await;
        let error = programs(&[], &other).choose(&server.name, &facts.machine()).unwrap_err();
        assert!(error.to_string().contains("it is for aarch64, and the host is"), "{error}");
        assert!(
            error.help().contains("-unknown-linux-musl") && error.help().contains("PATH"),
            "{}",
            error.help()
        );
        // A host with an older library: it says so by the program that is asked.
        let getconf = "#!/bin/sh\necho glibc 2.2\n";
        server.on(&format!(
            "printf '%s' '{getconf}' >/usr/local/bin/getconf; chmod 755 /usr/local/bin/getconf"
        ));
        let facts = server.facts().await;
        let error = programs(&[], program()).choose(&server.name, &facts.machine()).unwrap_err();
        assert!(error.to_string().contains("the host has 2.2"), "{error}");
        assert!(error.help().contains("musl") && error.help().contains("on the host"), "{}", error.help());
        assert_eq!(server.on("ls /var/lib | grep -c vrooli || true"), "0");
    });
}
