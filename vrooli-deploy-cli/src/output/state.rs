//! A state that was built again, as people read it.

use std::path::Path;

use vrooli_deploy_core::workspace::{Rebuilt, RebuiltHow};

use super::style::{Paint, harmless};
use super::{table, word};

/// Where what cannot be opened any more lies now.
pub(crate) fn set_aside(aside: &Path) -> String {
    format!("what was left of the state is in {}", aside.display())
}

/// A row a thing, and what serves.
pub(crate) fn rebuilt(paint: Paint, rebuilt: &Rebuilt) -> String {
    let rows: Vec<Vec<String>> = rebuilt
        .things
        .iter()
        .map(|thing| vec![word(&thing.how).replace('_', " "), thing.what.clone(), harmless(&thing.detail)])
        .collect();
    let text = table(paint, &["WHAT BECAME OF IT", "WHAT", "NOTE"], &rows);
    let lost = rebuilt.things.iter().any(|thing| thing.how == RebuiltHow::Lost);
    let mark = if lost { paint.yellow("!") } else { paint.green("✓") };
    let serves = match rebuilt.release {
        Some(release) => format!("{release} is its release"),
        None => "it has no release".to_owned(),
    };
    format!(
        "{text}\n\n{mark} {}: its state is built again; {serves}",
        paint.bold(&rebuilt.stack.app.to_string())
    )
}
