//! Where in the app's file something stands, whatever dialect the file is in.

use super::Cause;
use crate::manifest::Tier;
use crate::manifest::yaml::{SpanIndex, child};
use crate::names::{DependencyName, ServiceName};

pub(super) struct Places<'a>(Option<&'a SpanIndex>);

impl<'a> Places<'a> {
    pub(super) const fn new(spans: Option<&'a SpanIndex>) -> Self {
        Self(spans)
    }

    /// The first of these pointers that is in the file.
    fn first(&self, pointers: impl IntoIterator<Item = String>) -> Cause {
        let pointers: Vec<String> = pointers.into_iter().collect();
        let Some(spans) = self.0 else {
            return Cause { field: pointers.into_iter().next(), ..Cause::default() };
        };
        for pointer in pointers {
            if let Some(place) = spans.place(&pointer) {
                let place = place.key.clone().or_else(|| place.value.clone());
                return Cause { field: Some(pointer), place, ..Cause::default() };
            }
        }
        Cause::default()
    }

    pub(super) fn field(&self, pointers: &[&str]) -> Cause {
        self.first(pointers.iter().map(|pointer| (*pointer).to_owned()))
    }

    pub(super) fn resource(&self, name: &DependencyName) -> Cause {
        let under = |group: &str| child(group, name.as_str());
        let groups = [
            "/dependencies/resources",
            "/dependencies/resources/required",
            "/dependencies/resources/optional",
        ];
        let mut cause =
            self.first(groups.map(under).into_iter().chain(groups.map(str::to_owned).into_iter().rev()));
        cause.dependency = Some(name.clone());
        cause
    }

    pub(super) fn scenario(&self, name: &DependencyName) -> Cause {
        let mut cause = self.first(
            ["/dependencies/scenarios", "/dependencies/resources", "/dependencies/resources/required"]
                .map(|group| child(group, name.as_str())),
        );
        cause.dependency = Some(name.clone());
        cause
    }

    pub(super) fn service(&self, name: &ServiceName) -> Cause {
        self.first([
            child("/services", name.as_str()),
            "/lifecycle/production/steps".to_owned(),
            "/lifecycle/develop/steps".to_owned(),
            "/lifecycle".to_owned(),
        ])
    }

    pub(super) fn tier(&self, tier: Tier) -> Cause {
        let number = match tier {
            Tier::Local => 1,
            Tier::Desktop => 2,
            Tier::Mobile => 3,
            Tier::Saas => 4,
            Tier::Enterprise => 5,
        };
        self.first([
            format!("/deployment/tiers/tier-{number}-{tier}"),
            format!("/deployment/tiers/{tier}"),
            format!("/deployment/platforms/{tier}"),
            "/deployment/platforms/cloud".to_owned(),
            format!("/metadata/tiers/{tier}"),
            "/deployment".to_owned(),
            "/metadata".to_owned(),
        ])
    }
}
