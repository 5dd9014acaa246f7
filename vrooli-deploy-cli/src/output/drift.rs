//! What is not as it was deployed, as people read it.

use vrooli_deploy_core::workspace::DriftReport;

use super::style::{Paint, harmless};
use super::{table, word};

/// A row a difference, or that there is none.
pub(crate) fn drift(paint: Paint, report: &DriftReport) -> String {
    let name = paint.bold(&report.stack.app.to_string());
    if report.differences.is_empty() {
        let looked = match report.resources {
            1 => "1 resource".to_owned(),
            count => format!("{count} resources"),
        };
        return format!("{} {name}: as it was deployed ({looked})", paint.green("✓"));
    }
    let rows: Vec<Vec<String>> = report
        .differences
        .iter()
        .map(|one| vec![one.what.clone(), word(&one.change), one.fields.join(", "), harmless(&one.reason)])
        .collect();
    let text = table(paint, &["WHAT", "IS", "FIELDS", "WHY"], &rows);
    let env = match report.stack.environment.as_str() {
        "default" => String::new(),
        environment => format!(" --env {environment}"),
    };
    format!("{text}\n\n`vrooli-deploy deploy {}{env}` mends it", report.stack.app)
}
