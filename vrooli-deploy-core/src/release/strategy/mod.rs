//! How one release follows another: a pure function from the situation to a graph of
//! steps, run by the same journalled engine as everything else.

mod blue_green;
mod canary;
#[cfg(test)]
mod cases;
mod graph;
mod rolling;

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::manifest::{Overlap, ServiceConfig, StrategyConfig, StrategyKind};
use crate::names::{ReleaseNumber, ServiceName, UnitId};
use crate::plan::{PlannedRelease, ReleaseSource, Step};
use crate::provider::{FleetCapabilities, Routing, UnitObserved};
use crate::release::Release;

pub use blue_green::BlueGreen;
pub use canary::Canary;
pub use graph::StepGraph;
pub use rolling::Rolling;

/// How one release follows another.
pub trait Strategy: Debug + Send + Sync {
    /// Its name, as manifests and the command line say it.
    fn name(&self) -> &'static str;
    /// The steps from the situation to the next release. Pure.
    ///
    /// # Errors
    /// When the fleet cannot do what the strategy needs.
    fn steps(&self, situation: &Situation<'_>) -> Result<Vec<Step>, StrategyError>;
    /// What a person should know of these steps: pauses, and how long the way back takes. Pure.
    fn notes(&self, situation: &Situation<'_>) -> Vec<String> {
        pauses(situation)
    }
}

/// Services that cannot run twice pause while they are handed over.
fn pauses(situation: &Situation<'_>) -> Vec<String> {
    let Some(current) = situation.serving() else { return Vec::new() };
    let paused: Vec<String> = situation
        .services()
        .iter()
        .filter(|(service, config)| {
            overlap(config) == Overlap::Exclusive && current.bundle.services.contains_key(*service)
        })
        .map(|(service, _)| format!("`{service}`"))
        .collect();
    if paused.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} must not run twice: the old one stops before the new one starts, and pauses until that is well",
        paused.join(", ")
    )]
}

/// What a strategy starts from.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The release that is to serve.
    pub next: &'a PlannedRelease,
    /// The release that serves now, if any.
    pub current: Option<&'a Release>,
    /// Traffic as it is now.
    pub routing: &'a Routing,
    /// Units that are there now, of whatever release.
    pub units: &'a [UnitObserved],
    /// What the fleet can do.
    pub fleet: &'a FleetCapabilities,
    /// The user's choices.
    pub config: &'a StrategyConfig,
    /// Why there is a next release, in words; said where it has to be built.
    pub because: &'a str,
    /// Releases that nothing needs any more, to be removed at the end.
    pub expired: &'a [ReleaseNumber],
}

impl Situation<'_> {
    /// Services of the next release.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<ServiceName, ServiceConfig> {
        match &self.next.source {
            ReleaseSource::Build { draft, .. } => &draft.services,
            ReleaseSource::Staged { release } => &release.bundle.services,
        }
    }

    /// How many instances of the next release there are to be in the largest place; none where that is not said, or
    /// something scales them.
    fn instances(&self) -> Option<u32> {
        let capacity = match &self.next.source {
            ReleaseSource::Build { draft, .. } => &draft.capacity,
            ReleaseSource::Staged { release } => &release.bundle.capacity,
        };
        let counts: Option<Vec<u32>> = capacity.values().map(|place| place.count).collect();
        counts?.into_iter().max()
    }

    /// Has the next release smoke tests?
    #[must_use]
    pub fn has_smoke(&self) -> bool {
        match &self.next.source {
            ReleaseSource::Build { draft, .. } => !draft.smoke.is_empty(),
            ReleaseSource::Staged { release } => !release.bundle.smoke.is_empty(),
        }
    }

    /// Has the next release files to apply? A release that is staged already had them applied.
    #[must_use]
    pub fn has_migrations(&self) -> bool {
        match &self.next.source {
            ReleaseSource::Build { draft, .. } => !draft.migrations.is_empty(),
            ReleaseSource::Staged { release } => !release.bundle.migrations.is_empty(),
        }
    }

    /// The current release, if it gets requests now: a stopped one, or one that nothing is
    /// routed to, has nothing to lose and nothing to go back to.
    #[must_use]
    pub fn serving(&self) -> Option<&Release> {
        self.current.filter(|current| {
            current.number != self.next.number
                && self.routing.weights.get(&current.number).is_some_and(|weight| *weight > 0)
        })
    }

    /// Units of the release that serves now.
    pub fn old_units(&self) -> impl Iterator<Item = (ReleaseNumber, UnitId)> {
        self.current.into_iter().flat_map(|release| {
            release
                .bundle
                .services
                .iter()
                .flat_map(move |(service, config)| units(service, config).map(move |u| (release.number, u)))
        })
    }
}

/// The units of a service, as many as its scaling says at least.
pub fn units(service: &ServiceName, config: &ServiceConfig) -> impl Iterator<Item = UnitId> + use<> {
    let service = service.clone();
    (0..config.scaling.min.max(1)).map(move |index| UnitId { service: service.clone(), index })
}

/// May two releases of this service run side by side? Default: yes with a port, no without one.
#[must_use]
pub fn overlap(config: &ServiceConfig) -> Overlap {
    config.overlap.unwrap_or(if config.ports.is_empty() { Overlap::Exclusive } else { Overlap::Allowed })
}

/// A strategy cannot be followed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StrategyError {
    /// The fleet cannot do what the strategy needs.
    #[error("strategy `{strategy}` needs {needs}, which this provider cannot do")]
    Unsupported {
        /// Which strategy.
        strategy: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// Nobody there goes on with a watch that the command leaves.
    #[error(
        "nobody would go on watching (`--no-wait`): nothing of ours decides about a release where this provider runs apps"
    )]
    NoWatcher,
    /// This build does not have it.
    #[error("strategy `{0}` is not in this build; it has: {1}")]
    Unknown(String, String),
}

/// The strategies that a program knows. Registration is explicit.
#[derive(Debug)]
pub struct Strategies(Vec<Box<dyn Strategy>>);

impl Default for Strategies {
    fn default() -> Self {
        Self(vec![Box::new(BlueGreen), Box::new(Rolling), Box::new(Canary)])
    }
}

impl Strategies {
    /// Adds one; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, strategy: impl Strategy + 'static) -> Self {
        self.0.retain(|s| s.name() != strategy.name());
        self.0.push(Box::new(strategy));
        self
    }

    /// Names of all.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|s| s.name())
    }

    /// The strategy of that name.
    ///
    /// # Errors
    /// [`StrategyError::Unknown`] with the names there are.
    pub fn get(&self, name: &str) -> Result<&dyn Strategy, StrategyError> {
        self.0.iter().find(|s| s.name() == name).map(|s| &**s).ok_or_else(|| {
            StrategyError::Unknown(name.to_owned(), self.names().collect::<Vec<_>>().join(", "))
        })
    }
}

impl StrategyKind {
    /// Its name, as manifests and the command line say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue-green",
            Self::Rolling => "rolling",
            Self::Canary => "canary",
        }
    }

    /// The kind of that name; none for a strategy of a program's own.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::BlueGreen, Self::Rolling, Self::Canary].into_iter().find(|kind| kind.name() == name)
    }
}
