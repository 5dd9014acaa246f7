//! What differs between releases as tasks on Fargate and as machines of EC2.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::Result;
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretRef;

use super::site::{Place, Site};
use crate::native::{Account, Calls};

/// One of the two slots of a place, as it is seen.
#[derive(Debug, Clone)]
pub(super) struct Slot<T> {
    /// Where it stands in the pair: blue is 0.
    pub(super) colour: usize,
    pub(super) name: String,
    /// The release that it has, whether anything runs of it or not.
    pub(super) release: Option<Release>,
    /// How many are to run.
    pub(super) wanted: i32,
    /// How many run of what was asked for last.
    pub(super) running: u32,
    /// Does nothing run in it, start or end?
    pub(super) empty: bool,
    /// What AWS says of it.
    pub(super) there: T,
}

impl<T> Slot<T> {
    /// The number of the release that it has.
    pub(super) fn has(&self) -> Option<ReleaseNumber> {
        self.release.as_ref().map(|release| release.number)
    }

    /// The release that runs in it, or is to.
    pub(super) fn runs(&self) -> Option<ReleaseNumber> {
        self.has().filter(|_| self.wanted > 0)
    }
}

/// How what was started is.
#[derive(Debug)]
pub(super) enum Sight {
    /// It certainly does not run: why, and its last lines where they are not those of a service.
    Failed(String, Vec<String>),
    /// So many run, and why not more.
    Running(usize, String),
}

/// What carries releases. Each place has two slots, which are resources of the stack; what a release
/// changes of them is done here.
#[async_trait]
pub(super) trait Carrier: Debug + Default + Send + Sync + 'static {
    /// What a place has of its own.
    type On: Debug + Clone + Send + Sync;
    /// What AWS says of a slot.
    type There: Debug + Clone + Send + Sync;

    /// Where units run, as it is told.
    const HOST: &'static str;
    /// What units run in, for people.
    const WHAT: &'static str;
    /// So long AWS may take until one runs.
    const PROVISIONED: Duration;
    /// So long those of a slot may take to end.
    const ENDED: Duration;

    /// The places of a stack.
    fn places(account: &Account) -> Vec<Place<Self::On>>;

    /// What one of a place's tasks or machines is, for people: a release keeps it.
    fn size(on: &Self::On) -> String;

    /// What images must be made for: `linux/amd64`.
    fn platform(site: &Site<Self::On>) -> &'static str;

    /// The slots of a place that are there and the stack's, blue first.
    async fn slots(&self, at: &Calls<'_>, place: &Place<Self::On>) -> Result<Vec<Slot<Self::There>>>;

    /// Releases of which a place keeps what runs them.
    async fn staged(&self, at: &Calls<'_>, place: &Place<Self::On>) -> Result<Vec<Release>>;

    /// Makes what runs a release in a place, if there is none that is the same. `values` are ARNs with
    /// versions.
    async fn stage(
        &self,
        at: &Calls<'_>,
        site: &Site<Self::On>,
        place: &Place<Self::On>,
        release: &Release,
        values: &BTreeMap<SecretRef, String>,
    ) -> Result<()>;

    /// Starts a staged release in a slot where nothing runs: so many, each in these target groups, which
    /// are named with the services that they are of.
    async fn start(
        &self,
        at: &Calls<'_>,
        place: &Place<Self::On>,
        slot: &Slot<Self::There>,
        release: &Release,
        run: Run,
    ) -> Result<()>;

    /// How what was started in a slot is.
    async fn look(
        &self,
        at: &Calls<'_>,
        site: &Site<Self::On>,
        place: &Place<Self::On>,
        slot: &Slot<Self::There>,
    ) -> Result<Sight>;

    /// Has all that runs in a slot end. Does not wait for it.
    async fn end(&self, at: &Calls<'_>, place: &Place<Self::On>, slot: &Slot<Self::There>) -> Result<()>;

    /// Gives a slot what it was made with.
    async fn rest(&self, at: &Calls<'_>, place: &Place<Self::On>, slot: &Slot<Self::There>) -> Result<()>;

    /// Removes what runs a release in a place; of all without one.
    async fn unstage(
        &self,
        at: &Calls<'_>,
        place: &Place<Self::On>,
        release: Option<ReleaseNumber>,
    ) -> Result<()>;

    /// Before one release gets all requests.
    async fn taking_over(
        &self,
        at: &Calls<'_>,
        place: &Place<Self::On>,
        release: ReleaseNumber,
    ) -> Result<()>;

    /// After requests were routed: to one release alone, or not.
    async fn routed(
        &self,
        at: &Calls<'_>,
        place: &Place<Self::On>,
        alone: Option<ReleaseNumber>,
    ) -> Result<()>;
}

/// How a release is started.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) count: i32,
    /// Target groups by ARN, each with its service and the port that this listens on.
    pub(super) groups: Vec<Target>,
    /// How long the load balancer's word ends nothing, if it has one.
    pub(super) grace: Option<Duration>,
}

/// A target group of a slot.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) arn: String,
    pub(super) service: String,
    pub(super) port: Option<u16>,
}
