//! Scripts of commands and what they must print.
//!
//! ```text
//! # A comment.
//! needs cargo                      skipped, and said so, where that tool is absent
//! copy examples/picker-wheel app   from the repository into the script's folder
//! file app.yaml                    a file; its lines are indented by two spaces, [DIR] is the script's folder
//!   schema_version: v0.1
//! remove app
//! move a b
//! $ vrooli-deploy manifest validate app.yaml
//! | a line on stdout
//! ! a line on stderr
//! = 1                              the exit code, unless 0
//! until 'rolled back' vrooli-deploy status app    again and again until it prints that
//! while 'being changed' vrooli-deploy status app  again and again as long as it prints that
//! ```
//! `UPDATE=1` writes what the commands print into the script.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::normal::normal;

/// How long a script waits for something.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Script {
    file: PathBuf,
    text: String,
}

impl Script {
    pub(crate) fn read(file: &Path) -> Self {
        Self { file: file.to_owned(), text: std::fs::read_to_string(file).unwrap() }
    }

    /// Runs it in a folder of its own. The error says where it differs.
    pub(crate) fn run(&self) -> Result<(), String> {
        let place = Place::new();
        let mut actual = String::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            // What a command printed when this was written is made anew below.
            if !matches!(verb, "|" | "!" | "=") {
                let _ = writeln!(actual, "{line}");
            }
            match verb {
                "needs" if !on_path(rest) => {
                    println!("skipped: {}: `{rest}` is not installed", self.file.display());
                    return Ok(());
                }
                "copy" => {
                    let (from, to) = rest.split_once(' ').expect("copy FROM TO");
                    copy(&repository().join(from), &place.dir().join(to));
                }
                "file" => {
                    let mut content = String::new();
                    while let Some(line) = lines.next_if(|l| l.starts_with("  ") || l.is_empty()) {
                        let _ = writeln!(actual, "{line}");
                        let _ = writeln!(content, "{}", line.strip_prefix("  ").unwrap_or(line));
                    }
                    let path = place.dir().join(rest);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    let content = content.replace("[DIR]", place.dir().to_str().unwrap());
                    std::fs::write(path, content.trim_end().to_owned() + "\n").unwrap();
                }
                "remove" => {
                    let path = place.dir().join(rest);
                    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
                        .unwrap();
                }
                "move" => {
                    let (from, to) = rest.split_once(' ').expect("move FROM TO");
                    std::fs::rename(place.dir().join(from), place.dir().join(to)).unwrap();
                }
                "until" | "while" => place.wait(verb == "until", rest),
                "$" => actual.push_str(&place.command(rest)),
                "" | "#" | "needs" | "|" | "!" | "=" => {}
                _ => panic!("{}: no verb `{verb}`", self.file.display()),
            }
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&self.file, &actual).unwrap();
            return Ok(());
        }
        if actual == self.text {
            return Ok(());
        }
        Err(format!(
            "{} differs (- expected, + printed):\n{}",
            self.file.display(),
            difference(&self.text, &actual)
        ))
    }
}

/// A folder with its own state and configuration.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.dir()).unwrap();
        place
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root().join("dir")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    fn root(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    /// The program, with nothing of this run's environment but what builds need.
    pub(crate) fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_vrooli-deploy"));
        program.env_clear().current_dir(self.dir()).stdin(std::process::Stdio::null());
        for name in ["PATH", "HOME", "USER", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                program.env(name, value);
            }
        }
        program
            .env("LANG", "C.UTF-8")
            .env("VROOLI_DEPLOY_HOME", self.state())
            .env("XDG_CONFIG_HOME", self.root().join("config"))
            .env("XDG_DATA_HOME", self.root().join("data"));
        program
    }

    /// Runs a command until it prints a text, or no longer does.
    fn wait(&self, is_there: bool, rest: &str) {
        let words = words(rest);
        let end = Instant::now() + PATIENCE;
        loop {
            let output = self.program().args(&words[2..]).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            if printed.contains(&words[0]) == is_there {
                return;
            }
            assert!(Instant::now() < end, "never: {rest}\n{printed}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn command(&self, line: &str) -> String {
        let words = words(line);
        assert_eq!(
            words.first().map(String::as_str),
            Some("vrooli-deploy"),
            "scripts run the program only: {line}"
        );
        let output = self.program().args(&words[1..]).output().unwrap();
        let (root, dir, state) = (self.root(), self.dir(), self.state());
        let user = std::env::var("USER").ok().filter(|name| !name.is_empty());
        let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
        let who = format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy());
        let folders = [
            (who.as_str(), "[WHO]"),
            (state.to_str().unwrap(), "[STATE]"),
            (dir.to_str().unwrap(), "[DIR]"),
            (root.to_str().unwrap(), "[ROOT]"),
        ];
        let mut text = String::new();
        for (mark, bytes) in [('|', &output.stdout), ('!', &output.stderr)] {
            for line in normal(&String::from_utf8_lossy(bytes), &folders).lines() {
                let _ = writeln!(text, "{}", format!("{mark} {line}").trim_end());
            }
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => {
                let _ = writeln!(text, "= {code}");
            }
            None => text.push_str("= signal\n"),
        }
        text
    }
}

/// Words of a command, with quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn on_path(tool: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                copy(&entry.path(), &target);
            }
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The lines that differ, with what is equal around them left out.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = format!("from line {}:\n", same + 1);
    for line in &old[same..old.len() - tail] {
        let _ = writeln!(text, "  - {line}");
    }
    for line in &new[same..new.len() - tail] {
        let _ = writeln!(text, "  + {line}");
    }
    text
}
