//! What is written down for other tools: linted, applied to real hosts, and held against what we do.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Trial;
use vrooli_deploy_core::provider::ProviderFactory as _;
use vrooli_deploy_core::stack::Stack;
use vrooli_deploy_provider_bare_metal::BareMetalFactory;

use crate::ground::{OWNER, Session, lowered};
use crate::rig::Rig;
use crate::{trial, trusted};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("render_linters_find_nothing", || {
            linters_find_nothing();
            Ok(())
        }),
        trial("render_leaves_what_we_leave", leaves_what_we_leave),
    ]
}

/// A program of the folder that `VROOLI_DEPLOY_ANSIBLE` names, else of the PATH.
fn tool(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("VROOLI_DEPLOY_ANSIBLE").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.into_iter().chain(std::env::split_paths(&path)).map(|at| at.join(name)).find(|file| file.is_file())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    said(&output)
}

fn written(stack: &Stack, format: &str, folder: &Path) -> PathBuf {
    let renderers = BareMetalFactory::new().renderers();
    let renderer = renderers.iter().find(|renderer| renderer.format() == format).unwrap();
    let (files, said) = renderer.render(stack).into_result().unwrap();
    assert_eq!(said, []);
    let folder = folder.join(format);
    for (path, file) in files.files() {
        let at = folder.join(path.as_str());
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, &file.text).unwrap();
    }
    folder
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "sh")).collect()
}

/// An `ansible` program with nothing of this machine's own settings.
fn ansible(name: &str, folder: &Path) -> Option<Command> {
    let tool = tool(name)?;
    let mut command = Command::new(&tool);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", tool.parent().unwrap().display()))
        .env("ANSIBLE_HOME", folder.join(".ansible"))
        .env("ANSIBLE_CONFIG", folder.join("ansible.cfg"))
        .env("ANSIBLE_NOCOLOR", "1")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    Some(command)
}

fn linters_find_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = ["web1.example.com".to_owned(), "2001:db8::7".to_owned()];
    let stack = lowered("shop", &hosts);
    let (playbook, shell) =
        (written(&stack, "ansible", folder.path()), written(&stack, "shell", folder.path()));
    let scripts = [scripts(&shell), scripts(&playbook.join("files"))].concat();
    assert_eq!(scripts.len(), 4);
    for script in &scripts {
        ran(Command::new("sh").arg("-n").arg(script));
        match tool("dash") {
            Some(dash) => drop(ran(Command::new(dash).arg("-n").arg(script))),
            None => println!("skipped: dash -n: there is no dash"),
        }
        match tool("shellcheck") {
            Some(shellcheck) => drop(ran(Command::new(shellcheck).args(["-s", "sh"]).arg(script))),
            None => println!("skipped: shellcheck is not installed"),
        }
    }
    match ansible("ansible-playbook", &playbook) {
        Some(mut check) => drop(ran(check.args(["--syntax-check", "site.yml"]))),
        None => println!("skipped: ansible-playbook --syntax-check: ansible-core is not installed"),
    }
    match ansible("ansible-lint", &playbook) {
        Some(mut lint) => drop(ran(lint.args(["--offline", "--profile", "production"]))),
        None => println!("skipped: ansible-lint is not installed"),
    }
}

/// Runs the playbook on one host.
fn play(rig: &Rig, folder: &Path, number: u32, words: &[&str]) -> Option<String> {
    let mut command = ansible("ansible-playbook", folder)?;
    let ssh = format!(
        "-F {} -o StrictHostKeyChecking=accept-new -o ControlMaster=auto -o ControlPersist=15s",
        rig.ssh_config().display()
    );
    command.env("ANSIBLE_SSH_ARGS", ssh).env("ANSIBLE_SSH_CONTROL_PATH_DIR", rig.folder().join("cp"));
    Some(ran(command.args(["site.yml", "--limit", &rig.name(number)]).args(words)))
}

/// Runs a script as a user would.
fn install(rig: &Rig, folder: &Path, number: u32, words: &[&str]) -> String {
    let script = std::fs::File::open(folder.join(format!("install-{}.sh", rig.name(number)))).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(rig.ssh_config()).args([
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        "LogLevel=ERROR",
    ]);
    ran(ssh.arg(rig.name(number)).args(["sudo", "sh", "-s", "--"]).args(words).stdin(script))
}

/// Everything of ours on a host but its record, with what is in files; what a survey sees; and the
/// rules that hold. What packages brought with them is known to us alone.
fn left(rig: &Rig, number: u32) -> String {
    let survey = concat!(
        include_str!("../../src/scripts/host.sh"),
        include_str!("../../src/scripts/roles.sh"),
        include_str!("../../src/scripts/host_survey.sh")
    );
    let survey = format!(
        "printf 'shop.default\\nvd-shop\\n' | sh -c '{}' | grep -Ev '^(record|fence|memory|address)'",
        survey.replace('\'', "'\\''")
    );
    let files = "cd /; find var/lib/vrooli-deploy etc/systemd/system/vrooli-deploy* etc/systemd/system/sysinit.target.wants/vrooli-deploy* \
        ! -path '*/host-record*' ! -name brought -printf '%M %u %g %p %l\\n' 2>/dev/null | sort; \
        find var/lib/vrooli-deploy/firewall etc/systemd/system/vrooli-deploy* -type f | sort | xargs tail -n +1; \
        ls /etc/postgresql; cat /etc/postgresql-common/createcluster.d/*; \
        systemctl is-enabled redis-server; systemctl is-active redis-server; \
        nft list table inet vrooli_deploy; getent shadow vd-shop | cut -d: -f1,2; id -Gn vd-shop";
    let text = rig.on(number, &format!("{survey}; {files}"));
    // Ids are counted on each host for itself.
    let plain = |line: &str| match line.split_once(":x:") {
        Some((name, rest)) => {
            format!("{name} {}", rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':'))
        }
        None => line.to_owned(),
    };
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// An app whose packages would start servers of their own when they are installed.
fn shop(names: &[String]) -> Stack {
    let mut stack = lowered("shop", names);
    for (_, packages) in stack.resources.iter_mut().filter(|(key, _)| key.as_str().starts_with("packages/")) {
        let names = packages.spec["packages"].as_array_mut().unwrap();
        names.extend(["postgresql", "redis-server"].map(Into::into));
    }
    stack
}

/// One host that we prepare, one that Ansible prepares, one that a script does: the same is on all,
/// a second time changes nothing, what drifted is said and mended, and a deployment afterwards
/// finds it all made.
async fn leaves_what_we_leave() {
    let rig = Rig::up(3, &[]);
    drop(trusted(&rig, 3).await);
    let names: Vec<String> = (1..=3).map(|number| rig.name(number)).collect();
    let whole = shop(&names);
    let playbook = written(&whole, "ansible", rig.folder());
    let shell = written(&whole, "shell", rig.folder());

    Session::of(&rig, shop(&names[..1]), 1, OWNER).make().await;
    let ours = left(&rig, 1);
    assert!(ours.contains("tcp dport { 80, 443 } accept") && ours.contains("vd-shop"), "{ours}");
    assert!(ours.contains("create_main_cluster = false\ndisabled\ninactive"), "{ours}");

    // Looking changes nothing.
    let looked = install(&rig, &shell, 3, &["--dry-run"]);
    for line in ["install nftables", "make the user vd-shop", "make a table of rules", "would be changed"] {
        assert!(looked.contains(line), "{looked}");
    }
    rig.on(3, "! getent passwd vd-shop && ! test -e /var/lib/vrooli-deploy && ! command -v nft");
    let done = install(&rig, &shell, 3, &[]);
    assert!(done.contains("is changed"), "{done}");
    assert_eq!(left(&rig, 3), ours);
    let again = install(&rig, &shell, 3, &[]);
    assert!(again.contains("is as it should be") && !again.contains("change:"), "{again}");
    let drift =
        "chmod 777 /var/lib/vrooli-deploy/workspace/apps/shop/default; nft delete table inet vrooli_deploy";
    rig.on(3, drift);
    let looked = install(&rig, &shell, 3, &["--dry-run"]);
    assert!(looked.contains("shop/default is 777") && looked.contains("open 443"), "{looked}");
    install(&rig, &shell, 3, &[]);
    assert_eq!(left(&rig, 3), ours);

    let mut prepared = vec![3];
    if let Some(first) = play(&rig, &playbook, 2, &[]) {
        assert!(!first.contains("changed=0"), "{first}");
        assert_eq!(left(&rig, 2), ours);
        let again = play(&rig, &playbook, 2, &[]).unwrap();
        assert!(again.contains(" changed=0 "), "{again}");
        rig.on(2, drift);
        let looked = play(&rig, &playbook, 2, &["--check"]).unwrap();
        assert!(!looked.contains(" changed=0 "), "{looked}");
        assert_ne!(left(&rig, 2), ours, "a check changes nothing");
        play(&rig, &playbook, 2, &["--diff"]).unwrap();
        assert_eq!(left(&rig, 2), ours);
        let looked = play(&rig, &playbook, 2, &["--check"]).unwrap();
        assert!(looked.contains(" changed=0 "), "{looked}");
        prepared.push(2);
    } else {
        println!("skipped: a playbook on a host: ansible-core is not installed");
    }

    // Taken into our record it is what we want, and was so before.
    for number in prepared {
        let host = std::slice::from_ref(&names[number as usize - 1]);
        let session = Session::of(&rig, shop(host), 1, OWNER);
        session.make().await;
        assert_eq!(session.differences().await, Vec::<String>::new());
        assert_eq!(left(&rig, number), ours);
    }
}
