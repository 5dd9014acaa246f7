//! What an app's users cause in a month: low, expected and high, each figure with its source.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::usage_file::profiles;
use super::{Decimal, Metric};
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::shape::nearest;

/// The profile that is used when nothing names one.
pub const DEFAULT_USAGE: &str = "web-app";

/// Which of the three values of a usage profile.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A quiet month.
    Low,
    /// The month to plan with.
    #[default]
    Expected,
    /// A busy month.
    High,
}

impl Level {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Expected, Self::High];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Expected => "expected",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value for each [`Level`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Levels<T> {
    /// In a quiet month.
    pub low: T,
    /// In the month to plan with.
    pub expected: T,
    /// In a busy month.
    pub high: T,
}

impl<T> Levels<T> {
    /// The value of a level.
    pub const fn at(&self, level: Level) -> &T {
        match level {
            Level::Low => &self.low,
            Level::Expected => &self.expected,
            Level::High => &self.high,
        }
    }

    /// One value for each level.
    ///
    /// # Errors
    /// The first that cannot be made.
    pub fn try_each<E>(mut make: impl FnMut(Level) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self { low: make(Level::Low)?, expected: make(Level::Expected)?, high: make(Level::High)? })
    }
}

/// A figure of a usage profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Figure {
    /// What is billed by use.
    Metric(Metric),
    /// How often a new release takes over.
    DeploysPerMonth,
    /// How long two releases run side by side each time.
    OverlapMinutes,
    /// Behind a content delivery network: the share of [`Metric::EgressGb`] that it sends
    /// instead of the servers, unless the profile says [`Metric::CdnGb`] itself.
    CdnPercent,
}

/// A figure, its name in files, and how people read it.
struct Known {
    figure: Figure,
    name: &'static str,
    note: fn(&str) -> String,
}

const KNOWN: [Known; 15] = [
    Known {
        figure: Figure::Metric(Metric::EgressGb),
        name: "egress_gb",
        note: |n| format!("Bandwidth estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::CdnGb),
        name: "cdn_gb",
        note: |n| format!("Content delivery estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::RequestsMillions),
        name: "requests_millions",
        note: |n| format!("Request estimate based on {n} million/month"),
    },
    Known {
        figure: Figure::Metric(Metric::StorageGb),
        name: "storage_gb",
        note: |n| format!("Storage estimate based on {n}GB"),
    },
    Known {
        figure: Figure::Metric(Metric::StorageWritesMillions),
        name: "storage_writes_millions",
        note: |n| format!("Storage write estimate based on {n} million/month"),
    },
    Known {
        figure: Figure::Metric(Metric::StorageReadsMillions),
        name: "storage_reads_millions",
        note: |n| format!("Storage read estimate based on {n} million/month"),
    },
    Known {
        figure: Figure::Metric(Metric::LogsGb),
        name: "logs_gb",
        note: |n| format!("Log estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::BackupGb),
        name: "backup_gb",
        note: |n| format!("Backup estimate based on {n}GB beyond what is free"),
    },
    Known {
        figure: Figure::Metric(Metric::NatGb),
        name: "nat_gb",
        note: |n| format!("Address translation estimate based on {n}GB/month"),
    },
    Known {
        figure: Figure::Metric(Metric::RegistryGb),
        name: "registry_gb",
        note: |n| format!("Image registry estimate based on {n}GB"),
    },
    Known {
        figure: Figure::Metric(Metric::DnsQueriesMillions),
        name: "dns_queries_millions",
        note: |n| format!("Name service estimate based on {n} million queries/month"),
    },
    Known {
        figure: Figure::Metric(Metric::LoadBalancerUnits),
        name: "load_balancer_units",
        note: |n| format!("Load balancer estimate based on {n} capacity units on average"),
    },
    Known {
        figure: Figure::DeploysPerMonth,
        name: "deploys_per_month",
        note: |n| format!("Overlap estimate based on {n} deployments/month"),
    },
    Known {
        figure: Figure::OverlapMinutes,
        name: "overlap_minutes",
        note: |n| format!("Overlap estimate based on {n} minutes side by side each"),
    },
    Known {
        figure: Figure::CdnPercent,
        name: "cdn_percent",
        note: |n| format!("Content delivery estimate based on {n} % of the traffic"),
    },
];

impl Figure {
    fn known(self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.figure == self)
    }

    /// Names of all figures.
    pub(super) fn names() -> Vec<&'static str> {
        KNOWN.iter().map(|known| known.name).collect()
    }

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.known().map_or("", |known| known.name)
    }

    /// The figure of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        KNOWN.iter().find(|known| known.name == name).map(|known| known.figure)
    }

    /// What an estimate assumed, as a sentence.
    pub(super) fn note(self, value: Decimal) -> String {
        self.known().map_or_else(String::new, |known| (known.note)(&value.normalize().to_string()))
    }
}

/// A figure's values and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageValue {
    /// The values; low ≤ expected ≤ high, none negative.
    pub values: Levels<Decimal>,
    /// Where they come from, if not from the profile's source.
    pub source: Option<String>,
    /// Why these.
    pub rationale: Option<String>,
}

/// What an app's users cause in a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageProfile {
    /// What it is called.
    pub name: String,
    /// A sentence about it.
    pub about: Option<String>,
    /// Where its figures come from.
    pub source: Option<String>,
    /// When that was looked at.
    pub as_of: Option<String>,
    pub(super) values: BTreeMap<Figure, UsageValue>,
}

impl UsageProfile {
    /// The profile of that name that is part of the program.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        profiles().iter().find(|profile| profile.name == name)
    }

    /// Names of the profiles that are part of the program.
    pub fn names() -> impl Iterator<Item = &'static str> {
        profiles().iter().map(|profile| profile.name.as_str())
    }

    /// The profile of that name.
    ///
    /// # Errors
    /// `VD0409` with the nearest.
    pub fn find(name: &str) -> Result<&'static Self, Box<Diagnostic>> {
        Self::named(name).ok_or_else(|| {
            let near = nearest(name, Self::names());
            let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let known = Self::names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            Box::new(
                rules::UNKNOWN_USAGE
                    .diagnostic(format!("there is no usage profile `{name}`, and no file of that name"))
                    .help(format!("{near}give `low`, `expected`, `high`, a file, or one of {known}")),
            )
        })
    }

    /// A figure. `None` only for [`Metric::CdnGb`], which most profiles leave to
    /// [`Figure::CdnPercent`].
    #[must_use]
    pub fn value(&self, figure: Figure) -> Option<&UsageValue> {
        self.values.get(&figure)
    }

    /// The same with another value of a figure, for all levels or for each.
    ///
    /// # Errors
    /// `VD0408` when the values are negative or do not rise.
    pub fn with(mut self, figure: Figure, values: Levels<Decimal>) -> Result<Self, Box<Diagnostic>> {
        rising(figure.name(), &values).map_err(|why| Box::new(rules::USAGE_VALUE.diagnostic(why)))?;
        self.values.insert(figure, UsageValue { values, source: None, rationale: None });
        Ok(self)
    }

    /// Every figure that the profile has, by name.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &UsageValue)> {
        self.values.iter().map(|(figure, value)| (figure.name(), value))
    }

    pub(super) fn at(&self, figure: Figure, level: Level) -> Option<Decimal> {
        self.values.get(&figure).map(|value| *value.values.at(level))
    }
}

pub(super) fn rising(name: &str, values: &Levels<Decimal>) -> Result<(), String> {
    if values.low.is_sign_negative() && !values.low.is_zero() {
        return Err(format!("`{name}` must not be negative, and is {}", values.low));
    }
    if values.low > values.expected || values.expected > values.high {
        return Err(format!(
            "`{name}` must rise from low to high, and is {}, {}, {}",
            values.low, values.expected, values.high
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_of_the_program_have_every_figure() {
        assert_eq!(UsageProfile::names().collect::<Vec<_>>(), [DEFAULT_USAGE, "saas-workflow-document"]);
        for profile in profiles().iter() {
            for known in &KNOWN {
                let optional = known.figure == Figure::Metric(Metric::CdnGb);
                assert!(optional || profile.value(known.figure).is_some(), "{} {}", profile.name, known.name);
            }
            assert!(profile.source.is_some() && profile.as_of.is_some());
            for (name, value) in profile.figures() {
                assert!(value.rationale.is_some(), "{name}");
            }
        }
    }

    #[test]
    fn the_names_of_figures_are_those_of_metrics() {
        for known in &KNOWN {
            if let Figure::Metric(metric) = known.figure {
                assert_eq!(serde_json::to_value(metric).unwrap(), known.name);
            }
        }
    }
}
