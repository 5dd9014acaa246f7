use std::ops::Add;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Footprint {
    /// To run at all.
    #[serde(default)]
    pub minimum: Size,
    /// To run well. Where nothing is known, [`minimum`](Self::minimum) holds.
    #[serde(default)]
    pub recommended: Size,
}

/// An amount of machine. What is not known is absent, never a guess.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Size {
    /// Memory, in mebibytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_mb: Option<u64>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<f64>,
    /// Disk, in mebibytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mb: Option<u64>,
    /// Memory of a graphics card, in mebibytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_vram_mb: Option<u64>,
}

impl Footprint {
    /// A footprint of which only one figure a measure is known.
    #[must_use]
    pub const fn of(size: Size) -> Self {
        Self { minimum: size, recommended: size }
    }
}

impl Size {
    /// Is nothing known?
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// This, and what it lacks from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            ram_mb: self.ram_mb.or(other.ram_mb),
            cpu_cores: self.cpu_cores.or(other.cpu_cores),
            disk_mb: self.disk_mb.or(other.disk_mb),
            gpu_vram_mb: self.gpu_vram_mb.or(other.gpu_vram_mb),
        }
    }

    /// The larger of both in each measure.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let cores = |a: f64, b: f64| a.max(b);
        Self {
            ram_mb: both(self.ram_mb, other.ram_mb, u64::max),
            cpu_cores: both(self.cpu_cores, other.cpu_cores, cores),
            disk_mb: both(self.disk_mb, other.disk_mb, u64::max),
            gpu_vram_mb: both(self.gpu_vram_mb, other.gpu_vram_mb, u64::max),
        }
    }
}

/// Adds what is known; of a measure that only one side knows, that is the sum.
impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ram_mb: both(self.ram_mb, other.ram_mb, u64::saturating_add),
            cpu_cores: both(self.cpu_cores, other.cpu_cores, |a, b| a + b),
            disk_mb: both(self.disk_mb, other.disk_mb, u64::saturating_add),
            gpu_vram_mb: both(self.gpu_vram_mb, other.gpu_vram_mb, u64::saturating_add),
        }
    }
}

fn both<T>(a: Option<T>, b: Option<T>, join: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_stays_unknown() {
        let known = Size { ram_mb: Some(512), cpu_cores: Some(0.5), ..Size::default() };
        assert_eq!(known + Size::default(), known);
        assert_eq!((known + known).ram_mb, Some(1024));
        assert_eq!((known + known).disk_mb, None);
        assert!(Size::default().is_unknown() && !known.is_unknown());
        assert_eq!(known.max(Size { cpu_cores: Some(2.0), ..Size::default() }).cpu_cores, Some(2.0));
    }
}
