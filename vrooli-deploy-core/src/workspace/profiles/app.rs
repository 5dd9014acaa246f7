//! What a profile makes of its app: the manifest with its choices, swaps in it, and files of
//! elsewhere brought to an app that is here.

use std::path::Path;

use super::{ImportOptions, ImportedProfile, ProfileEdit, SwappedProfile, absolute, input, unknown};
use crate::diagnostics::{Checked, Severity, rules};
use crate::fitness::load as load_to_assess;
use crate::manifest::yaml::SourceFile;
use crate::manifest::{DeploymentManifest, Layer, Layers, SwapConfig, folder_of};
use crate::names::{DependencyName, StackId};
use crate::profile::{self, Profile, ProfileId, ProfileVersion};
use crate::requirements::catalogue;
use crate::workspace::target::load_layered;
use crate::workspace::{OperationError, Target, TargetOptions, Workspace};

impl Workspace {
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
    pub(in crate::workspace) async fn profile_target(
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

/// The app's own manifest. Files that it names and that are not there keep nobody from writing
/// down what is planned for it: validation and deployments refuse them.
pub(super) fn manifest_of(scenario: &Path) -> Result<DeploymentManifest, OperationError> {
    let loaded = load_to_assess(scenario).into_result().map_err(OperationError::Input)?;
    Ok(loaded.0.manifest)
}

/// The folder that relative paths of an app start at.
fn root_of(scenario: &Path) -> std::path::PathBuf {
    if scenario.is_dir() { scenario.to_owned() } else { folder_of(scenario) }
}
