//! A scenario as Vrooli really writes them: Go API, Node UI, PostgreSQL, local packages.

use crate::bench::{Bench, copy, program};

#[test]
fn guest_book_is_built_deployed_and_keeps_its_guests() {
    for tool in ["go", "node", "npm"] {
        if !program(tool) {
            eprintln!("skipped: the guest book needs `{tool}`, which is not on the PATH");
            return;
        }
    }
    let bench = Bench::new();
    let repository = bench.folder().join("repository");
    copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vrooli"), &repository);
    let app = repository.join("scenarios/guest-book");
    let path = app.to_str().unwrap();
    let ran = bench.run(&["deploy", path]);
    if ran.value.to_string().contains("initdb") && ran.code != Some(0) {
        eprintln!("skipped: the guest book needs PostgreSQL's server programs, which are not installed");
        return;
    }
    let report = ran.expect(0);
    let url = report["urls"][0].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&url, "/").unwrap().0, 200);
    let (status, guests) = bench.get(&url, "/api/guests").unwrap();
    assert_eq!(status, 200, "{guests}");
    let count = serde_json::from_str::<serde_json::Value>(&guests).unwrap();

    // Again: nothing is seeded twice, and nothing is built that did not change.
    assert_eq!(bench.run(&["deploy", path]).expect(0)["kind"], "no_change");
    bench.run(&["deploy", path, "--force"]).expect(0);
    let again: serde_json::Value = serde_json::from_str(&bench.get(&url, "/api/guests").unwrap().1).unwrap();
    assert_eq!(again, count);

    bench.run(&["destroy", path, "--data", "guest-book"]).expect(0);
    bench.expect_no_process();
}
