//! How much machine an app takes, so that a provider can choose sizes from its catalogue.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::manifest::ServiceConfig;
use crate::manifest::crosswalk::embedded;
use crate::requirements::{ResourceRequirement, catalogue};

/// An amount of machine. What is not known is zero: any size has that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Amount {
    /// Memory in mebibytes.
    #[serde(default)]
    pub memory_mib: u64,
    /// Processors; parts of one are fine.
    #[serde(default)]
    pub cpu: f64,
    /// Disk in gibibytes.
    #[serde(default)]
    pub disk_gib: u64,
}

/// What something takes to run at all, and to run well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Need {
    /// To run at all.
    pub minimum: Amount,
    /// To run well.
    pub recommended: Amount,
}

#[derive(Debug, Default, Deserialize)]
struct Services {
    service: Need,
    machine: Amount,
    database_pool: u32,
}

static SERVICES: LazyLock<Services> = LazyLock::new(|| embedded(include_str!("data/services.json")));

impl Amount {
    /// This and another together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            cpu: self.cpu + other.cpu,
            disk_gib: self.disk_gib.saturating_add(other.disk_gib),
        }
    }

    /// Does it hold another? A measure that `self` does not know (zero) is taken for too small
    /// only if the other needs it.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        self.memory_mib >= other.memory_mib && self.cpu >= other.cpu && self.disk_gib >= other.disk_gib
    }

    /// `4 GiB and 2 CPU`, for people.
    #[must_use]
    pub fn words(self) -> String {
        let mut words = Vec::new();
        if self.memory_mib > 0 {
            words.push(if self.memory_mib.is_multiple_of(1024) {
                format!("{} GiB of memory", self.memory_mib / 1024)
            } else {
                format!("{} MiB of memory", self.memory_mib)
            });
        }
        if self.cpu > 0.0 {
            words.push(format!("{} CPU", round(self.cpu)));
        }
        if self.disk_gib > 0 {
            words.push(format!("{} GiB of disk", self.disk_gib));
        }
        if words.is_empty() { "nothing in particular".to_owned() } else { words.join(", ") }
    }
}

/// Without the noise of binary fractions.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl Need {
    /// What these services take together, one instance of each.
    #[must_use]
    pub fn of_services<'a>(services: impl IntoIterator<Item = &'a ServiceConfig>) -> Self {
        let one = SERVICES.service;
        services.into_iter().fold(Self::default(), |sum, _| sum.and(one))
    }

    /// What a machine's own system takes beside the app.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { minimum: SERVICES.machine, recommended: SERVICES.machine }
    }

    /// What a resource takes, as far as that is known.
    #[must_use]
    pub fn of_resource(requirement: &ResourceRequirement) -> Self {
        // Models and declared metadata may make it more than the catalogue says.
        requirement.size.as_ref().map_or_else(|| Self::of_known(&requirement.resource), Self::of_footprint)
    }

    /// What the catalogue says that a resource of this name takes.
    #[must_use]
    pub fn of_known(resource: &str) -> Self {
        let known = catalogue().find(resource).and_then(|known| known.footprint.as_ref());
        known.map_or_else(Self::default, |footprint| Self::of_footprint(&footprint.size))
    }

    fn of_footprint(footprint: &crate::requirements::Footprint) -> Self {
        let amount = |size: crate::requirements::Size| Amount {
            memory_mib: size.ram_mb.unwrap_or_default(),
            cpu: size.cpu_cores.unwrap_or_default(),
            disk_gib: size.disk_mb.unwrap_or_default().div_ceil(1024),
        };
        Self { minimum: amount(footprint.minimum), recommended: amount(footprint.recommended) }
    }

    /// This and another together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            minimum: self.minimum.and(other.minimum),
            recommended: self.recommended.and(other.recommended),
        }
    }
}

/// How many connections an instance of a service opens to its database unless it is told otherwise.
#[must_use]
pub fn database_pool() -> u32 {
    SERVICES.database_pool
}

/// The first of these sizes, which are given in the order of preference, that holds what is
/// recommended; else the largest that holds the minimum, which comes last among them.
#[must_use]
pub fn smallest<T>(sizes: Vec<(Amount, T)>, need: Need) -> Option<T> {
    let mut last = None;
    for (amount, size) in sizes {
        if amount.holds(need.recommended) {
            return Some(size);
        }
        if amount.holds(need.minimum) {
            last = Some(size);
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_can_be_read() {
        serde_json::from_str::<Services>(include_str!("data/services.json")).unwrap();
        assert!(SERVICES.service.recommended.memory_mib > SERVICES.service.minimum.memory_mib);
    }

    #[test]
    fn the_smallest_that_fits_is_taken() {
        let amount = |memory_mib| Amount { memory_mib, cpu: 1.0, disk_gib: 0 };
        let sizes = || vec![(amount(512), "s"), (amount(1024), "m"), (amount(2048), "l")];
        let need = |minimum, recommended| Need { minimum: amount(minimum), recommended: amount(recommended) };
        assert_eq!(smallest(sizes(), need(256, 1000)), Some("m"));
        assert_eq!(smallest(sizes(), need(600, 4096)), Some("l"), "the minimum at least");
        assert_eq!(smallest(sizes(), need(4096, 8192)), None);
        assert_eq!(smallest(sizes(), Need::default()), Some("s"), "what takes nothing known fits anywhere");
    }

    #[test]
    fn amounts_are_written_for_people() {
        assert_eq!(
            Amount { memory_mib: 4096, cpu: 0.2 + 0.1, disk_gib: 50 }.words(),
            "4 GiB of memory, 0.3 CPU, 50 GiB of disk"
        );
        assert_eq!(Amount::default().words(), "nothing in particular");
    }
}
