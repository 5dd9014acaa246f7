//! Those who do the work.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::stand::{Stand, fixtures, ran};

pub(crate) const OURS: &str = "vrooli-deploy";
pub(crate) const ANSIBLE: &str = "Ansible";
pub(crate) const PYINFRA: &str = "pyinfra";
pub(crate) const BARE: &str = "ssh";

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// A connection and no more.
    Nothing,
    Setup,
    SetupAgain,
    Release,
    ReleaseAgain,
}

impl Work {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Setup => "prepared machine set up",
            Self::SetupAgain => "set up, nothing changed",
            Self::Release => "changed release",
            Self::ReleaseAgain => "release, nothing changed",
        }
    }
}

pub(crate) trait Tool {
    fn name(&self) -> &'static str;
    /// As if it had never been there.
    fn reset(&self, stand: &Stand) -> io::Result<()>;
    fn setup(&self, stand: &Stand) -> io::Result<()>;
    /// Fails unless every host is set up.
    fn is_set_up(&self, stand: &Stand) -> io::Result<()>;
    /// Why it does not do so, if it says that it cannot.
    fn release(&self, stand: &Stand, number: u32) -> io::Result<Option<String>>;
    /// Fails unless every host answers with that release.
    fn serves(&self, stand: &Stand, number: u32) -> io::Result<()>;
}

/// The folder of programs with Ansible and pyinfra, made if it is not there.
pub(crate) fn python(folder: &Path) -> io::Result<PathBuf> {
    let bin = folder.join("bin");
    if !bin.join("pyinfra").is_file() {
        ran(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let pins = fixtures().join("bench/requirements.txt");
        ran(Command::new(bin.join("pip")).args(["install", "--quiet", "-r"]).arg(pins))?;
    }
    bin.canonicalize()
}

/// `kept`: do connections stay between the commands of a tool that keeps them?
pub(crate) fn all(
    stand: &Stand,
    program: &Path,
    python: &Path,
    kept: bool,
) -> io::Result<Vec<Box<dyn Tool>>> {
    Ok(vec![
        Box::new(Ours::new(stand, program, kept)?),
        Box::new(Ansible::new(stand, python, kept)?),
        Box::new(Pyinfra::new(stand, python)?),
    ])
}

/// Fails unless each host, asked for what it serves, names the release.
fn names_the_release(stand: &Stand, port: u16, number: u32) -> io::Result<()> {
    for said in stand.on_all(&format!("curl -fsS --max-time 10 http://127.0.0.1:{port}/"))? {
        let answer: Value = serde_json::from_str(&said)?;
        if answer["version"].as_str() != Some(number.to_string().as_str()) {
            return Err(io::Error::other(format!("a host serves {said}, not release {number}")));
        }
    }
    Ok(())
}

struct Ours {
    program: PathBuf,
    kept: bool,
}

impl Ours {
    fn new(stand: &Stand, program: &Path, kept: bool) -> io::Result<Self> {
        let ours = Self { program: program.to_owned(), kept };
        for name in stand.names() {
            let console = ["exec", &name, "ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"];
            let shown = ran(Command::new("docker").args(console))?;
            let fingerprint = shown.split(' ').nth(1).unwrap_or_default().to_owned();
            ours.run(stand, &["hosts", "add", &name, "--fingerprint", &fingerprint])?;
        }
        Ok(ours)
    }

    /// The last line of what a command prints.
    fn run(&self, stand: &Stand, words: &[&str]) -> io::Result<Value> {
        let output = Command::new(&self.program)
            .args(words)
            .arg("--json")
            .env("VROOLI_DEPLOY_HOME", stand.folder().join("state"))
            .env("XDG_CONFIG_HOME", stand.folder().join("config"))
            .env("VROOLI_DEPLOY_SSH_CONFIG", stand.ssh_config())
            .env("VROOLI_DEPLOY_SSH_KEEP", if self.kept { "60" } else { "0" })
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .map_err(|_| io::Error::other(format!("{last}{}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Deploys an app whose manifest is in that folder.
    fn deploy(&self, stand: &Stand, folder: &Path, app: &str, more: &str) -> io::Result<Value> {
        let servers: String = stand
            .names()
            .map(|name| format!("    - {{ host: {name}, role: app, monthly_usd: \"1\" }}\n"))
            .collect();
        let manifest = format!(
            "schema_version: v0.1\ntarget: saas\nprovider: bare-metal\napp:\n  name: {app}\n{more}infrastructure:\n  servers:\n{servers}"
        );
        fs::create_dir_all(folder)?;
        let file = folder.join("deployment.yaml");
        fs::write(&file, manifest)?;
        self.run(stand, &["deploy", &file.to_string_lossy(), "--yes"])
    }
}

fn done(report: &Value) -> io::Result<()> {
    if report["exit_code"] == 0 { Ok(()) } else { Err(io::Error::other(report.to_string())) }
}

impl Tool for Ours {
    fn name(&self) -> &'static str {
        OURS
    }

    fn reset(&self, stand: &Stand) -> io::Result<()> {
        for app in ["setup", "release"] {
            // One that was never there cannot be destroyed.
            let report = self.run(stand, &["destroy", app, &format!("--data={app}"), "--yes"])?;
            if report["error"]["code"] != "VD0250" {
                done(&report)?;
            }
        }
        Ok(())
    }

    fn setup(&self, stand: &Stand) -> io::Result<()> {
        done(&self.deploy(stand, &stand.folder().join("setup"), "setup", "services: {}\n")?)
    }

    fn is_set_up(&self, stand: &Stand) -> io::Result<()> {
        stand.on_all("getent passwd vd-setup && nft list table inet vrooli_deploy && test -d /var/lib/vrooli-deploy/workspace/apps/setup/default").map(drop)
    }

    fn release(&self, stand: &Stand, number: u32) -> io::Result<Option<String>> {
        let app = format!(
            "build:\n  steps:\n    - name: pack\n      run: mkdir -p bin && cp server data bin/\n\
             services:\n  web:\n    run: [./server, --quiet]\n    dir: bin\n    ports:\n      http: {{ env_var: PORT }}\n    \
             health:\n      path: /health\n    routes:\n      - path: /\nenv:\n  APP_VERSION: \"{number}\"\n"
        );
        let report = self.deploy(stand, &stand.release_folder(), "release", &app)?;
        if report["outcome"] == "refused" {
            let error = &report["error"];
            return Ok(Some(format!("{} {}", error["code"], error["message"])));
        }
        done(&report).map(|()| None)
    }

    fn serves(&self, stand: &Stand, number: u32) -> io::Result<()> {
        names_the_release(stand, 80, number)
    }
}

/// Those that leave the same, and are made away with alike.
fn reset(stand: &Stand) -> io::Result<()> {
    let script = fs::read_to_string(fixtures().join("bench/reset.sh"))?;
    stand.on_all(&script).map(drop)
}

fn is_set_up(stand: &Stand) -> io::Result<()> {
    stand.on_all("getent passwd bench && nft list table inet bench && test -d /srv/bench/releases").map(drop)
}

struct Ansible {
    program: PathBuf,
    inventory: PathBuf,
    /// Where its connections are.
    sockets: tempfile::TempDir,
    kept: bool,
}

impl Ansible {
    fn new(stand: &Stand, python: &Path, kept: bool) -> io::Result<Self> {
        let sockets = tempfile::tempdir()?;
        let inventory = stand.folder().join("inventory.ini");
        fs::write(&inventory, stand.names().map(|name| name + "\n").collect::<String>())?;
        Ok(Self { program: python.join("ansible-playbook"), inventory, sockets, kept })
    }

    fn play(&self, stand: &Stand, playbook: &str, more: &[String]) -> io::Result<()> {
        let ssh = "-o ControlMaster=auto -o ControlPersist=60s";
        let played = ran(Command::new(&self.program)
            .current_dir(fixtures().join("bench"))
            .env("ANSIBLE_CONFIG", fixtures().join("bench/ansible.cfg"))
            .env("ANSIBLE_HOME", stand.folder().join("ansible"))
            .env("ANSIBLE_FORKS", stand.count.to_string())
            .env("ANSIBLE_SSH_ARGS", format!("-F {} {ssh}", stand.ssh_config().display()))
            .env("ANSIBLE_SSH_CONTROL_PATH_DIR", self.sockets.path())
            .arg("-i")
            .arg(&self.inventory)
            .arg(playbook)
            .args(more));
        // Else between two deployments there is more than a minute.
        let ending = (!self.kept).then(|| fs::read_dir(self.sockets.path())).transpose()?;
        for socket in ending.into_iter().flatten() {
            let path = format!("ControlPath={}", socket?.path().display());
            // A connection that has ended by itself is as good.
            let _ = Command::new("ssh").args(["-o", &path, "-O", "exit", "host"]).output();
        }
        played.map(drop)
    }
}

impl Tool for Ansible {
    fn name(&self) -> &'static str {
        ANSIBLE
    }
    fn reset(&self, stand: &Stand) -> io::Result<()> {
        reset(stand)
    }
    fn setup(&self, stand: &Stand) -> io::Result<()> {
        self.play(stand, "setup.yml", &[])
    }
    fn is_set_up(&self, stand: &Stand) -> io::Result<()> {
        is_set_up(stand)
    }
    fn release(&self, stand: &Stand, number: u32) -> io::Result<Option<String>> {
        let artefact = format!("artefact={}", stand.packed().display());
        self.play(stand, "release.yml", &["-e".to_owned(), format!("release={number} {artefact}")])
            .map(|()| None)
    }
    fn serves(&self, stand: &Stand, number: u32) -> io::Result<()> {
        names_the_release(stand, 8080, number)
    }
}

struct Pyinfra {
    program: PathBuf,
    inventory: PathBuf,
}

impl Pyinfra {
    fn new(stand: &Stand, python: &Path) -> io::Result<Self> {
        let folder = stand.folder().display();
        let hosts: String = stand
            .addresses()?
            .iter()
            .map(|(name, address)| {
                format!(
                    "    (\"{name}\", {{\"ssh_hostname\": \"{address}\", \"ssh_user\": \"deploy\", \"ssh_key\": \"{folder}/id\", \
                     \"ssh_known_hosts_file\": \"{folder}/user_known_hosts\"}}),\n"
                )
            })
            .collect();
        let inventory = stand.folder().join("inventory.py");
        fs::write(&inventory, format!("hosts = [\n{hosts}]\n"))?;
        Ok(Self { program: python.join("pyinfra"), inventory })
    }

    fn deploy(&self, what: &str, more: &[String]) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.current_dir(fixtures().join("bench")).arg("-y").args(more).arg(&self.inventory).arg(what);
        ran(command.env("PYTHONDONTWRITEBYTECODE", "1")).map(drop)
    }
}

impl Tool for Pyinfra {
    fn name(&self) -> &'static str {
        PYINFRA
    }
    fn reset(&self, stand: &Stand) -> io::Result<()> {
        reset(stand)
    }
    fn setup(&self, _: &Stand) -> io::Result<()> {
        self.deploy("setup.py", &[])
    }
    fn is_set_up(&self, stand: &Stand) -> io::Result<()> {
        is_set_up(stand)
    }
    fn release(&self, stand: &Stand, number: u32) -> io::Result<Option<String>> {
        let data = [format!("release={number}"), format!("artefact={}", stand.packed().display())];
        let words: Vec<String> = data.into_iter().flat_map(|data| ["--data".to_owned(), data]).collect();
        self.deploy("release.py", &words).map(|()| None)
    }
    fn serves(&self, stand: &Stand, number: u32) -> io::Result<()> {
        names_the_release(stand, 8080, number)
    }
}
