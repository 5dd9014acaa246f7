//! The deployment of the reference stack is killed, again and again, and run again until it ends.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use vrooli_deploy_tests::moto::census::Census;

use crate::LATENCY;
use crate::ours::{Ended, Ours, Size};
use crate::stand::Stand;

/// So many emulators, each with a deployment of its own, side by side.
const SIDE_BY_SIDE: u64 = 2;

/// What became of it.
#[derive(Debug, Default)]
struct Tally {
    /// How many kills are still to be dealt out.
    left: u64,
    kills: u64,
    deployments: u64,
    /// Those that were killed before they ended, at least once.
    killed: u64,
    most_kills: u64,
    failed_resumes: u64,
    perpetual: u64,
    twice: usize,
    orphans: usize,
    missing: usize,
    failed_destroys: u64,
    left_behind: usize,
}

/// Random moments, the same for the same seed (splitmix64, Steele, Lea and Flood 2014).
struct Moments(u64);

impl Moments {
    /// Somewhere within a time.
    fn within(&mut self, time: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        time.mul_f64((bits >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

pub(crate) async fn run(program: &Path, kills: u64, seed: u64) -> io::Result<bool> {
    let begun = Instant::now();
    let tally = Mutex::new(Tally { left: kills, ..Tally::default() });
    // Each has its own moments: which deployment takes how long does not move those of the other.
    let workers =
        (0..SIDE_BY_SIDE).map(|number| Box::pin(work(program, &tally, Moments(seed ^ (number << 32)))));
    let all = futures_util::future::try_join_all(workers).await?;
    let tally = tally.into_inner().map_err(|_| io::Error::other("a worker ended"))?;
    let undisturbed: Vec<String> = all.iter().map(|time| format!("{:.1} s", time.as_secs_f64())).collect();
    println!(
        "Reference stack, {} ms latency, {} deployments side by side, seed {seed}; undisturbed a deployment took {}. \
         All in {:.0} min.\n",
        LATENCY.as_millis(),
        SIDE_BY_SIDE,
        undisturbed.join(" and "),
        begun.elapsed().as_secs_f64() / 60.0
    );
    println!(
        "| SIGKILLs | deployments (killed) | most kills of one | orphans | duplicates | missing | failed resumes | \
         differences after | failed destroys | left after destroy |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    println!(
        "| {} | {} ({}) | {} | **{}** | **{}** | {} | **{}** | {} | {} | {} |",
        tally.kills,
        tally.deployments,
        tally.killed,
        tally.most_kills,
        tally.orphans,
        tally.twice,
        tally.missing,
        tally.failed_resumes,
        tally.perpetual,
        tally.failed_destroys,
        tally.left_behind,
    );
    let bad = tally.failed_resumes + tally.perpetual + tally.failed_destroys;
    let left = tally.twice + tally.orphans + tally.missing + tally.left_behind;
    Ok(bad == 0 && left == 0)
}

fn noted<T>(tally: &Mutex<Tally>, note: impl FnOnce(&mut Tally) -> T) -> T {
    note(&mut tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Deploys until all kills are dealt out; gives how long an undisturbed deployment took.
async fn work(program: &Path, tally: &Mutex<Tally>, mut moments: Moments) -> io::Result<Duration> {
    let stand = Stand::up().await?;
    stand.proxy.set_latency(LATENCY);
    let ours = Ours::new(program, &stand, Size::Reference)?;
    let begun = Instant::now();
    ours.deploy().await?.or_error("deploy, undisturbed")?;
    let undisturbed = begun.elapsed();
    let wanted = stand.census().await?;
    destroy(&stand, &ours, tally).await?;
    while noted(tally, |tally| tally.left > 0) {
        stand.reset().await?;
        let ours = Ours::new(program, &stand, Size::Reference)?;
        let (kills, ended) = until_it_ends(&ours, tally, &mut moments, undisturbed).await?;
        noted(tally, |tally| {
            tally.deployments += 1;
            tally.killed += u64::from(kills > 0);
            tally.most_kills = tally.most_kills.max(kills);
            tally.failed_resumes += u64::from(!ended.is_ok());
        });
        if !ended.is_ok() {
            eprintln!("after {kills} kills: {}\n{}", ended.result, ended.said);
        }
        count(&stand, &wanted, tally).await?;
        let plan = ours.plan().await?;
        if !plan.is_ok() {
            eprintln!("differences after {kills} kills: {}\n{}", plan.result, plan.said);
            noted(tally, |tally| tally.perpetual += 1);
        }
        destroy(&stand, &ours, tally).await?;
        let (kills, deployments) = noted(tally, |tally| (tally.kills, tally.deployments));
        eprintln!("{kills} kills, {deployments} deployments");
    }
    Ok(undisturbed)
}

/// Runs the same command until it ends before it is killed; gives how often it was killed.
async fn until_it_ends(
    ours: &Ours<'_>,
    tally: &Mutex<Tally>,
    moments: &mut Moments,
    undisturbed: Duration,
) -> io::Result<(u64, Ended)> {
    let mut kills = 0;
    loop {
        let mut running = ours.deploying()?;
        let is_to_die = noted(tally, |tally| {
            let is_to_die = tally.left > 0;
            tally.left -= u64::from(is_to_die);
            is_to_die
        });
        if is_to_die {
            let moment = moments.within(undisturbed);
            let ended = tokio::time::timeout(moment, running.wait()).await;
            if ended.is_err() {
                // SIGKILL; a run that ended in this very moment is not one that was killed.
                running.start_kill()?;
                let was_killed = running.wait().await?.code().is_none();
                noted(tally, |tally| {
                    tally.kills += u64::from(was_killed);
                    tally.left += u64::from(!was_killed);
                });
                kills += u64::from(was_killed);
                if was_killed {
                    continue;
                }
            } else {
                noted(tally, |tally| tally.left += 1);
            }
        }
        return Ok((kills, ours.ended(running).await?));
    }
}

/// Holds what is there against what an undisturbed deployment made.
async fn count(stand: &Stand, wanted: &Census, tally: &Mutex<Tally>) -> io::Result<()> {
    let difference = stand.census().await?.against(wanted);
    if !difference.is_none() {
        eprintln!("not as it should be: {difference:?}");
    }
    noted(tally, |tally| {
        tally.twice += difference.twice.len();
        tally.orphans += difference.orphans();
        tally.missing += difference.missing();
    });
    Ok(())
}

async fn destroy(stand: &Stand, ours: &Ours<'_>, tally: &Mutex<Tally>) -> io::Result<()> {
    let ended = ours.destroy().await?;
    if !ended.is_ok() {
        eprintln!("destroy: {}\n{}", ended.result, ended.said);
    }
    let left = stand.census().await?.against(&stand.fresh);
    if !left.is_none() {
        eprintln!("left after destroy: {left:?}");
    }
    noted(tally, |tally| {
        tally.failed_destroys += u64::from(!ended.is_ok());
        tally.left_behind += left.too_many.values().sum::<usize>() + left.missing();
    });
    Ok(())
}
