//! The conformance suite on the fake cloud and on the real `local` provider: with processes
//! that outlive the program (they are this program, started again), inside it, and with its
//! servers in containers. And on a real server over SSH, where one can be made.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the host of a test says what went wrong by panicking, and what is skipped by printing"
)]

#[path = "conformance_on/bare_metal.rs"]
mod bare_metal;
#[path = "../../vrooli-deploy-providers/bare-metal/tests/it/rig.rs"]
mod rig;

use std::process::ExitCode;
use std::sync::Arc;

use vrooli_deploy_tests::conformance::{FakeCloudFixture, LocalFixture, ProviderFixture, trials};

fn main() -> ExitCode {
    vrooli_deploy_providers::run_if_child(&vrooli_deploy_providers::registry());
    let fixtures: [(&str, Arc<dyn ProviderFixture>); 5] = [
        ("fakecloud", Arc::new(FakeCloudFixture)),
        ("local", Arc::new(LocalFixture::new())),
        ("local in process", Arc::new(LocalFixture::in_process())),
        ("bare-metal", Arc::new(bare_metal::BareMetalFixture::new())),
        ("local in containers", Arc::new(LocalFixture::in_containers())),
    ];
    let all = fixtures
        .iter()
        .flat_map(|(name, fixture)| trials(fixture).into_iter().map(|trial| trial.with_kind(*name)))
        .collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), all).exit_code()
}
