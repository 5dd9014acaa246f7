//! The record beside what we made: whose it is, and how far its making came. It is what
//! `find` sees, and it is written before the first thing that it tells of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, OpToken, ProviderError, Result};

use crate::layout::Layout;
use crate::{failure, files};

const FORMAT: u32 = 1;
const FILE: &str = "resource.json";

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    /// Begun; what is there may be thrown away and made anew.
    Creating,
    /// The data is there and ours; never thrown away from here on but by a delete.
    Initialized,
    /// Done.
    Ready,
    /// Being removed.
    Deleting,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marker<T> {
    format: u32,
    pub(crate) stack: StackId,
    pub(crate) key: ResourceKey,
    pub(crate) owner: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<OpToken>,
    pub(crate) progress: Progress,
    pub(crate) made: T,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl<T: Serialize + DeserializeOwned> Marker<T> {
    pub(crate) fn new(cx: &OpCtx, key: &ResourceKey, made: T) -> Self {
        Self {
            format: FORMAT,
            stack: cx.stack.clone(),
            key: key.clone(),
            owner: cx.owner,
            token: cx.token,
            progress: Progress::Creating,
            made,
        }
    }

    /// Is it that state's?
    pub(crate) fn is_owned(&self, layout: &Layout, asking: Uuid) -> bool {
        super::is_owned(layout, asking, self.owner)
    }

    /// Itself, unless it is another state's.
    pub(crate) fn owned(self, layout: &Layout, asking: Uuid) -> Result<Self> {
        if self.is_owned(layout, asking) {
            Ok(self)
        } else {
            Err(super::anothers(&self.stack, &self.key, self.owner))
        }
    }

    /// Where the record in a folder is.
    pub(crate) fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The record in a folder; `None` when there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = Self::path(folder);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failure::io("read", &path, &error)),
        };
        let damaged = |error: serde_json::Error| {
            ProviderError::new(
                ErrorKind::Conflict,
                format!("the record `{}` is damaged: {error}", path.display()),
            )
            .with_help("restore it from a backup; nothing was changed")
        };
        let format: FormatOnly = serde_json::from_slice(&text).map_err(damaged)?;
        if format.format > FORMAT {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!("the record `{}` was written by a newer version of this program", path.display()),
            )
            .with_help("use that version, or a newer one"));
        }
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = Self::path(folder);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| {
            ProviderError::new(
                ErrorKind::Unexpected,
                format!("the record `{}` cannot be written: {error}", path.display()),
            )
        })?;
        text.push(b'\n');
        files::write_atomic(&path, &text).map_err(failure::at("write", &path))
    }
}

/// The folders of a sort that hold a record, in the order of their names.
pub(crate) fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failure::io("read", parent, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failure::at("read", parent))?.path();
        if path.join(FILE).exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
