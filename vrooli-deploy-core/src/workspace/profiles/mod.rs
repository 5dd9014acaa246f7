//! Profiles of a workspace: kept as versions, found by id or name, changed with a
//! compare-and-swap.

mod app;

use std::path::Path;

use self::app::manifest_of;
use super::{OperationError, TargetOptions, Workspace};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::Tier;
use crate::manifest::shape::nearest;
use crate::names::ProfileName;
use crate::profile::{self, Difference, Profile, ProfileId, ProfileVersion, from_stored, to_stored};
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

fn absolute(path: &Path) -> Result<std::path::PathBuf, OperationError> {
    // A path that does not exist is taken as it is; what reads it says so.
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .map_err(|error| OperationError::Io { path: path.to_owned(), message: error.to_string() })
}
