//! Profiles of a workspace: kept as versions, found by id or name, changed with a
//! compare-and-swap.

use std::path::Path;

use super::target::load_layered;
use super::{OperationError, Target, TargetOptions, Workspace};
use crate::diagnostics::{Checked, Diagnostic, Severity, rules};
use crate::manifest::shape::nearest;
use crate::manifest::yaml::SourceFile;
use crate::manifest::{DeploymentManifest, Layer, Layers, SwapConfig, Tier, folder_of};
use crate::names::{DependencyName, ProfileName, StackId};
use crate::profile::{self, Difference, Profile, ProfileId, ProfileVersion, from_stored, to_stored};
use crate::requirements::catalogue;
use crate::state::{NewRevision, Revision, StateError};

const PROFILES: &str = "profile";

/// How often a change is made anew on what another writer left.
const TRIES: usize = 20;

/// Who changes a profile, why, and from which version on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ProfileEdit {
    /// The version that the change was made for: another one refuses it. `None`: the change is
    /// made on whatever is there.
    pub expected: Option<u32>,
    /// Why, for people. Default: what was done.
    pub reason: Option<String>,
    /// Who. Default: the user of this process and its host.
    pub by: Option<String>,
}

impl ProfileEdit {
    /// Of whatever version is there, by the user of this process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, refused unless this version is still the last.
    #[must_use]
    pub fn expecting(mut self, version: Option<u32>) -> Self {
        self.expected = version;
        self
    }

    /// The same, for this reason.
    #[must_use]
    pub fn because(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }
}

/// What a profile file becomes where it is imported.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Another name than the file's.
    pub name: Option<ProfileName>,
    /// Where the app's folder or manifest file is here.
    pub scenario: Option<std::path::PathBuf>,
    /// Make it the next version of the profile that has the name.
    pub update: bool,
}

/// What an import came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportedProfile {
    /// The profile as it is now.
    pub version: ProfileVersion,
    /// Was a version made? No: it was so already.
    pub changed: bool,
    /// What was noticed while reading the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// What swaps came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SwappedProfile {
    /// The profile as it is now.
    pub version: ProfileVersion,
    /// Was a version made? No: it was so already.
    pub changed: bool,
    /// What its tier says of the swaps, short of refusing them.
    pub diagnostics: Vec<Diagnostic>,
}

impl Workspace {
    /// All profiles as they are, by id.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn profiles(&self) -> Result<Vec<ProfileVersion>, OperationError> {
        let mut profiles = Vec::new();
        for revision in self.0.store.revisions(PROFILES).await? {
            if revision.body.is_some() {
                profiles.push(version(revision)?);
            }
        }
        profiles.sort_by_key(|version| version.id);
        Ok(profiles)
    }

    /// The profile that is meant by an id, a name, or the beginning of one that no other has.
    ///
    /// # Errors
    /// When none or several are meant.
    pub async fn profile(&self, argument: &str) -> Result<ProfileVersion, OperationError> {
        let profiles = self.profiles().await?;
        if let Some(found) = profiles.iter().find(|version| is_called(version, argument)) {
            return Ok(found.clone());
        }
        let begins: Vec<&ProfileVersion> = profiles
            .iter()
            .filter(|version| {
                !argument.is_empty()
                    && (name(version).starts_with(argument) || version.id.to_string().starts_with(argument))
            })
            .collect();
        match begins.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(unknown(argument, &profiles)),
            several => Err(input(
                rules::PROFILE_SEVERAL
                    .diagnostic(format!("`{argument}` is the beginning of {} profiles", several.len()))
                    .help(format!(
                        "give more of one: {}",
                        several
                            .iter()
                            .map(|v| format!("`{}` ({})", name(v), v.id))
                            .collect::<Vec<_>>()
                            .join(", ")
                    )),
            )),
        }
    }

    /// The profile with exactly this id or name: for what cannot be taken back.
    ///
    /// # Errors
    /// When there is none.
    pub async fn profile_exactly(&self, argument: &str) -> Result<ProfileVersion, OperationError> {
        match self.profile_called(argument).await? {
            Some(version) => Ok(version),
            None => Err(unknown(argument, &self.profiles().await?)),
        }
    }

    /// The profile with exactly this id or name, if there is one.
    pub(super) async fn profile_called(
        &self,
        argument: &str,
    ) -> Result<Option<ProfileVersion>, OperationError> {
        Ok(self.profiles().await?.into_iter().find(|version| is_called(version, argument)))
    }

    /// All versions of a profile, the oldest first.
    ///
    /// # Errors
    /// When it is not there, or the state cannot be read.
    pub async fn profile_versions(&self, id: ProfileId) -> Result<Vec<ProfileVersion>, OperationError> {
        let versions = self.0.store.versions(PROFILES, &id.to_string()).await?;
        if versions.is_empty() {
            return Err(unknown(&id.to_string(), &self.profiles().await?));
        }
        versions.into_iter().map(version).collect()
    }

    /// One version of a profile.
    ///
    /// # Errors
    /// When it is not there, or the profile was deleted with it.
    pub async fn profile_version(
        &self,
        id: ProfileId,
        number: u32,
    ) -> Result<(ProfileVersion, Profile), OperationError> {
        let versions = self.profile_versions(id).await?;
        let last = versions.len();
        versions
            .into_iter()
            .find(|version| version.version == number)
            .and_then(|version| version.profile.clone().map(|profile| (version, profile)))
            .ok_or_else(|| {
                input(
                    rules::PROFILE_VERSION.diagnostic(format!("`{id}` has no version {number}")).help(
                        format!("it has 1 to {last}; `vrooli-deploy profile versions {id}` lists them"),
                    ),
                )
            })
    }

    /// What differs between two versions of a profile.
    ///
    /// # Errors
    /// When one of them is not there.
    pub async fn profile_diff(
        &self,
        id: ProfileId,
        from: u32,
        to: u32,
    ) -> Result<Vec<Difference>, OperationError> {
        let (_, before) = self.profile_version(id, from).await?;
        let (_, after) = self.profile_version(id, to).await?;
        Ok(profile::diff(&before, &after))
    }

    /// Makes a profile of an app's folder or manifest file. Without a tier it gets the
    /// manifest's. `choose` may set more of it.
    ///
    /// # Errors
    /// When the app's manifest cannot be used, the name is taken, or `choose` refuses.
    pub async fn create_profile(
        &self,
        name: ProfileName,
        scenario: &Path,
        options: &TargetOptions,
        tier: Option<Tier>,
        edit: &ProfileEdit,
        choose: impl Fn(&mut Profile) -> Result<(), Box<Diagnostic>>,
    ) -> Result<ProfileVersion, OperationError> {
        let scenario = absolute(scenario)?;
        let manifest = manifest_of(&scenario)?;
        let app = options.name.clone().unwrap_or(manifest.app.name);
        let mut profile = Profile::new(name, scenario, app, tier.unwrap_or(manifest.target));
        if let Some(environment) = &options.environment {
            profile.environment = environment.clone();
        }
        choose(&mut profile).map_err(|diagnostic| input(*diagnostic))?;
        self.add_profile(&profile, edit, "created").await
    }

    async fn add_profile(
        &self,
        profile: &Profile,
        edit: &ProfileEdit,
        done: &str,
    ) -> Result<ProfileVersion, OperationError> {
        refuse_wrong(profile)?;
        let mut tries = 0;
        loop {
            tries += 1;
            // Ids of deleted profiles count: none is given twice.
            let revisions = self.0.store.revisions(PROFILES).await?;
            let last = revisions.iter().filter_map(|r| r.key.parse::<ProfileId>().ok()).map(|id| id.0).max();
            let id = ProfileId(last.unwrap_or(0) + 1);
            match self.store_profile(id, 0, Some(profile), edit, done).await {
                Err(OperationError::State(StateError::Changed { .. })) if tries < TRIES => {}
                result => return result,
            }
        }
    }

    /// Changes a profile: `change` gets it as it is and says in words what it did. Unless an
    /// expected version is given it is called again when another writer came first. A change
    /// that changes nothing makes no version.
    ///
    /// # Errors
    /// When the profile is not there, was changed meanwhile, or `change` refuses; then nothing
    /// is written.
    pub async fn change_profile(
        &self,
        id: ProfileId,
        edit: &ProfileEdit,
        change: impl Fn(&mut Profile) -> Result<String, Box<Diagnostic>>,
    ) -> Result<ProfileVersion, OperationError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (current, mut profile) = self.current(id, edit).await?;
            let before = profile.clone();
            let done = change(&mut profile).map_err(|diagnostic| input(*diagnostic))?;
            if profile == before {
                return Ok(current);
            }
            refuse_wrong(&profile)?;
            match self.store_profile(id, current.version, Some(&profile), edit, &done).await {
                Err(OperationError::State(StateError::Changed { .. }))
                    if edit.expected.is_none() && tries < TRIES => {}
                result => return result,
            }
        }
    }

    /// Puts swaps into a profile, where the next deployment finds them. One that takes back an
    /// earlier one removes that. The scenario is never touched.
    ///
    /// # Errors
    /// When the tier refuses a swap, or a name is not known; then nothing is written. Also when
    /// the app's manifest cannot be read: what is swapped must be there.
    pub async fn swap_profile(
        &self,
        id: ProfileId,
        edit: &ProfileEdit,
        swaps: &[SwapConfig],
    ) -> Result<SwappedProfile, OperationError> {
        let (current, mut wanted) = self.current(id, edit).await?;
        swaps.iter().for_each(|swap| swap_one(&mut wanted, swap));
        let candidate = ProfileVersion { profile: Some(wanted), ..current.clone() };
        let target = self.profile_target(&candidate, &TargetOptions::default()).await?;
        let Some(loaded) = &target.manifest else {
            return Err(OperationError::Input(target.diagnostics));
        };
        let manifest = &loaded.manifest;
        let diagnostics = crate::swaps::check(manifest, &manifest.swaps, manifest.target, &loaded.spans);
        if diagnostics.iter().any(|found| found.severity == Severity::Error) {
            return Err(OperationError::Input(diagnostics));
        }
        let change = |profile: &mut Profile| {
            for swap in swaps {
                swap_one(profile, swap);
            }
            profile.swaps.sort_by(|a, b| a.from.cmp(&b.from));
            let words: Vec<String> = swaps.iter().map(ToString::to_string).collect();
            Ok(format!("swap {}", words.join(" ")))
        };
        let version = self.change_profile(id, edit, change).await?;
        let changed = version.version != current.version;
        Ok(SwappedProfile { version, changed, diagnostics })
    }

    /// Makes a new version that is equal to an older one.
    ///
    /// # Errors
    /// When the profile or the version is not there, or it was changed meanwhile.
    pub async fn rollback_profile(
        &self,
        id: ProfileId,
        to: u32,
        edit: &ProfileEdit,
    ) -> Result<ProfileVersion, OperationError> {
        let (_, wanted) = self.profile_version(id, to).await?;
        self.change_profile(id, edit, |profile| {
            *profile = wanted.clone();
            Ok(format!("rolled back to version {to}"))
        })
        .await
    }

    /// Deletes a profile. Its versions stay readable by id, its name is free again, and no
    /// app is touched.
    ///
    /// # Errors
    /// When it is not there, or was changed meanwhile.
    pub async fn delete_profile(
        &self,
        id: ProfileId,
        edit: &ProfileEdit,
    ) -> Result<ProfileVersion, OperationError> {
        let (current, _) = self.current(id, edit).await?;
        self.store_profile(id, current.version, None, edit, "deleted").await
    }

    /// Makes a profile of a file's content, or a new version of the one that has the name.
    /// `folder` is where a relative path of the app starts.
    ///
    /// # Errors
    /// When the file cannot be used whole, the app is not there, or the name is taken; then
    /// nothing is written.
    pub async fn import_profile(
        &self,
        file: &Path,
        options: &ImportOptions,
        edit: &ProfileEdit,
    ) -> Result<ImportedProfile, OperationError> {
        let source = SourceFile::read(file).map_err(|diagnostic| input(*diagnostic))?;
        let read = profile::read(source, options.name.as_ref());
        let (mut profile, diagnostics) = read.into_result().map_err(OperationError::Input)?;
        let folder = absolute(file)?.parent().map(Path::to_owned).unwrap_or_default();
        let scenario = match &options.scenario {
            Some(path) => absolute(path)?,
            None => folder.join(&profile.scenario),
        };
        profile.scenario = std::fs::canonicalize(&scenario).map_err(|error| {
            input(
                rules::PROFILE_SCENARIO
                    .diagnostic(format!("the app of the profile is not at `{}`: {error}", scenario.display()))
                    .help("say where it is here: `profile import FILE --scenario PATH`"),
            )
        })?;
        manifest_of(&profile.scenario)?;
        let done = format!("imported from {}", file.file_name().unwrap_or_default().to_string_lossy());
        let taken = self.profile_called(profile.name.as_str()).await?;
        let (version, changed) = match taken {
            Some(known) if options.update => {
                let change = |current: &mut Profile| {
                    *current = profile.clone();
                    Ok(done.clone())
                };
                let version = self.change_profile(known.id, edit, change).await?;
                let changed = version.version != known.version;
                (version, changed)
            }
            _ => (self.add_profile(&profile, edit, &done).await?, true),
        };
        Ok(ImportedProfile { version, changed, diagnostics })
    }

    /// The whole manifest that a profile comes to, and the folder that its paths start at.
    ///
    /// # Errors
    /// When the app's manifest with the profile's choices cannot be used.
    pub async fn generate_manifest(
        &self,
        version: &ProfileVersion,
        options: &TargetOptions,
    ) -> Result<(DeploymentManifest, Target), OperationError> {
        let mut target = self.profile_target(version, options).await?;
        let (Some(profile), Some(loaded)) = (&version.profile, &target.manifest) else {
            return Err(OperationError::Input(target.diagnostics));
        };
        let checked = profile::generate(profile, &loaded.manifest, &loaded.spans);
        let (manifest, found) = checked.into_result().map_err(OperationError::Input)?;
        target.diagnostics.extend(found);
        Ok((manifest, target))
    }

    /// What a profile is about: its stack, and its app's manifest with its choices. A manifest
    /// that cannot be read leaves the target without one, and its diagnostics say why.
    pub(super) async fn profile_target(
        &self,
        version: &ProfileVersion,
        options: &TargetOptions,
    ) -> Result<Target, OperationError> {
        let Some(profile) = &version.profile else {
            return Err(unknown(&version.id.to_string(), &self.profiles().await?));
        };
        let stack = StackId {
            app: options.name.clone().unwrap_or_else(|| profile.app.clone()),
            environment: options.environment.clone().unwrap_or_else(|| profile.environment.clone()),
        };
        let root = root_of(&profile.scenario);
        let mut layers = Layers {
            environment: Some(stack.environment.clone()),
            layers: profile.values.iter().map(|file| Layer::File(root.join(file))).collect(),
        };
        let loaded = match load_layered(&profile.scenario, &layers) {
            Ok((base, _)) => {
                let Checked { value, diagnostics } = profile::layer(profile, &base.manifest);
                layers.layers.extend(value.map(Layer::Made));
                layers.layers.extend(options.values.iter().cloned().map(Layer::File));
                load_layered(&profile.scenario, &layers).map(|(manifest, mut found)| {
                    found.extend(diagnostics);
                    (manifest, found)
                })
            }
            Err(error) => Err(error),
        };
        let (manifest, diagnostics) = match loaded {
            Ok((manifest, diagnostics)) => (Some(manifest), diagnostics),
            Err(diagnostics) => (None, diagnostics),
        };
        Ok(Target {
            stack,
            manifest,
            diagnostics,
            profile: Some(Box::new(version.clone())),
            values: options.values.clone(),
        })
    }

    async fn current(
        &self,
        id: ProfileId,
        edit: &ProfileEdit,
    ) -> Result<(ProfileVersion, Profile), OperationError> {
        let versions = self.profile_versions(id).await?;
        let last = versions.into_iter().next_back();
        let Some((last, profile)) = last.and_then(|last| last.profile.clone().map(|profile| (last, profile)))
        else {
            return Err(unknown(&id.to_string(), &self.profiles().await?));
        };
        match edit.expected {
            Some(expected) if expected != last.version => Err(OperationError::State(StateError::Changed {
                key: id.to_string(),
                expected,
                found: last.version,
            })),
            _ => Ok((last, profile)),
        }
    }

    async fn store_profile(
        &self,
        id: ProfileId,
        expected: u32,
        profile: Option<&Profile>,
        edit: &ProfileEdit,
        done: &str,
    ) -> Result<ProfileVersion, OperationError> {
        let body = profile.map(to_stored).transpose().map_err(|message| {
            input(rules::PROFILE_STORED.diagnostic(format!("`{id}` cannot be written: {message}")))
        })?;
        let new = NewRevision {
            collection: PROFILES.to_owned(),
            key: id.to_string(),
            expected,
            by: edit.by.clone().unwrap_or_else(|| self.user()),
            reason: edit.reason.clone().unwrap_or_else(|| done.to_owned()),
            name: profile.map(|profile| profile.name.to_string()),
            body,
        };
        version(self.0.store.revise(new).await?)
    }

    /// The user of this process, and its host.
    pub(super) fn user(&self) -> String {
        let user =
            std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
        let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
        format!("{user}@{}", self.0.host)
    }
}

/// One swap, after those that there are.
fn swap_one(profile: &mut Profile, swap: &SwapConfig) {
    let canonical = |name: &DependencyName| catalogue().canonical(name.as_str()).to_owned();
    let inverse = profile.swaps.iter().position(|known| {
        canonical(&known.from) == canonical(&swap.to) && canonical(&known.to) == canonical(&swap.from)
    });
    if let Some(place) = inverse {
        profile.swaps.remove(place);
        return;
    }
    match profile.swaps.iter_mut().find(|known| known.from == swap.from) {
        Some(known) if known.to == swap.to => {}
        Some(known) => *known = profile::Swap::new(swap.from.clone(), swap.to.clone()),
        None => profile.swaps.push(profile::Swap::new(swap.from.clone(), swap.to.clone())),
    }
}

fn is_called(version: &ProfileVersion, argument: &str) -> bool {
    name(version) == argument || version.id.to_string() == argument
}

fn name(version: &ProfileVersion) -> &str {
    version.profile.as_ref().map_or("", |profile| profile.name.as_str())
}

fn input(diagnostic: Diagnostic) -> OperationError {
    OperationError::Input(vec![diagnostic])
}

fn refuse_wrong(profile: &Profile) -> Result<(), OperationError> {
    let found = profile::check(profile);
    if found.is_empty() { Ok(()) } else { Err(OperationError::Input(found)) }
}

fn unknown(argument: &str, profiles: &[ProfileVersion]) -> OperationError {
    let near = nearest(argument, profiles.iter().map(name));
    input(rules::PROFILE_UNKNOWN.diagnostic(format!("there is no profile `{argument}`")).help(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`vrooli-deploy profile list` shows those that are there".to_owned(),
    }))
}

fn version(revision: Revision) -> Result<ProfileVersion, OperationError> {
    let unreadable = |message: String| {
        input(
            rules::PROFILE_STORED
                .diagnostic(format!(
                    "version {} of `{}` cannot be read: {message}",
                    revision.version, revision.key
                ))
                .help("use the version of vrooli-deploy that wrote it, or a later one"),
        )
    };
    let id = revision.key.parse().map_err(|error: crate::names::NameError| unreadable(error.to_string()))?;
    let profile = revision.body.clone().map(from_stored).transpose().map_err(unreadable)?;
    Ok(ProfileVersion {
        id,
        version: revision.version,
        at: revision.at,
        by: revision.by,
        reason: revision.reason,
        profile,
    })
}

/// The app's own manifest, which must be one that can be used.
fn manifest_of(scenario: &Path) -> Result<DeploymentManifest, OperationError> {
    load_layered(scenario, &Layers::default())
        .map(|(loaded, _)| loaded.manifest)
        .map_err(OperationError::Input)
}

/// The folder that relative paths of an app start at.
fn root_of(scenario: &Path) -> std::path::PathBuf {
    if scenario.is_dir() { scenario.to_owned() } else { folder_of(scenario) }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, OperationError> {
    // A path that does not exist is taken as it is; what reads it says so.
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .map_err(|error| OperationError::Io { path: path.to_owned(), message: error.to_string() })
}
