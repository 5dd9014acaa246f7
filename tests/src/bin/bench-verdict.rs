//! How often verdicts are wrong, by simulation: the product's sequential comparison beside
//! thresholds as canary tools use them. Prints markdown. `bench-verdict [RUNS] [SEED]`.
#![expect(clippy::print_stdout, reason = "a program for people")]

use vrooli_deploy_core::release::comparison::{Comparison, Finding, Limits};
use vrooli_deploy_core::release::sequential::Counts;

/// Watch windows as the table has them: a look each 5 s for 5 minutes, three times that at most.
const WINDOW: u32 = 60;
const DEADLINE: u32 = 180;
/// Looks that make one interval of a threshold tool: a minute.
const INTERVAL: u32 = 12;

/// SplitMix64 (Steele, Lea, Flood 2014): enough for a simulation, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let high = ((z ^ (z >> 31)) >> 11) as f64;
        high / 9_007_199_254_740_992.0
    }

    /// Failed and slow ones among so many requests.
    fn look(&mut self, release: Release, requests: u32) -> (Counts, Counts) {
        let mut failed = Counts { total: requests.into(), bad: 0 };
        let mut slow = failed;
        for _ in 0..requests {
            failed.bad += u64::from(self.next() < release.fails);
            slow.bad += u64::from(self.next() < release.slow);
        }
        (failed, slow)
    }
}

#[derive(Clone, Copy)]
struct Release {
    fails: f64,
    slow: f64,
}

struct Case {
    name: &'static str,
    old: Release,
    new: Release,
    /// Requests of old and new in each look.
    requests: (u32, u32),
    /// Is new worse beyond the margin?
    worse: bool,
}

#[derive(Default)]
struct Tally {
    failed: u32,
    passed: u32,
    open: u32,
    /// Looks until a failure was found.
    looks: Vec<u32>,
}

fn ours(random: &mut Random, case: &Case, tally: &mut Tally) {
    let mut comparison = Comparison::new(Limits::default());
    for look in 1..=DEADLINE {
        let (old, new) = (random.look(case.old, case.requests.0), random.look(case.new, case.requests.1));
        comparison.look_at_errors(old.0, new.0);
        comparison.look_at_latency(old.1, new.1);
        match comparison.finding() {
            Finding::FailsMore | Finding::Slower => {
                tally.failed += 1;
                tally.looks.push(look);
                return;
            }
            Finding::Fine if look >= WINDOW => {
                tally.passed += 1;
                return;
            }
            Finding::Fine | Finding::Open => {}
        }
    }
    tally.open += 1;
}

/// A success rate of the new release alone, looked at once a minute: so many bad minutes fail it.
fn threshold(random: &mut Random, case: &Case, least: f64, bad_minutes: u32, tally: &mut Tally) {
    let mut bad = 0;
    let mut minute = (0_u64, 0_u64);
    for look in 1..=WINDOW {
        let (seen, _) = random.look(case.new, case.requests.1);
        minute = (minute.0 + seen.total, minute.1 + seen.bad);
        if look % INTERVAL == 0 {
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let success = 1.0 - minute.1 as f64 / minute.0.max(1) as f64;
            bad += u32::from(success < least);
            minute = (0, 0);
        }
        if bad >= bad_minutes {
            tally.failed += 1;
            tally.looks.push(look);
            return;
        }
    }
    tally.passed += 1;
}

fn percent(count: u32, runs: u32) -> String {
    format!("{:.2}", f64::from(count) * 100.0 / f64::from(runs))
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let runs: u32 = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(10_000);
    let seed: u64 = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(1);
    let plain = |fails: f64| Release { fails, slow: 0.05 };
    let case = |name, old, new, requests, worse| Case { name, old, new, requests, worse };
    let cases = [
        case("equal, 0.1 % fail", plain(0.001), plain(0.001), (45, 5), false),
        case("equal, 2 % fail", plain(0.02), plain(0.02), (45, 5), false),
        case("equal, 10 % fail", plain(0.10), plain(0.10), (50, 50), false),
        case("old broken (60 %), new is the fix", plain(0.60), plain(0.001), (45, 5), false),
        case("0.1 % → 5 %, a tenth of the traffic", plain(0.001), plain(0.05), (45, 5), true),
        case("0.1 % → 5 %, half", plain(0.001), plain(0.05), (50, 50), true),
        case("2 % → 5 %, half", plain(0.02), plain(0.05), (50, 50), true),
        case("0.1 % → 50 %, a tenth", plain(0.001), plain(0.5), (45, 5), true),
        case("0.1 % → 3 %, 1 request a look", plain(0.001), plain(0.03), (9, 1), true),
        case("slow 5 % → 20 %, half", plain(0.001), Release { fails: 0.001, slow: 0.20 }, (50, 50), true),
    ];
    println!("{runs} runs a row, seed {seed}. A look each 5 s; window 5 min, deadline 15 min.\n");
    println!(
        "| old → new | requests a look, old + new | | found worse % | found fine % | open % | median s to the finding |"
    );
    println!("|---|---|---|---:|---:|---:|---:|");
    for case in &cases {
        let mut random = Random(seed);
        let mut rows: Vec<(&str, Tally)> = vec![
            ("sequential", Tally::default()),
            ("success < 99 %, 5 bad minutes", Tally::default()),
            ("success < 99 %, 1 bad minute", Tally::default()),
            ("success < 95 %, 1 bad minute", Tally::default()),
        ];
        for _ in 0..runs {
            ours(&mut random, case, &mut rows[0].1);
            threshold(&mut random, case, 0.99, 5, &mut rows[1].1);
            threshold(&mut random, case, 0.99, 1, &mut rows[2].1);
            threshold(&mut random, case, 0.95, 1, &mut rows[3].1);
        }
        for (name, mut tally) in rows {
            tally.looks.sort_unstable();
            let median = tally
                .looks
                .get(tally.looks.len() / 2)
                .map_or_else(|| "–".to_owned(), |l| (l * 5).to_string());
            let wrong = |text: String, is_wrong: bool| if is_wrong { format!("**{text}**") } else { text };
            println!(
                "| {} | {} + {} | {name} | {} | {} | {} | {median} |",
                case.name,
                case.requests.0,
                case.requests.1,
                wrong(percent(tally.failed, runs), !case.worse),
                wrong(percent(tally.passed, runs), case.worse),
                percent(tally.open, runs),
            );
        }
    }
}
