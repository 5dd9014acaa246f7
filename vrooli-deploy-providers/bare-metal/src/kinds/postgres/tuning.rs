//! How a PostgreSQL server is tuned to its machine, from dated rules.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// What is known about PostgreSQL on a server.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Knowledge {
    /// Packages that bring it.
    pub(crate) packages: Vec<String>,
    /// The role that an app uses.
    pub(crate) role: String,
    share_percent: Places,
    shared_buffers_percent: u64,
    shared_buffers_step_mib: u64,
    effective_cache_percent: u64,
    maintenance_divisor: u64,
    maintenance_most_mib: u64,
    pub(crate) max_connections: Places,
    work_divisor: u64,
    work_least_kib: u64,
    settings: Vec<(String, String)>,
    /// Packages of extensions that do not come with the server.
    pub(crate) extension_packages: BTreeMap<String, String>,
}

/// A figure for a server of its own, and for one beside the app.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(crate) struct Places {
    alone: u64,
    beside: u64,
}

impl Places {
    pub(crate) fn of(self, alone: bool) -> u64 {
        if alone { self.alone } else { self.beside }
    }
}

pub(crate) static KNOWN: LazyLock<Knowledge> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../data/postgres.json")).unwrap_or_default());

const MIB: u64 = 1024 * 1024;

/// Settings for a machine with so many bytes of memory. Rounded, so that a kernel that keeps a little
/// more for itself changes none.
pub(crate) fn settings(memory: u64, alone: bool) -> Vec<(String, String)> {
    let known = &*KNOWN;
    let step =
        |mib: u64| (mib / known.shared_buffers_step_mib.max(1)).max(1) * known.shared_buffers_step_mib.max(1);
    // Machines come in steps of 64 MiB at least; what the kernel keeps is less.
    let all = (memory / MIB).div_ceil(64) * 64;
    let share = all * known.share_percent.of(alone) / 100;
    let shared = step(share * known.shared_buffers_percent / 100);
    let cache = step(share * known.effective_cache_percent / 100).max(shared);
    let maintenance = step(share / known.maintenance_divisor.max(1)).min(known.maintenance_most_mib);
    let connections = known.max_connections.of(alone);
    let work = share.saturating_sub(shared) * 1024 / (connections * known.work_divisor).max(1);
    let work = work.max(known.work_least_kib) / 64 * 64;
    let mut settings = vec![
        ("max_connections".to_owned(), connections.to_string()),
        ("shared_buffers".to_owned(), format!("'{shared}MB'")),
        ("effective_cache_size".to_owned(), format!("'{cache}MB'")),
        ("maintenance_work_mem".to_owned(), format!("'{maintenance}MB'")),
        ("work_mem".to_owned(), format!("'{work}kB'")),
    ];
    settings.extend(known.settings.iter().cloned());
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_the_memory_and_not_its_last_bytes() {
        let of = |memory: u64, alone, name: &str| {
            let found = settings(memory, alone).into_iter().find(|(key, _)| key == name);
            found.unwrap().1
        };
        assert_eq!(of(4096 * MIB, true, "shared_buffers"), "'1024MB'");
        assert_eq!(of(4096 * MIB, true, "effective_cache_size"), "'3072MB'");
        assert_eq!(of(4096 * MIB, true, "maintenance_work_mem"), "'256MB'");
        assert_eq!(of(4096 * MIB, true, "work_mem"), "'5184kB'");
        assert_eq!(of(4096 * MIB, false, "shared_buffers"), "'336MB'");
        assert_eq!(settings(4096 * MIB, true), settings(4090 * MIB, true));
        assert_ne!(settings(8192 * MIB, true), settings(4096 * MIB, true));
        // Very little is still something.
        assert_eq!(of(256 * MIB, false, "shared_buffers"), "'16MB'");
        assert_eq!(of(0, true, "work_mem"), "'1024kB'");
    }
}
