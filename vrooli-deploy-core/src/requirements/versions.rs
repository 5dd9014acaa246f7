//! Versions and ranges as people write them: `>=2023.0`, `^1.2`, `1.x`, `2.0.0-file-based`,
//! `16-3.4`. Most are no semantic versions, so they are compared by their numbers.

use std::cmp::Ordering;

/// Does a version lie in a range? `None` when one of them cannot be understood (`unknown`).
///
/// A range is a list of comparisons (`>=1.2 <2`, also with commas) of which all hold, or
/// several such lists joined by `||` of which one holds. `*` and `latest` hold everything. Missing
/// numbers are zero. What follows the numbers (`-file-based`) counts only where both have
/// it: then it must not be the lesser.
#[must_use]
pub fn satisfies(range: &str, version: &str) -> Option<bool> {
    let version = Version::read(version)?;
    let mut holds = false;
    for alternative in range.split("||") {
        let mut all = true;
        let mut words = alternative.split([',', ' ']).filter(|word| !word.is_empty()).peekable();
        words.peek()?;
        while let Some(word) = words.next() {
            // `>= 1.2`
            let joined;
            let word = if word.bytes().all(|byte| b"<>=^~!".contains(&byte)) {
                joined = format!("{word}{}", words.next()?);
                &joined
            } else {
                word
            };
            all &= compare(word, &version)?;
        }
        holds |= all;
    }
    Some(holds)
}

fn compare(word: &str, version: &Version) -> Option<bool> {
    if matches!(word, "*" | "x" | "latest" | "any") {
        return Some(true);
    }
    let operator = [">=", "<=", "==", "!=", ">", "<", "=", "^", "~"]
        .into_iter()
        .find(|operator| word.starts_with(operator))
        .unwrap_or("");
    let wanted = word[operator.len()..].trim_start_matches('v');
    let open = wanted.ends_with(".x") || wanted.ends_with(".*");
    let bound = Version::read(wanted.trim_end_matches(".x").trim_end_matches(".*"))?;
    let order = version.order(&bound);
    Some(match operator {
        ">=" => order != Ordering::Less,
        ">" => order == Ordering::Greater,
        "<=" => order != Ordering::Greater,
        "<" => order == Ordering::Less,
        "!=" => order != Ordering::Equal,
        // The first number that is not zero stays.
        "^" => {
            let kept =
                bound.numbers.iter().position(|number| *number != 0).map_or(bound.numbers.len(), |at| at + 1);
            order != Ordering::Less && version.begins_like(&bound, kept)
        }
        "~" => order != Ordering::Less && version.begins_like(&bound, bound.numbers.len().min(2)),
        _ if open || bound.numbers.len() < version.numbers.len() && bound.rest.is_empty() => {
            version.begins_like(&bound, bound.numbers.len())
        }
        _ => order == Ordering::Equal,
    })
}

#[derive(Debug, PartialEq)]
struct Version {
    numbers: Vec<u64>,
    rest: String,
}

impl Version {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let numbers: Option<Vec<u64>> =
            numbers.trim_end_matches('.').split('.').map(|number| number.parse().ok()).collect();
        // A build number (`+abc`) says nothing about order.
        let rest = rest.split('+').next().unwrap_or_default().trim_start_matches(['-', '.']);
        Some(Self { numbers: numbers?, rest: rest.to_owned() })
    }

    fn order(&self, other: &Self) -> Ordering {
        let count = self.numbers.len().max(other.numbers.len());
        let at = |version: &Self, place: usize| version.numbers.get(place).copied().unwrap_or(0);
        (0..count)
            .map(|place| at(self, place).cmp(&at(other, place)))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or_else(|| {
                if self.rest.is_empty() || other.rest.is_empty() {
                    Ordering::Equal
                } else {
                    self.rest.cmp(&other.rest)
                }
            })
    }

    fn begins_like(&self, other: &Self, count: usize) -> bool {
        let at = |version: &Self, place: usize| version.numbers.get(place).copied().unwrap_or(0);
        (0..count).all(|place| at(self, place) == at(other, place))
    }
}

#[cfg(test)]
mod tests {
    use super::satisfies;

    #[test]
    fn ranges_as_people_write_them() {
        for (range, version, holds) in [
            (">=2023.0", "2024.1", true),
            (">=2023.0", "2022.9", false),
            (">=0.0.0", "1.0.0", true),
            (">=2.0.0-file-based", "2.0.0-file-based", true),
            (">=2.0.0-file-based", "2.0.0", true),
            (">=2.0.0-file-based", "1.9.9", false),
            ("^1.2", "1.9", true),
            ("^1.2", "2.0", false),
            ("^0.2.1", "0.3.0", false),
            ("~1.2.3", "1.2.9", true),
            ("~1.2.3", "1.3.0", false),
            ("1.x", "1.7.2", true),
            ("15", "15.4", true),
            ("15", "16", false),
            ("1.0.0", "1.0.0", true),
            ("1.0.0", "1.0.1", false),
            (">=1.0 <2.0", "1.5", true),
            (">= 1.0, < 2.0", "2.1", false),
            ("1.x || 3.x", "3.1", true),
            ("*", "0.1", true),
            (">=14", "16-3.4", true),
        ] {
            assert_eq!(satisfies(range, version), Some(holds), "{range} {version}");
        }
    }

    #[test]
    fn what_is_no_version_is_not_compared() {
        assert_eq!(satisfies(">=1.0", "unknown"), None);
        assert_eq!(satisfies("", "1.0"), None);
        assert_eq!(satisfies("soon", "1.0"), None);
        assert_eq!(satisfies(">=", "1.0"), None);
        assert_eq!(satisfies("99999999999999999999999", "1.0"), None);
    }
}
