//! Reading a scenario's own files, within bounds.

use std::path::Path;

/// Larger sources are generated, and more of them than this no person wrote.
const MAX_SOURCE_BYTES: u64 = 512 * 1024;
const MAX_ENTRIES: usize = 20_000;
const MAX_DEPTH: usize = 12;

/// Folders that hold other people's code or what was built.
const SKIPPED: [&str; 7] = ["node_modules", "dist", "build", "vendor", ".git", "target", "coverage"];

/// Visits source files under some folders of `root`, in the order of their names, until
/// `visit` answers false. Links are not followed; files that are no UTF-8 are passed over.
pub(super) fn visit(
    root: &Path,
    folders: &[&str],
    extensions: &[String],
    visit: &mut dyn FnMut(&str, &str) -> bool,
) {
    let mut paths = Vec::new();
    for folder in folders {
        collect(root, &root.join(folder), 0, &mut paths);
    }
    for path in paths {
        let wanted = Path::new(&path)
            .extension()
            .is_some_and(|extension| extensions.iter().any(|known| extension == known.as_str()));
        if !wanted {
            continue;
        }
        let file = root.join(&path);
        let small = std::fs::metadata(&file).is_ok_and(|metadata| metadata.len() <= MAX_SOURCE_BYTES);
        if small
            && let Ok(text) = std::fs::read_to_string(&file)
            && !visit(&path, &text)
        {
            return;
        }
    }
}

/// The files under a folder of `root`, relative to `root`, with `/`, sorted.
pub(super) fn list(root: &Path, folder: &str) -> Vec<String> {
    let mut paths = Vec::new();
    collect(root, &root.join(folder), 0, &mut paths);
    paths
}

fn collect(root: &Path, folder: &Path, depth: usize, paths: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if paths.len() >= MAX_ENTRIES {
            return;
        }
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let path = entry.path();
        if kind.is_dir() {
            let skipped = entry.file_name().to_str().is_none_or(|name| SKIPPED.contains(&name));
            if !skipped && depth < MAX_DEPTH {
                collect(root, &path, depth + 1, paths);
            }
        } else if kind.is_file()
            && let Ok(relative) = path.strip_prefix(root)
        {
            let parts: Vec<_> =
                relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            paths.push(parts.join("/"));
        }
    }
}
