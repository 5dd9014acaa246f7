//! `.dockerignore`: patterns from the context's folder, of which the last that fits decides.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

/// Its patterns.
#[derive(Debug)]
pub(super) struct Patterns(Vec<(bool, Gitignore)>);

impl Patterns {
    /// Reads them.
    ///
    /// # Errors
    /// `Config` with the first that cannot be read.
    pub(super) fn read(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read = |line: &str| {
            let (leaves_out, pattern) = line.strip_prefix('!').map_or((true, line), |rest| (false, rest));
            let pattern = pattern.trim().trim_start_matches("./").trim_matches('/');
            let mut builder = GitignoreBuilder::new("/");
            // What stands there is meant from the folder itself, at any depth only where it says so.
            let one = builder.add_line(None, &format!("/{pattern}")).and_then(|builder| builder.build());
            one.map(|one| (leaves_out, one)).map_err(|error| {
                ProviderError::new(
                    ErrorKind::Config,
                    format!("`.dockerignore` cannot be read: `{line}`: {error}"),
                )
            })
        };
        lines.map(read).collect::<Result<_>>().map(Self)
    }

    /// Is a path left out?
    pub(super) fn leave_out(&self, path: &Path) -> bool {
        let fitting = self.0.iter().rev().find(|(_, pattern)| {
            pattern.matched_path_or_any_parents(path, false).is_ignore()
                || pattern.matched(path, true).is_ignore()
        });
        fitting.is_some_and(|(leaves_out, _)| *leaves_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_fits_decides() {
        let patterns = Patterns::read("# c\n*\n!src\nsrc/**/*.tmp\n!src/keep.tmp\n\n").unwrap();
        let kept = |path: &str| !patterns.leave_out(Path::new(path));
        assert!(kept("src/a.rs") && kept("src/keep.tmp") && kept("src"));
        assert!(!kept("README.md") && !kept("src/x/b.tmp") && !kept("docs/src"));
        let patterns = Patterns::read("node_modules\n**/cache/\n").unwrap();
        assert!(
            patterns.leave_out(Path::new("node_modules/x"))
                && !patterns.leave_out(Path::new("ui/node_modules/x"))
        );
        assert!(patterns.leave_out(Path::new("a/b/cache/x")));
    }
}
