//! Real hosts for a benchmark: made by `tests/fixtures/hosts/hosts.sh`, with packages in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts")
}

fn failed(command: &Command, output: &Output) -> io::Error {
    let tail = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    };
    io::Error::other(format!("{command:?}\n{}\n{}", tail(&output.stdout), tail(&output.stderr)))
}

/// Runs it; what it printed, or why it failed.
pub(crate) fn ran(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(failed(command, &output))
    }
}

fn docker(words: &[&str]) -> io::Result<String> {
    ran(Command::new("docker").args(words))
}

/// An image of a host that has the packages of everybody already. Gone when dropped.
pub(crate) struct Image {
    name: String,
    /// How long it took to install what a stack asks for.
    pub(crate) packages: Duration,
}

impl Image {
    pub(crate) fn make() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let prefix = format!("vdb{}i", std::process::id());
        let host = format!("{prefix}1");
        let up = || {
            hosts(&["up", &prefix, "1", &folder.path().to_string_lossy()], None)?;
            let on = |script: &str| docker(&["exec", &host, "sh", "-c", script]);
            let install =
                "export DEBIAN_FRONTEND=noninteractive; apt-get install -q -y --no-install-recommends";
            on("apt-get update -q")?;
            let begun = Instant::now();
            on(&format!("{install} nftables"))?;
            let packages = begun.elapsed();
            // Modules of Ansible need Python. Each host gets keys and an id of its own at its first boot,
            // and says of every session that it had one.
            on(&format!(
                "{install} python3 python3-apt; echo LogLevel VERBOSE >>/etc/ssh/sshd_config.d/test.conf; \
                 rm -f /etc/ssh/ssh_host_*; : >/etc/machine-id"
            ))?;
            let name = format!("vrooli-deploy-test/{prefix}:bench");
            docker(&["commit", &host, &name])?;
            Ok(Self { name, packages })
        };
        let made = up();
        hosts(&["down", &prefix], None)?;
        made
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Should it fail, an image stays that bears the name of this process.
        let _ = docker(&["rmi", &self.name]);
    }
}

fn hosts(words: &[&str], image: Option<&str>) -> io::Result<()> {
    let mut command = Command::new(fixtures().join("hosts.sh"));
    if let Some(image) = image {
        command.env("TEST_HOST_IMAGE", image);
    }
    ran(command.args(words)).map(drop)
}

/// So many hosts, and a folder for what tools keep. Gone when dropped.
pub(crate) struct Stand {
    pub(crate) count: u32,
    prefix: String,
    folder: tempfile::TempDir,
}

impl Stand {
    pub(crate) fn up(image: &Image, count: u32) -> io::Result<Self> {
        let stand = Self {
            count,
            prefix: format!("vdb{}n{count}h", std::process::id()),
            folder: tempfile::tempdir()?,
        };
        let (folder, number) = (stand.folder().to_string_lossy().into_owned(), count.to_string());
        hosts(&["up", &stand.prefix, &number, &folder], Some(&image.name))?;
        // Whoever comes first is not to be the one who learns their keys.
        for name in stand.names() {
            ran(stand.ssh().args(["-o", "StrictHostKeyChecking=accept-new"]).args([&name, "true"]))?;
        }
        let server = stand.folder().join("server");
        let source = fixtures().with_file_name("server").join("src/main.rs");
        ran(Command::new("rustc").args(["--edition", "2024", "-O", "-o"]).arg(server).arg(source))?;
        Ok(stand)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|number| format!("{}{number}", self.prefix))
    }

    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.folder().join("ssh_config")
    }

    /// The address of each host.
    pub(crate) fn addresses(&self) -> io::Result<Vec<(String, String)>> {
        let network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        self.names().map(|name| Ok((name.clone(), docker(&["inspect", "-f", network, &name])?))).collect()
    }

    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.ssh_config()).args(["-o", "LogLevel=ERROR"]);
        ssh
    }

    /// Runs a script as root on all hosts, past SSH; what each printed.
    pub(crate) fn on_all(&self, script: &str) -> io::Result<Vec<String>> {
        let on = |name: String| move || docker(&["exec", &name, "sh", "-c", script]);
        thread::scope(|scope| {
            let all: Vec<_> = self.names().map(|name| scope.spawn(on(name))).collect();
            let lost = |_| Err(io::Error::other("a thread ended"));
            all.into_iter().map(|one| one.join().unwrap_or_else(lost)).collect()
        })
    }

    /// One round trip to each host, at the same time.
    pub(crate) fn bare(&self) -> io::Result<()> {
        let mut all = Vec::new();
        for name in self.names() {
            all.push(self.ssh().args([&name, "true"]).stdin(Stdio::null()).spawn()?);
        }
        for mut one in all {
            if !one.wait()?.success() {
                return Err(io::Error::other("ssh failed"));
            }
        }
        Ok(())
    }

    /// What all hosts have had of the processors so far, as the kernel counts it for each.
    pub(crate) fn processor(&self) -> io::Result<Duration> {
        let script = "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || awk '$1 == \"usage_usec\" { print $2 * 1000 }' /sys/fs/cgroup/cpu.stat";
        let mut sum = Duration::ZERO;
        for line in self.on_all(script)? {
            let nanoseconds = line.parse().map_err(|_| io::Error::other(format!("`{line}` is no count")))?;
            sum += Duration::from_nanos(nanoseconds);
        }
        Ok(sum)
    }

    /// Connections and sessions that all hosts had so far.
    pub(crate) fn counted(&self) -> io::Result<(u64, u64)> {
        let script = "journalctl --sync; journalctl -t sshd -o cat | awk '/^Accepted publickey /{a++} /^Starting session/{s++} END{print a+0, s+0}'";
        let mut sum = (0, 0);
        for line in self.on_all(script)? {
            let mut numbers = line.split(' ').filter_map(|word| word.parse::<u64>().ok());
            let both = (numbers.next(), numbers.next());
            let (Some(connections), Some(sessions)) = both else {
                return Err(io::Error::other(format!("`{line}` is no count")));
            };
            sum = (sum.0 + connections, sum.1 + sessions);
        }
        Ok(sum)
    }

    /// The folder of a release, and it packed: the server, and 4 MB that no other release has.
    pub(crate) fn artefact(&self, release: u32) -> io::Result<()> {
        let source = self.release_folder();
        fs::create_dir_all(&source)?;
        fs::copy(self.folder().join("server"), source.join("server"))?;
        fs::write(source.join("env"), format!("APP_VERSION={release}\n"))?;
        ran(Command::new("dd")
            .args(["if=/dev/urandom", "bs=1M", "count=4"])
            .arg(format!("of={}", source.join("data").display())))?;
        ran(Command::new("tar")
            .arg("-czf")
            .arg(self.packed())
            .arg("-C")
            .arg(&source)
            .args(["server", "env", "data"]))?;
        Ok(())
    }

    pub(crate) fn release_folder(&self) -> PathBuf {
        self.folder().join("app")
    }

    pub(crate) fn packed(&self) -> PathBuf {
        self.folder().join("release.tar.gz")
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // Should it fail, hosts stay that bear the name of this process.
        let _ = hosts(&["down", &self.prefix], None);
    }
}
