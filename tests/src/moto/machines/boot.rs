//! The start of a machine: what it is told is run, with programs beside it that stand in for its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::traffic::{Image, answer, serve};
use super::super::{FOLDER, ec2, elements, query};
use super::{Inner, Machine};

/// What a machine has of its own: of the one that runs the tests.
const OWN: &[&str] = &[
    "awk", "base64", "cat", "curl", "date", "grep", "head", "mkdir", "mktemp", "mv", "printenv", "rm", "sed",
    "sh", "sleep", "tail", "tr",
];
/// What stands in for the rest.
const DOCKER: &str = include_str!("programs/docker");
const DNF: &str = include_str!("programs/dnf");
const SYSTEMCTL: &str = include_str!("programs/systemctl");
const AWS: &str = include_str!("programs/aws");

/// Where one of our own programs is.
fn found(name: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).map(|folder| folder.join(name));
    let mut there = all.filter(|file| file.is_file());
    there.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no `{name}`")))
}

fn program(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// Whom a machine may ask for what: the statements of its role, and AWS's policies that it has.
fn role(emulator: SocketAddr, name: &str) -> io::Result<Value> {
    let iam = |form: &str| query(emulator, "iam", &format!("{form}&Version=2010-05-08"));
    let mut statements = Vec::new();
    for policy in elements(&iam(&format!("Action=ListRolePolicies&RoleName={name}"))?, "member") {
        let said = iam(&format!("Action=GetRolePolicy&RoleName={name}&PolicyName={policy}"))?;
        let document = elements(&said, "PolicyDocument").pop().unwrap_or_default();
        let document = percent_encoding::percent_decode_str(&document).decode_utf8_lossy().into_owned();
        let document = document.replace("&quot;", "\"");
        let mut policy: Value = serde_json::from_str(&document)?;
        statements.extend(policy["Statement"].as_array_mut().into_iter().flat_map(std::mem::take));
    }
    for statement in &mut statements {
        for field in ["Action", "Resource"] {
            if statement[field].is_string() {
                statement[field] = json!([statement[field]]);
            }
        }
    }
    let said = iam(&format!("Action=ListAttachedRolePolicies&RoleName={name}"))?;
    Ok(json!({ "statements": statements, "policies": elements(&said, "PolicyArn") }))
}

impl Inner {
    /// Starts a machine: its script runs beside us from now on.
    pub(super) fn boot(
        self: &Arc<Self>,
        id: &str,
        machine: &Machine,
        (images, missing): (&BTreeMap<String, Image>, &BTreeSet<String>),
    ) {
        let (this, id, folder) = (Arc::clone(self), id.to_owned(), machine.folder.clone());
        let (group, version) = (machine.group.clone(), machine.version.clone());
        let (images, missing, stop) = (images.clone(), missing.clone(), Arc::clone(&machine.stop));
        std::thread::spawn(move || {
            let metadata = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
                let address = listener.local_addr()?;
                let own = id.clone();
                serve(listener, stop, move |request| told_of_itself(&own, request));
                Ok(address)
            });
            let run = metadata.and_then(|metadata| {
                this.furnish(&folder, (&group, &version), (&images, &missing))?;
                let output = std::fs::File::create(folder.join("output"))?;
                Command::new("sh")
                    .arg(folder.join("part-001"))
                    .env_clear()
                    .env("PATH", folder.join("bin"))
                    .env("TMPDIR", &folder)
                    .env("EMULATOR", format!("http://{}", this.emulator))
                    .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{metadata}"))
                    .stdin(Stdio::null())
                    .stdout(output.try_clone()?)
                    .stderr(output)
                    .status()
            });
            if let Err(error) = run {
                // Whoever waits for it sees only that it never comes.
                let _ = writeln!(io::stderr(), "machine {id} could not be played: {error}");
            }
        });
    }

    /// Puts all that a machine has in its folder.
    fn furnish(
        &self,
        folder: &Path,
        (group, version): (&str, &str),
        (images, missing): (&BTreeMap<String, Image>, &BTreeSet<String>),
    ) -> io::Result<()> {
        let template = {
            let world = self.world();
            world.groups.iter().find(|one| one.name == group).map(|one| one.template.clone())
        };
        let template = template.unwrap_or_default();
        let form = format!(
            "Action=DescribeLaunchTemplateVersions&LaunchTemplateId={template}&LaunchTemplateVersion.1={version}"
        );
        let said = ec2(self.emulator, &form)?;
        let user_data = elements(&said, "userData").pop().unwrap_or_default();
        let profile = elements(&said, "iamInstanceProfile").pop().unwrap_or_default();
        let name = elements(&profile, "name").pop().unwrap_or_default();
        std::fs::write(folder.join("role"), role(self.emulator, &name)?.to_string())?;
        for part in ["bin", "offered", "images"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        for name in OWN {
            symlink(found(name)?, folder.join("bin").join(name))?;
        }
        program(&folder.join("offered/docker"), DOCKER)?;
        program(&folder.join("bin/dnf"), DNF)?;
        program(&folder.join("bin/systemctl"), SYSTEMCTL)?;
        let python = PathBuf::from(std::env::var(FOLDER).unwrap_or_default()).join("python3");
        program(&folder.join("bin/aws"), &format!("#!{} -I\n{AWS}", python.display()))?;
        for (digest, image) in images.iter().filter(|(digest, _)| !missing.contains(*digest)) {
            let what = match image {
                Image::Serves(_) => "serves".to_owned(),
                Image::Sick(_) => "sick".to_owned(),
                Image::Ends(code, _) => format!("ends {code}"),
            };
            let lines: String = image.lines().iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(folder.join("images").join(digest), format!("{what}\n{lines}"))?;
        }
        std::fs::write(folder.join("user-data"), user_data)?;
        // As cloud-init does it: what is packed is unpacked.
        let unpack = "base64 -d < user-data > raw && \
                      { gzip -dc raw > part-001 2> /dev/null || cp raw part-001; } && \
                      sed -n 's/^record //p' part-001 | base64 -d > record";
        let done = Command::new("sh").args(["-c", unpack]).current_dir(folder).status()?;
        if done.success() { Ok(()) } else { Err(io::Error::other("no user data")) }
    }
}

/// What a machine is told of itself, if it asks with a token.
fn told_of_itself(id: &str, request: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(request).to_ascii_lowercase();
    let with_token = head.contains("x-aws-ec2-metadata-token: of-this-machine\r\n");
    match head.split(" http/").next().unwrap_or_default() {
        "put /latest/api/token" if head.contains("x-aws-ec2-metadata-token-ttl-seconds:") => {
            answer(200, "", "of-this-machine")
        }
        "get /latest/meta-data/instance-id" if with_token => answer(200, "", id),
        _ => answer(401, "", "unauthorized"),
    }
}
