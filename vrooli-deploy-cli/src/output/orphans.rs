//! What bears our marks and is in no stack, as people read it.

use vrooli_deploy_core::workspace::{Orphan, OrphanOwner, OrphanReport};

use super::style::{Paint, harmless};
use super::{instant, table};

/// A row an orphan, what they cost together, and what can be done with them.
pub(crate) fn orphans(paint: Paint, report: &OrphanReport) -> String {
    let providers: Vec<String> = report.providers.iter().map(ToString::to_string).collect();
    if report.orphans.is_empty() {
        return match (providers.is_empty(), report.notes.is_empty()) {
            (true, _) => "nothing was looked at".to_owned(),
            (false, true) => format!("{} no orphans at {}", paint.green("✓"), providers.join(", ")),
            (false, false) => {
                format!("{} no orphans at {} in what was looked at", paint.yellow("!"), providers.join(", "))
            }
        };
    }
    let rows: Vec<Vec<String>> = report.orphans.iter().map(row).collect();
    let text = table(paint, &["STACK", "KIND", "REGION", "SINCE", "OWNER", "USD/MONTH", "ID", "NOTE"], &rows);
    let many = match report.orphans.len() {
        1 => "1 orphan".to_owned(),
        count => format!("{count} orphans"),
    };
    let unknown = match report.unpriced {
        0 => String::new(),
        count => format!(", and {count} whose cost is not known"),
    };
    let total = paint.bold(&format!("{} USD a month", report.monthly));
    format!("{text}\n\n{many}: {total}, without what is billed by use{unknown}{}", what_next(report))
}

fn row(one: &Orphan) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let mut notes = Vec::new();
    if one.stack.is_some() && !one.stack_known {
        notes.push("a stack that is not in this workspace".to_owned());
    }
    notes.extend(one.cost_note.clone());
    vec![
        text(one.stack.as_ref().map(ToString::to_string)),
        text(one.kind.as_ref().map(ToString::to_string)),
        text(one.region.clone()),
        text(one.since.map(instant)),
        match (one.whose, one.owner) {
            (OrphanOwner::This, _) => "this workspace".to_owned(),
            (OrphanOwner::Another, Some(owner)) => owner.to_string(),
            _ => "unknown".to_owned(),
        },
        text(one.monthly.map(|money| money.to_string())),
        harmless(&one.id.to_string()),
        notes.join("; "),
    ]
}

/// For the first that something can be done with.
fn what_next(report: &OrphanReport) -> String {
    let Some(one) = report.orphans.iter().find(|one| one.readable && one.stack.is_some()) else {
        return String::new();
    };
    let Some(stack) = &one.stack else { return String::new() };
    let env = match stack.environment.as_str() {
        "default" => String::new(),
        environment => format!(" --env {environment}"),
    };
    let at = &one.provider;
    let command = |what: &str| format!("`vrooli-deploy {what} {}{env} --provider {at}", stack.app);
    let whose = match one.whose {
        OrphanOwner::Another => {
            "\nwhat another state owns may be in use there: only `--take-over` makes it this one's"
        }
        _ => "",
    };
    let keep = match one.stack_known {
        true => format!("{} --adopt` takes what its manifest wants into its state", command("orphans")),
        false => "`vrooli-deploy state rebuild FOLDER` makes its state again".to_owned(),
    };
    format!("\n{} --delete` deletes those of an app; {keep}{whose}", command("orphans"))
}
