//! Will a program run on a host? Its machine and its C library against the host's.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, ReadRef, elf};
use walkdir::WalkDir;

use crate::facts::Machine;

/// A version of the GNU C library: 2.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlibcVersion {
    /// 2.
    pub major: u16,
    /// 36.
    pub minor: u16,
}

impl GlibcVersion {
    /// Reads `2.36`, and `2.2.5` as 2.2. `None` for what is no version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let version = Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? };
        numbers.all(|number| number.parse::<u16>().is_ok()).then_some(version)
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Which C library a program is loaded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CLibrary {
    /// None: it brings all that it needs.
    Static,
    /// GNU's, at least in this version; none where it asks for nothing in particular.
    Glibc(Option<GlibcVersion>),
    /// musl's.
    Musl,
}

/// What a program, or a library, asks of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Program {
    /// As `uname -m` says: `x86_64`, `aarch64`.
    pub architecture: String,
    /// What it is loaded with.
    pub library: CLibrary,
}

/// Why a program will not run on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misfit {
    /// It is for another machine.
    Architecture {
        /// What it is for.
        program: String,
        /// What the host is.
        host: String,
    },
    /// It asks for a newer GNU C library.
    Glibc {
        /// What it asks for.
        program: GlibcVersion,
        /// What the host has.
        host: GlibcVersion,
    },
    /// It asks for a C library that the host has not.
    Library {
        /// `glibc` or `musl`.
        program: &'static str,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Architecture { program, host } => write!(f, "it is for {program}, and the host is {host}"),
            Self::Glibc { program, host } => {
                write!(f, "it asks for glibc {program}, and the host has {host}")
            }
            Self::Library { program } => {
                write!(f, "it asks for {program}, and the host has another C library")
            }
        }
    }
}

impl Misfit {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> String {
        let also = "or build in an image of the host's own system, or on the host";
        match self {
            Self::Architecture { host, .. } => {
                format!(
                    "build for {host} (`cargo build --target {host}-unknown-linux-musl`, `GOARCH={}`), {also}",
                    goarch(host)
                )
            }
            Self::Glibc { .. } | Self::Library { .. } => {
                format!(
                    "build a program that brings its own library (`--target …-unknown-linux-musl`, `CGO_ENABLED=0`), {also}"
                )
            }
        }
    }
}

fn goarch(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i686" => "386",
        "armv7l" => "arm",
        other => other,
    }
}

/// What was built: a file, or a folder with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Artefact {
    /// Where it is.
    pub path: PathBuf,
    /// The programs and libraries in it, by path from there; empty for the file itself.
    pub programs: Vec<(PathBuf, Program)>,
}

impl Artefact {
    /// Looks at a file, or at all files of a folder. Links are not followed.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn read(path: &Path) -> Result<Self, ArtefactError> {
        let mut programs = Vec::new();
        for entry in WalkDir::new(path).follow_root_links(true).sort_by_file_name() {
            let entry = entry.map_err(|error| ArtefactError {
                file: error.path().unwrap_or(path).to_owned(),
                words: error.to_string(),
            })?;
            if entry.file_type().is_file()
                && let Some(program) = Program::read(entry.path())?
            {
                let inside = entry.path().strip_prefix(path).unwrap_or(entry.path());
                programs.push((inside.to_owned(), program));
            }
        }
        Ok(Self { path: path.to_owned(), programs })
    }

    /// What in it will not run on a host, and why not. Nothing: all of it will.
    #[must_use]
    pub fn misfits(&self, host: &Machine) -> Vec<(PathBuf, Misfit)> {
        let misfit =
            |(path, program): &(PathBuf, Program)| Some((self.path.join(path), program.fits(host).err()?));
        self.programs.iter().filter_map(misfit).collect()
    }
}

/// A file that cannot be read, or is a damaged program.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {words}", .file.display())]
pub struct ArtefactError {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub words: String,
}

impl Program {
    /// What a file asks for. `None`: it is no program or library (ELF). Reads only the parts that
    /// say so, however large it is.
    ///
    /// # Errors
    /// When it cannot be read, or begins like a program and is none.
    pub fn read(path: &Path) -> Result<Option<Self>, ArtefactError> {
        let failed = |words: String| ArtefactError { file: path.to_owned(), words };
        let mut file = File::open(path).map_err(|e| failed(e.to_string()))?;
        let mut magic = Vec::new();
        (&mut file).take(4).read_to_end(&mut magic).map_err(|e| failed(e.to_string()))?;
        if magic != *b"\x7fELF" {
            return Ok(None);
        }
        let data = ReadCache::new(file);
        let read = match FileKind::parse(&data) {
            Ok(FileKind::Elf32) => program::<elf::FileHeader32<Endianness>, _>(&data),
            Ok(FileKind::Elf64) => program::<elf::FileHeader64<Endianness>, _>(&data),
            Ok(_) => return Ok(None),
            Err(error) => Err(error),
        };
        read.map(Some).map_err(|error| failed(error.to_string()))
    }

    /// Will it run there?
    ///
    /// # Errors
    /// Why not.
    pub fn fits(&self, host: &Machine) -> Result<(), Misfit> {
        if self.architecture != host.architecture {
            return Err(Misfit::Architecture {
                program: self.architecture.clone(),
                host: host.architecture.clone(),
            });
        }
        let there = host.glibc.as_deref().and_then(GlibcVersion::parse);
        match (self.library, there) {
            (CLibrary::Static, _) | (CLibrary::Musl, None) => Ok(()),
            (CLibrary::Musl, Some(_)) => Err(Misfit::Library { program: "musl" }),
            (CLibrary::Glibc(_), None) => Err(Misfit::Library { program: "glibc" }),
            (CLibrary::Glibc(Some(program)), Some(host)) if program > host => {
                Err(Misfit::Glibc { program, host })
            }
            (CLibrary::Glibc(_), Some(_)) => Ok(()),
        }
    }
}

fn program<'data, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(
    data: R,
) -> object::read::Result<Program> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let mut interpreter = None;
    let mut dynamic = false;
    for segment in header.program_headers(endian, data)? {
        dynamic |= segment.p_type(endian) == elf::PT_DYNAMIC;
        if let Some(path) = segment.interpreter(endian, data)? {
            interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = header.sections(endian, data)?;
    let mut newest = None;
    if let Some((mut needs, strings)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        while let Some((_, mut versions)) = needs.next()? {
            while let Some(version) = versions.next()? {
                let name = String::from_utf8_lossy(version.name(endian, strings)?).into_owned();
                newest = newest.max(needed(&name));
            }
        }
    }
    let library = match &interpreter {
        Some(path) if path.contains("ld-musl") => CLibrary::Musl,
        Some(_) => CLibrary::Glibc(newest),
        // A library, or a program that finds its own place in memory and needs nobody for it.
        None if dynamic && newest.is_some() => CLibrary::Glibc(newest),
        None => CLibrary::Static,
    };
    Ok(Program { architecture: architecture(header.e_machine(endian), header.is_little_endian()), library })
}

/// The version of the library in which a symbol version came.
fn needed(name: &str) -> Option<GlibcVersion> {
    match name {
        // Not a symbol but a promise of the loader's, since then.
        "GLIBC_ABI_DT_RELR" => GlibcVersion::parse("2.36"),
        _ => GlibcVersion::parse(name.strip_prefix("GLIBC_")?),
    }
}

fn architecture(machine: elf::Machine, little: bool) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_386 => "i686".to_owned(),
        elf::EM_ARM => "armv7l".to_owned(),
        elf::EM_RISCV => "riscv64".to_owned(),
        elf::EM_PPC64 if little => "ppc64le".to_owned(),
        elf::EM_PPC64 => "ppc64".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        other => format!("machine {}", other.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Lines, SAMPLE, facts};

    fn host(from: &str, to: &str) -> Machine {
        facts(&Lines::new(&SAMPLE.replace(from, to))).unwrap().machine()
    }

    fn glibc(text: &str) -> CLibrary {
        CLibrary::Glibc(GlibcVersion::parse(text))
    }

    #[test]
    fn versions_are_numbers() {
        let version = |text| GlibcVersion::parse(text);
        assert!(version("2.9") < version("2.36"));
        assert_eq!(version("2.2.5"), version("2.2"));
        assert_eq!(needed("GLIBC_PRIVATE"), None);
        assert_eq!(needed("GLIBC_ABI_DT_RELR"), version("2.36"));
        assert_eq!(needed("GLIBCXX_3.4.30"), None);
        for none in ["", "2", "2.x", "a.b", "2.3.x"] {
            assert_eq!(version(none), None, "{none}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_way_out() {
        let program = |library| Program { architecture: "x86_64".to_owned(), library };
        let debian = host("", "");
        for library in [CLibrary::Static, glibc("2.36"), glibc("2.17"), CLibrary::Glibc(None)] {
            assert_eq!(program(library).fits(&debian), Ok(()));
        }
        let newer = program(glibc("2.38")).fits(&debian).unwrap_err();
        assert_eq!(newer.to_string(), "it asks for glibc 2.38, and the host has 2.36");
        assert!(newer.help().contains("musl"));
        assert!(program(CLibrary::Musl).fits(&debian).is_err());
        let alpine = host("glibc\t2.36", "glibc\t");
        assert_eq!(program(CLibrary::Musl).fits(&alpine), Ok(()));
        assert!(program(glibc("2.17")).fits(&alpine).is_err());
        let arm = host("x86_64", "aarch64");
        let other = program(CLibrary::Static).fits(&arm).unwrap_err();
        assert_eq!(other.to_string(), "it is for x86_64, and the host is aarch64");
        assert!(other.help().contains("GOARCH=arm64"));
    }

    #[test]
    fn programs_are_read_and_other_files_are_none() {
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            let own = Program::read(&std::env::current_exe().unwrap()).unwrap().unwrap();
            assert_eq!(own.architecture, std::env::consts::ARCH);
            // The standard library of Rust asks for 2.17 at least.
            assert!(matches!(own.library, CLibrary::Glibc(Some(version)) if version.minor >= 17), "{own:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for (bytes, good) in [
            (&b""[..], true),
            (b"#!/bin/sh\n", true),
            (b"\x7fELF", false),
            (b"\x7fELF\x02\x01\x01 cut off", false),
        ] {
            std::fs::write(&file, bytes).unwrap();
            let read = Program::read(&file);
            assert_eq!(matches!(read, Ok(None)), good, "{bytes:?}: {read:?}");
        }
        assert!(Program::read(&folder.path().join("absent")).is_err());
        assert!(Artefact::read(&folder.path().join("absent")).is_err());
        assert!(Artefact::read(folder.path()).is_err());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Artefact::read(folder.path()).unwrap().programs, []);
    }
}
