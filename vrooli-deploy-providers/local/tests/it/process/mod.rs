//! Supervisor, shims and units, as real processes.

mod folders;
mod killed;
mod ordinary_user;
mod protocol;
mod secrets;
mod units;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::world::World;

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let mut trials = Vec::new();
    trials.extend(units::trials());
    trials.extend(killed::trials());
    trials.extend(folders::trials());
    trials.extend(secrets::trials());
    trials.extend(protocol::trials());
    trials.extend(ordinary_user::trials());
    trials
}

const SLEEP: &str = "exec sleep 1000";

/// Speaks to the supervisor without the client.
fn say(world: &World, socket: &str, lines: &[&str]) -> Vec<serde_json::Value> {
    let mut stream = UnixStream::connect(world.layout.run().join(socket)).unwrap();
    for line in lines {
        // It may have hung up after the one before.
        let _ = stream.write_all(line.as_bytes());
        let _ = stream.write_all(b"\n");
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

const HELLO: &str = r#"{"request":"hello","protocol":1,"version":"0.0.1"}"#;
