//! The functions of the native half's own script, for scripts that run without us.

/// Stands between the words of an item. Is in no word.
pub(super) const SPLIT: char = '|';

/// What a host has and keeps: names of folders, and how things are looked at.
const HOST: &str = include_str!("../scripts/host.sh");
const CHANGE: &str = include_str!("../scripts/host_change.sh");
/// From here to there the script holds what each kind does, and nothing of who asks.
const FROM: &str = "# What each kind does.";
const TO: &str = "# What is asked, one after the other.";

/// Names and functions, everything that kinds do among them.
pub(super) fn functions() -> String {
    let kinds =
        CHANGE.split_once(FROM).and_then(|(_, rest)| rest.split_once(TO)).map_or("", |(kinds, _)| kinds);
    // The rest of the line of the mark.
    let kinds = kinds.split_once('\n').map_or("", |(_, kinds)| kinds);
    format!("{HOST}\n{}", kinds.trim_end())
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
        for word in ["note()", "read -r owner", "fence\" |", "while IFS=$split read -r _ number"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
