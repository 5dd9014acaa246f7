//! What a host is: read in one round trip, as who we log in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::HostName;
use crate::remote::{Phase, PhaseOutput, RemoteError};

/// The script; see [`phase`].
pub(crate) const SCRIPT: &str = include_str!("scripts/facts.sh");

/// How we can be root on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// We log in as root.
    Login,
    /// By `sudo`, without a password.
    Sudo,
    /// Not at all.
    None,
}

/// What a program must be made for to run on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// As `uname -m` says: `x86_64`, `aarch64`.
    pub architecture: String,
    /// The version of its GNU C library; none: another library.
    pub glibc: Option<String>,
}

impl HostFacts {
    /// What a program must be made for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        Machine { architecture: self.architecture.clone(), glibc: self.glibc.clone() }
    }
}

/// What a host is. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct HostFacts {
    /// What it calls itself.
    pub name: String,
    /// Who we log in as.
    pub user: String,
    /// How we can be root.
    pub root: Root,
    /// Why not, in the words of `sudo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_why: Option<String>,
    /// The machine, as `uname -m` says: `x86_64`, `aarch64`.
    pub architecture: String,
    /// The kernel's release.
    pub kernel: String,
    /// `debian`, `ubuntu`, …
    pub os: String,
    /// `12`, `24.04`.
    pub os_version: String,
    /// As the system calls itself.
    pub os_name: String,
    /// The version of its GNU C library; none: another library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glibc: Option<String>,
    /// The version of systemd; none: something else is process 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd: Option<u32>,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory: u64,
    /// Memory that could be had now.
    pub memory_free: u64,
    /// Swap.
    pub swap: u64,
    /// The file system that our data are on, or would be.
    pub disk: u64,
    /// What is free there.
    pub disk_free: u64,
    /// Where it is mounted.
    pub disk_mount: String,
    /// Its addresses, as it sees them.
    pub addresses: Vec<String>,
    /// Its clock, in seconds since 1970.
    pub clock: f64,
    /// Does something keep its clock right? None: nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronized: Option<bool>,
    /// The id of its boot.
    pub boot: String,
    /// The id of its installation.
    pub machine: String,
}

/// The phase that asks for facts.
#[must_use]
pub fn phase() -> Phase {
    Phase::new("facts", SCRIPT)
}

/// What the phase printed.
///
/// # Errors
/// [`RemoteError::Unreadable`] with what is missing or wrong.
pub fn read(host: &HostName, output: &PhaseOutput) -> Result<HostFacts, RemoteError> {
    facts(&Lines::new(&output.stdout)).map_err(|words| RemoteError::Unreadable {
        host: host.clone(),
        phase: "facts",
        words,
    })
}

/// Lines of a name, a tab, and a value; a name may come more than once.
#[derive(Debug)]
pub(crate) struct Lines<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut lines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(|line| line.split_once('\t')) {
            lines.entry(name).or_default().push(value.trim());
        }
        Self(lines)
    }

    /// The value of a name, if it has one that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.all(name).find(|value| !value.is_empty())
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.get(name).into_iter().flatten().copied()
    }

    fn text(&self, name: &str) -> Result<String, String> {
        self.get(name).map(ToOwned::to_owned).ok_or_else(|| format!("it does not say `{name}`"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("`{text}` is no `{name}`"))
    }

    fn kib(&self, name: &str) -> Result<u64, String> {
        Ok(self.number::<u64>(name)?.saturating_mul(1024))
    }
}

pub(crate) fn facts(lines: &Lines<'_>) -> Result<HostFacts, String> {
    let mut addresses: Vec<String> = lines.all("address").map(ToOwned::to_owned).collect();
    addresses.sort();
    addresses.dedup();
    Ok(HostFacts {
        name: lines.text("name")?,
        user: lines.text("user")?,
        root: match lines.get("root") {
            Some("login") => Root::Login,
            Some("sudo") => Root::Sudo,
            _ => Root::None,
        },
        root_why: lines.get("root_why").map(ToOwned::to_owned),
        architecture: lines.text("architecture")?,
        kernel: lines.text("kernel")?,
        os: lines.get("os_id").unwrap_or("unknown").to_owned(),
        os_version: lines.get("os_version").unwrap_or_default().to_owned(),
        os_name: lines.get("os_name").unwrap_or("unknown").to_owned(),
        glibc: lines.get("glibc").map(ToOwned::to_owned),
        systemd: lines.get("systemd").and_then(|version| version.parse().ok()),
        cpus: lines.number("cpus").unwrap_or(1),
        memory: lines.kib("memory_kib")?,
        memory_free: lines.kib("memory_free_kib").unwrap_or(0),
        swap: lines.kib("swap_kib").unwrap_or(0),
        disk: lines.kib("disk_kib")?,
        disk_free: lines.kib("disk_free_kib")?,
        disk_mount: lines.text("disk_mount")?,
        addresses,
        clock: lines.number("clock")?,
        clock_synchronized: match lines.get("synchronized") {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            _ => None,
        },
        boot: lines.get("boot").unwrap_or_default().to_owned(),
        machine: lines.get("machine").unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
pub(crate) const SAMPLE: &str = "clock\t1795000000.250000000
user\tdeploy
uid\t1000
name\tweb1
kernel\t6.1.0-40-amd64
architecture\tx86_64
os_id\tdebian
os_version\t12
os_name\tDebian GNU/Linux 12 (bookworm)
glibc\t2.36
systemd\t252
cpus\t2
memory_kib\t2048000
memory_free_kib\t1024000
swap_kib\t0
disk_kib\t20971520
disk_free_kib\t10485760
disk_mount\t/
boot\tb
machine\tm
synchronized\tyes
address\t10.0.0.1
address\t10.0.0.1
root\tsudo
";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn facts_are_read() {
        let host = HostName::new("web1").unwrap();
        let facts = read(&host, &PhaseOutput::new(SAMPLE, Duration::ZERO)).unwrap();
        assert_eq!(facts.memory, 2_097_152_000);
        assert_eq!(facts.disk_free, 10 << 30);
        assert_eq!(facts.root, Root::Sudo);
        assert_eq!(facts.systemd, Some(252));
        assert_eq!(facts.addresses, ["10.0.0.1"]);
        assert_eq!(facts.clock_synchronized, Some(true));
    }

    #[test]
    fn what_lacks_or_is_no_number_is_said() {
        let host = HostName::new("web1").unwrap();
        let said = |text: &str| read(&host, &PhaseOutput::new(text, Duration::ZERO)).unwrap_err().to_string();
        assert!(said("").contains("does not say `name`"));
        let odd = SAMPLE.replace("20971520", "much");
        assert!(said(&odd).contains("`much` is no `disk_kib`"), "{}", said(&odd));
    }
}
