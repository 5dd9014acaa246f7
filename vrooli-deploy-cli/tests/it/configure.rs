//! What was configured is read where it is needed.

use crate::script::Place;

const APP: &str = "schema_version: v0.1
target: saas
provider: digitalocean
app: {name: shop}
secrets:
  PAY_KEY: {from: {vault: {path: apps/shop, key: pay}}}
";

#[test]
fn vault_is_where_the_shell_says_else_where_it_was_configured() {
    let place = Place::new();
    std::fs::write(place.dir().join("app.yaml"), APP).unwrap();
    let run = |words: &[&str], variable: Option<&str>| {
        let mut program = place.program();
        program.env("VAULT_TOKEN", "planted-token").args(words);
        if let Some(address) = variable {
            program.env("VAULT_ADDR", address);
        }
        let output = program.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let validate = ["secrets", "validate", "app.yaml"];
    // Nothing listens on these ports: below 1024, and of no service that anybody runs.
    let nowhere = run(&validate, None);
    assert!(nowhere.contains("VD0827") && nowhere.contains("configure vault_addr"), "{nowhere}");
    run(&["configure", "vault_addr", "http://127.0.0.1:1"], None);
    let configured = run(&validate, None);
    assert!(configured.contains("Vault at http://127.0.0.1:1 cannot be used"), "{configured}");
    let shell = run(&validate, Some("http://127.0.0.1:2"));
    assert!(shell.contains("Vault at http://127.0.0.1:2 cannot be used"), "{shell}");
    let shown = run(&["configure", "vault_addr", "--show"], Some("http://127.0.0.1:2"));
    assert!(
        shown.contains("environment variable VAULT_ADDR (the configured value, version 1, is not read)"),
        "{shown}"
    );
    assert!(!shown.contains("http://"), "never a value: {shown}");
}
