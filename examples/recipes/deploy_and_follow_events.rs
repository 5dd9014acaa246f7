//! Deploy a scenario from a Rust program and follow what happens.
//!
//! ```text
//! cargo run -p vrooli-deploy-examples --example deploy_and_follow_events [PATH]
//! ```
//! Without a path it deploys the example. State lies in a temporary folder; at the end
//! everything is destroyed, so nothing is left.
#![allow(clippy::print_stdout)]

use vrooli_deploy_core::engine::{Event, EventStream, OutcomeKind};
use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, Run, TargetOptions, Workspace, WorkspaceOptions,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let registry = vrooli_deploy_providers::registry();
    // Supervisor and proxy are this program, too: started as one of them, it does not come back.
    vrooli_deploy_providers::run_if_child(&registry);

    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/picker-wheel").to_owned());
    let folder = tempfile::tempdir()?;
    let options = WorkspaceOptions::new(folder.path().join("state"));

    tokio::runtime::Runtime::new()?.block_on(async {
        let workspace = Workspace::open(options, registry).await?;
        let app = workspace.resolve(&path, &TargetOptions::default()).await?;

        let (sink, mut events) = EventStream::channel();
        let follow = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                show(&event);
            }
        });
        let mut run = Run::new();
        run.events = sink;

        // Planned, and the app's lease is held: look at it, then apply it or drop it.
        let change = workspace.deploy(&app, &DeployOptions::default(), &run).await?;
        println!("{} steps, plan {}", change.plan().steps.len(), change.plan().digest.short());
        let report = change.apply().await?;
        drop(run); // the stream ends when nobody can send any more
        follow.await?;
        println!("{:?}: {}", report.outcome.kind, report.urls.join(" "));

        let mut everything = DestroyOptions::default();
        everything.data = Some(app.stack.app.to_string());
        let gone = workspace.destroy(&app.stack, &everything, &Run::new()).await?.apply().await?;
        println!("destroyed: {:?}", gone.outcome.kind);

        match (report.outcome.kind, gone.outcome.kind) {
            (OutcomeKind::Applied, OutcomeKind::Applied) => Ok(()),
            (deployed, destroyed) => Err(format!("deployed: {deployed:?}, destroyed: {destroyed:?}").into()),
        }
    })
}

fn show(event: &Event) {
    match event {
        Event::StepStarted { title, .. } => println!("  … {title}"),
        Event::StepSucceeded { step, millis } => println!("  ✓ {step} in {millis} ms"),
        Event::StepFailed { step, failure } => println!("  ✗ {step}: {}", failure.message),
        Event::StepOutput { line, .. } => println!("      {line}"),
        _ => {}
    }
}
