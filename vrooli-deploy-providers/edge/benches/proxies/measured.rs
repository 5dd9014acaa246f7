//! Figures of several rounds, and the table of them.

use super::load::Done;
use super::peers::Proxy;

pub(crate) struct Once {
    pub(crate) processor: f64,
    pub(crate) resident_mb: f64,
    pub(crate) done: Done,
}

#[derive(Default)]
pub(crate) struct Figures {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Processor seconds for 100,000 requests.
    processor: Vec<f64>,
    resident: Vec<f64>,
    failed: u64,
    requests: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, one: Once) {
        let requests = one.done.requests.max(1) as f64;
        self.rate.push(requests / one.done.seconds);
        self.p50.push(one.done.p50_us as f64 / 1_000.0);
        self.p99.push(one.done.p99_us as f64 / 1_000.0);
        self.processor.push(one.processor * 100_000.0 / requests);
        self.resident.push(one.resident_mb);
        self.failed += one.done.failed;
        self.requests += one.done.requests;
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(values: &[f64], digits: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} ({least:.digits$}–{most:.digits$})", median(values))
}

/// What the others are measured by.
const REFERENCE: &str = "HAProxy";

/// The ratio of each round to the reference's in the same round.
fn ratio(of: &[f64], reference: Option<&Vec<f64>>) -> String {
    let Some(reference) = reference.filter(|one| one.len() == of.len()) else { return "–".to_owned() };
    spread(&std::iter::zip(of, reference).map(|(one, other)| one / other).collect::<Vec<_>>(), 2)
}

pub(crate) fn table(name: &str, proxies: &[Proxy], figures: &[Figures]) {
    println!(
        "| {name} | requests/s | × {REFERENCE}'s | p50 ms | p99 ms | CPU-s per 100,000 | × {REFERENCE}'s | resident MB | failed |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let reference = proxies.iter().position(|one| one.name.starts_with(REFERENCE)).map(|at| &figures[at]);
    for (proxy, one) in proxies.iter().zip(figures) {
        if one.rate.is_empty() {
            continue;
        }
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {:.0} | {} of {} |",
            proxy.name,
            spread(&one.rate, 0),
            ratio(&one.rate, reference.map(|one| &one.rate)),
            spread(&one.p50, 2),
            spread(&one.p99, 2),
            spread(&one.processor, 2),
            ratio(&one.processor, reference.map(|one| &one.processor)),
            median(&one.resident),
            one.failed,
            one.requests,
        );
    }
    println!();
}
