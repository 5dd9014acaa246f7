//! From a bill to an estimate.

use std::collections::{BTreeMap, BTreeSet};

use super::billing::billing;
use super::estimate::{Bill, BookUsed, Estimate, EstimateLine, PriceStep, UnknownCost};
use super::prices::{Found, Prices, Stepped, asked};
use super::usage::{Figure, Level, Levels, UsageProfile};
use super::{BillItem, Currency, Decimal, Line, Metric, Money, PriceKey, Quantity};
use crate::diagnostics::{Checked, Code, Diagnostic, Severity, rules};
use crate::names::ResourceKey;

/// What a bill comes to. Pure: the same input gives the same estimate.
///
/// Diagnostics name every item without a price, with a price that cannot be applied to it, or
/// with an amount that is negative or too large; there is no estimate then.
pub fn estimate(bill: &Bill, usage: &UsageProfile, prices: &Prices) -> Checked<Estimate> {
    let mut making = Making::new(bill, usage, prices);
    for (key, item) in &bill.items {
        if let Err(diagnostic) = making.item(key, item) {
            making.found.push(*diagnostic);
        }
    }
    making.servers();
    making.finish()
}

type Refused<T> = Result<T, Box<Diagnostic>>;

struct Making<'a> {
    bill: &'a Bill,
    usage: &'a UsageProfile,
    prices: &'a Prices,
    /// Is there content delivery? Then it sends a share of the traffic.
    delivered: bool,
    /// What is left of each pool.
    pools: BTreeMap<&'a str, Levels<Decimal>>,
    /// What there was.
    included: BTreeMap<&'a str, Decimal>,
    lines: Vec<EstimateLine>,
    overlap: Vec<EstimateLine>,
    figures: BTreeMap<Figure, Levels<Decimal>>,
    services: BTreeSet<(&'a str, &'a str)>,
    books: BTreeSet<BookUsed>,
    notes: Vec<String>,
    unknown: Vec<UnknownCost>,
    found: Vec<Diagnostic>,
}

impl<'a> Making<'a> {
    fn new(bill: &'a Bill, usage: &'a UsageProfile, prices: &'a Prices) -> Self {
        let uses = |metric: Metric| {
            bill.items
                .iter()
                .any(|(_, item)| matches!(&item.quantity, Quantity::Usage { metric: m, .. } if *m == metric))
        };
        let mut making = Self {
            bill,
            usage,
            prices,
            delivered: uses(Metric::CdnGb) && usage.value(Figure::Metric(Metric::CdnGb)).is_none(),
            pools: BTreeMap::new(),
            included: BTreeMap::new(),
            lines: Vec::new(),
            overlap: Vec::new(),
            figures: BTreeMap::new(),
            services: BTreeSet::new(),
            books: BTreeSet::new(),
            notes: bill.notes.clone(),
            unknown: Vec::new(),
            found: Vec::new(),
        };
        making.pools();
        making
    }

    /// Adds up what the prices of all items include.
    fn pools(&mut self) {
        for (key, item) in &self.bill.items {
            let times = match &item.quantity {
                Quantity::Running(count) => *count,
                _ => Decimal::ONE,
            };
            for allowance in &item.includes {
                let before = self.included.get(allowance.pool.as_str()).copied().unwrap_or_default();
                let sum = sound(allowance.amount)
                    .and_then(|amount| sound(times).and_then(|times| product(&[amount, times])))
                    .and_then(|amount| before.checked_add(amount).ok_or_else(too_large));
                match sum {
                    Ok(sum) => {
                        self.included.insert(&allowance.pool, sum);
                        self.pools.insert(&allowance.pool, Levels { low: sum, expected: sum, high: sum });
                    }
                    Err(why) => {
                        let what =
                            format!("what {} ({key}) includes of `{}` {why}", item.what, allowance.pool);
                        self.found.push(rules::AMOUNT.diagnostic(what));
                    }
                }
            }
        }
    }

    fn refuse(&self, code: Code, item: &BillItem, key: &ResourceKey, why: &str) -> Box<Diagnostic> {
        let diagnostic = code.diagnostic(format!("{} ({key}, {}): {why}", item.what, asked(&item.price)));
        Box::new(diagnostic.at(self.bill.places.get(&item.line).cloned(), "asked for here"))
    }

    fn price(&self, of: &'a PriceKey, item: &BillItem, key: &ResourceKey) -> Refused<Stepped<'a>> {
        self.prices.find(of).map_err(|mut refusal| {
            refusal.message = format!("{} ({key}): {}", item.what, refusal.message);
            let place = if refusal.code == rules::UNKNOWN_PRICE_REGION {
                self.bill.region_place.as_ref().or_else(|| self.bill.places.get(&item.line))
            } else {
                self.bill.places.get(&item.line)
            };
            Box::new(refusal.at(place.cloned(), "asked for here"))
        })
    }

    fn item(&mut self, key: &'a ResourceKey, item: &'a BillItem) -> Refused<()> {
        let stepped = self.price(&item.price, item, key)?;
        let Some(found) = stepped.first() else { return Ok(()) };
        self.services.insert((&item.price.provider, &item.price.service));
        let unit = found.price.unit.to_string();
        let mut notes = Vec::new();
        if let Some(note) = &found.price.note {
            notes.push(note.to_string());
        }
        let amount = |this: &Self, why: String| this.refuse(rules::AMOUNT, item, key, &why);
        let mut shares = None;
        let quantity = match &item.quantity {
            Quantity::Amount(units) => {
                let units = sound(*units).map_err(|why| amount(self, why))?;
                Levels { low: units, expected: units, high: units }
            }
            Quantity::Running(count) => {
                let count = sound(*count).map_err(|why| amount(self, why))?;
                let units = self.running(item, key, found, count)?;
                Levels { low: units, expected: units, high: units }
            }
            Quantity::Usage { metric, factor, pool } => {
                let factor = sound(*factor).map_err(|why| amount(self, why))?;
                self.used(item, key, *metric, factor, pool.as_deref(), found, &mut notes)?
            }
            Quantity::ShareOf { of, running } => {
                let running = sound(*running).map_err(|why| amount(self, why))?;
                let whole = self.price(of, item, key)?;
                let Some(other) = whole.first() else { return Ok(()) };
                let units = self.running(item, key, other, running)?;
                let month = product(&[units, other.price.amount]).map_err(|why| amount(self, why))?;
                notes.push(format!("a share of {} a month for {}", Money::usd(month), product_name(other)));
                self.used_book(other);
                shares = Some(step(Decimal::ZERO, other));
                Levels { low: month, expected: month, high: month }
            }
        };
        let spent = Levels::try_each(|level| {
            let cost = stepped_cost(&stepped, *quantity.at(level)).map_err(|why| amount(self, why))?;
            Ok::<_, Box<Diagnostic>>(Money::usd(cost).cents())
        })?;
        if let Some(until) = stepped.until
            && quantity.high > until
        {
            notes.push(format!(
                "beyond {until} {unit} the book has no price; the last one is used, which is likely too much"
            ));
        }
        let mut prices: Vec<PriceStep> =
            stepped.steps.iter().map(|(from, found)| step(*from, *found)).collect();
        for (_, found) in &stepped.steps {
            self.used_book(*found);
        }
        prices.extend(shares);
        let line = EstimateLine {
            line: item.line,
            resource: key.to_string(),
            what: item.what.clone(),
            quantity,
            unit,
            prices,
            amount: spent,
            notes,
        };
        if item.per_release {
            let unit = &*found.price.unit;
            match &item.quantity {
                Quantity::Running(count) => self.overlap(item, key, found, *count)?,
                // A disk that comes and goes with the machine.
                Quantity::Amount(count) if monthly(unit) => self.overlap(item, key, found, *count)?,
                // What users cause is not caused twice.
                _ => {}
            }
        }
        self.lines.push(line);
        Ok(())
    }

    /// Units a month of something that runs all month.
    fn running(
        &self,
        item: &BillItem,
        key: &ResourceKey,
        found: Found<'_>,
        count: Decimal,
    ) -> Refused<Decimal> {
        let unit = &*found.price.unit;
        let times = if hourly(unit) {
            billing().hours(&found.book.provider, &found.price.service).0
        } else if monthly(unit) {
            Decimal::ONE
        } else {
            let why = format!("it runs all month, and its price is for one `{unit}`");
            return Err(self.refuse(rules::PRICE_UNIT, item, key, &why));
        };
        product(&[count, times]).map_err(|why| self.refuse(rules::AMOUNT, item, key, &why))
    }

    /// Units a month that users cause, without what is included.
    #[expect(clippy::too_many_arguments, reason = "an item in its parts")]
    fn used(
        &mut self,
        item: &BillItem,
        key: &ResourceKey,
        metric: Metric,
        factor: Decimal,
        pool: Option<&'a str>,
        found: Found<'_>,
        notes: &mut Vec<String>,
    ) -> Refused<Levels<Decimal>> {
        let caused = Levels::try_each(|level| {
            self.caused(metric, level)
                .and_then(|value| product(&[value, factor]))
                .map_err(|why| self.refuse(rules::AMOUNT, item, key, &why))
        })?;
        self.note_figure(metric);
        let Some(pool) = pool.filter(|_| !found.price.from_first_unit) else { return Ok(caused) };
        let Some(left) = self.pools.get_mut(pool) else { return Ok(caused) };
        let take = |left: &mut Decimal, wanted: Decimal| {
            let taken = wanted.min(*left);
            *left -= taken;
            wanted - taken
        };
        let rest = Levels {
            low: take(&mut left.low, caused.low),
            expected: take(&mut left.expected, caused.expected),
            high: take(&mut left.high, caused.high),
        };
        let all = self.included.get(pool).copied().unwrap_or_default();
        let unit = &found.price.unit;
        notes.push(format!("{} {unit} are included in other prices ({pool})", all.normalize()));
        Ok(rest)
    }

    fn caused(&self, metric: Metric, level: Level) -> Result<Decimal, String> {
        let at = |figure| self.usage.at(figure, level).unwrap_or_default();
        let share = || {
            let share = at(Figure::CdnPercent).min(Decimal::ONE_HUNDRED);
            product(&[at(Figure::Metric(Metric::EgressGb)), share]).map(|part| part / Decimal::ONE_HUNDRED)
        };
        match metric {
            Metric::CdnGb if self.delivered => share(),
            Metric::EgressGb if self.delivered => Ok(at(Figure::Metric(Metric::EgressGb)) - share()?),
            metric => Ok(at(Figure::Metric(metric))),
        }
    }

    fn note_figure(&mut self, metric: Metric) {
        let split = self.delivered && matches!(metric, Metric::CdnGb | Metric::EgressGb);
        let figures = if split {
            vec![Figure::Metric(Metric::EgressGb), Figure::CdnPercent]
        } else {
            vec![Figure::Metric(metric)]
        };
        for figure in figures {
            self.keep_figure(figure);
        }
    }

    fn keep_figure(&mut self, figure: Figure) {
        let at = |level| self.usage.at(figure, level).unwrap_or_default();
        let values = Levels { low: at(Level::Low), expected: at(Level::Expected), high: at(Level::High) };
        self.figures.insert(figure, values);
    }

    /// Two releases side by side: the same again for the hours that it takes.
    fn overlap(
        &mut self,
        item: &BillItem,
        key: &ResourceKey,
        found: Found<'_>,
        count: Decimal,
    ) -> Refused<()> {
        let amount = |this: &Self, why: String| this.refuse(rules::AMOUNT, item, key, &why);
        let hours_a_month = billing().hours(&found.book.provider, &found.price.service).0;
        let hourly = hourly(&found.price.unit);
        let quantity = Levels::try_each(|level| {
            let at = |figure| self.usage.at(figure, level).unwrap_or_default();
            product(&[count, at(Figure::DeploysPerMonth), at(Figure::OverlapMinutes)])
                .map(|minutes| minutes / Decimal::from(60))
                .map_err(|why| amount(self, why))
        })?;
        let spent = Levels::try_each(|level| {
            let hours = *quantity.at(level);
            let cost = product(&[hours, found.price.amount])
                .map(|cost| if hourly { cost } else { cost / hours_a_month })
                .map_err(|why| amount(self, why))?;
            Ok::<_, Box<Diagnostic>>(Money::usd(cost).cents())
        })?;
        self.keep_figure(Figure::DeploysPerMonth);
        self.keep_figure(Figure::OverlapMinutes);
        let mut notes = Vec::new();
        if !hourly {
            notes.push(format!("{hours_a_month} hours cost what a month costs"));
        }
        self.overlap.push(EstimateLine {
            line: Line::Overlap,
            resource: key.to_string(),
            what: format!("{}, twice while a new release takes over", item.what),
            quantity,
            unit: "hour".to_owned(),
            prices: vec![step(Decimal::ZERO, found)],
            amount: spent,
            notes,
        });
        Ok(())
    }

    fn used_book(&mut self, found: Found<'_>) {
        self.books
            .insert(BookUsed { name: found.book.name.clone(), generated: found.book.generated.clone() });
    }

    fn servers(&mut self) {
        for (index, server) in self.bill.servers.iter().enumerate() {
            let what = format!("server {}", server.host);
            match server.monthly {
                Some(monthly) if monthly.amount.is_sign_negative() && !monthly.amount.is_zero() => {
                    self.found.push(
                        rules::SERVER_COST
                            .diagnostic(format!("{what}: its cost must not be negative, and is {monthly}"))
                            .at(self.bill.places.get(&Line::Servers).cloned(), "here"),
                    );
                }
                Some(monthly) => {
                    let monthly = monthly.cents();
                    self.lines.push(EstimateLine {
                        line: Line::Servers,
                        resource: format!("infrastructure.servers[{index}]"),
                        what,
                        quantity: Levels { low: Decimal::ONE, expected: Decimal::ONE, high: Decimal::ONE },
                        unit: "month".to_owned(),
                        prices: Vec::new(),
                        amount: Levels { low: monthly, expected: monthly, high: monthly },
                        notes: vec!["as `monthly_usd` says".to_owned()],
                    });
                }
                None => self.unknown.push(UnknownCost {
                    what,
                    help: format!("say it with `infrastructure.servers[{index}].monthly_usd`"),
                }),
            }
        }
    }

    fn finish(mut self) -> Checked<Estimate> {
        for (provider, service) in &self.services {
            self.notes.extend(billing().hours(provider, service).1.map(ToOwned::to_owned));
            self.notes.extend(billing().free(provider, service).map(ToOwned::to_owned));
        }
        self.lines.append(&mut self.overlap);
        self.lines.sort_by_key(|part| part.line);
        for level in Level::ALL {
            let sum = self
                .lines
                .iter()
                .try_fold(Decimal::ZERO, |sum, part| sum.checked_add(part.amount.at(level).amount));
            if sum.is_none() {
                self.found.push(rules::AMOUNT.diagnostic("the total is too large"));
                break;
            }
        }
        let failed = self.found.iter().any(|d| d.severity == Severity::Error);
        let value = (!failed).then(|| Estimate {
            provider: self.bill.provider.clone(),
            currency: Currency::Usd,
            usage: self.usage.name.clone(),
            lines: self.lines,
            unknown: self.unknown,
            books: self.books.into_iter().collect(),
            figures: self.figures,
            notes: self.notes,
        });
        Checked { value, diagnostics: self.found }
    }
}

fn hourly(unit: &str) -> bool {
    unit == "hour" || unit.ends_with("-hour")
}

fn monthly(unit: &str) -> bool {
    unit == "month" || unit.ends_with("-month")
}

fn product_name(found: Found<'_>) -> String {
    format!("{} {}", found.price.service, found.price.sku)
}

fn step(from: Decimal, found: Found<'_>) -> PriceStep {
    let source = found.book.source(found.price);
    PriceStep {
        from,
        price: found.price.amount,
        product: product_name(found),
        book: found.book.name.clone(),
        source: found.price.source.to_string(),
        source_text: source.map_or_else(String::new, |source| source.what.clone()),
        as_of: found.price.as_of.as_deref().map(ToOwned::to_owned),
        grade: found.price.grade,
    }
}

fn too_large() -> String {
    "is too large".to_owned()
}

/// A number that is not negative.
fn sound(number: Decimal) -> Result<Decimal, String> {
    if number.is_sign_negative() && !number.is_zero() {
        return Err(format!("must not be negative, and is {number}"));
    }
    Ok(number)
}

fn product(factors: &[Decimal]) -> Result<Decimal, String> {
    factors
        .iter()
        .try_fold(Decimal::ONE, |product, factor| product.checked_mul(*factor))
        .ok_or_else(too_large)
}

/// What an amount costs, each step at its own price.
fn stepped_cost(stepped: &Stepped<'_>, quantity: Decimal) -> Result<Decimal, String> {
    let mut cost = Decimal::ZERO;
    for (index, (from, found)) in stepped.steps.iter().enumerate() {
        let to = stepped.steps.get(index + 1).map_or(quantity, |(next, _)| quantity.min(*next));
        if to > *from {
            let part = product(&[to - *from, found.price.amount])?;
            cost = cost.checked_add(part).ok_or_else(too_large)?;
        }
    }
    Ok(cost)
}
