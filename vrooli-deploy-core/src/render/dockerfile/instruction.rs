//! Instructions of a Dockerfile, written so that nothing of a manifest is read as one.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::json;

use super::DockerfileError;
use crate::manifest::Command;

/// A comment of one line.
pub(super) fn comment(text: &mut String, words: &str) {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# {}", line.trim());
}

/// `RUN`, with folders that are kept between builds.
pub(super) fn run(text: &mut String, command: &Command, caches: &BTreeSet<&str>) {
    text.push_str("RUN ");
    for cache in caches {
        let _ = write!(text, "--mount=type=cache,sharing=locked,target={cache} \\\n    ");
    }
    match command {
        Command::Shell(line) if is_plain(line) => text.push_str(line.trim()),
        Command::Shell(script) => text.push_str(&json!(["/bin/sh", "-c", script]).to_string()),
        Command::Exec(words) => text.push_str(&json!(words).to_string()),
    }
    text.push('\n');
}

/// Is it read as the one command that it is? Several lines, a here-document, flags of `RUN` and lists are not.
fn is_plain(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty()
        && !line.chars().any(char::is_control)
        && !line.contains("<<")
        && !line.ends_with('\\')
        && !line.starts_with(['[', '-', '#'])
}

/// `ENV` with one variable.
///
/// # Errors
/// When the value cannot stand in one line.
pub(super) fn env(text: &mut String, name: &str, value: &str) -> Result<(), DockerfileError> {
    if value.chars().any(char::is_control) {
        return Err(DockerfileError::Unwritable { what: format!("the value of the variable `{name}`") });
    }
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    let _ = writeln!(text, "ENV {name}=\"{value}\"");
    Ok(())
}

/// A path in an instruction.
///
/// # Errors
/// When a part of it would be read as something else.
pub(super) fn path(path: &std::path::Path) -> Result<String, DockerfileError> {
    let plain = |text: &&str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./+@".contains(&b)) && !text.starts_with('-')
    };
    let text = path.to_str().filter(plain);
    let unwritable = || DockerfileError::Unwritable { what: format!("the path `{}`", path.display()) };
    text.map(str::to_owned).ok_or_else(unwritable)
}

/// A word in a shell's line.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_says_stays_in_its_instruction() {
        let of = |line: &str| {
            let mut text = String::new();
            run(&mut text, &Command::Shell(line.to_owned()), &BTreeSet::new());
            text
        };
        assert_eq!(of("cd api && go build"), "RUN cd api && go build\n");
        for odd in ["true\nUSER root", "cat <<EOF", "--network=host id", "[\"id\"]", "a \\", "# x"] {
            let text = of(odd);
            assert!(text.starts_with("RUN [\"/bin/sh\",\"-c\",") && text.lines().count() == 1, "{text}");
        }
        let mut text = String::new();
        comment(&mut text, "build\nUSER root");
        env(&mut text, "A", "$HOME \"x\" \\").unwrap();
        assert_eq!(text, "# build USER root\nENV A=\"\\$HOME \\\"x\\\" \\\\\"\n");
        assert!(env(&mut text, "A", "a\nb").is_err());
        assert!(path(std::path::Path::new("a b")).is_err() && path(std::path::Path::new("$x")).is_err());
    }
}
