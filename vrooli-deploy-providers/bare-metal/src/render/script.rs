//! The functions of the native half's own script, for scripts that run without us.

/// Stands between the words of an item. Is in no word.
pub(super) const SPLIT: char = '|';

/// What a host has and keeps: names of folders, and how things are looked at.
const HOST: &str = include_str!("../scripts/host.sh");
const CHANGE: &str = include_str!("../scripts/host_change.sh");

/// A part of a text between two marks, with the first.
fn between(text: &'static str, from: &str, to: &str) -> &'static str {
    let begin = text.find(from).unwrap_or(text.len());
    let rest = text.get(begin..).unwrap_or_default();
    rest.find(to).and_then(|end| rest.get(..end)).unwrap_or_default().trim_end()
}

/// Names, and how things are looked at; nothing of the record, which is ours alone.
fn looking() -> &'static str {
    between(HOST, "home=", "# Does the record say")
}

/// The same, and everything that kinds do.
pub(super) fn functions() -> String {
    let kinds = between(CHANGE, "# What each kind does.", "# What is asked, one after the other.");
    format!("{}\n{kinds}\n", looking())
}

/// What looks at a host, and of what kinds do what stands between two marks.
pub(crate) fn looking_with(from: &str, to: &str) -> String {
    format!("{}\n{}\n", looking(), between(CHANGE, from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_the_kinds_is_there_and_nothing_of_who_asks() {
        let text = functions();
        for word in
            ["op_packages_put()", "op_user_put()", "op_firewall_put()", "replace()", "others_filter()"]
        {
            assert!(text.contains(word), "{word}");
        }
        for word in ["note()", "read -r owner", "is_refused", "while IFS=$split read -r _ number"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
