//! The conformance suite on the fake cloud.

use std::sync::Arc;

use vrooli_deploy_tests::conformance::{FakeCloudFixture, ProviderFixture, trials};

fn main() {
    let fixture: Arc<dyn ProviderFixture> = Arc::new(FakeCloudFixture);
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials(&fixture)).exit();
}
