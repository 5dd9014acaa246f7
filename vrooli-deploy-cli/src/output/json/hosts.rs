use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::errors::Failure;

/// A server of the user's own.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct HostLine {
    /// What it is called.
    pub(crate) host: String,
    /// `app`, `database` or `cache`.
    pub(crate) role: String,
    /// `manifest` or `added`.
    pub(crate) from: String,
    /// What it is, where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) facts: Option<HostFactsLine>,
    /// Why it could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Failure>,
}

/// What a server is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct HostFactsLine {
    /// What it calls itself.
    pub(crate) name: String,
    /// Who we log in as.
    pub(crate) user: String,
    /// How we can be root: `login`, `sudo` or `none`.
    pub(crate) root: String,
    /// `debian`, `ubuntu`, …
    pub(crate) os: String,
    /// `12`, `24.04`.
    pub(crate) os_version: String,
    /// As the system calls itself.
    pub(crate) os_name: String,
    /// `x86_64`, `aarch64`.
    pub(crate) architecture: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The version of the GNU C library; absent: another library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) glibc: Option<String>,
    /// The version of systemd; absent: something else is process 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) systemd: Option<u32>,
    /// Processors.
    pub(crate) cpus: u32,
    /// Memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// Memory that could be had, in bytes.
    pub(crate) memory_free_bytes: u64,
    /// Swap, in bytes.
    pub(crate) swap_bytes: u64,
    /// The file system for our data, in bytes.
    pub(crate) disk_bytes: u64,
    /// What is free there, in bytes.
    pub(crate) disk_free_bytes: u64,
    /// Where it is mounted.
    pub(crate) disk_mount: String,
    /// Its addresses.
    pub(crate) addresses: Vec<String>,
    /// Does something keep its clock right?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock_synchronized: Option<bool>,
}

/// A check of `preflight`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PreflightLine {
    /// The app.
    pub(crate) app: String,
    /// Its environment.
    pub(crate) environment: String,
    /// The server; absent: it is about the app as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// What was checked: `ports_80_443`, `disk_free`, …
    pub(crate) id: String,
    /// `pass`, `warn` or `fail`.
    pub(crate) status: String,
    /// What was seen.
    pub(crate) details: String,
    /// What to do, unless it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// What it was seen by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) data: BTreeMap<String, String>,
}
