//! One call of an installed program: clean environment, no terminal, own process group,
//! ended with it when the caller gives up (P4).

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};

use crate::account::Account;
use crate::environment::{self, Variables};
use crate::failure;

/// How much of a tool's output is kept, in bytes each of stdout and stderr.
const KEPT: usize = 1 << 20;

/// Between asking a tool to end and ending it.
const GRACE: Duration = Duration::from_secs(2);

/// A call to be made.
#[derive(Debug)]
pub(crate) struct Tool {
    command: tokio::process::Command,
    name: String,
}

/// What a tool said.
#[derive(Debug)]
pub(crate) struct ToolOutput {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Tool {
    /// A call without input, in `folder`, as another account where one is given.
    pub(crate) fn new(program: &Path, folder: &Path, account: Option<&Account>) -> Self {
        let mut variables: Variables = environment::of_this_process(&[]);
        // Messages are read by us too.
        variables.retain(|name, _| !name.as_encoded_bytes().starts_with(b"LC_") && name != "LANGUAGE");
        variables.insert(OsString::from("LANG"), OsString::from("C"));
        let mut command = tokio::process::Command::new(program);
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
            variables.insert(OsString::from("HOME"), folder.as_os_str().to_owned());
            variables.insert(OsString::from("USER"), OsString::from(&account.name));
            variables.insert(OsString::from("LOGNAME"), OsString::from(&account.name));
            variables.remove(std::ffi::OsStr::new("TMPDIR"));
        }
        command
            .env_clear()
            .envs(variables)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        Self { command, name }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn envs(mut self, variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.command.envs(variables);
        self
    }

    pub(crate) fn stdin(mut self, file: impl Into<Stdio>) -> Self {
        self.command.stdin(file);
        self
    }

    /// Sends stdout and stderr to a file; nothing is kept.
    pub(crate) fn output_to(mut self, file: &File) -> std::io::Result<Self> {
        self.command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        Ok(self)
    }

    /// Makes the call and waits for its end.
    pub(crate) async fn run(mut self, cx: &OpCtx) -> Result<ToolOutput> {
        let mut child = self.command.spawn().map_err(|error| {
            ProviderError::new(ErrorKind::Unexpected, format!("cannot start `{}`: {error}", self.name))
        })?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (stdout, stderr, status) = tokio::join!(read(stdout), read(stderr), child.wait());
            status.map(|status| ToolOutput { status, stdout, stderr })
        };
        let gave_up = {
            tokio::pin!(work);
            tokio::select! {
                done = &mut work => {
                    return done.map_err(|error| {
                        ProviderError::new(ErrorKind::Unexpected, format!("`{}` could not be waited for: {error}", self.name))
                    });
                }
                () = cx.cancellation.cancelled() => failure::cancelled(&format!("`{}`", self.name)),
                () = tokio::time::sleep_until(cx.deadline.into()) => {
                    ProviderError::new(ErrorKind::Ambiguous, format!("`{}` had not ended at the deadline", self.name))
                }
            }
        };
        if let Some(group) = group {
            // Gone already is what we want.
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                let _ = child.wait().await;
            }
        }
        Err(gave_up)
    }
}

async fn read<R: AsyncRead + Unpin>(from: Option<R>) -> String {
    let Some(mut from) = from else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    // The rest is read and dropped, so that the program never waits for us.
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        if kept.len() < KEPT {
            kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// A file without a name that holds these bytes, read from its start: input that is
/// complete before the program starts, whatever becomes of us.
pub(crate) fn whole_input(bytes: &[u8], folder: &Path) -> Result<File> {
    use std::io::{Seek, Write};
    let make = || -> std::io::Result<File> {
        let mut file = tempfile::tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file)
    };
    make().map_err(|error| failure::io("write a temporary file in", folder, &error))
}
