//! What an app costs, as people read it.

use vrooli_deploy_core::cost::{Column, Decimal, Estimate, EstimateLine, Level, Line, PriceStep};
use vrooli_deploy_core::workspace::EstimateReport;

use super::json::PriceLine;
use super::style::{Paint, harmless};
use super::table::table;

/// The lines at each level of usage, the total, notes; with more words also every part with
/// its price and source, and where another book differs.
pub(crate) fn estimate(paint: Paint, report: &EstimateReport, verbose: bool) -> String {
    let assessment = &report.assessment;
    let estimate = &assessment.estimate;
    let level = assessment.level;
    let mut text = format!(
        "{} on {}, {} a month, {} usage ({})\n",
        paint.bold(&assessment.stack.to_string()),
        estimate.provider,
        estimate.currency,
        level,
        harmless(&estimate.usage)
    );
    text.push_str(&indented(&amounts(paint, estimate, level)));
    if verbose {
        text.push_str(&format!("\n\n  {}", paint.dim("what it is made of")));
        for part in &estimate.lines {
            text.push_str(&parts(paint, part, level));
        }
        if let Some((book, differences)) = &assessment.against
            && !differences.is_empty()
        {
            text.push_str(&format!("\n\n  {}", paint.dim(&format!("where book `{book}` differs"))));
            for found in differences {
                let there = found.there.map_or_else(|| "not listed".to_owned(), |there| there.to_string());
                text.push_str(&format!("\n  {}  {} here, {there} there", found.line.word(), found.here));
                for why in &found.why {
                    text.push_str(&paint.dim(&format!("\n      {}", harmless(why))));
                }
            }
        }
    }
    if !assessment.columns.is_empty() {
        text.push_str(&format!("\n\n  {}\n", paint.dim("side by side")));
        text.push_str(&side_by_side(paint, &assessment.columns, level));
    }
    let notes = estimate.notes(level);
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        text.push_str(&format!("\n  {} {}", paint.yellow("note:"), harmless(&note)));
    }
    text
}

/// An amount, approximate ones with `~`.
fn shown(estimate: &Estimate, line: Option<Line>, level: Level) -> String {
    let mut of = estimate.lines.iter().filter(|part| line.is_none_or(|line| part.line == line));
    let unsure = of.any(|part| part.approximate() && !part.amount.at(level).amount.is_zero());
    let amount = line.map_or_else(|| estimate.total(level), |line| estimate.sum(line, level));
    format!("{}{amount}", if unsure { "~" } else { "" })
}

fn amounts(paint: Paint, estimate: &Estimate, level: Level) -> String {
    let head: Vec<String> = Level::ALL
        .iter()
        .map(|each| if *each == level { format!("{} *", each.as_str()) } else { each.as_str().to_owned() })
        .map(|name| name.to_uppercase())
        .collect();
    let mut rows: Vec<Vec<String>> = estimate
        .kinds()
        .into_iter()
        .map(|line| row(line.word(), Level::ALL.iter().map(|level| shown(estimate, Some(line), *level))))
        .collect();
    let total = if estimate.complete() { "total" } else { "total, at least" };
    rows.push(row(total, Level::ALL.iter().map(|level| shown(estimate, None, *level))));
    aligned(paint, "LINE", &head, rows)
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}

/// A table whose numbers end in one column.
fn aligned(paint: Paint, first: &str, head: &[String], mut rows: Vec<Vec<String>>) -> String {
    let mut titles = vec![first.to_owned()];
    for (column, name) in head.iter().enumerate() {
        let cells = rows.iter().filter_map(|row| row.get(column + 1));
        let width = cells.map(|cell| cell.chars().count()).chain([name.chars().count()]).max().unwrap_or(0);
        for row in &mut rows {
            if let Some(cell) = row.get_mut(column + 1) {
                *cell = format!("{cell:>width$}");
            }
        }
        titles.push(format!("{name:>width$}"));
    }
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    table(paint, &titles, &rows)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n  {line}")).collect::<String>().trim_start_matches('\n').to_owned()
}

pub(super) fn parts(paint: Paint, part: &EstimateLine, level: Level) -> String {
    let approximate = if part.approximate() { "~" } else { "" };
    let mut text = format!(
        "\n  {}  {} ({}): {} {} = {approximate}{}",
        part.line.word(),
        harmless(&part.what),
        part.resource,
        number(*part.quantity.at(level)),
        part.unit,
        part.amount.at(level)
    );
    for step in &part.prices {
        text.push_str(&paint.dim(&format!("\n      {}", harmless(&priced(step)))));
    }
    for note in &part.notes {
        text.push_str(&paint.dim(&format!("\n      {}", harmless(note))));
    }
    text
}

fn priced(step: &PriceStep) -> String {
    let from = if step.from.is_zero() { String::new() } else { format!(" from {} on", number(step.from)) };
    let date = step.as_of.as_deref().unwrap_or("nobody knows when");
    format!(
        "{}{}{from}  grade {}, book {}, {}: {} ({date})",
        if step.grade == vrooli_deploy_core::cost::Grade::D { "~" } else { "" },
        number(step.price),
        step.grade,
        step.book,
        step.source,
        step.source_text
    )
}

fn number(number: Decimal) -> String {
    number.round_dp(8).normalize().to_string()
}

fn side_by_side(paint: Paint, columns: &[Column], level: Level) -> String {
    let head: Vec<String> = columns.iter().map(|column| column.provider.to_string().to_uppercase()).collect();
    let there = |line: Line| columns.iter().flat_map(|c| &c.estimate).any(|e| e.kinds().contains(&line));
    let mut rows: Vec<Vec<String>> = Line::ALL
        .into_iter()
        .filter(|line| there(*line))
        .map(|line| {
            row(
                line.word(),
                columns.iter().map(|column| match &column.estimate {
                    Some(estimate) if estimate.kinds().contains(&line) => shown(estimate, Some(line), level),
                    Some(_) => "-".to_owned(),
                    None => "?".to_owned(),
                }),
            )
        })
        .collect();
    rows.push(row(
        "total",
        columns.iter().map(|column| match &column.estimate {
            Some(estimate) if estimate.complete() => shown(estimate, None, level),
            Some(estimate) => format!("{} + ?", shown(estimate, None, level)),
            None => "?".to_owned(),
        }),
    ));
    let mut text = indented(&aligned(paint, "LINE", &head, rows));
    for line in Line::ALL.into_iter().filter(|line| there(*line)) {
        let each: Vec<(String, String)> = columns
            .iter()
            .map(|column| {
                let parts = column.estimate.iter().flat_map(|e| &e.lines).filter(|part| part.line == line);
                let what: Vec<String> = parts.map(|part| harmless(&part.what)).collect();
                (column.provider.to_string(), what.join(", "))
            })
            .filter(|(_, what)| !what.is_empty())
            .collect();
        let same = each.windows(2).all(|pair| matches!(pair, [(_, a), (_, b)] if a == b));
        if same && each.len() == columns.len() {
            continue;
        }
        text.push_str(&paint.dim(&format!("\n  {}", line.word())));
        for (provider, what) in each {
            text.push_str(&paint.dim(&format!("\n      {provider}: {what}")));
        }
    }
    // What holds for another provider alone; the rest follows below.
    let ours = columns.iter().flat_map(|c| &c.estimate).next().map(|e| e.notes(level)).unwrap_or_default();
    for column in columns.iter().skip(1) {
        for note in column.estimate.iter().flat_map(|estimate| estimate.notes(level)) {
            if !ours.contains(&note) {
                text.push_str(&format!(
                    "\n  {} {}: {}",
                    paint.yellow("note:"),
                    column.provider,
                    harmless(&note)
                ));
            }
        }
    }
    for column in columns {
        if column.estimate.is_none() {
            for diagnostic in &column.diagnostics {
                text.push_str(&format!(
                    "\n  {} {}: {}: {}",
                    paint.yellow("?"),
                    column.provider,
                    diagnostic.code,
                    harmless(&diagnostic.message)
                ));
            }
        }
    }
    text
}

/// Prices as rows of a table.
pub(crate) fn price_rows(prices: &[PriceLine]) -> Vec<Vec<String>> {
    prices
        .iter()
        .map(|price| {
            let columns: Vec<String> =
                price.columns.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let unsure = if price.grade == "D" { "~" } else { "" };
            vec![
                price.service.clone(),
                price.sku.clone(),
                price.region.clone(),
                format!("{unsure}{}", price.usd),
                price.unit.clone(),
                price.grade.clone(),
                price.as_of.clone().unwrap_or_default(),
                price.source.clone(),
                harmless(&columns.join(" ")),
            ]
        })
        .collect()
}
