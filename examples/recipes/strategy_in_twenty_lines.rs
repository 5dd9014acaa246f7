//! Another way for one release to follow the other, in twenty lines.
//!
//! ```text
//! cargo run -p vrooli-deploy-examples --example strategy_in_twenty_lines
//! ```
//! Deploys a small app with it, changes it, prints the steps that the strategy makes of
//! that, and destroys it. State lies in a temporary folder.
#![allow(clippy::print_stdout)]

use vrooli_deploy_core::engine::{EngineHooks, OutcomeKind};
use vrooli_deploy_core::manifest::Overlap;
use vrooli_deploy_core::plan::Step;
use vrooli_deploy_core::provider::Routing;
use vrooli_deploy_core::release::strategy::{Situation, StepGraph, Strategies, Strategy, StrategyError};
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, Run, TargetOptions, Workspace, WorkspaceOptions,
};

/// A tenth of the traffic first, where the fleet can split it; the rest after the smoke tests.
#[derive(Debug)]
struct TenthFirst;

impl Strategy for TenthFirst {
    fn name(&self) -> &'static str {
        "tenth-first"
    }

    fn steps(&self, situation: &Situation<'_>) -> Result<Vec<Step>, StrategyError> {
        let next = situation.next.number;
        let mut graph = StepGraph::new(situation).prepare().start(Overlap::Allowed).smoke(false);
        if let Some(current) = situation.current.filter(|_| situation.fleet.weights) {
            let weights = [(current.number, 90), (next, 10)].into();
            graph = graph.shift(Routing { weights, ..Routing::default() });
        }
        Ok(graph.smoke(true).watch().shift(Routing::all_to(next)).hand_over().commit().retire().done())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = vrooli_deploy_providers::registry();
    vrooli_deploy_providers::run_if_child(&registry);

    let folder = tempfile::tempdir()?;
    let manifest = folder.path().join("app.yaml");
    let write = |seconds: u32| {
        let text = format!(
            "schema_version: v0.1\ntarget: local\nprovider: local\napp: {{ name: sleeper }}\n\
             services: {{ loop: {{ run: [sleep, \"{seconds}\"] }} }}\n"
        );
        std::fs::write(&manifest, text)
    };
    let place = WorkspaceOptions::new(folder.path().join("state"));
    let mut options = DeployOptions::default();
    options.strategy = Some(TenthFirst.name().to_owned());

    tokio::runtime::Runtime::new()?.block_on(async {
        let strategies = Strategies::default().with(TenthFirst);
        let workspace = Workspace::open_with(place, registry, strategies, EngineHooks::default()).await?;
        let mut outcomes = Vec::new();
        for seconds in [600, 700] {
            write(seconds)?;
            let app = workspace.resolve(&manifest.display().to_string(), &TargetOptions::default()).await?;
            let change = workspace.deploy(&app, &options, &Run::new()).await?;
            println!("{}", change.plan().release.as_ref().map_or_else(String::new, |r| r.number.to_string()));
            for step in &change.plan().steps {
                println!("  {}", step.id);
            }
            outcomes.push(change.apply().await?.outcome.kind);
        }
        let app = workspace.resolve("sleeper", &TargetOptions::default()).await?;
        let gone =
            workspace.destroy(&app.stack, &DestroyOptions::default(), &Run::new()).await?.apply().await?;
        outcomes.push(gone.outcome.kind);
        if outcomes.iter().all(|kind| *kind == OutcomeKind::Applied) {
            Ok(())
        } else {
            Err(format!("not all was applied: {outcomes:?}").into())
        }
    })
}
