//! The same resources as Terraform, from `tests/fixtures/aws/terraform`.

use std::fs;
use std::io;
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::ours::Size;
use crate::stand::{KEYS, Stand, fixtures};

const PROGRAM: &str = "terraform";

/// A working folder with its provider. Gone when dropped.
pub(crate) struct Terraform {
    endpoint: String,
    folder: tempfile::TempDir,
}

/// Its version and its provider's; `None` without it on the PATH.
pub(crate) async fn version() -> Option<String> {
    let output = Command::new(PROGRAM).arg("version").output().await.ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| said.lines().next().unwrap_or_default().to_owned())
}

impl Terraform {
    pub(crate) async fn new(stand: &Stand, size: Size) -> io::Result<Self> {
        let terraform = Self { endpoint: stand.proxy.url(), folder: tempfile::tempdir()? };
        let from = fixtures().join(PROGRAM);
        for part in [from.clone(), from.join(size.as_str())] {
            for file in fs::read_dir(part)? {
                let path = file?.path();
                if let Some(name) =
                    path.file_name().filter(|_| path.extension().is_some_and(|end| end == "tf"))
                {
                    fs::copy(&path, terraform.folder.path().join(name))?;
                }
            }
        }
        terraform.run(&["init"]).await?;
        Ok(terraform)
    }

    async fn run(&self, words: &[&str]) -> io::Result<Output> {
        let output = Command::new(PROGRAM)
            .current_dir(self.folder.path())
            .args(words)
            .args(["-input=false", "-no-color"])
            .envs(KEYS)
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // No look whether there is a newer one.
            .env("CHECKPOINT_DISABLE", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        if output.status.success() {
            return Ok(output);
        }
        let tail = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        let (printed, said) = (tail(&output.stdout), tail(&output.stderr));
        Err(io::Error::other(format!("{PROGRAM} {}: {}\n{printed}\n{said}", words.join(" "), output.status)))
    }

    /// With as many operations at once as it has by default.
    pub(crate) async fn apply(&self) -> io::Result<()> {
        self.run(&["apply", "-auto-approve"]).await.map(drop)
    }

    /// Ends well only where there is nothing to do.
    pub(crate) async fn plan(&self) -> io::Result<()> {
        self.run(&["plan", "-detailed-exitcode"]).await.map(drop)
    }

    /// How many resources it has made.
    pub(crate) async fn count(&self) -> io::Result<usize> {
        let output =
            Command::new(PROGRAM).current_dir(self.folder.path()).args(["state", "list"]).output().await?;
        let all = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(all.lines().filter(|line| !line.starts_with("data.")).count())
    }
}
