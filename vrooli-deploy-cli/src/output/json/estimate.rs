//! The lines of `estimate-cost` and `prices`. Amounts are decimal text, but for
//! `monthly_estimate`, whose numbers are those that the workflow document prints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use vrooli_deploy_core::cost::book::Price;
use vrooli_deploy_core::cost::{
    self, Column, Decimal, Estimate, Judgement, Level, Levels, Line, Money, PriceBook, Proposal, Verdict,
};
use vrooli_deploy_core::workspace::{BookSummary, EstimateReport};

use super::DiagnosticLine;

/// What an app costs (`estimate-cost`).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct EstimateLine {
    /// The profile, or the app where there is none.
    pub(crate) profile_id: String,
    /// The app.
    pub(crate) app: String,
    /// Its environment.
    pub(crate) environment: String,
    /// On which provider.
    pub(crate) provider: String,
    /// What a month costs, by line.
    pub(crate) monthly_estimate: MonthlyLine,
    /// What all amounts are in: `USD`.
    pub(crate) currency: String,
    /// What was assumed, what is free and not taken off, what is approximate or unknown.
    pub(crate) notes: Vec<String>,
    /// The usage that decides: `low`, `expected` or `high`.
    pub(crate) level: String,
    /// The usage profile.
    pub(crate) usage: String,
    /// The total at each level of usage.
    pub(crate) total: LevelsLine,
    /// Is the cost of everything known?
    pub(crate) complete: bool,
    /// Is a figure in it not verified (grade D)?
    pub(crate) approximate: bool,
    /// The parts, with where each price comes from.
    pub(crate) lines: Vec<PartLine>,
    /// What it stands on whose cost nobody knows; not in the total.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unknown: Vec<String>,
    /// Where another book differs, line by line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) differences: Option<DifferencesLine>,
    /// The same app on several providers (`--compare`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) compare: Vec<ColumnLine>,
    /// What the budget says (`--max-monthly`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetLine>,
}

/// What a month costs, by line, as numbers with at most two decimals.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct MonthlyLine {
    /// Machines, containers, and their disks.
    pub(crate) compute: f64,
    /// Databases.
    pub(crate) database: f64,
    /// Caches.
    pub(crate) cache: f64,
    /// Object storage.
    pub(crate) storage: f64,
    /// What is sent to the internet.
    pub(crate) bandwidth: f64,
    /// Load balancers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_balancer: Option<f64>,
    /// Address translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nat: Option<f64>,
    /// Public addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) addresses: Option<f64>,
    /// Content delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cdn: Option<f64>,
    /// Logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<f64>,
    /// Backups and snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backups: Option<f64>,
    /// Name service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<f64>,
    /// Secrets and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secrets: Option<f64>,
    /// Image registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<f64>,
    /// Alarms and dashboards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) monitoring: Option<f64>,
    /// Two releases side by side while one takes over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overlap: Option<f64>,
    /// Machines that are the user's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) servers: Option<f64>,
    /// All of it.
    pub(crate) total: f64,
}

/// An amount or a quantity at each level of usage, as decimal text.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LevelsLine {
    /// In a quiet month.
    pub(crate) low: String,
    /// In the month to plan with.
    pub(crate) expected: String,
    /// In a busy month.
    pub(crate) high: String,
}

/// A part of an estimate.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PartLine {
    /// The line it is part of: `compute`.
    pub(crate) line: String,
    /// The resource that causes it.
    pub(crate) resource: String,
    /// For people.
    pub(crate) what: String,
    /// How many units a month, without what is included in other prices.
    pub(crate) quantity: LevelsLine,
    /// One of what.
    pub(crate) unit: String,
    /// What it comes to, rounded to the cent; the total is the sum of these.
    pub(crate) amount: LevelsLine,
    /// How sure it is, A to D; absent where no book was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grade: Option<String>,
    /// Is it not verified (grade D)?
    pub(crate) approximate: bool,
    /// What one unit costs: a step each.
    pub(crate) prices: Vec<StepPriceLine>,
    /// What else is to be known about it.
    pub(crate) notes: Vec<String>,
}

/// A price that was used.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct StepPriceLine {
    /// The amount from which it counts.
    pub(crate) from: String,
    /// Of one unit.
    pub(crate) price: String,
    /// What is billed, as its book spells it.
    pub(crate) product: String,
    /// The book.
    pub(crate) book: String,
    /// Id of its source in the book.
    pub(crate) source: String,
    /// What that is.
    pub(crate) source_text: String,
    /// As of when, in the source's own words.
    pub(crate) as_of: Option<String>,
    /// How sure it is, A to D.
    pub(crate) grade: String,
}

/// Where another book differs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DifferencesLine {
    /// The book.
    pub(crate) book: String,
    /// The lines that differ.
    pub(crate) lines: Vec<DifferenceLine>,
}

/// Where another book differs in a line.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DifferenceLine {
    /// Which.
    pub(crate) line: String,
    /// What it comes to here.
    pub(crate) here: String,
    /// What it comes to there; null: it has no such line.
    pub(crate) there: Option<String>,
    /// Why.
    pub(crate) why: Vec<String>,
}

/// The app on one provider.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ColumnLine {
    /// Which.
    pub(crate) provider: String,
    /// What a month costs there; null: that cannot be said.
    pub(crate) monthly_estimate: Option<MonthlyLine>,
    /// Is the cost of everything known?
    pub(crate) complete: bool,
    /// What is billed there.
    pub(crate) what: Vec<String>,
    /// What was assumed there, which sizes stand for which, what is free, approximate or unknown.
    pub(crate) notes: Vec<String>,
    /// Why it cannot be said, and what else was noticed.
    pub(crate) diagnostics: Vec<DiagnosticLine>,
}

/// What a budget says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BudgetLine {
    /// The most that it may cost a month.
    pub(crate) limit: String,
    /// What it costs.
    pub(crate) total: String,
    /// `within`, `over` or `unknown`.
    pub(crate) verdict: String,
    /// The fewest changes that would fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fits: Option<ProposalLine>,
    /// If none fits: what comes nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nearest: Option<ProposalLine>,
}

/// Changes, and what they come to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProposalLine {
    /// For people.
    pub(crate) changes: Vec<String>,
    /// What a month costs then.
    pub(crate) total: String,
}

/// A price book (`prices list`).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BookLine {
    /// Its name.
    pub(crate) book: String,
    /// Whose prices.
    pub(crate) provider: String,
    /// What they are in.
    pub(crate) currency: String,
    /// How many.
    pub(crate) prices: usize,
    /// When it was put together.
    pub(crate) generated: Option<String>,
    /// Is it asked without being chosen?
    pub(crate) asked: bool,
    /// The file; null: it is part of the program.
    pub(crate) file: Option<String>,
    /// A sentence about it.
    pub(crate) about: Option<String>,
}

/// A price (`prices show`).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PriceLine {
    /// The provider's service.
    pub(crate) service: String,
    /// What is billed.
    pub(crate) sku: String,
    /// The region, or `all` or `global`.
    pub(crate) region: String,
    /// Of one unit, as decimal text.
    pub(crate) usd: String,
    /// One of what.
    pub(crate) unit: String,
    /// How sure it is, A to D.
    pub(crate) grade: String,
    /// As of when.
    pub(crate) as_of: Option<String>,
    /// Id of its source.
    pub(crate) source: String,
    /// What that is.
    pub(crate) source_text: String,
    /// Further columns.
    pub(crate) columns: BTreeMap<String, String>,
    /// What else is to be known about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Cents as the nearest binary number, which prints as what it is.
fn number(money: Money) -> f64 {
    money.to_string().parse().unwrap_or_default()
}

impl MonthlyLine {
    fn new(estimate: &Estimate, level: Level) -> Self {
        let there = estimate.kinds();
        let always = |line: Line| number(estimate.sum(line, level));
        let maybe = |line: Line| there.contains(&line).then(|| always(line));
        Self {
            compute: always(Line::Compute),
            database: always(Line::Database),
            cache: always(Line::Cache),
            storage: always(Line::Storage),
            bandwidth: always(Line::Bandwidth),
            load_balancer: maybe(Line::LoadBalancer),
            nat: maybe(Line::Nat),
            addresses: maybe(Line::Addresses),
            cdn: maybe(Line::Cdn),
            logs: maybe(Line::Logs),
            backups: maybe(Line::Backups),
            dns: maybe(Line::Dns),
            secrets: maybe(Line::Secrets),
            registry: maybe(Line::Registry),
            monitoring: maybe(Line::Monitoring),
            overlap: maybe(Line::Overlap),
            servers: maybe(Line::Servers),
            total: number(estimate.total(level)),
        }
    }
}

impl LevelsLine {
    pub(super) fn total(estimate: &Estimate) -> Self {
        let text = |level| estimate.total(level).to_string();
        Self { low: text(Level::Low), expected: text(Level::Expected), high: text(Level::High) }
    }

    fn money(levels: &Levels<Money>) -> Self {
        let text = |level| levels.at(level).to_string();
        Self { low: text(Level::Low), expected: text(Level::Expected), high: text(Level::High) }
    }

    fn quantity(levels: &Levels<Decimal>) -> Self {
        let text = |level| levels.at(level).round_dp(8).normalize().to_string();
        Self { low: text(Level::Low), expected: text(Level::Expected), high: text(Level::High) }
    }
}

impl From<&cost::EstimateLine> for PartLine {
    fn from(part: &cost::EstimateLine) -> Self {
        Self {
            line: part.line.word().to_owned(),
            resource: part.resource.clone(),
            what: part.what.clone(),
            quantity: LevelsLine::quantity(&part.quantity),
            unit: part.unit.clone(),
            amount: LevelsLine::money(&part.amount),
            grade: part.grade().map(|grade| grade.to_string()),
            approximate: part.approximate(),
            prices: part
                .prices
                .iter()
                .map(|step| StepPriceLine {
                    from: step.from.normalize().to_string(),
                    price: step.price.normalize().to_string(),
                    product: step.product.clone(),
                    book: step.book.clone(),
                    source: step.source.clone(),
                    source_text: step.source_text.clone(),
                    as_of: step.as_of.clone(),
                    grade: step.grade.to_string(),
                })
                .collect(),
            notes: part.notes.clone(),
        }
    }
}

impl From<&EstimateReport> for EstimateLine {
    fn from(report: &EstimateReport) -> Self {
        let assessment = &report.assessment;
        let (estimate, level) = (&assessment.estimate, assessment.level);
        Self {
            profile_id: report
                .profile
                .map_or_else(|| assessment.stack.app.to_string(), |profile| profile.to_string()),
            app: assessment.stack.app.to_string(),
            environment: assessment.stack.environment.to_string(),
            provider: estimate.provider.clone(),
            monthly_estimate: MonthlyLine::new(estimate, level),
            currency: estimate.currency.to_string(),
            notes: estimate.notes(level),
            level: level.to_string(),
            usage: estimate.usage.clone(),
            total: LevelsLine::total(estimate),
            complete: estimate.complete(),
            approximate: estimate.approximate(level),
            lines: estimate.lines.iter().map(Into::into).collect(),
            unknown: estimate.unknown.iter().map(|unknown| unknown.what.clone()).collect(),
            differences: assessment.against.as_ref().map(|(book, found)| DifferencesLine {
                book: book.clone(),
                lines: found
                    .iter()
                    .map(|found| DifferenceLine {
                        line: found.line.word().to_owned(),
                        here: found.here.to_string(),
                        there: found.there.map(|there| there.to_string()),
                        why: found.why.clone(),
                    })
                    .collect(),
            }),
            compare: assessment.columns.iter().map(|column| ColumnLine::new(column, level)).collect(),
            budget: assessment.judgement.as_ref().map(Into::into),
        }
    }
}

impl ColumnLine {
    fn new(column: &Column, level: Level) -> Self {
        let estimate = column.estimate.as_ref();
        Self {
            provider: column.provider.to_string(),
            monthly_estimate: estimate.map(|estimate| MonthlyLine::new(estimate, level)),
            complete: estimate.is_some_and(Estimate::complete),
            what: estimate.map_or_else(Vec::new, |e| e.lines.iter().map(|part| part.what.clone()).collect()),
            notes: estimate.map_or_else(Vec::new, |estimate| estimate.notes(level)),
            diagnostics: column.diagnostics.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Judgement> for BudgetLine {
    fn from(judgement: &Judgement) -> Self {
        let proposal = |proposal: &Proposal| ProposalLine {
            changes: proposal.changes.clone(),
            total: proposal.total.to_string(),
        };
        Self {
            limit: judgement.limit.to_string(),
            total: judgement.total.to_string(),
            verdict: match judgement.verdict {
                Verdict::Within => "within",
                Verdict::Over => "over",
                Verdict::Unknown => "unknown",
            }
            .to_owned(),
            fits: judgement.fits.as_ref().map(proposal),
            nearest: judgement.nearest.as_ref().map(proposal),
        }
    }
}

impl From<&BookSummary> for BookLine {
    fn from(summary: &BookSummary) -> Self {
        let book = &summary.book;
        Self {
            book: book.name.clone(),
            provider: book.provider.clone(),
            currency: book.currency.to_string(),
            prices: book.prices().len(),
            generated: book.generated.clone(),
            asked: summary.asked,
            file: summary.file.as_ref().map(|file| file.display().to_string()),
            about: book.about.clone(),
        }
    }
}

impl BookLine {
    /// As a row of a table.
    pub(crate) fn row(&self) -> Vec<String> {
        vec![
            self.book.clone(),
            self.provider.clone(),
            self.prices.to_string(),
            self.generated.clone().unwrap_or_default(),
            if self.asked { "always" } else { "when chosen" }.to_owned(),
            self.file.clone().unwrap_or_else(|| "this program".to_owned()),
        ]
    }
}

impl PriceLine {
    pub(crate) fn new(book: &PriceBook, price: &Price) -> Self {
        Self {
            service: price.service.to_string(),
            sku: price.sku.clone(),
            region: price.region.to_string(),
            usd: price.amount.normalize().to_string(),
            unit: price.unit.to_string(),
            grade: price.grade.to_string(),
            as_of: price.as_of.as_deref().map(ToOwned::to_owned),
            source: price.source.to_string(),
            source_text: book.source(price).map_or_else(String::new, |source| source.what.clone()),
            columns: BTreeMap::clone(&price.attributes),
            note: price.note.as_deref().map(ToOwned::to_owned),
        }
    }
}
