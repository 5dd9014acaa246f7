use std::fmt::Write as _;
use std::path::Path;

use vrooli_deploy_core::render::{FileState, WrittenFiles};

use super::word;

/// What was written: what changed, and with `all` what did not.
pub(crate) fn rendered(written: &WrittenFiles, folder: &Path, all: bool) -> String {
    let mut text = String::new();
    for (path, state) in &written.files {
        if all || *state != FileState::Unchanged {
            let _ = writeln!(text, "{:<9} {}", word(state), folder.join(path.as_str()).display());
        }
    }
    let count = written.files.values().filter(|state| **state == FileState::Unchanged).count();
    if !all && count > 0 {
        let _ = writeln!(text, "{count} unchanged in {}", folder.display());
    }
    text.trim_end().to_owned()
}
