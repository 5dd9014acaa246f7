//! What the lifecycle tells a process: that it is managed, and its ports.

use std::env;
use std::net::{IpAddr, Ipv4Addr};

/// Refuses to start outside the lifecycle, which owns ports and data.
pub fn require_lifecycle() -> Result<(), String> {
    match env::var("VROOLI_LIFECYCLE_MANAGED").as_deref() {
        Ok("true") => Ok(()),
        _ => Err(
            "this program is started by the Vrooli lifecycle, which gives it ports and data.\n\
                  Deploy the scenario, or set VROOLI_LIFECYCLE_MANAGED=true to start it by hand."
                .to_owned(),
        ),
    }
}

/// Reads a port. `0` lets the system choose one, which is then printed.
pub fn port(name: &str) -> Result<u16, String> {
    let text =
        env::var(name).map_err(|_| format!("{name} is not set: it says which port to use"))?;
    text.parse()
        .map_err(|_| format!("{name} is `{text}`, which is not a port"))
}

/// Reads the address to listen on: this machine's own unless `HOST` says another. In a container it does,
/// because there everybody comes from outside.
pub fn address() -> Result<IpAddr, String> {
    match env::var("HOST") {
        Err(_) => Ok(Ipv4Addr::LOCALHOST.into()),
        Ok(text) => text
            .parse()
            .map_err(|_| format!("HOST is `{text}`, which is not an address to listen on")),
    }
}
