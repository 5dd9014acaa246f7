use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vrooli_deploy_core::names::{Digest, ReleaseNumber, StackId};
use vrooli_deploy_core::provider::Cancellation;

use super::{BASE, DeliveryError, Retention, StoredFile, host};
use crate::archive::Archive;
use crate::facts::Lines;
use crate::remote::{Phase, PhaseOutput, READY, RemoteError, RemoteExec};

/// What brings our own program to a host that may have none: what all phases do, and what each is made of.
const SHARED: &str = include_str!("../scripts/store.sh");
const LOOK: &str = include_str!("../scripts/store_look.sh");
const PUT: &str = include_str!("../scripts/store_put.sh");

/// A round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Asks what is missing.
    Ask,
    /// Sends what was said to be missing.
    Send,
    /// Sends what is thought to be missing.
    SendUnasked,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Ask => "look into the store",
            Self::Send | Self::SendUnasked => "send into the store",
        }
    }

    /// Without our program.
    fn script(self) -> String {
        let parts: &[&str] = match self {
            Self::Ask => &[SHARED, "take_all; read_input", LOOK, "tell_missing"],
            Self::Send => &[SHARED, "take_head; read_input", PUT],
            Self::SendUnasked => &[SHARED, "take_head; read_input", LOOK, PUT],
        };
        parts.join("\n")
    }

    /// By our program.
    const fn mode(self) -> &'static str {
        match self {
            Self::Ask => host::ASK,
            Self::Send => host::SEND,
            Self::SendUnasked => host::SEND_UNASKED,
        }
    }
}

/// So many bytes a second arrive at least, or the phase is over.
const SLOWEST: u64 = 128 * 1024;
/// What is left free on a disk, in bytes, whatever is sent.
const KEPT_FREE: u64 = 64 * 1024 * 1024;
/// How often pieces are sent that are not there afterwards.
const MOST_TRIES: u32 = 3;
/// How much a host may answer, in bytes: a line for each piece that is missing.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// Whose our own program is, among the stacks. No app has such a name.
const OWN: &str = ".own/program";

/// An account of a host: a name that holds nothing that a shell or `chown` could take for more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(String);

/// A text that is no [`AccountName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of an account")]
pub struct AccountNameError(pub String);

impl AccountName {
    /// Checks the text: lower-case letters, digits, `_` and `-`, at most 32, a letter or `_` first.
    ///
    /// # Errors
    /// [`AccountNameError`] with the text.
    pub fn new(text: impl Into<String>) -> Result<Self, AccountNameError> {
        let text = text.into();
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
        let rest =
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if first && rest && text.len() <= 32 { Ok(Self(text)) } else { Err(AccountNameError(text)) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image's own id, `sha256:…`, which follows from what is in it: never a tag, which may be
/// given to another image tomorrow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(String);

/// A text that is no [`ImageId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of an image")]
pub struct ImageIdError(pub String);

impl ImageId {
    /// Checks the text: `sha256:` and 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`ImageIdError`] with the text.
    pub fn new(text: impl Into<String>) -> Result<Self, ImageIdError> {
        let text = text.into();
        if Digest::new(text.as_str()).is_ok() { Ok(Self(text)) } else { Err(ImageIdError(text)) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where an archive is unpacked, and whose it is then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFolder {
    /// The release.
    pub number: ReleaseNumber,
    /// What is written beside it as `release.json`, only for root. Holds no secret.
    pub record: Vec<u8>,
    /// Who gets all of it; none: root.
    pub owner: Option<AccountName>,
}

impl ReleaseFolder {
    /// Where a release is on a host: there are `root`, what was built, and `release.json`. The
    /// same places as in a workspace of one machine, under `/var/lib/vrooli-deploy/workspace`.
    #[must_use]
    pub fn place(stack: &StackId, number: ReleaseNumber) -> String {
        format!("{BASE}/workspace/apps/{stack}/releases/{number}")
    }
}

#[derive(Debug, Clone)]
enum Form {
    Tree {
        entries: u64,
        folder: ReleaseFolder,
    },
    Image(ImageId),
    /// With the SHA-256 of all of it.
    Program(String),
}

/// Something that is to be on a host, as it should be.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whose it is, `app/environment`.
    stack: String,
    /// What it is called; its app's artefacts are kept and taken away under these names.
    name: String,
    file: Arc<StoredFile>,
    form: Form,
    retention: Retention,
}

/// What it took to have something on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Round trips.
    pub phases: u32,
    /// Pieces that were sent.
    pub pieces: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Pieces that were there and not what they were called.
    pub repaired: usize,
    /// Artefacts of this app that were taken away, by name.
    pub pruned: Vec<Digest>,
}

/// A round trip that may send pieces: so many, of so many bytes, if the host asks for them.
struct Sending {
    phase: Phase,
    pieces: usize,
    bytes: u64,
}

impl Delivery {
    /// A folder that was built: unpacked whole or not at all. `artefact` is what it is called, as
    /// its release knows it.
    #[must_use]
    pub fn tree(stack: &StackId, artefact: &Digest, archive: &Archive, folder: ReleaseFolder) -> Self {
        let form = Form::Tree { entries: archive.entries(), folder };
        Self::new(stack.to_string(), artefact, archive.file().clone(), form)
    }

    /// What `docker save` wrote of an image, for the host's own Docker. Layers that the host had of
    /// any image are not sent again.
    #[must_use]
    pub fn image(stack: &StackId, artefact: &Digest, saved: StoredFile, id: ImageId) -> Self {
        Self::new(stack.to_string(), artefact, saved, Form::Image(id))
    }

    /// Our own program: one for all apps of a host. It is called by the SHA-256 of all of it.
    pub(crate) fn program(file: StoredFile, digest: &str) -> Self {
        let (stack, name) = (OWN.to_owned(), digest.to_owned());
        let mut delivery = Self { stack, name, ..Self::of(file, Form::Program(digest.to_owned())) };
        // The one before is there as long as it runs; its pieces are what this one was sent by.
        delivery.retention.keep = 0;
        delivery
    }

    fn of(file: StoredFile, form: Form) -> Self {
        Self {
            stack: String::new(),
            name: String::new(),
            file: Arc::new(file),
            form,
            retention: Retention::default(),
        }
    }

    fn new(stack: String, artefact: &Digest, file: StoredFile, form: Form) -> Self {
        Self { stack, name: hexadecimal(artefact).to_owned(), ..Self::of(file, form) }
    }

    /// The same with another rule for what stays of the app's earlier artefacts.
    #[must_use]
    pub fn keeping(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// The names of its pieces: what a host has of it once it was sent.
    #[must_use]
    pub fn pieces(&self) -> BTreeSet<&str> {
        self.file.pieces.iter().map(|piece| piece.digest.as_str()).collect()
    }

    /// Sees to it that a host has it: one round trip where it has, else two. Takes away what the
    /// rule does not keep, of this app alone.
    ///
    /// # Errors
    /// Before anything is sent: no room ([`RemoteError::NoRoom`]), no Docker, no such account.
    /// What has arrived stays: the same call again goes on from there.
    pub async fn send(
        &self,
        remote: &dyn RemoteExec,
        cancellation: &Cancellation,
    ) -> Result<Sent, DeliveryError> {
        let input = self.input();
        let phase = self.phase(Step::Ask, self.reading()).with_input(input);
        self.go_on(remote, Sending { phase, pieces: 0, bytes: 0 }, cancellation).await
    }

    /// The same without asking first, where it is thought that the host has the pieces of these
    /// names and no others: one round trip. What is missing all the same is sent after that. A host that
    /// has all of it, or no room for it, is sent nothing; of one that lacks some, what it had of those was
    /// sent for nothing.
    ///
    /// # Errors
    /// See [`send`](Self::send).
    pub async fn send_unasked(
        &self,
        remote: &dyn RemoteExec,
        there: &BTreeSet<String>,
        cancellation: &Cancellation,
    ) -> Result<Sent, DeliveryError> {
        let mut missing = self.pieces();
        missing.retain(|piece| !there.contains(*piece));
        let sending = self.sending(Step::SendUnasked, &missing);
        self.go_on(remote, sending, cancellation).await
    }

    /// Runs the first phase, and sends for as long as something is missing.
    async fn go_on(
        &self,
        remote: &dyn RemoteExec,
        mut sending: Sending,
        cancellation: &Cancellation,
    ) -> Result<Sent, DeliveryError> {
        let (mut tries, mut sent) = (0, Sent::default());
        loop {
            let answer = self.run(remote, &sending.phase, cancellation).await?;
            sent.phases += 1;
            if answer.stdout.lines().any(|line| line == READY) {
                sent.pieces += sending.pieces;
                sent.bytes += sending.bytes;
            }
            let lines = Lines::new(&answer.stdout);
            let corrupt: BTreeSet<&str> = lines.all("corrupt").collect();
            sent.repaired += corrupt.len();
            let pruned = |hex| Digest::new(format!("sha256:{hex}")).ok();
            sent.pruned.extend(lines.all("pruned").filter_map(pruned));
            if lines.get("there").is_some() || lines.get("done").is_some() {
                return Ok(sent);
            }
            if let Some(needed) = lines.get("needed_kib") {
                let bytes =
                    |kib: Option<&str>| kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024;
                let (needed, free) = (bytes(Some(needed)), bytes(lines.get("free_kib")));
                return Err(RemoteError::NoRoom { host: remote.host().clone(), needed, free }.into());
            }
            let missing: BTreeSet<&str> = lines.all("missing").collect();
            if tries == MOST_TRIES {
                return Err(DeliveryError::NotThere { host: remote.host().clone(), pieces: missing.len() });
            }
            if tries > 0 {
                sent.repaired += missing.difference(&corrupt).count();
            }
            tries += 1;
            sending = self.sending(Step::Send, &missing);
        }
    }

    /// A phase that sends pieces of these names.
    fn sending(&self, step: Step, missing: &BTreeSet<&str>) -> Sending {
        // Who was sent something unasked says what is missing then, and only then it matters why.
        let part = self.file.part(missing, matches!(step, Step::Send));
        let (pieces, bytes) = (part.count(), part.bytes());
        let input = self.input();
        let text = [format!("{}\n", input.len()).as_bytes(), &input].concat();
        let limit = Duration::from_secs(900) + self.reading() + self.at(SLOWEST);
        Sending { phase: self.phase(step, limit).with_input(text).with_stream(part), pieces, bytes }
    }

    fn phase(&self, step: Step, limit: Duration) -> Phase {
        let phase = match self.form {
            Form::Program(_) => Phase::new(step.name(), step.script()),
            Form::Tree { .. } | Form::Image(_) => {
                Phase::new(step.name(), host::command(step.mode())).done_by_program(host::words(step.mode()))
            }
        };
        let mut phase = phase.as_root().within(limit);
        phase.largest_output = LARGEST_ANSWER;
        phase
    }

    /// How long a host takes at most to read all that it has of it.
    fn reading(&self) -> Duration {
        Duration::from_secs(360) + self.at(16 << 20)
    }

    /// How long all of it takes at so many bytes a second.
    fn at(&self, speed: u64) -> Duration {
        Duration::from_secs(self.file.size() / speed)
    }

    async fn run(
        &self,
        remote: &dyn RemoteExec,
        phase: &Phase,
        cancellation: &Cancellation,
    ) -> Result<PhaseOutput, DeliveryError> {
        let error = match remote.run(phase, cancellation).await {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        let status = match &error {
            RemoteError::Failed { status, .. } => u8::try_from(*status).unwrap_or(1),
            _ => 1,
        };
        Err(match (status, error, &self.form) {
            (host::IN_USE, RemoteError::Failed { host, words, .. }, _) => {
                DeliveryError::InUse { host, folder: words }
            }
            (
                host::NO_ACCOUNT,
                RemoteError::Failed { host, .. },
                Form::Tree { folder: ReleaseFolder { owner: Some(account), .. }, .. },
            ) => DeliveryError::NoAccount { host, account: account.clone() },
            (host::NO_DOCKER, RemoteError::Failed { host, words, .. }, _) => {
                DeliveryError::NoDocker { host, words }
            }
            (_, error, _) => error.into(),
        })
    }

    /// What it is, what it is made of, and what stays beside it: a line each.
    pub(super) fn input(&self) -> Vec<u8> {
        let mut text = format!(
            "stack {}\nname {}\nsize {}\nentries {}\nkeep {}\nkept_free_kib {}\n",
            self.stack,
            self.name,
            self.file.size(),
            match self.form {
                Form::Tree { entries, .. } => entries,
                Form::Image(_) | Form::Program(_) => 1,
            },
            self.retention.keep,
            KEPT_FREE / 1024
        );
        let mut line = |word: &str, value: &str| {
            text.push_str(word);
            text.push(' ');
            text.push_str(value);
            text.push('\n');
        };
        match &self.form {
            Form::Tree { folder, .. } => {
                line("kind", "tree");
                line("release", &folder.number.to_string());
                line("record", &STANDARD.encode(&folder.record));
                if let Some(owner) = &folder.owner {
                    line("owner", owner.as_str());
                }
            }
            Form::Image(id) => {
                line("kind", "image");
                line("image", id.as_str());
            }
            Form::Program(digest) => {
                line("kind", "program");
                line("digest", digest);
            }
        }
        for needed in &self.retention.needed {
            line("needed", hexadecimal(needed));
        }
        for piece in &self.file.pieces {
            line("piece", &format!("{} {}", piece.digest, piece.length));
        }
        text.into_bytes()
    }
}

fn hexadecimal(digest: &Digest) -> &str {
    digest.as_str().strip_prefix("sha256:").unwrap_or_else(|| digest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_syntax_is_no_account_and_no_image() {
        for good in ["a", "_apt", "vd-shop", "www-data"] {
            assert!(AccountName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-r", "1a", "Root", "a b", "a:b", "a.b", "a\nkind program", "$a", &"a".repeat(33)] {
            assert!(AccountName::new(bad).is_err(), "{bad}");
        }
        assert!(ImageId::new(Digest::of(b"a").as_str()).is_ok());
        for bad in ["", "nginx", "nginx:latest", "sha256:", "sha256:--"] {
            assert!(ImageId::new(bad).is_err(), "{bad}");
        }
    }
}
