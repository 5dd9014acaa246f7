//! Real hosts for one test: containers with systemd and sshd, gone when the test ends. Made by
//! `tests/fixtures/hosts`, which says how.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Hosts of one test, and a folder for what it keeps.
pub(crate) struct Rig {
    prefix: String,
    folder: tempfile::TempDir,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests/fixtures/hosts").join(name))
        .find(|path| path.is_file())
        .unwrap()
}

fn there(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}

/// The image that a script makes.
fn image(script_name: &str) -> String {
    let name = Command::new(script(script_name)).arg("--name").output().unwrap();
    String::from_utf8(name.stdout).unwrap().trim().to_owned()
}

/// Why there can be no hosts here.
pub(crate) fn absent() -> Option<&'static str> {
    static ABSENT: LazyLock<Option<&'static str>> = LazyLock::new(|| {
        if !there("ssh", &["-V"]) {
            return Some("there is no `ssh`");
        }
        if !there("docker", &["version"]) {
            return Some("no Docker engine answers");
        }
        if !there("docker", &["image", "inspect", &image("build.sh")]) {
            return Some("the image is not there that tests/fixtures/hosts/build.sh makes");
        }
        None
    });
    *ABSENT
}

/// Why there can be no hosts here that have a Docker engine of their own.
const ENGINE_ANSWERS: &str = "for i in $(seq 300); do docker version >/dev/null 2>&1 && exit 0; sleep 0.2; done; journalctl -u docker -n 30; exit 1";

#[allow(dead_code, reason = "more than one crate's tests use it, each a part")]
pub(crate) fn absent_docker() -> Option<&'static str> {
    let made = || there("docker", &["image", "inspect", &image("build-docker.sh")]);
    let unmade = "the image is not there that tests/fixtures/hosts/build-docker.sh makes";
    absent().or_else(|| (!made()).then_some(unmade))
}

fn ran(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[allow(dead_code, reason = "more than one crate's tests use it, each a part")]
impl Rig {
    /// So many hosts, with more flags for `docker run`.
    pub(crate) fn up(count: u32, flags: &[&str]) -> Self {
        Self::of("build.sh", count, flags)
    }

    /// So many hosts with a Docker engine of their own, which answers.
    pub(crate) fn up_with_docker(count: u32) -> Self {
        let rig = Self::of("build-docker.sh", count, &[]);
        for number in 1..=count {
            rig.on(number, ENGINE_ANSWERS);
        }
        rig
    }

    fn of(script_name: &str, count: u32, flags: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Making them one test after the other is quicker than all at once.
        static ONE_BY_ONE: Mutex<()> = Mutex::new(());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let rig = Self {
            prefix: format!("vdt{}x{number}h", std::process::id()),
            folder: tempfile::tempdir().unwrap(),
        };
        let _guard = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut up = Command::new(script("hosts.sh"));
        up.env("TEST_HOST_IMAGE", image(script_name));
        ran(up.args(["up", &rig.prefix, &count.to_string()]).arg(rig.folder.path()).args(flags));
        rig
    }

    /// The name of a host, from 1.
    pub(crate) fn name(&self, number: u32) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The network that they, and nobody else, are in.
    pub(crate) fn network(&self) -> String {
        self.prefix.clone()
    }

    /// A folder that goes with the hosts.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What would be the user's `~/.ssh/config`.
    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    /// What would be the user's `~/.ssh/known_hosts`.
    pub(crate) fn user_known_hosts(&self) -> PathBuf {
        self.folder.path().join("user_known_hosts")
    }

    /// Adds to the user's configuration; what comes first wins.
    pub(crate) fn configure_first(&self, text: &str) {
        let before = fs::read_to_string(self.ssh_config()).unwrap();
        fs::write(self.ssh_config(), format!("{text}\n{before}")).unwrap();
    }

    /// Runs a shell script as root on a host, past SSH.
    pub(crate) fn on(&self, number: u32, script: &str) -> String {
        ran(Command::new("docker").args(["exec", &self.name(number), "sh", "-c", script]))
    }

    /// Has `docker` do something with a host.
    pub(crate) fn docker(&self, words: &[&str], number: u32) -> String {
        ran(Command::new("docker").args(words).arg(self.name(number)))
    }

    /// Copies a file from a host.
    pub(crate) fn docker_copy(&self, number: u32, from: &str, to: &Path) {
        let from = format!("{}:{from}", self.name(number));
        ran(Command::new("docker").args(["cp", "-L", &from]).arg(to));
    }

    /// The fingerprint of a host's key, as its own console shows it.
    pub(crate) fn fingerprint(&self, number: u32, kind: &str) -> String {
        let shown = self.on(number, &format!("ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"));
        shown.split(' ').nth(1).unwrap().to_owned()
    }

    /// Gives a host other keys, as if it had been set up anew.
    pub(crate) fn new_keys(&self, number: u32) {
        self.on(number, "rm /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; systemctl restart ssh");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Should it fail, hosts stay that bear the name of this test's process.
        let _ = Command::new(script("hosts.sh")).args(["down", &self.prefix]).status();
    }
}
