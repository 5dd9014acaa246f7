//! Changes of a host as its script reads them, and its answers.

use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{OpCtx, TakenOver};

use super::survey::taken;
use super::{HostRecord, Place};
use crate::facts::Lines;

/// Stands between what belongs to one line. In no value.
const SPLIT: char = '\u{1f}';

/// What is done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Update,
    Delete,
    /// What it holds is saved.
    Save,
    /// What it holds is put back; how it is stays.
    Restore,
}

/// One change of one resource.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The word for its kind in the script.
    pub(crate) kind: &'static str,
    /// In which order kinds are changed when several are changed in one round trip.
    pub(crate) rank: u8,
    pub(crate) verb: Verb,
    pub(crate) key: ResourceKey,
    /// The line of the record while it is done, and once it is.
    pub(crate) begun: String,
    pub(crate) done: String,
    /// What the kind's function reads, a line each.
    pub(crate) items: Vec<Vec<String>>,
}

/// Whose changes they are.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) stack: StackId,
    pub(crate) head: String,
    pub(crate) owner: String,
    pub(crate) fence: u64,
}

impl Asker {
    pub(crate) fn new(cx: &OpCtx) -> Self {
        let StackId { app, environment } = &cx.stack;
        let head = HostRecord::head(app, environment, cx.owner, cx.incarnation);
        Self { stack: cx.stack.clone(), head, owner: cx.owner.to_string(), fence: cx.fence }
    }

    /// What the script reads.
    pub(crate) fn input(&self, changes: &[&Change]) -> String {
        let Place { name, user, .. } = Place::of(&self.stack);
        let mut text = format!("{name}\n{user}\n{}\n{}\n{}\n", self.owner, self.fence, self.head);
        let mut line = |words: &[&str]| {
            text.push_str(&words.join(&SPLIT.to_string()));
            text.push('\n');
        };
        for (number, change) in changes.iter().enumerate() {
            let verb = match change.verb {
                Verb::Create => "create",
                Verb::Update => "update",
                Verb::Delete => "delete",
                Verb::Save => "save",
                Verb::Restore => "restore",
            };
            let number = number.to_string();
            line(&["change", &number, change.kind, verb, change.key.as_str(), &change.begun, &change.done]);
            for item in &change.items {
                line(&item.iter().map(String::as_str).collect::<Vec<_>>());
            }
            line(&["end"]);
        }
        text
    }
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Failed {
        status: i32,
        words: String,
    },
    /// The script did not come to it.
    Missing,
}

/// Why none of the changes was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Whose it is, and how it came to that.
    Owner(String, Option<TakenOver>),
    Fence(String),
}

/// What the host refused all of it for, if it did.
pub(crate) fn refused(lines: &Lines<'_>) -> Option<Refused> {
    let (what, value) = lines.get("refused")?.split_once(' ')?;
    Some(match what {
        "owner" => Refused::Owner(value.to_owned(), lines.get("taken").and_then(taken)),
        _ => Refused::Fence(value.to_owned()),
    })
}

/// What came of each change.
pub(crate) fn answers(lines: &Lines<'_>, count: usize) -> Vec<Answer> {
    let mut answers = vec![Answer::Missing; count];
    let numbered = |name: &str| {
        let lines: Vec<(usize, String)> = lines
            .all(name)
            .filter_map(|line| line.split_once(' ').or(Some((line, ""))))
            .filter_map(|(number, rest)| Some((number.parse().ok()?, rest.trim().to_owned())))
            .collect();
        lines
    };
    let words = numbered("words");
    for (number, status) in numbered("answer") {
        if let Some(answer) = answers.get_mut(number) {
            *answer = match status.parse() {
                Ok(0) => Answer::Done,
                status => Answer::Failed {
                    status: status.unwrap_or(-1),
                    words: words
                        .iter()
                        .find(|(of, _)| *of == number)
                        .map_or_else(String::new, |(_, w)| w.clone()),
                },
            };
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_its_own_answer() {
        let lines = Lines::new("answer\t0 0\nanswer\t1 100\nwords\t1 E: no such package\nanswer\t9 0\n");
        let words = "E: no such package".to_owned();
        assert_eq!(
            answers(&lines, 3),
            [Answer::Done, Answer::Failed { status: 100, words }, Answer::Missing]
        );
        assert_eq!(refused(&lines), None);
        assert_eq!(refused(&Lines::new("refused\tfence 7\n")), Some(Refused::Fence("7".to_owned())));
    }
}
