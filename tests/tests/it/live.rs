//! What costs money is run by nobody who did not mean it.

use std::process::Command;

#[test]
fn the_live_suite_of_aws_makes_nothing_unless_somebody_says_so() {
    let suite = || {
        let mut suite = Command::new(env!("CARGO_BIN_EXE_live-aws"));
        // Nothing that would answer: whatever it asked would fail.
        suite.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").args(["/no/such/program", "us-east-1", "100"]);
        suite
    };
    for other in [None, Some("1"), Some("")] {
        let mut suite = suite();
        match other {
            Some(word) => suite.env("VROOLI_DEPLOY_LIVE", word),
            None => suite.env_remove("VROOLI_DEPLOY_LIVE"),
        };
        let ended = suite.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.starts_with("skipped: "), "{other:?}: {ended:?}");
    }
    // And one that is meant says what is wrong.
    let ended = suite().env("VROOLI_DEPLOY_LIVE", "aws").output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}
