//! Two estimates of one bill, line by line: with today's book, and with another.

use super::book::PriceBook;
use super::estimate::{Estimate, EstimateLine};
use super::usage::Level;
use super::{Line, Money};

/// Where two estimates of one bill differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which line.
    pub line: Line,
    /// What it comes to here.
    pub here: Money,
    /// What it comes to there. `None`: the other has no such line.
    pub there: Option<Money>,
    /// Why, a sentence each.
    pub why: Vec<String>,
}

/// Line by line, where the estimate differs from that of the same bill with another book.
/// Lines that are equal are left out.
#[must_use]
pub fn differences(here: &Estimate, there: &Estimate, book: &PriceBook, level: Level) -> Vec<Difference> {
    let mut found = Vec::new();
    for line in here.kinds() {
        let ours = here.sum(line, level);
        let word = line.word();
        if !book.lines.is_empty() && !book.lines.iter().any(|listed| *listed == word) {
            if !ours.amount.is_zero() {
                found.push(Difference {
                    line,
                    here: ours,
                    there: None,
                    why: vec![format!("`{}` does not count it", book.name)],
                });
            }
            continue;
        }
        let theirs = there.sum(line, level);
        if ours != theirs {
            let pairs = parts(here, line).zip(parts(there, line));
            let mut why: Vec<String> = Vec::new();
            for reason in pairs.flat_map(|(ours, theirs)| reasons(ours, theirs, level)) {
                // Two machines of one size differ in the same way.
                if !why.contains(&reason) {
                    why.push(reason);
                }
            }
            found.push(Difference { line, here: ours, there: Some(theirs), why });
        }
    }
    found
}

fn parts(estimate: &Estimate, line: Line) -> impl Iterator<Item = &EstimateLine> {
    estimate.lines.iter().filter(move |part| part.line == line)
}

fn reasons(ours: &EstimateLine, theirs: &EstimateLine, level: Level) -> Vec<String> {
    let mut reasons = Vec::new();
    if let (Some(a), Some(b)) = (ours.prices.first(), theirs.prices.first())
        && a.price != b.price
    {
        let dated =
            |date: &Option<String>| date.as_ref().map_or_else(String::new, |date| format!(", {date}"));
        reasons.push(format!(
            "{}: {} a {} here (grade {}, {}{}), {} there (grade {}, {}{})",
            ours.what,
            a.price.normalize(),
            ours.unit,
            a.grade,
            a.source,
            dated(&a.as_of),
            b.price.normalize(),
            b.grade,
            b.source,
            dated(&b.as_of),
        ));
    }
    let (a, b) = (ours.quantity.at(level), theirs.quantity.at(level));
    if a != b {
        let note = ours.notes.iter().find(|note| note.contains("included"));
        let note = note.map_or_else(String::new, |note| format!(": {note}"));
        reasons.push(format!(
            "{}: {} {} billed here, {} there{note}",
            ours.what,
            a.round_dp(8).normalize(),
            ours.unit,
            b.round_dp(8).normalize()
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_line_is_what_is_written() {
        for line in Line::ALL {
            assert_eq!(serde_json::to_value(line).unwrap(), line.word());
        }
    }
}
