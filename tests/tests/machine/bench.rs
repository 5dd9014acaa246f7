//! A workspace of its own for each test, and everything that must be gone at its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything here may take before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A state folder, and copies of fixtures to deploy from.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) value: Value,
    pub(crate) events: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}\n{}", self.value, self.events);
        self.value
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// With these variables for every command.
    pub(crate) fn with(variables: &[(&'static str, &'static str)]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: variables.to_vec() }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A copy of the fixtures' app, with the server source beside it, free to be changed.
    pub(crate) fn app(&self, name: &str) -> PathBuf {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        for folder in ["server", &format!("apps/{name}")] {
            copy(&fixtures.join(folder), &self.folder.path().join("fixtures").join(folder));
        }
        self.folder.path().join("fixtures/apps").join(name)
    }

    /// A new version of the app, which its answers bear.
    pub(crate) fn set_version(&self, app: &Path, version: &str) {
        replace(app, "APP_VERSION: \"1\"", &format!("APP_VERSION: \"{version}\""));
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workbench"));
        command
            .arg(self.state())
            .args(words)
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        ran(&self.command(words).output().unwrap())
    }

    /// GETs a path of the app through its public URL.
    pub(crate) fn get(&self, url: &str, path: &str) -> Result<(u16, String), String> {
        get(url.trim_end_matches('/'), path)
    }

    /// Processes that still carry this workspace's folder in their environment or command line.
    pub(crate) fn processes(&self) -> Vec<String> {
        let needle = self.folder.path().to_string_lossy().into_owned();
        let id = std::fs::read_to_string(self.state().join("id")).unwrap_or_default();
        processes(&[&needle, id.trim()])
    }

    /// Waits until no process of this workspace is left.
    #[track_caller]
    pub(crate) fn expect_no_process(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "still there: {left:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Bench {
    /// Whatever a failed test left must not disturb others.
    fn drop(&mut self) {
        let needle = self.folder.path().to_string_lossy().into_owned();
        let id = std::fs::read_to_string(self.state().join("id")).unwrap_or_default();
        let in_containers = self.state().join("docker.json").exists();
        // Without its folder the supervisor stops everything; what is deaf to that is killed.
        let _ = std::fs::remove_dir_all(self.folder.path());
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && !processes(&[&needle, id.trim()]).is_empty() {
            std::thread::sleep(Duration::from_millis(100));
        }
        for line in processes(&[&needle, id.trim()]) {
            if let Some(pid) =
                line.split(' ').next().and_then(|p| p.parse().ok()).and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if in_containers {
            let label = format!("label=vrooli-deploy.workspace={}", id.trim());
            for (list, remove) in [("container", &["rm", "-f", "-v"][..]), ("volume", &["volume", "rm"])] {
                let all: &[&str] = if list == "container" { &["-a"] } else { &[] };
                let found =
                    Command::new("docker").args([list, "ls", "-q", "--filter", &label]).args(all).output();
                for name in
                    found.iter().flat_map(|o| o.stdout.split(|b| *b == b'\n')).filter(|n| !n.is_empty())
                {
                    let _ = Command::new("docker")
                        .args(remove)
                        .arg(String::from_utf8_lossy(name).as_ref())
                        .output();
                }
            }
        }
    }
}

fn processes(needles: &[&str]) -> Vec<String> {
    let own = std::process::id();
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return found };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if pid == own {
            continue;
        }
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let (command, environment) = (read("cmdline"), read("environ"));
        let text = [command.as_slice(), environment.as_slice()]
            .map(|bytes| String::from_utf8_lossy(bytes).replace('\0', " "));
        if needles.iter().any(|n| !n.is_empty() && text.iter().any(|t| t.contains(n))) {
            found.push(format!("{pid} {}", text[0]));
        }
    }
    found
}

pub(crate) fn ran(output: &Output) -> Ran {
    let text = String::from_utf8_lossy(&output.stdout);
    Ran {
        code: output.status.code(),
        value: text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default(),
        events: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A plain HTTP/1.1 GET: status and body.
pub(crate) fn get(base: &str, path: &str) -> Result<(u16, String), String> {
    use std::io::{Read as _, Write as _};
    let address = base.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|e| e.to_string())?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status =
        text.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| format!("no answer: {text:?}"))?;
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

/// Changes an app's manifest.
#[track_caller]
pub(crate) fn replace(app: &Path, from: &str, to: &str) {
    let file = app.join("deployment.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if ["target", "node_modules"].contains(&name.to_string_lossy().as_ref()) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Is there a program of that name on the PATH?
pub(crate) fn program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}
