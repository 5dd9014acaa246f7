//! Files that we write on a host, and how those that are there differ.

use std::collections::BTreeSet;

use vrooli_deploy_core::names::Digest;

use super::HostSurvey;

/// Stands in a text for the port that the host chose.
pub(crate) const PORT: &str = "@PORT@";

/// A file that is ours as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) path: String,
    /// `640`.
    pub(crate) mode: &'static str,
    pub(crate) owner: &'static str,
    pub(crate) group: &'static str,
    pub(crate) text: String,
}

impl Written {
    /// A file for everybody to read, root's.
    pub(crate) fn public(path: String, text: String) -> Self {
        Self { path, mode: "644", owner: "root", group: "root", text }
    }

    /// What the script reads.
    pub(crate) fn items(&self) -> impl Iterator<Item = Vec<String>> {
        let words = ["file", &self.path, self.mode, self.owner, self.group];
        let head = words.map(ToOwned::to_owned).to_vec();
        let line = |line: &str| vec!["line".to_owned(), line.to_owned()];
        [head].into_iter().chain(self.text.lines().map(line))
    }
}

/// Names file and key of everything that is not as it was written.
pub(crate) fn differences(files: &[Written], seen: &HostSurvey, port: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        let Some(there) = seen.files.get(&file.path) else {
            found.insert(file.path.clone());
            continue;
        };
        let mut differs = |key: &str| found.insert(format!("{}: {key}", file.path));
        if (there.mode.as_str(), there.owner.as_str(), there.group.as_str())
            != (file.mode, file.owner, file.group)
        {
            differs("mode");
        }
        let text = file.text.replace(PORT, port);
        if is_program(&file.path) {
            // Only its digest was asked for.
            let digest = Digest::of(text.as_bytes());
            if there.lines.first().map(String::as_str) != Some(hex(&digest)) {
                differs("text");
            }
            continue;
        }
        let says = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let want: BTreeSet<&str> = text.lines().map(str::trim).filter(says).collect();
        let have: BTreeSet<&str> = there.lines.iter().map(String::as_str).filter(says).collect();
        for line in want.symmetric_difference(&have) {
            differs(key(line));
        }
    }
    found
}

fn hex(digest: &Digest) -> &str {
    let text = digest.as_str();
    text.split_once(':').map_or(text, |(_, hex)| hex)
}

/// Does the survey say the digest of such a file, and not its lines?
fn is_program(path: &str) -> bool {
    path.ends_with(".sh")
}

/// What a line of a configuration is about: the part before `=`, or the name before its value; rules
/// of `pg_hba.conf` are told whole.
fn key(line: &str) -> &str {
    match line.split_once('=') {
        Some((key, _)) => key.trim(),
        None if line.starts_with("host") || line.starts_with("local") => line,
        None => line.split_whitespace().next().unwrap_or(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::FileSeen;

    #[test]
    fn file_and_key_are_named() {
        let file = Written::public("/a.conf".to_owned(), format!("# ours\nport = {PORT}\nrule on\n"));
        let seen = |mode: &str, lines: &[&str]| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            let root = || "root".to_owned();
            let there = FileSeen { mode: mode.to_owned(), owner: root(), group: root(), lines };
            let mut survey = HostSurvey::default();
            survey.files.insert("/a.conf".to_owned(), there);
            let found = differences(std::slice::from_ref(&file), &survey, "7");
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(seen("644", &["port = 7", "", "# theirs", "rule on"]), Vec::<String>::new());
        assert_eq!(seen("644", &["port = 8", "rule on"]), ["/a.conf: port"]);
        assert_eq!(seen("600", &["port = 7", "rule on", "more = 1"]), ["/a.conf: mode", "/a.conf: more"]);
        assert_eq!(seen("644", &["port = 7"]), ["/a.conf: rule"]);
        assert_eq!(
            differences(&[file], &HostSurvey::default(), "7").into_iter().collect::<Vec<_>>(),
            ["/a.conf"]
        );
    }
}
