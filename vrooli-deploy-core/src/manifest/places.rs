//! Where in the app's file something stands, whatever dialect the file is in.

use super::Tier;
use super::yaml::{SpanIndex, child};
use crate::diagnostics::Span;
use crate::names::{DependencyName, ServiceName};

/// Finds the places of what a manifest names, in the file that it was read from.
pub(crate) struct Places<'a>(Option<&'a SpanIndex>);

/// A place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// JSON pointer, in the file's own dialect.
    pub(crate) field: Option<String>,
    /// Where that is; `None` where it was made, not read.
    pub(crate) span: Option<Span>,
}

impl<'a> Places<'a> {
    /// `None`: there is no file. Then the first pointer that a thing may have is its field.
    pub(crate) const fn new(spans: Option<&'a SpanIndex>) -> Self {
        Self(spans)
    }

    /// The first of these pointers that is in the file.
    fn first(&self, pointers: impl IntoIterator<Item = String>) -> Spot {
        let mut pointers = pointers.into_iter();
        let Some(spans) = self.0 else { return Spot { field: pointers.next(), span: None } };
        for pointer in pointers {
            if let Some(place) = spans.place(&pointer) {
                let span = place.key.clone().or_else(|| place.value.clone());
                return Spot { field: Some(pointer), span };
            }
        }
        Spot::default()
    }

    pub(crate) fn field(&self, pointers: &[&str]) -> Spot {
        self.first(pointers.iter().map(|pointer| (*pointer).to_owned()))
    }

    /// A resource that the app declares, else the list that must hold it.
    pub(crate) fn resource(&self, name: &DependencyName) -> Spot {
        let groups = [
            "/dependencies/resources",
            "/dependencies/resources/required",
            "/dependencies/resources/optional",
        ];
        let under = groups.map(|group| child(group, name.as_str()));
        self.first(under.into_iter().chain(groups.map(str::to_owned).into_iter().rev()))
    }

    /// A scenario that the app declares: some stand among the resources. Else the list that
    /// must hold it.
    pub(crate) fn scenario(&self, name: &DependencyName) -> Spot {
        let groups = [
            "/dependencies/scenarios",
            "/dependencies/resources",
            "/dependencies/resources/required",
            "/dependencies/resources/optional",
        ];
        let under = groups.map(|group| child(group, name.as_str()));
        let lists = ["/dependencies/resources/required", "/dependencies/scenarios", "/dependencies"];
        self.first(under.into_iter().chain(lists.map(str::to_owned)))
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Spot {
        self.first([
            child("/services", name.as_str()),
            "/lifecycle/production/steps".to_owned(),
            "/lifecycle/develop/steps".to_owned(),
            "/lifecycle".to_owned(),
        ])
    }

    pub(crate) fn tier(&self, tier: Tier) -> Spot {
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
