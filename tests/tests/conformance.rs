//! The conformance suite on the fake cloud and on the real `local` provider, its servers run
//! from installed programs and in containers. The latter starts this program again as its
//! supervisor, edge and shims.

use std::process::ExitCode;
use std::sync::Arc;

use vrooli_deploy_tests::conformance::{FakeCloudFixture, LocalFixture, ProviderFixture, trials};

fn main() -> ExitCode {
    vrooli_deploy_providers::run_if_child(&vrooli_deploy_providers::registry());
    let fixtures: [(&str, Arc<dyn ProviderFixture>); 3] = [
        ("fakecloud", Arc::new(FakeCloudFixture)),
        ("local", Arc::new(LocalFixture::new())),
        ("local-containers", Arc::new(LocalFixture::in_containers())),
    ];
    let all = fixtures
        .iter()
        .flat_map(|(name, fixture)| trials(fixture).into_iter().map(|trial| trial.with_kind(*name)))
        .collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), all).exit_code()
}
