//! Facts and preflight of real hosts.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use vrooli_deploy_core::provider::Cancellation;
use vrooli_deploy_provider_bare_metal::artefact::Artefact;
use vrooli_deploy_provider_bare_metal::facts::Root;
use vrooli_deploy_provider_bare_metal::host::Server;
use vrooli_deploy_provider_bare_metal::hosts::Hosts;
use vrooli_deploy_provider_bare_metal::preflight::{
    CheckStatus, Preflight, PreflightCheck, PreflightOptions,
};

use crate::rig::Rig;
use crate::{host, trial, trusted, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("facts", facts),
        trial("ten_hosts", ten_hosts),
        trial("ports", ports),
        trial("small_disk_and_wrong_clock", small_disk_and_wrong_clock),
        trial("one_host_away", one_host_away),
        trial("one_machine_twice", one_machine_twice),
        trial("artefacts", artefacts),
        trial("nothing_is_changed", nothing_is_changed),
    ]
}

async fn preflight(rig: &Rig, hosts: &Hosts, count: u32) -> Preflight {
    let server = |number| Server { host: host(rig, number), role: "app".to_owned() };
    let servers: Vec<Server> = (1..=count).map(server).collect();
    hosts.preflight(&servers, &PreflightOptions::default(), &Cancellation::new()).await.unwrap()
}

fn of(preflight: &Preflight, index: usize) -> BTreeMap<&str, &PreflightCheck> {
    preflight.hosts[index].checks.iter().map(|check| (check.id.as_str(), check)).collect()
}

async fn facts() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let names = [host(&rig, 1)];
    let facts = hosts.facts(&names, &Cancellation::new()).await.remove(0).unwrap();
    assert_eq!(facts.name, rig.name(1));
    assert_eq!((facts.user.as_str(), facts.root), ("deploy", Root::Sudo));
    let os = rig.on(1, ". /etc/os-release; echo $ID $VERSION_ID");
    assert_eq!(format!("{} {}", facts.os, facts.os_version), os);
    assert_eq!(facts.architecture, std::env::consts::ARCH);
    let glibc = rig.on(1, "getconf GNU_LIBC_VERSION");
    assert_eq!(facts.glibc.as_deref(), glibc.strip_prefix("glibc "));
    let systemd = rig.on(1, "systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'");
    assert_eq!(facts.systemd.map(|version| version.to_string()), Some(systemd));
    assert!(facts.memory > 1 << 20 && facts.disk_free > 0 && facts.cpus > 0, "{facts:?}");
    let trips = hosts.connections().round_trips();
    assert_eq!((trips.connections, trips.phases), (1, 1));
}

/// Ten hosts are asked at the same time, each once: they wait for each other, which only works
/// when all are asked before the first is answered.
async fn ten_hosts() {
    let rig = Rig::up(10, &[]);
    let hosts = trusted(&rig, 10).await;
    for number in 1..=10 {
        // Not for what Ubuntu greets with, of which a connection is made.
        let wait = "#!/bin/sh\n[ \"$1\" != -m ] || [ -z \"$SSH_CONNECTION$SUDO_USER\" ] || { touch /meet/$(/usr/bin/uname -n); for i in $(seq 600); do [ $(ls /meet | wc -l) = 10 ] && break; sleep 0.1; done; }\nexec /usr/bin/uname \"$@\"\n";
        rig.on(number, &format!("mkdir -m 777 /meet; printf '%s' '{wait}' >/usr/local/bin/uname; chmod 755 /usr/local/bin/uname"));
    }
    // Whoever has arrived on one host is announced on all others.
    let announce = async {
        for _ in 0..600 {
            let arrived: Vec<String> = (1..=10).map(|n| rig.on(n, "ls /meet")).collect();
            let all: Vec<&str> = arrived.iter().flat_map(|names| names.lines()).collect();
            if (1..=10).all(|number| all.contains(&rig.name(number).as_str())) {
                let touch = format!("cd /meet && touch {}", all.join(" "));
                (1..=10).for_each(|number| drop(rig.on(number, &touch)));
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("not all are asked at the same time");
    };
    let (looked, ()) = tokio::join!(preflight(&rig, &hosts, 10), announce);
    assert_eq!(looked.hosts.len(), 10);
    for number in 1..=10 {
        assert_eq!(of(&looked, number - 1)["ssh_connect"].status, CheckStatus::Pass);
    }
    let trips = hosts.connections().round_trips();
    assert_eq!((trips.connections, trips.phases), (10, 10));
}

/// A stranger on a port of the edge fails, with who it is; our own edge does not.
async fn ports() {
    let rig = Rig::up(2, &[]);
    let hosts = trusted(&rig, 2).await;
    let listen = |number, unit: &str, port| {
        rig.on(
            number,
            &format!("systemd-run --quiet --unit={unit} systemd-socket-activate -l {port} /bin/cat"),
        );
    };
    listen(1, "vrooli-deploy-edge", 80);
    listen(1, "other", 8080);
    listen(2, "nginx", 443);
    for (number, port) in [(1, 80), (2, 443)] {
        until("it listens", || !rig.on(number, &format!("ss -H -l -t -n sport = :{port}")).is_empty()).await;
    }
    let looked = preflight(&rig, &hosts, 2).await;
    let own = of(&looked, 0)["ports_80_443"];
    assert_eq!((own.status, own.details.as_str()), (CheckStatus::Pass, "our own edge listens"));
    let stranger = of(&looked, 1)["ports_80_443"];
    assert_eq!(stranger.status, CheckStatus::Fail);
    assert!(stranger.details.starts_with("443 is taken by `systemd-socket-`"), "{stranger:?}");
    assert_eq!(stranger.data["unit"], "nginx.service");
    assert!(stranger.hint.is_some());
    // Without root nobody can say whose it is.
    rig.on(1, "rm /etc/sudoers.d/deploy");
    let looked = preflight(&rig, &hosts, 1).await;
    assert_eq!(of(&looked, 0)["root"].status, CheckStatus::Fail);
    assert_eq!(of(&looked, 0)["ports_80_443"].status, CheckStatus::Warn);
}

async fn small_disk_and_wrong_clock() {
    let rig = Rig::up(2, &["--tmpfs", "/var/lib/vrooli-deploy:size=64m"]);
    let hosts = trusted(&rig, 2).await;
    // No container may set the clock: its `date` is wrong instead.
    let date = "#!/bin/sh\nexec /bin/date -d \"10 minutes\" \"$@\"\n";
    rig.on(1, &format!("printf '%s' '{date}' >/usr/local/bin/date; chmod 755 /usr/local/bin/date"));
    rig.on(1, "head -c 60000000 /dev/zero >/var/lib/vrooli-deploy/full");
    let looked = preflight(&rig, &hosts, 2).await;
    let first = of(&looked, 0);
    assert_eq!(first["disk_free"].status, CheckStatus::Fail);
    assert!(first["disk_free"].details.contains("on /var/lib/vrooli-deploy"), "{:?}", first["disk_free"]);
    assert_eq!(first["clock_offset"].status, CheckStatus::Fail);
    assert!(
        first["clock_offset"].details.contains(" s ahead of this machine"),
        "{:?}",
        first["clock_offset"]
    );
    let second = of(&looked, 1);
    assert!(second["clock_offset"].status < CheckStatus::Fail, "{:?}", second["clock_offset"]);
    assert_eq!(looked.status(), CheckStatus::Fail);
}

/// One host that is away is told, with why; the others are looked at all the same.
async fn one_host_away() {
    let rig = Rig::up(3, &[]);
    let hosts = trusted(&rig, 3).await;
    rig.docker(&["pause"], 2);
    let looked = preflight(&rig, &hosts, 3).await;
    rig.docker(&["unpause"], 2);
    let away = of(&looked, 1)["ssh_connect"];
    assert_eq!((away.status, away.data["code"].as_str()), (CheckStatus::Fail, "VD0905"));
    for index in [0, 2] {
        assert_eq!(of(&looked, index)["ssh_connect"].status, CheckStatus::Pass);
        assert!(of(&looked, index).len() > 10);
    }
}

async fn one_machine_twice() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let address =
        rig.docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"], 1);
    rig.configure_first(&format!(
        "Host vdt-alias\n  HostName {address}\n  User deploy\n  IdentityFile {}/id",
        rig.folder().display()
    ));
    let hosts_of = |name: &str| Server { host: name.parse().unwrap(), role: "app".to_owned() };
    let servers = [hosts_of(&rig.name(1)), hosts_of("vdt-alias")];
    let looked = hosts.preflight(&servers, &PreflightOptions::default(), &Cancellation::new()).await.unwrap();
    assert!(!of(&looked, 0).contains_key("one_machine"));
    assert_eq!(of(&looked, 1)["one_machine"].status, CheckStatus::Fail);
}

/// What runs there fits; what asks for more than the host has does not, and is told before it is sent.
async fn artefacts() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let folder = rig.folder().join("built");
    std::fs::create_dir(&folder).unwrap();
    for (from, to) in
        [("/bin/date", "date"), ("/lib/x86_64-linux-gnu/libc.so.6", "libc.so.6"), ("/etc/os-release", "text")]
    {
        rig.docker_copy(1, from, &folder.join(to));
    }
    let look = async |path: &std::path::Path| {
        let mut options = PreflightOptions::default();
        options.artefacts = vec![Artefact::read(path).unwrap()];
        let servers = [Server { host: host(&rig, 1), role: "app".to_owned() }];
        let looked = hosts.preflight(&servers, &options, &Cancellation::new()).await.unwrap();
        of(&looked, 0)["artefact"].clone()
    };
    let fits = look(&folder).await;
    assert_eq!((fits.status, fits.details.as_str()), (CheckStatus::Pass, "2 programs and libraries fit"));
    // A host with an older library: it says so by the program that is asked.
    let getconf = "#!/bin/sh\necho glibc 2.2\n";
    rig.on(1, &format!("printf '%s' '{getconf}' >/usr/local/bin/getconf; chmod 755 /usr/local/bin/getconf"));
    let newer = look(&folder.join("date")).await;
    assert_eq!(newer.status, CheckStatus::Fail);
    assert!(
        newer.details.contains("built/date: it asks for glibc 2.")
            && newer.details.ends_with("the host has 2.2"),
        "{newer:?}"
    );
    assert!(newer.hint.unwrap().contains("musl"));
}

/// A look leaves no file behind and changes none, but for what login itself writes down.
async fn nothing_is_changed() {
    let rig = Rig::up(1, &[]);
    let hosts = trusted(&rig, 1).await;
    let state = || {
        rig.on(
            1,
            "find / -xdev -type f -not -path '/proc/*' -not -path '/sys/*' -not -path '/var/log/*' -not -path '/run/*' -printf '%p %s %T@\\n' | sort | sha256sum; ls -A /tmp",
        )
    };
    preflight(&rig, &hosts, 1).await;
    let before = state();
    preflight(&rig, &hosts, 1).await;
    assert_eq!(state(), before);
    assert_eq!(hosts.connections().round_trips().phases, 2);
}
