use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use vrooli_deploy_core::provider::Cancellation;

use super::OwnError;
use super::digests::{ProgramDigests, Stamp};
use crate::artefact::Program;
use crate::blocks::hash_of;
use crate::facts::Machine;
use crate::host::HostName;
use crate::remote::RemoteExec;
use crate::store::{BASE, Delivery, Sent, StoredFile, hex};

/// The programs of ours that are here, to choose from for a host.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Programs {
    /// Those that were named, by machine as `uname -m` says: they and no others are looked at for
    /// such a host.
    pub named: BTreeMap<String, PathBuf>,
    /// The program that runs. Those for other machines, and those that bring their own C library,
    /// lie beside it or where `cargo` puts them.
    pub running: Option<PathBuf>,
}

/// The variable that names the program for a machine: `VROOLI_DEPLOY_PROGRAM_X86_64`.
pub(super) fn variable(architecture: &str) -> String {
    format!("VROOLI_DEPLOY_PROGRAM_{}", architecture.to_ascii_uppercase())
}

impl Programs {
    /// The program that runs and those beside it, and those that the environment names
    /// (`VROOLI_DEPLOY_PROGRAM_X86_64`, `…_AARCH64`, …: a variable for each machine).
    #[must_use]
    pub fn of_this_process() -> Self {
        let named = std::env::vars_os().filter_map(|(name, value)| {
            let architecture = name.to_str()?.strip_prefix("VROOLI_DEPLOY_PROGRAM_")?;
            (!value.is_empty()).then(|| (architecture.to_ascii_lowercase(), PathBuf::from(value)))
        });
        Self { named: named.collect(), running: std::env::current_exe().ok() }
    }

    /// Those that may be for a machine, the best first: with its own C library it runs on any
    /// system, so that is looked for before all others.
    fn candidates(&self, architecture: &str) -> Vec<PathBuf> {
        if let Some(named) = self.named.get(architecture) {
            return vec![named.clone()];
        }
        let Some(running) = &self.running else { return Vec::new() };
        let name = running.file_name().and_then(|name| name.to_str()).unwrap_or("vrooli-deploy");
        let musl = format!("{architecture}-unknown-linux-musl");
        let mut candidates = Vec::new();
        if let Some(folder) = running.parent() {
            candidates.push(folder.join(format!("{name}-{musl}")));
            candidates.push(folder.join(format!("{name}-{architecture}")));
            // `target/debug/…` or `target/release/…`: for another target it is beside those.
            if let Some(target) = folder.parent() {
                candidates.push(target.join(&musl).join("release").join(name));
            }
        }
        candidates.retain(|candidate| candidate.is_file());
        candidates.push(running.clone());
        candidates
    }

    /// The first that runs on a host.
    ///
    /// # Errors
    /// [`OwnError::NoProgram`] with what was looked at and why not, [`OwnError::Unusable`] for one
    /// that was named and is none.
    pub fn choose(&self, host: &HostName, machine: &Machine) -> Result<OwnProgram, OwnError> {
        self.choose_by(host, machine, &ProgramDigests::default())
    }

    /// The same, with digests that were kept: a program that has not changed is not read.
    ///
    /// # Errors
    /// See [`choose`](Self::choose).
    pub(crate) fn choose_by(
        &self,
        host: &HostName,
        machine: &Machine,
        digests: &ProgramDigests,
    ) -> Result<OwnProgram, OwnError> {
        let mut tried = Vec::new();
        for path in self.candidates(&machine.architecture) {
            let Some(program) = Program::read(&path)? else {
                return Err(OwnError::Unusable { path, words: "it is no program for Linux".to_owned() });
            };
            match program.fits(machine) {
                Ok(()) => {
                    return match digests.get(&path) {
                        Some(digest) => Ok(OwnProgram::known(&path, digest)),
                        None => {
                            let before = Stamp::of(&path);
                            let program = OwnProgram::read(&path)?;
                            digests.keep(&path, before, program.digest());
                            Ok(program)
                        }
                    };
                }
                Err(misfit) => tried.push((path, misfit)),
            }
        }
        Err(OwnError::NoProgram { host: host.clone(), architecture: machine.architecture.clone(), tried })
    }
}

/// A program of ours, by its content.
#[derive(Debug, Clone)]
pub struct OwnProgram {
    path: PathBuf,
    digest: String,
    /// Its pieces, once they were asked for.
    file: Arc<OnceLock<StoredFile>>,
}

impl OwnProgram {
    /// Looks at a program. Hosts of one machine and C library share it: read it once.
    ///
    /// # Errors
    /// [`OwnError::Unusable`] when it cannot be read.
    pub fn read(path: &Path) -> Result<Self, OwnError> {
        let (digest, file) = hashed(path)?;
        Ok(Self { path: path.to_owned(), digest, file: Arc::new(file.into()) })
    }

    /// The same, by a digest that was kept when the file was as it is now.
    fn known(path: &Path, digest: String) -> Self {
        Self { path: path.to_owned(), digest, file: Arc::default() }
    }

    fn file(&self) -> Result<&StoredFile, OwnError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let (digest, file) = hashed(&self.path)?;
        if digest != self.digest {
            let words = "it was replaced this moment: run the command again".to_owned();
            return Err(OwnError::Unusable { path: self.path.clone(), words });
        }
        Ok(self.file.get_or_init(|| file))
    }

    /// The SHA-256 of it in hexadecimal, as [`Staged::program`](crate::store::Staged::program)
    /// says of the one that a host uses.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Where it is on this machine.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the program that a host uses is there: a link that is switched as a whole.
    #[must_use]
    pub fn path_on_host() -> String {
        format!("{BASE}/program")
    }

    /// Sees to it that a host uses this one: one round trip where it does, else two. What runs goes
    /// on running from the one before, which is removed only later.
    ///
    /// # Errors
    /// See [`Delivery::send`].
    pub async fn send(&self, remote: &dyn RemoteExec, cancellation: &Cancellation) -> Result<Sent, OwnError> {
        Ok(self.delivery()?.send(remote, cancellation).await?)
    }

    /// What is sent.
    pub(crate) fn delivery(&self) -> Result<Delivery, OwnError> {
        Ok(Delivery::program(self.file()?.clone(), &self.digest))
    }
}

/// Its digest, and its pieces.
fn hashed(path: &Path) -> Result<(String, StoredFile), OwnError> {
    // All of it beside its pieces: who waits for it waits half as long.
    let (digest, pieces) = std::thread::scope(|scope| {
        let digest = scope.spawn(|| hash_of(&mut File::open(path)?));
        let pieces = StoredFile::read(path);
        (digest.join().unwrap_or_else(|_| Err(io::Error::other("a thread that read it ended"))), pieces)
    });
    let read = digest.and_then(|(digest, size)| {
        let file = pieces?;
        if file.size() == size {
            Ok((hex(&digest), file))
        } else {
            Err(io::Error::other("it was changed while it was being read"))
        }
    });
    read.map_err(|error| OwnError::Unusable { path: path.to_owned(), words: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::facts::{Lines, SAMPLE, facts};

    fn host_like_this(from: &str, to: &str) -> Machine {
        let here = SAMPLE.replace("x86_64", std::env::consts::ARCH).replace("2.36", "2.99");
        facts(&Lines::new(&here.replace(from, to))).unwrap().machine()
    }

    #[test]
    fn the_named_one_then_one_with_its_own_library_then_the_running_one() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("release");
        fs::create_dir(&bin).unwrap();
        let running = bin.join("vrooli-deploy");
        let programs = |named: &[(&str, &Path)]| Programs {
            named: named.iter().map(|(machine, path)| ((*machine).to_owned(), path.to_path_buf())).collect(),
            running: Some(running.clone()),
        };
        assert_eq!(programs(&[]).candidates("x86_64"), [running.as_path()]);
        let beside = bin.join("vrooli-deploy-aarch64");
        let built = folder.path().join("aarch64-unknown-linux-musl/release/vrooli-deploy");
        fs::create_dir_all(built.parent().unwrap()).unwrap();
        for path in [&beside, &built] {
            fs::write(path, "").unwrap();
        }
        assert_eq!(
            programs(&[]).candidates("aarch64"),
            [beside.as_path(), built.as_path(), running.as_path()]
        );
        assert_eq!(programs(&[("aarch64", Path::new("/x"))]).candidates("aarch64"), [Path::new("/x")]);
        assert_eq!(programs(&[("aarch64", Path::new("/x"))]).candidates("x86_64"), [running.as_path()]);
    }

    #[test]
    fn what_does_not_run_there_is_refused_with_the_way_out() {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            return;
        }
        let host = HostName::new("web1").unwrap();
        let own = std::env::current_exe().unwrap();
        let programs = Programs { named: BTreeMap::new(), running: Some(own.clone()) };
        let chosen = programs.choose(&host, &host_like_this("", "")).unwrap();
        assert_eq!(chosen.path(), own);
        let error = programs.choose(&host, &host_like_this(std::env::consts::ARCH, "sparc")).unwrap_err();
        assert!(error.to_string().contains("and the host is sparc"), "{error}");
        assert!(error.help().contains("VROOLI_DEPLOY_PROGRAM_SPARC=PATH"), "{}", error.help());
        let error = programs.choose(&host, &host_like_this("2.99", "2.2")).unwrap_err();
        assert!(error.to_string().contains("and the host has 2.2"), "{error}");
        assert!(error.help().contains("musl") && error.help().contains("on the host"), "{}", error.help());
        assert_eq!(error.code().to_string(), "VD0936");
        // What is named is taken at its word.
        let text = tempfile::NamedTempFile::new().unwrap();
        let named = BTreeMap::from([(std::env::consts::ARCH.to_owned(), text.path().to_owned())]);
        let programs = Programs { named, running: Some(own) };
        let error = programs.choose(&host, &host_like_this("", "")).unwrap_err();
        assert!(matches!(error, OwnError::Unusable { .. }), "{error:?}");
    }
}
