//! Ours beside terraform: the same resources, the same emulator, the same latency, in turn.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::LATENCY;
use crate::ours::{Ours, Size};
use crate::stand::Stand;
use crate::terraform::{self, Terraform};

/// A run: how long it took, and how many calls it made.
#[derive(Debug, Clone, Copy)]
struct Sample {
    took: Duration,
    calls: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Ours,
    Terraform,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Apply,
    Plan,
    Destroy,
}

type Samples = BTreeMap<(Work, Who), Vec<Sample>>;

pub(crate) async fn run(program: &Path, rounds: u32) -> io::Result<bool> {
    let peer = terraform::version().await;
    if peer.is_none() {
        eprintln!("skipped: there is no terraform on the PATH to measure beside");
    }
    let stand = Stand::up().await?;
    stand.proxy.set_latency(LATENCY);
    println!(
        "{rounds} rounds, interleaved, {} ms latency; {}seconds, median (least to most).\n",
        LATENCY.as_millis(),
        peer.as_ref()
            .map_or_else(String::new, |version| format!("{version} with its default of 10 at once; "))
    );
    println!("| stack | work | ours | terraform | ours/terraform | calls: ours | terraform |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    let mut counts = Vec::new();
    for size in [Size::Reference, Size::Quick] {
        let (mut samples, mut count) = (Samples::new(), None);
        for round in 0..rounds {
            // Who comes first is never the same one twice running.
            let order =
                if round % 2 == 0 { [Who::Ours, Who::Terraform] } else { [Who::Terraform, Who::Ours] };
            for who in order {
                if who == Who::Terraform && peer.is_none() {
                    continue;
                }
                eprintln!("{}, round {}: {who:?}", size.as_str(), round + 1);
                stand.reset().await?;
                match who {
                    Who::Ours => ours(program, &stand, size, &mut samples).await?,
                    Who::Terraform => count = Some(theirs(&stand, size, &mut samples).await?),
                }
            }
        }
        print(size, &samples);
        counts.extend(count.map(|count| format!("{}: {count}", size.as_str())));
    }
    if !counts.is_empty() {
        println!("\nResources as terraform counts them: {}.", counts.join(", "));
    }
    Ok(true)
}

/// Times some work and counts its calls.
async fn timed<T>(
    stand: &Stand,
    (work, who): (Work, Who),
    samples: &mut Samples,
    run: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let (calls, begun) = (stand.proxy.requests(), Instant::now());
    let done = run.await?;
    let sample = Sample { took: begun.elapsed(), calls: stand.proxy.requests() - calls };
    samples.entry((work, who)).or_default().push(sample);
    Ok(done)
}

async fn ours(program: &Path, stand: &Stand, size: Size, samples: &mut Samples) -> io::Result<()> {
    let ours = Ours::new(program, stand, size)?;
    let done = timed(stand, (Work::Apply, Who::Ours), samples, ours.deploy()).await?;
    done.or_error("deploy")?;
    let done = timed(stand, (Work::Plan, Who::Ours), samples, ours.plan()).await?;
    done.or_error("plan: there are differences")?;
    let done = timed(stand, (Work::Destroy, Who::Ours), samples, ours.destroy()).await?;
    done.or_error("destroy")?;
    Ok(())
}

/// Its destroy is not timed: it takes no protection off by itself.
async fn theirs(stand: &Stand, size: Size, samples: &mut Samples) -> io::Result<usize> {
    let terraform = Terraform::new(stand, size).await?;
    timed(stand, (Work::Apply, Who::Terraform), samples, terraform.apply()).await?;
    timed(stand, (Work::Plan, Who::Terraform), samples, terraform.plan()).await?;
    terraform.count().await
}

fn sorted(samples: &Samples, of: (Work, Who)) -> Option<Vec<f64>> {
    let mut all: Vec<f64> = samples.get(&of)?.iter().map(|sample| sample.took.as_secs_f64()).collect();
    all.sort_by(f64::total_cmp);
    (!all.is_empty()).then_some(all)
}

fn median(all: &[f64]) -> f64 {
    let middle = all.len() / 2;
    if all.len().is_multiple_of(2) { (all[middle - 1] + all[middle]) / 2.0 } else { all[middle] }
}

fn shown(samples: &Samples, of: (Work, Who)) -> String {
    sorted(samples, of).map_or_else(
        || "-".to_owned(),
        |all| format!("{:.1} ({:.1} to {:.1})", median(&all), all[0], all[all.len() - 1]),
    )
}

/// The least and the most that were made.
fn calls(samples: &Samples, of: (Work, Who)) -> String {
    let Some(all) = samples.get(&of) else { return "-".to_owned() };
    let calls = || all.iter().map(|sample| sample.calls);
    match (calls().min(), calls().max()) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "-".to_owned(),
    }
}

fn print(size: Size, samples: &Samples) {
    for work in [Work::Apply, Work::Plan, Work::Destroy] {
        let name = match work {
            Work::Apply => "apply",
            Work::Plan => "plan, nothing to do",
            Work::Destroy => "destroy",
        };
        let (ours, theirs) = ((work, Who::Ours), (work, Who::Terraform));
        let ratio = match (sorted(samples, ours), sorted(samples, theirs)) {
            (Some(ours), Some(theirs)) => format!("**1/{:.1}**", median(&theirs) / median(&ours)),
            _ => "-".to_owned(),
        };
        println!(
            "| {} | {name} | {} | {} | {ratio} | {} | {} |",
            size.as_str(),
            shown(samples, ours),
            shown(samples, theirs),
            calls(samples, ours),
            calls(samples, theirs),
        );
    }
}
