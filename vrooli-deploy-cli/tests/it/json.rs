//! `--json` is the same for every command: one object a line, the last a result.

use serde_json::Value;

use crate::script::Place;

#[test]
fn every_command_ends_with_a_result_line_that_says_the_exit_code() {
    let place = Place::new();
    for arguments in [
        vec!["list"],
        vec!["explain"],
        vec!["explain", "VD0101"],
        vec!["explain", "VD9999"],
        vec!["completions", "zsh"],
        vec!["man"],
        vec!["manifest", "schema"],
        vec!["manifest", "show", "nowhere"],
        vec!["manifest", "validate", "nowhere"],
        vec!["fitness", "nowhere"],
        vec!["swaps", "list"],
        vec!["swaps", "analyze", "nowhere", "a", "b"],
        vec!["status", "nowhere"],
        vec!["up", "nowhere"],
        vec!["destroy", "nowhere", "--data"],
        vec!["deploy", "nowhere", "--plan", "nowhere.json"],
        vec!["secrets", "identify", "nowhere"],
        vec!["secrets", "template", "nowhere", "--format", "vault"],
        vec!["secrets", "validate", "nowhere"],
        vec!["secrets", "generate", "nowhere"],
        vec!["secrets", "set", "nowhere", "X", "y"],
        vec!["secrets", "set", "nowhere", "X", "--y"],
        vec!["secrets", "list", "nowhere"],
        vec!["secrets", "rotate", "nowhere", "X"],
        vec!["validate", "nowhere"],
        vec!["preflight", "nowhere"],
        vec!["drift", "nowhere"],
        vec!["state", "rebuild", "nowhere"],
        vec!["state", "rebuild", "nowhere", "--take-over"],
        vec!["backups", "list", "nowhere"],
        vec!["backups", "restore", "nowhere", "x", "--data"],
        vec!["hosts", "list"],
        vec!["hosts", "check"],
        vec!["hosts", "add", "nowhere.invalid"],
        vec!["hosts", "add", "-x"],
        vec!["swaps", "apply", "nowhere", "--swap", "a=b"],
        vec!["up", "--bogus"],
        vec!["nonsense"],
        vec![],
    ] {
        let output = place.program().arg("--json").args(&arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {line}")))
            .collect();
        let (last, rest) = lines.split_last().unwrap_or_else(|| panic!("{arguments:?} prints nothing"));
        assert_eq!(last["type"], "result", "{arguments:?}");
        assert_eq!(last["version"], 1, "{arguments:?}");
        assert_eq!(last["exit_code"], output.status.code().unwrap(), "{arguments:?}");
        assert_eq!(last["error"].is_null(), output.status.success(), "{arguments:?}: {last}");
        assert!(
            rest.iter().all(|line| line["type"].is_string() && line["type"] != "result"),
            "{arguments:?}"
        );
    }
}

#[test]
fn what_only_prints_makes_no_state() {
    let place = Place::new();
    for arguments in [
        vec!["--version"],
        vec!["--help"],
        vec!["explain"],
        vec!["manifest", "schema"],
        vec!["man"],
        vec!["swaps", "list"],
    ] {
        assert!(place.program().args(&arguments).output().unwrap().status.success(), "{arguments:?}");
        assert!(!place.state().exists(), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let place = Place::new();
    let mut child = place
        .program()
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    assert!(output.status.code().is_some());
}
