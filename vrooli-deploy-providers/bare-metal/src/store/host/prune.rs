//! What nobody needs any more goes: of this app alone, and never what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::input::Input;
use super::make::image_name;
use super::phase::{Store, is_in_use, remove};
use super::{Result, at};

/// What is written down of an artefact.
#[derive(Debug, Default)]
struct Reference {
    pieces: BTreeSet<String>,
    image: Option<String>,
}

impl Reference {
    fn read(text: &str) -> Self {
        let mut reference = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("piece", rest)) => {
                    reference.pieces.insert(rest.split(' ').next().unwrap_or_default().to_owned());
                }
                Some(("image", id)) => reference.image = Some(id.to_owned()),
                _ => {}
            }
        }
        reference
    }
}

/// Takes away what is needed for nothing any more, but for so many of the newest.
pub(super) fn prune(store: &Store<'_>, input: &Input, keep: usize) -> Result<()> {
    let refs = store.refs(input);
    let mut old: Vec<(SystemTime, String)> = Vec::new();
    for entry in fs::read_dir(&refs).map_err(at(&refs))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != input.name && !input.needed.contains(&name) {
            old.push((entry.metadata()?.modified()?, name));
        }
    }
    old.sort();
    let goes = old.len().saturating_sub(keep);
    for (_, name) in old.into_iter().take(goes) {
        if takes_away(store, input, &name)? {
            store.say("pruned", &name)?;
        }
    }
    let needed: BTreeSet<String> =
        all(&store.all_refs())?.into_values().flat_map(|reference| reference.pieces).collect();
    for entry in fs::read_dir(store.pieces()).map_err(at(&store.pieces()))? {
        let entry = entry?;
        if !needed.contains(&*entry.file_name().to_string_lossy()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Takes an artefact away with the releases that have it, unless one of them runs.
fn takes_away(store: &Store<'_>, input: &Input, name: &str) -> Result<bool> {
    let mut runs = false;
    for entry in fs::read_dir(store.releases(input)).into_iter().flatten().flatten() {
        let release = entry.path();
        let Ok(marker) = fs::read_to_string(release.join("artefact")) else { continue };
        if marker.split_whitespace().next() != Some(name) {
            continue;
        }
        // What runs is not taken away, whatever anybody says is needed.
        if is_in_use(&release) {
            runs = true;
            continue;
        }
        // Whole or not at all: it loses its name first.
        let gone = store.own("gone");
        fs::rename(&release, &gone).map_err(at(&release))?;
        remove(&gone)?;
    }
    if runs {
        return Ok(false);
    }
    let place = store.refs(input).join(name);
    let image = fs::read_to_string(&place).ok().and_then(|text| Reference::read(&text).image);
    remove(&place)?;
    if let Some(image) = image
        && !all(&store.all_refs())?.values().any(|other| other.image.as_ref() == Some(&image))
    {
        // With the last name of an image the image goes; one that runs Docker keeps.
        for name in [&image_name(&image), &image] {
            let mut command = Command::new("docker");
            command.args(["image", "rm", "--", name]).stdin(Stdio::null());
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
    Ok(true)
}

/// All that is written down, of all apps.
fn all(refs: &Path) -> Result<BTreeMap<std::path::PathBuf, Reference>> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(refs) {
        let entry = entry.map_err(|error| at(refs)(error.into()))?;
        if entry.file_type().is_file() {
            // Unread, its pieces would be taken away.
            let text = fs::read_to_string(entry.path()).map_err(at(entry.path()))?;
            all.insert(entry.into_path(), Reference::read(&text));
        }
    }
    Ok(all)
}
