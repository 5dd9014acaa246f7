//! What it costs, where somebody said what it may cost.

use super::facts::Facts;
use super::{Answer, Budget, Finding};
use crate::cost::Verdict;
use crate::diagnostics::{Diagnostic, rules};

pub(super) fn within(facts: &Facts<'_>) -> Answer {
    let judgement = match facts.budget {
        None => return Answer::fine("no limit is set: `--max-monthly USD` sets one"),
        Some(Budget::Unknown(why)) => {
            let unpriced = rules::BUDGET_UNKNOWN
                .diagnostic("what it costs cannot be said, so nobody can say that it is within the budget")
                .help("see `vrooli-deploy estimate-cost APP`");
            let causes = why.iter().map(|found: &Diagnostic| Finding::new(found.clone(), "the estimate"));
            return Answer::default().with([Finding::new(unpriced, "--max-monthly")]).with(causes);
        }
        Some(Budget::Judged(judgement)) => judgement,
    };
    let (total, limit) = (judgement.total, judgement.limit);
    let fits = judgement.fits.as_ref().or(judgement.nearest.as_ref());
    let step = fits.map(|fits| format!("{} comes to {} USD a month", fits.changes.join("; "), fits.total));
    let diagnostic = match judgement.verdict {
        Verdict::Within => return Answer::fine(format!("{total} USD a month, and {limit} USD is allowed")),
        Verdict::Over => {
            rules::OVER_BUDGET.diagnostic(format!("{total} USD a month is over the budget of {limit} USD"))
        }
        Verdict::Unknown => rules::BUDGET_UNKNOWN.diagnostic(format!(
            "at least {total} USD a month, and what {} costs is not known",
            judgement.unknown.join(" and ")
        )),
    };
    let diagnostic =
        diagnostic.help(step.unwrap_or_else(|| "allow for more with `--max-monthly`".to_owned()));
    Answer::default().with([Finding::new(diagnostic, format!("--max-monthly {limit}"))])
}
