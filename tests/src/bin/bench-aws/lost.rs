//! The answer to every create is lost once: it took effect, and nobody heard of it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Instant;

use vrooli_deploy_tests::fault_proxy::Fault;
use vrooli_deploy_tests::moto::wire::{action, creates};

use crate::LATENCY;
use crate::ours::{Ours, Size};
use crate::stand::Stand;

/// So often the command is run again at most.
const RUNS: u32 = 5;

pub(crate) async fn run(program: &Path) -> io::Result<bool> {
    let stand = Stand::up().await?;
    let ours = Ours::new(program, &stand, Size::Reference)?;
    ours.deploy().await?.or_error("deploy, undisturbed")?;
    let wanted = stand.census().await?;

    stand.reset().await?;
    let ours = Ours::new(program, &stand, Size::Reference)?;
    stand.proxy.set_latency(LATENCY);
    let mut lost = BTreeSet::new();
    stand.proxy.break_when(move |request| {
        (creates(request) && lost.insert((action(request), request.body.clone()))).then_some(Fault::LostReply)
    });
    let begun = Instant::now();
    let mut runs = 0;
    let ended = loop {
        runs += 1;
        let ended = ours.deploy().await?;
        if ended.is_ok() || runs == RUNS {
            break ended;
        }
        eprintln!("run {runs}: {}\n{}", ended.result, ended.said);
    };
    let took = begun.elapsed();
    let broken = stand.proxy.broken();
    stand.proxy.mend();
    if !ended.is_ok() {
        eprintln!("{}\n{}", ended.result, ended.said);
    }
    let plan = ours.plan().await?;
    if !plan.is_ok() {
        eprintln!("differences: {}\n{}", plan.result, plan.said);
    }
    let difference = stand.census().await?.against(&wanted);
    if !difference.is_none() {
        eprintln!("not as it should be: {difference:?}");
    }
    println!(
        "Reference stack, {} ms latency, the answer to every create lost once after it took effect.\n",
        LATENCY.as_millis()
    );
    println!(
        "| answers lost | runs until it ended | s | orphans | duplicates | missing | outcome | differences after |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---|---:|");
    println!(
        "| {broken} | {runs} | {:.1} | **{}** | **{}** | {} | {} | {} |",
        took.as_secs_f64(),
        difference.orphans(),
        difference.twice.len(),
        difference.missing(),
        ended.result["outcome"].as_str().unwrap_or("?"),
        u32::from(!plan.is_ok()),
    );
    Ok(ended.is_ok() && plan.is_ok() && difference.is_none())
}
