//! The conformance suite on the fake cloud and on the real `local` provider: with processes
//! that outlive the program (they are this program, started again), inside it, and with its
//! servers in containers.

use std::process::ExitCode;
use std::sync::Arc;

use vrooli_deploy_tests::conformance::{FakeCloudFixture, LocalFixture, ProviderFixture, trials};

fn main() -> ExitCode {
    vrooli_deploy_providers::run_if_child(&vrooli_deploy_providers::registry());
    let fixtures: [(&str, Arc<dyn ProviderFixture>); 4] = [
        ("fakecloud", Arc::new(FakeCloudFixture)),
        ("local", Arc::new(LocalFixture::new())),
        ("local in process", Arc::new(LocalFixture::in_process())),
        ("local in containers", Arc::new(LocalFixture::in_containers())),
    ];
    let all = fixtures
        .iter()
        .flat_map(|(name, fixture)| trials(fixture).into_iter().map(|trial| trial.with_kind(*name)))
        .collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), all).exit_code()
}
