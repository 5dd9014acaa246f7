//! Commands as far as they can be understood without running them.

use std::collections::BTreeSet;

use crate::manifest::Command;

/// Words before which a program stands as it does at the start of a command.
const BEFORE: &[&str] = &[
    "!", "bash", "do", "elif", "else", "env", "exec", "if", "nohup", "sh", "sudo", "then", "time", "until",
    "while", "{",
];

/// Splits a shell text at its operators; each part with the operator after it. Quotes are not looked at.
#[must_use]
pub fn parts(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let rest = text.get(at..).unwrap_or_default();
        let operator =
            ["&&", "||", ";", "|", "\n", "(", ")"].into_iter().find(|operator| rest.starts_with(operator));
        match operator {
            Some(operator) => {
                found.push((text.get(start..at).unwrap_or_default(), operator));
                at += operator.len();
                start = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    found.push((text.get(start..).unwrap_or_default(), ""));
    found
}

/// The programs that a command starts, as they are called: `go`, `./server`. What it says in quotes is
/// read as well, so there may be some too many.
#[must_use]
pub fn programs(command: &Command) -> BTreeSet<&str> {
    match command {
        Command::Shell(text) => parts(text).into_iter().filter_map(|(part, _)| program(part)).collect(),
        Command::Exec(words) => {
            let shell = words.first().is_some_and(|word| matches!(word.as_str(), "sh" | "bash"));
            let inner = words.iter().skip(1).filter(|_| shell).flat_map(|word| parts(word));
            let inner = inner.filter_map(|(part, _)| program(part));
            words.first().map(String::as_str).into_iter().chain(inner).collect()
        }
    }
}

fn program(part: &str) -> Option<&str> {
    let is_before =
        |word: &str| word.is_empty() || word.contains('=') || word.starts_with('-') || BEFORE.contains(&word);
    let mut words = part.split_whitespace().map(|word| word.trim_matches(['"', '\'', '`', '$']));
    words.find(|word| !is_before(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_they_are_started() {
        let of =
            |text: &str| programs(&Command::Shell(text.to_owned())).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(of("cd api && CGO_ENABLED=0 go build -o server ."), "cd go");
        assert_eq!(
            of("if [ -f ui/package.json ]; then cd ui && npm install; else echo 'no go'; fi"),
            "[ cd echo fi npm"
        );
        assert_eq!(of("bash -c 'pnpm install' || exit 1"), "exit pnpm");
        let exec = Command::Exec(["sh", "-c", "cd ui && node server.js"].map(str::to_owned).to_vec());
        assert!(programs(&exec).contains("node"));
    }
}
