use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use vrooli_deploy_core::secrets::Secret;

/// As whom a phase runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// As who we log in.
    Login,
    /// As root: directly where that is who we are, else through `sudo` without a password.
    Root,
}

/// Something large that a phase reads, opened when it is sent.
pub trait PhaseStream: fmt::Debug + Send + Sync {
    /// What it is, for messages.
    fn name(&self) -> String;

    /// Its bytes, from the beginning.
    ///
    /// # Errors
    /// When it cannot be opened. An error of the reader itself cuts the phase's input off there.
    fn open(&self) -> io::Result<Box<dyn io::Read + Send>>;
}

/// A script of ours that runs on a host, whole or not at all: what arrives cut off is not run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Phase {
    /// For messages: `facts`, `preflight`, …
    pub name: &'static str,
    /// Shell, for `sh`. Data is never spliced into it: see [`input`](Self::input).
    pub script: Cow<'static, str>,
    /// The arguments of our program on the host, where the script does nothing but become that. Where our program
    /// is talked with anyway it runs that beside itself, and there is no other session.
    pub of_program: Option<&'static [&'static str]>,
    /// What the script reads on its standard input. Nothing of it is in any argument list.
    pub input: Secret<Vec<u8>>,
    /// What it reads after that, too large to be held in memory. It is sent once the script has
    /// printed the line [`READY`], or not at all: a host that does not read yet would have to hold it. A
    /// script that says what it has taken (lines of `taken`, a tab and so many bytes, the first before it
    /// asks) is sent only a little more than that at a time.
    pub stream: Option<Arc<dyn PhaseStream>>,
    /// As whom it runs.
    pub privilege: Privilege,
    /// How long it may run on the host. The host ends it then by itself, even if nobody is
    /// connected any more, so an answer that was lost is settled after it.
    pub limit: Duration,
    /// So many bytes of its output are kept; the rest is read and dropped.
    pub largest_output: usize,
}

/// How long a phase may run unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(60);
/// How much of the output is kept unless a phase says otherwise, in bytes.
const LARGEST_OUTPUT: usize = 512 * 1024;

impl Phase {
    /// A phase that runs as who we log in, for at most a minute, without input.
    #[must_use]
    pub fn new(name: &'static str, script: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name,
            script: script.into(),
            of_program: None,
            input: Secret::new(Vec::new()),
            stream: None,
            privilege: Privilege::Login,
            limit: LIMIT,
            largest_output: LARGEST_OUTPUT,
        }
    }

    /// The same as what our program on the host does by itself, by its arguments.
    #[cfg(feature = "native")]
    #[must_use]
    pub(crate) fn done_by_program(mut self, words: &'static [&'static str]) -> Self {
        self.of_program = Some(words);
        self
    }

    /// The same as root.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.privilege = Privilege::Root;
        self
    }

    /// The same with something to read.
    #[must_use]
    pub fn with_input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Secret::new(input.into());
        self
    }

    /// The same with more to read, after the input, when it asks for that by [`READY`].
    #[must_use]
    pub fn with_stream(mut self, stream: impl PhaseStream + 'static) -> Self {
        self.stream = Some(Arc::new(stream));
        self
    }

    /// The same with another limit, in whole seconds, at least one.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Duration::from_secs(limit.as_secs().max(1));
        self
    }

    /// What is sent: everything in one group, so that `sh` has read it all before it runs any.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only sent by the native half"))]
    pub(crate) fn text(&self) -> String {
        format!(
            "{{\nexport LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
             umask 077\nprintf '%s\\n' '{BEGIN}'\n{}\nexit 0\n}}\n",
            self.script
        )
    }

    /// What the host's login shell is given. Constant but for three numbers; in quotes that every
    /// shell reads alike.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only sent by the native half"))]
    pub(crate) fn command(&self) -> String {
        let root = match self.privilege {
            Privilege::Login => "",
            Privilege::Root => r#"[ "$(id -u)" = 0 ] || as="sudo -n --"; "#,
        };
        // `head` reads no byte too many: what follows is the script's own input.
        format!(
            r#"sh -c 'as=; {root}exec $as timeout -k {KILL_AFTER} {} sh -c "eval \"\$(head -c {})\""'"#,
            self.limit.as_secs(),
            self.text().len()
        )
    }
}

/// The first line of a script's output. What stands before it comes from the login shell.
pub(crate) const BEGIN: &str = "--vrooli-deploy-begin--";
/// The line by which a script asks for its stream. It may print others before.
pub const READY: &str = "--vrooli-deploy-ready--";
/// What a line begins with that says how many bytes of its stream a script has taken so far.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only read by the native half"))]
pub(crate) const TAKEN: &str = "taken\t";
/// Seconds between asking a script to end and killing it.
pub(crate) const KILL_AFTER: u64 = 5;

/// What a phase printed, when it ended with status 0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseOutput {
    /// Its standard output, at most as long as the phase allows.
    pub stdout: String,
    /// The last of its standard error.
    pub stderr: String,
    /// Was there more output than is kept?
    pub truncated: bool,
    /// From when it was sent to when it had ended, without the connection.
    pub took: Duration,
}

impl PhaseOutput {
    /// An output, for implementations of [`RemoteExec`](super::RemoteExec).
    #[must_use]
    pub fn new(stdout: impl Into<String>, took: Duration) -> Self {
        Self { stdout: stdout.into(), stderr: String::new(), truncated: false, took }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_on_the_host_holds_neither_script_nor_input() {
        let phase = Phase::new("a", "echo planted").with_input("planted").within(Duration::from_millis(10));
        let command = phase.command();
        assert!(!command.contains("planted"), "{command}");
        assert!(!command.contains("sudo"), "{command}");
        assert!(command.contains(&format!("head -c {})", phase.text().len())), "{command}");
        assert!(command.contains("timeout -k 5 1 "), "{command}");
        assert!(phase.as_root().command().contains("sudo -n --"));
    }

    #[test]
    fn a_script_is_one_group() {
        let text = Phase::new("a", "echo a").text();
        assert!(text.starts_with("{\n") && text.ends_with("\n}\n"), "{text}");
    }
}
