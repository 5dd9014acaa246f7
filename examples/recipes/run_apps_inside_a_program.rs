//! Run apps inside a program of your own: they end with it, and nothing outlives it.
//!
//! ```text
//! cargo run -p vrooli-deploy-examples --example run_apps_inside_a_program [PATH]
//! ```
//! A desktop program, a test harness, a kiosk: supervisor and proxy are threads of this
//! program, the app is its child. No `run_if_child`, no daemon. However the program ends, by
//! `kill -9` too, the app ends with it; the next run brings it back.
#![allow(clippy::print_stdout)]

use vrooli_deploy_core::workspace::{
    DeployOptions, DestroyOptions, Run, TargetOptions, Workspace, WorkspaceOptions,
};
use vrooli_deploy_providers::local::LocalFactory;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/picker-wheel").to_owned());
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");

    tokio::runtime::Runtime::new()?.block_on(async {
        // The first run of the program.
        let here = LocalFactory::new().in_process();
        let workspace = open(&state, &here).await?;
        let app = workspace.resolve(&path, &TargetOptions::default()).await?;
        let deployed = workspace.deploy(&app, &DeployOptions::default(), &Run::new()).await?.apply().await?;
        println!("{:?}: {}", deployed.outcome.kind, deployed.urls.join(" "));
        let serving = workspace.status(&app.stack).await?;
        println!("inside process {}: {:?}", std::process::id(), serving.summary.health);

        // Its end: each app gets its own grace. A program that is killed needs no such call.
        here.shutdown().await;
        let ended = workspace.status(&app.stack).await?;
        println!("after the end: {:?}", ended.summary.health);

        // The next run: what was served is served again, at the same address.
        let here = LocalFactory::new().in_process();
        let workspace = open(&state, &here).await?;
        let back = workspace.resume(&app.stack, &Run::new()).await?;
        println!("again: {}", back.urls.join(" "));
        if back.urls != deployed.urls {
            return Err("it came back elsewhere".into());
        }

        let mut everything = DestroyOptions::default();
        everything.data = Some(app.stack.app.to_string());
        let gone = workspace.destroy(&app.stack, &everything, &Run::new()).await?.apply().await?;
        println!("destroyed: {:?}", gone.outcome.kind);
        here.shutdown().await;
        Ok(())
    })
}

async fn open(state: &std::path::Path, here: &LocalFactory) -> Result<Workspace, Failure> {
    let registry = vrooli_deploy_providers::registry_with_local(here.clone());
    Ok(Workspace::open(WorkspaceOptions::new(state), registry).await?)
}
