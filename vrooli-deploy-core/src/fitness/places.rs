//! Places as causes of a score.

use super::Cause;
use crate::manifest::Tier;
use crate::manifest::places::{self, Spot};
use crate::manifest::yaml::SpanIndex;
use crate::names::{DependencyName, ServiceName};

pub(super) struct Places<'a>(places::Places<'a>);

impl<'a> Places<'a> {
    pub(super) const fn new(spans: Option<&'a SpanIndex>) -> Self {
        Self(places::Places::new(spans))
    }

    pub(super) fn field(&self, pointers: &[&str]) -> Cause {
        self.0.field(pointers).into()
    }

    pub(super) fn resource(&self, name: &DependencyName) -> Cause {
        Cause { dependency: Some(name.clone()), ..self.0.resource(name).into() }
    }

    pub(super) fn scenario(&self, name: &DependencyName) -> Cause {
        Cause { dependency: Some(name.clone()), ..self.0.scenario(name).into() }
    }

    pub(super) fn service(&self, name: &ServiceName) -> Cause {
        self.0.service(name).into()
    }

    pub(super) fn tier(&self, tier: Tier) -> Cause {
        self.0.tier(tier).into()
    }
}

impl From<Spot> for Cause {
    fn from(spot: Spot) -> Self {
        Self { field: spot.field, place: spot.span, ..Self::default() }
    }
}
