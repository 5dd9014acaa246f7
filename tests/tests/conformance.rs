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
    let [server, other] = bare_metal::BareMetalFixture::two();
    let fixtures: [(&str, Arc<dyn ProviderFixture>); 6] = [
        ("fakecloud", Arc::new(FakeCloudFixture)),
        ("local", Arc::new(LocalFixture::new())),
        ("local in process", Arc::new(LocalFixture::in_process())),
        ("bare-metal", Arc::new(server)),
        ("bare-metal", Arc::new(other)),
        ("local in containers", Arc::new(LocalFixture::in_containers())),
    ];
    let mut of_each: Vec<_> = fixtures
        .iter()
        .map(|(name, fixture)| trials(fixture).into_iter().map(|trial| trial.with_kind(*name)))
        .collect();
    // Those that take turns are not beside each other, or the one would wait for the other.
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(of_each.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            break;
        }
    }
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), all).exit_code()
}
