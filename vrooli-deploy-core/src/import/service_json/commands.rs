//! Looking into shell commands without running them. A rough reading is enough: what it
//! finds becomes a remark, never a decision about what the shell does.

use super::patterns::{PATTERNS, matches_any};
use crate::manifest::redaction::is_variable;

/// The simple commands of a line, each as its words without quotes. Commands inside `$(…)`
/// and backticks count too.
pub(super) fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut command: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let (mut single, mut double) = (false, false);
    let mut chars = line.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        let redirect = c == '&' && (before == '>' || next == '>');
        if single {
            match c {
                '\'' => single = false,
                _ => word.get_or_insert_default().push(c),
            }
        } else if c == '$' && next == '(' || c == '`' {
            if c == '$' {
                chars.next();
            }
            command.extend(word.take());
            end(&mut command, &mut all);
            double = false;
        } else if double {
            match c {
                '"' => double = false,
                '\\' => word.get_or_insert_default().extend(chars.next()),
                _ => word.get_or_insert_default().push(c),
            }
        } else {
            match c {
                '\'' => {
                    single = true;
                    word.get_or_insert_default();
                }
                '"' => {
                    double = true;
                    word.get_or_insert_default();
                }
                '\\' => word.get_or_insert_default().extend(chars.next()),
                ';' | '|' | '(' | ')' | '\n' => {
                    command.extend(word.take());
                    end(&mut command, &mut all);
                }
                '&' if !redirect => {
                    command.extend(word.take());
                    end(&mut command, &mut all);
                }
                c if c.is_whitespace() => command.extend(word.take()),
                _ => word.get_or_insert_default().push(c),
            }
        }
        before = c;
    }
    command.extend(word);
    end(&mut command, &mut all);
    all
}

fn end(command: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    if !command.is_empty() {
        all.push(std::mem::take(command));
    }
}

/// The program that each simple command runs, without its path and without `env`, `exec`, …
pub(super) fn programs(line: &str) -> Vec<String> {
    commands(line).iter().filter_map(|command| program(command)).collect()
}

fn program(command: &[String]) -> Option<String> {
    let mut words = command.iter();
    loop {
        let word = words.next()?;
        let name = word.rsplit('/').next().unwrap_or(word);
        match name {
            "if" | "then" | "else" | "elif" | "do" | "while" | "until" | "{" | "!" | "exec" | "env"
            | "time" | "nohup" | "setsid" | "command" | "sudo" => {}
            "timeout" => {
                words.next();
            }
            "fi" | "done" | "}" | "" => return None,
            _ if is_assignment(word) => {}
            _ => return Some(name.to_owned()),
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| is_variable(name))
}

/// Does the line do nothing but print?
pub(super) fn only_prints(line: &str) -> bool {
    let programs = programs(line);
    !programs.is_empty() && programs.iter().all(|program| PATTERNS.printing_commands.contains(program))
}

/// Does the line do nothing but set variables of a shell that ends at once?
pub(super) fn only_exports(line: &str) -> bool {
    let commands = commands(line);
    !commands.is_empty()
        && commands.iter().all(|command| {
            command.first().is_some_and(|word| word == "export")
                || command.iter().all(|word| is_assignment(word))
        })
}

/// The programs of the line that belong to the Vrooli platform: `vrooli`, `resource-postgres`.
pub(super) fn platform_calls(line: &str) -> Vec<String> {
    let mut calls: Vec<String> = programs(line)
        .into_iter()
        .filter(|program| matches_any(&PATTERNS.platform_commands, program))
        .chain(PATTERNS.platform_paths.iter().filter(|path| line.contains(path.as_str())).cloned())
        .collect();
    calls.dedup();
    calls
}

/// The programs of the line that talk to a running resource.
pub(super) fn resource_calls(line: &str) -> Vec<String> {
    let mut calls: Vec<String> =
        programs(line).into_iter().filter(|program| PATTERNS.resource_commands.contains(program)).collect();
    calls.dedup();
    calls
}

/// The programs of the line that end processes by a pattern.
pub(super) fn killers(line: &str) -> Vec<String> {
    programs(line).into_iter().filter(|program| PATTERNS.killing_commands.contains(program)).collect()
}

/// Does the line put something in the background by itself?
pub(super) fn goes_to_background(line: &str) -> bool {
    if commands(line).iter().flatten().any(|word| matches!(word.as_str(), "nohup" | "setsid" | "disown")) {
        return true;
    }
    let (mut single, mut double) = (false, false);
    let bytes = line.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| {
        match byte {
            b'\'' if !double => single = !single,
            b'"' if !single => double = !double,
            b'&' if !single && !double => {
                let around = [at.checked_sub(1).and_then(|at| bytes.get(at)), bytes.get(at + 1)];
                return !around.iter().flatten().any(|byte| matches!(byte, b'&' | b'>' | b'<'));
            }
            _ => {}
        }
        false
    })
}

/// References that only Vrooli's own runner resolves: `${resource.ollama.url}`,
/// `${RESOURCE_PORTS[postgres]}`, `$(resource-postgres …)`.
pub(super) fn template_references(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("${") {
        let rest = &line[at + 2..];
        let Some(end) = rest.find('}') else { continue };
        let name = rest[..end].split([':', '-', '=', '?', '+', '%', '#', '/']).next().unwrap_or_default();
        if name.contains(['.', '[']) {
            found.push(line[at..at + 2 + end + 1].to_owned());
        }
    }
    for (at, _) in line.match_indices("$(resource-") {
        let name: String =
            line[at + 2..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        found.push(format!("$({name} …)"));
    }
    found.sort();
    found.dedup();
    found
}

/// The folder of a leading `cd folder &&`.
pub(super) fn folder(line: &str) -> Option<String> {
    commands(line)
        .into_iter()
        .find(|command| command.first().is_some_and(|word| word == "cd"))
        .and_then(|command| command.into_iter().nth(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_through_shell_syntax() {
        assert_eq!(programs("cd api && GOWORK=off go build -o x ."), ["cd", "go"]);
        assert_eq!(
            programs("if [ -f a ]; then cd ui && pnpm install; else echo 'no; pnpm'; fi"),
            ["[", "cd", "pnpm", "echo"]
        );
        assert_eq!(
            programs("export A=$(resource-postgres get | jq .x) && exec ./api"),
            ["export", "resource-postgres", "jq", "api"]
        );
        assert_eq!(programs("echo \"$(vrooli status)\""), ["echo", "vrooli"]);
        assert_eq!(programs("timeout 30 curl -sf http://x >&2 &"), ["curl"]);
    }

    #[test]
    fn the_background_is_noticed() {
        for line in ["nohup ./x", "./x &", "./x & echo $!", "bash m.sh > log 2>&1 &"] {
            assert!(goes_to_background(line), "{line}");
        }
        for line in ["a && b", "./x 2>&1", "./x &> log", "echo 'a & b'", "curl \"http://x?a=1&b=2\""] {
            assert!(!goes_to_background(line), "{line}");
        }
    }

    #[test]
    fn templates_are_named() {
        assert_eq!(
            template_references(
                "a ${resource.ollama.url} ${RESOURCE_PORTS[postgres]} $(resource-postgres content get) ${API_PORT:-15.0}"
            ),
            ["$(resource-postgres …)", "${RESOURCE_PORTS[postgres]}", "${resource.ollama.url}"]
        );
    }
}
