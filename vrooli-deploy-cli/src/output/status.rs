//! How apps are, as people read it.

use jiff::Timestamp;
use vrooli_deploy_core::engine::OutcomeKind;
use vrooli_deploy_core::workspace::{StackSummary, StatusReport};

use super::convert::word;
use super::plan::shares;
use super::style::{Paint, harmless};
use super::table::table;

/// A stack by name: the environment only where it is not the default one.
pub(crate) fn name(summary: &StackSummary) -> String {
    match summary.environment.as_str() {
        "default" => summary.app.to_string(),
        environment => format!("{}/{environment}", summary.app),
    }
}

/// How long ago, in one unit.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    match now.duration_since(then).as_secs() {
        ..60 => "just now".to_owned(),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// Microseconds, as people read them.
struct Milliseconds(u64);

impl Milliseconds {
    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 µs")]
    fn value(&self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// Everything about one app.
pub(crate) fn status(paint: Paint, now: Timestamp, report: &StatusReport) -> String {
    let summary = &report.summary;
    let health = word(&summary.health);
    let painted = match health.as_str() {
        "running" => paint.green(&health),
        "stopped" | "empty" | "prepared" | "data_only" => paint.dim(&health),
        "interrupted" | "on_hold" | "watched" => paint.yellow(&health),
        _ => paint.red(&health),
    };
    let mut text = format!("{}  {painted}", paint.bold(&name(summary)));
    if let Some(release) = summary.release {
        text.push_str(&format!("  {release}"));
    }
    if let Some(provider) = &summary.provider {
        text.push_str(&paint.dim(&format!("  on {provider}")));
    }
    for url in &summary.urls {
        text.push_str(&format!("\n  {}", paint.link(url)));
    }
    if let Some(source) = &summary.source {
        text.push_str(&paint.dim(&format!("\n  from {}", source.display())));
    }
    if let Some(lease) = &summary.lease {
        let page =
            lease.holder.run_url.as_ref().map_or_else(String::new, |url| format!(", {}", paint.link(url)));
        let who = format!("{} on {}, {}{page}", lease.holder.name, lease.holder.host, ago(now, lease.since));
        text.push_str(&format!("\n  {} {who}", paint.yellow("being changed by")));
    }
    if let Some(routing) = &report.routing {
        text.push_str(&format!("\n  traffic: {}", shares(routing)));
    }
    if !report.traffic.is_empty() {
        let latency =
            |us: Option<u64>| us.map(|us| format!("{:.1} ms", Milliseconds(us).value())).unwrap_or_default();
        let rows: Vec<Vec<String>> = report
            .traffic
            .iter()
            .map(|traffic| {
                let seen = &traffic.seen;
                vec![
                    traffic.release.to_string(),
                    format!("{} %", traffic.percent),
                    seen.requests.to_string(),
                    format!("{} ({:.1} %)", seen.errors, seen.error_share() * 100.0),
                    latency(seen.latency.quantile_us(0.5)),
                    latency(seen.latency.quantile_us(0.99)),
                    seen.restarts.to_string(),
                    seen.memory.map(|bytes| format!("{} MiB", bytes >> 20)).unwrap_or_default(),
                ]
            })
            .collect();
        let head = ["RELEASE", "TRAFFIC", "REQUESTS", "ERRORS", "P50", "P99", "RESTARTS", "MEMORY"];
        text.push_str(&format!("\n\n{}", table(paint, &head, &rows)));
    }
    if let Some(watch) = &report.watch {
        let beside = watch.old.map(|old| format!(" beside {old}")).unwrap_or_default();
        let word = watch.verdict.word();
        let word = match word {
            "pass" => paint.green(word),
            "fail" => paint.red(word),
            _ => paint.yellow(word),
        };
        let why = watch.verdict.reason().map(|why| format!(" ({})", harmless(why))).unwrap_or_default();
        text.push_str(&format!(
            "\n\n  {} is watched{beside} for {}, since {}: {word}{why}",
            watch.release,
            vrooli_deploy_core::duration::format(watch.window),
            ago(now, watch.since),
        ));
    }
    if !report.units.is_empty() {
        // On one machine everybody knows where they are.
        let several = report.units.iter().any(|unit| unit.host != report.units[0].host);
        let rows: Vec<Vec<String>> = report
            .units
            .iter()
            .map(|unit| {
                let host = several.then(|| unit.host.clone());
                let mut row = vec![
                    unit.unit.to_string(),
                    unit.release.to_string(),
                    word(&unit.state),
                    unit.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                    unit.ports
                        .iter()
                        .map(|(name, port)| format!("{name}={port}"))
                        .collect::<Vec<_>>()
                        .join(" "),
                    unit.restarts.to_string(),
                    unit.last_exit.as_deref().map(harmless).unwrap_or_default(),
                ];
                row.splice(1..1, host);
                row
            })
            .collect();
        let mut head = vec!["INSTANCE", "RELEASE", "STATE", "PID", "PORTS", "RESTARTS", "LAST EXIT"];
        head.splice(1..1, several.then_some("HOST"));
        text.push_str(&format!("\n\n{}", table(paint, &head, &rows)));
    }
    if !report.certificates.is_empty() {
        let day = |at: Option<Timestamp>| at.map(|at| format!("{at:.0}")).unwrap_or_default();
        let rows: Vec<Vec<String>> = report
            .certificates
            .iter()
            .map(|seen| {
                vec![
                    harmless(&seen.names.join(", ")),
                    seen.host.clone(),
                    harmless(seen.issuer.as_deref().unwrap_or("none yet")),
                    day(seen.not_after),
                    day(seen.renew_at),
                ]
            })
            .collect();
        let head = ["CERTIFICATE", "HOST", "ISSUER", "ENDS", "RENEWED"];
        text.push_str(&format!("\n\n{}", table(paint, &head, &rows)));
    }
    if !report.resources.is_empty() {
        let rows: Vec<Vec<String>> =
            report.resources.iter().map(|r| vec![r.key.clone(), r.kind.clone(), harmless(&r.id)]).collect();
        text.push_str(&format!("\n\n{}", table(paint, &["RESOURCE", "KIND", "ID"], &rows)));
    }
    if let Some(outcome) = &report.last_outcome {
        let run = report.last_run.as_ref().map_or_else(String::new, |run| {
            let release = run.release.map(|release| format!(" of {release}")).unwrap_or_default();
            format!("{}{release}, {}: ", run.command, ago(now, run.at))
        });
        text.push_str(&format!("\n\n  last change: {run}{}", word(&outcome.kind).replace('_', " ")));
        if let Some((step, failure)) = &outcome.cause {
            text.push_str(&format!(" ({step}: {})", harmless(&failure.message)));
        }
        // What was not begun is not left behind.
        let interrupted = outcome.kind == OutcomeKind::Interrupted;
        if interrupted && !outcome.left_behind.is_empty() {
            let steps = outcome.left_behind.len();
            text.push_str(&format!(
                "\n  steps not done: {steps}; the next change resolves them, or `resume`"
            ));
        }
        for left in outcome.left_behind.iter().filter(|_| !interrupted) {
            text.push_str(&format!("\n  stays: {}: {}", harmless(&left.what), harmless(&left.why)));
        }
    }
    for note in &report.notes {
        text.push_str(&format!("\n  {} {}", paint.yellow("note:"), harmless(note)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_one_unit() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        for (then, told) in [
            ("2026-01-02T12:00:30Z", "just now"),
            ("2026-01-02T11:58:30Z", "1 min ago"),
            ("2026-01-02T09:00:00Z", "3 h ago"),
            ("2025-12-30T12:00:00Z", "3 d ago"),
        ] {
            assert_eq!(ago(now, then.parse().unwrap()), told);
        }
    }
}
