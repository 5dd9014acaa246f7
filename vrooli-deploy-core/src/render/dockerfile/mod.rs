//! A Dockerfile for an app that has none: its own build steps in an image with the tools that they name,
//! what they leave in one with what its services need to run. One image for the whole app: each service
//! is a container of it that runs the service's command.

mod bases;
mod instruction;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use self::bases::{Base, KNOWN, RUNTIME};
use crate::manifest::{BuildStep, Command};
use crate::names::{ImageRef, VariableName};
use crate::sources::command::programs;
use crate::sources::node::{
    Installer, LocalPackage, installer, local_packages, outside_workspace, package_manager,
};
use crate::sources::{SourceTree, normal};

pub use bases::names as base_names;

/// Where the sources lie in an image.
const FOLDER: &str = "/app";
/// Where what the runtime gets beside the app is put together.
const ASIDE: &str = "/rootfs";
/// Where what the app may write to is put together.
const DATA: &str = "/writable";

/// What a Dockerfile is made from.
#[derive(Debug, Clone, Copy)]
pub struct DockerfileInput<'a> {
    /// The build's context.
    pub tree: &'a SourceTree,
    /// The manifest's folder in it.
    pub root: &'a Path,
    /// What is run to build the app, in the manifest's folder.
    pub steps: &'a [BuildStep],
    /// What its services run.
    pub runs: &'a [Command],
    /// Variables that steps see.
    pub env: &'a BTreeMap<VariableName, String>,
    /// Base images by their names, of which some are needed.
    pub base_images: &'a BTreeMap<String, ImageRef>,
}

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// What is in it.
    pub text: String,
    /// The base images that it names, by their names.
    pub bases: BTreeMap<String, ImageRef>,
    /// The manifest's folder in the image, absolute.
    pub root: String,
    /// What was noticed, a sentence each.
    pub notes: Vec<String>,
}

/// Why no Dockerfile can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DockerfileError {
    /// A base image is needed and not said by its digest.
    #[error("no digest is known of the base image `{base}`, which {by} needs")]
    NotPinned {
        /// Its name.
        base: String,
        /// What needs it.
        by: String,
        /// Where to look, with a tag.
        reference: String,
        /// The same without the tag.
        image: String,
    },
    /// There is no base image of that name.
    #[error("there is no base image `{base}`")]
    Unknown {
        /// The name.
        base: String,
    },
    /// A program is in none of the base images.
    #[error("{by} starts `{program}`, which no base image has")]
    NoProgram {
        /// The program.
        program: String,
        /// What starts it.
        by: String,
    },
    /// Something cannot be written into a Dockerfile safely.
    #[error("{what} cannot be written into a Dockerfile")]
    Unwritable {
        /// What.
        what: String,
    },
}

impl DockerfileError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NotPinned { base, reference, image, .. } => format!(
                "name it by its digest: `--base-image {base}={image}@sha256:…`, or `build.base_images.{base}` of the manifest or a values file (`docker buildx imagetools inspect {reference}` shows the digest)"
            ),
            Self::Unknown { .. } => {
                format!("base images are {}", base_names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
            }
            Self::NoProgram { .. } | Self::Unwritable { .. } => {
                "put a `Dockerfile` of your own beside the manifest, or give an image: `--image REPOSITORY@sha256:…`".to_owned()
            }
        }
    }
}

/// Writes the Dockerfile. The same input gives the same bytes.
///
/// # Errors
/// [`DockerfileError`].
pub fn dockerfile(input: &DockerfileInput<'_>) -> Result<Dockerfile, DockerfileError> {
    bases::check(input.base_images)?;
    let mut writer = Writer { input, text: String::new(), used: BTreeMap::new(), notes: Vec::new() };
    let root = writer.write()?;
    Ok(Dockerfile { text: writer.text, bases: writer.used, root, notes: writer.notes })
}

/// What is left out of the context, as a `.dockerignore`: what builds never see, and what the manifest
/// leaves out. Patterns are those of `.gitignore`.
#[must_use]
pub fn dockerignore(include: &[String], exclude: &[String], root: &Path) -> String {
    let anchored = |pattern: &str| {
        let plain = pattern.trim_end_matches('/');
        if plain.contains('/') { plain.trim_start_matches('/').to_owned() } else { format!("**/{plain}") }
    };
    let mut text = String::new();
    if !include.is_empty() {
        text.push_str("*\n");
        let root = root.to_str().filter(|root| !root.is_empty()).map(|root| format!("/{root}"));
        let named = |root: &&str| !include.iter().any(|pattern| pattern.trim_end_matches('/') == *root);
        for pattern in include.iter().map(String::as_str).chain(root.as_deref().filter(named)) {
            let (back, pattern) = pattern.strip_prefix('!').map_or(("!", pattern), |rest| ("", rest));
            let _ = writeln!(text, "{back}{}", anchored(pattern));
        }
    }
    for line in &KNOWN.ignore {
        let _ = writeln!(text, "{line}");
    }
    for pattern in exclude {
        let (back, pattern) = pattern.strip_prefix('!').map_or(("", pattern.as_str()), |rest| ("!", rest));
        let _ = writeln!(text, "{back}{}", anchored(pattern));
    }
    text
}

/// A base and what needs it.
type Needed = BTreeMap<&'static str, (&'static Base, String)>;

struct Writer<'a> {
    input: &'a DockerfileInput<'a>,
    text: String,
    used: BTreeMap<String, ImageRef>,
    notes: Vec<String>,
}

impl Writer<'_> {
    fn write(&mut self) -> Result<String, DockerfileError> {
        let DockerfileInput { tree, root, steps, runs, env, .. } = *self.input;
        let (packages, notes) =
            if steps.is_empty() { (Vec::new(), Vec::new()) } else { local_packages(tree, root) };
        self.notes.extend(notes);
        let mut tools = Needed::new();
        let mut by_npm: BTreeSet<String> = BTreeSet::new();
        for step in steps {
            self.needs(&mut tools, &step.run, &format!("build step `{}`", step.name), true)?;
            by_npm.extend(programs(&step.run).into_iter().map(str::to_owned));
        }
        for package in &packages {
            let by = format!("`{}`", package.folder.display());
            by_npm.insert(self.installer(package).tool.to_owned());
            if let Some(node) = bases::with_program("node") {
                tools.entry(&node.name).or_insert((node, by));
            }
        }
        let mut running = Needed::new();
        for run in runs {
            self.needs(&mut running, run, "a service", false)?;
        }
        if running.is_empty()
            && let Some(base) = bases::named(RUNTIME)
        {
            running.insert(RUNTIME, (base, "what the app runs in".to_owned()));
        }
        // A build that needs nothing is done in what the app runs in.
        if tools.is_empty() {
            tools.clone_from(&running);
        }

        let root = match root.as_os_str().is_empty() {
            true => FOLDER.to_owned(),
            false => format!("{FOLDER}/{}", instruction::path(root)?),
        };
        instruction::comment(
            &mut self.text,
            "Made by vrooli-deploy from the app's own build steps. A Dockerfile beside the manifest is used instead.",
        );
        self.stage(&tools, "build")?;
        for (name, value) in env {
            instruction::env(&mut self.text, name.as_str(), value)?;
        }
        self.install_by_npm(&by_npm);
        let _ = writeln!(self.text, "WORKDIR {FOLDER}\nCOPY . .");
        for package in &packages {
            let folder = instruction::path(&package.folder)?;
            let install = self.installer(package);
            let _ = writeln!(
                self.text,
                "\n# `{folder}` is used by the app and nobody built it\nWORKDIR {FOLDER}/{folder}"
            );
            if package.has_dependencies {
                let command = Command::Exec(install.words);
                instruction::run(&mut self.text, &command, &caches(&command));
            }
            let command = Command::Exec([install.tool, "run", "build"].map(str::to_owned).to_vec());
            instruction::run(&mut self.text, &command, &caches(&command));
        }
        if root != FOLDER || !packages.is_empty() {
            let _ = writeln!(self.text, "\nWORKDIR {root}");
        }
        for step in steps {
            self.step(step);
        }
        self.put_aside(&root);

        self.text.push('\n');
        self.stage(&running, "runtime")?;
        let _ = writeln!(self.text, "COPY --from=build {ASIDE} /\nCOPY --from=build {FOLDER} {FOLDER}");
        let user = KNOWN.user;
        let _ = writeln!(
            self.text,
            "# What the app writes there is gone with the container\n\
             COPY --from=build --chown={user}:{user} {DATA} {root}/data\n\
             # Everybody comes from outside\n\
             ENV HOME=/tmp HOST=0.0.0.0\n\
             USER {user}:{user}\nWORKDIR {root}"
        );
        Ok(root)
    }

    /// Which bases a command needs: those of the programs that it names; where it starts something of the
    /// app's own while it builds, also those of what the sources are.
    fn needs(
        &self,
        all: &mut Needed,
        command: &Command,
        by: &str,
        builds: bool,
    ) -> Result<(), DockerfileError> {
        for program in programs(command) {
            if KNOWN.without_base.iter().any(|known| known == program) {
                return Err(DockerfileError::NoProgram { program: program.to_owned(), by: by.to_owned() });
            }
            if let Some(base) = bases::with_program(program) {
                all.entry(&base.name).or_insert((base, by.to_owned()));
            } else if builds && (program == "make" || program.contains('/')) {
                for base in bases::all() {
                    let marker = base.marker.as_deref();
                    if marker.is_some_and(|marker| {
                        self.input.tree.folders_with(marker, self.input.root).next().is_some()
                    }) {
                        all.entry(&base.name).or_insert((base, by.to_owned()));
                    }
                }
            }
        }
        Ok(())
    }

    /// `FROM` the first of some bases, with what the others bring put beside.
    fn stage(&mut self, needed: &Needed, name: &str) -> Result<(), DockerfileError> {
        let mut ordered = bases::all().filter_map(|base| needed.get(base.name.as_str()));
        let Some((first, by)) = ordered.next() else { return Ok(()) };
        let first_image = first.pinned(by, self.input.base_images)?;
        self.used.insert(first.name.clone(), first_image.clone());
        let others: Vec<&(&Base, String)> = ordered.collect();
        for (base, by) in &others {
            let image = base.pinned(by, self.input.base_images)?;
            self.used.insert(base.name.clone(), image.clone());
            let _ = writeln!(self.text, "FROM {image} AS {}-for-{name}\n", base.name);
        }
        let _ = writeln!(self.text, "FROM {first_image} AS {name}");
        for (base, _) in others {
            for path in &base.paths {
                let _ = writeln!(self.text, "COPY --from={}-for-{name} {path} {path}", base.name);
            }
            if !base.links.is_empty() {
                let links: Vec<String> =
                    base.links.iter().map(|(link, to)| format!("ln -s {to} {link}")).collect();
                let _ = writeln!(self.text, "RUN {}", links.join(" && "));
            }
            for (variable, value) in &base.env {
                let _ = writeln!(self.text, "ENV {variable}={value}");
            }
            if let Some(bin) = &base.bin {
                let _ = writeln!(self.text, "ENV PATH={bin}:$PATH");
            }
        }
        Ok(())
    }

    /// Tools that images do not have and `npm` installs, in the version that the sources name.
    fn install_by_npm(&mut self, named: &BTreeSet<String>) {
        let said: Vec<String> = self
            .input
            .tree
            .folders_with("package.json", self.input.root)
            .filter_map(|folder| package_manager(self.input.tree, folder))
            .collect();
        let mut packages = Vec::new();
        for (tool, version) in KNOWN.by_npm.iter().filter(|(tool, _)| named.contains(*tool)) {
            let own =
                said.iter().find(|said| said.strip_prefix(tool.as_str()).is_some_and(|v| v.starts_with('@')));
            let plain =
                |text: &&String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@.-".contains(&b));
            packages.push(own.filter(plain).cloned().unwrap_or_else(|| format!("{tool}@{version}")));
        }
        if !packages.is_empty() {
            // An image may bring another version of it.
            let _ = writeln!(self.text, "RUN npm install --global --force {}", packages.join(" "));
        }
    }

    /// What a package is installed and built with. One that needs nothing is built by what is always there.
    fn installer(&self, package: &LocalPackage) -> Installer {
        installer(self.input.tree, &package.folder, |tool| package.has_dependencies || tool == "npm")
    }

    fn step(&mut self, step: &BuildStep) {
        let DockerfileInput { tree, root, .. } = *self.input;
        let place = |path: &String| normal(&root.join(path));
        // What earlier builds left must not make a step look done: there is nothing of them here.
        if let Some(there) = step.unless_exists.iter().find(|path| tree.exists(&place(path))) {
            self.notes.push(format!("build step `{}` is left out: `{there}` is there", step.name));
            return;
        }
        let _ = writeln!(self.text);
        instruction::comment(&mut self.text, &step.name);
        let command = outside_workspace(&step.run, root, tree).unwrap_or_else(|| step.run.clone());
        let asked: Vec<String> = step
            .if_exists
            .iter()
            .filter(|path| !tree.exists(&place(path)))
            .map(|path| format!("test -e {} || exit 0; ", instruction::quoted(path)))
            .collect();
        let command = match command {
            command if asked.is_empty() => command,
            Command::Shell(line) => Command::Shell(format!("{}{line}", asked.concat())),
            Command::Exec(words) => {
                let words: Vec<String> = words.iter().map(|word| instruction::quoted(word)).collect();
                Command::Shell(format!("{}{}", asked.concat(), words.join(" ")))
            }
        };
        instruction::comment(&mut self.text, "hadolint ignore=DL3003,DL4006,SC2086");
        instruction::run(&mut self.text, &command, &caches(&command));
    }

    /// Takes away what only a compiler needs, and puts certificates aside: calls to others need them, and
    /// images to run in have none.
    fn put_aside(&mut self, app: &str) {
        let DockerfileInput { tree, root, runs, .. } = *self.input;
        let _ = writeln!(
            self.text,
            "\n# What only the build needed goes; certificates for calls to others, and what is written to, stay"
        );
        let runs_there = runs.iter().any(|run| match run {
            Command::Shell(line) => line.contains("target/"),
            Command::Exec(words) => words.iter().any(|word| word.contains("target/")),
        });
        let mut lines = vec![format!("mkdir -p {ASIDE}/etc/ssl/certs {DATA}")];
        lines.push(format!("if test -d {app}/data; then cp -R {app}/data/. {DATA}/; fi"));
        let certificates = "etc/ssl/certs/ca-certificates.crt";
        lines.push(format!(
            "if test -e /{certificates}; then cp -L /{certificates} {ASIDE}/{certificates}; fi"
        ));
        let crates: BTreeSet<PathBuf> = tree
            .folders_with("Cargo.toml", root)
            .map(|folder| normal(&Path::new(FOLDER).join(folder)))
            .collect();
        for folder in crates.iter().filter_map(|folder| instruction::path(folder).ok()) {
            let parts: &[&str] = if runs_there {
                &["/*/deps", "/*/build", "/*/incremental", "/*/.fingerprint"]
            } else {
                &[""]
            };
            let all: Vec<String> = parts.iter().map(|part| format!("{folder}/target{part}")).collect();
            lines.push(format!("rm -rf {}", all.join(" ")));
        }
        let _ = writeln!(self.text, "RUN {}", lines.join(" \\\n && "));
    }
}

/// Folders that the tools of a command keep what they fetched in.
fn caches(command: &Command) -> BTreeSet<&'static str> {
    let bases = programs(command).into_iter().filter_map(bases::with_program);
    bases.flat_map(|base| base.caches.iter().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests;
