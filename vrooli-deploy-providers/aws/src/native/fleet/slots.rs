//! Slots: each place has two, and a release runs in one of them. Which one says the slot itself; it runs
//! when something is to run in it.

use vrooli_deploy_core::manifest::HealthConfig;
use vrooli_deploy_core::names::{ReleaseNumber, UnitId};
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::release::strategy::units;

use super::AwsFleet;
use super::carrier::{Carrier, Run, Slot, Target};
use super::site::{Pair, Place, Site, ports};
use crate::native::{Calls, unexpected};

pub(super) fn nothing_there<P>(place: &Place<P>) -> ProviderError {
    let words = format!("there is no `{}` of this stack", place.slots[0]);
    ProviderError::new(ErrorKind::NotFound, words)
        .with_help("`drift` says what is missing; a deployment makes it")
}

/// ARNs of the groups of pairs, blue first.
pub(super) async fn groups(at: &Calls<'_>, pairs: &[&Pair]) -> Result<Vec<[String; 2]>> {
    const ACTION: &str = "elasticloadbalancing:DescribeTargetGroups";
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let names = pairs.iter().flat_map(|pair| pair.groups.clone()).collect();
    let answer =
        at.read(ACTION, at.region.balancing.describe_target_groups().set_names(Some(names)).send()).await?;
    let of = |name: &String| {
        let group = answer.target_groups().iter().find(|one| one.target_group_name() == Some(name));
        let arn = group.and_then(|one| one.target_group_arn()).map(str::to_owned);
        arn.ok_or_else(|| unexpected(ACTION, "target group"))
    };
    pairs.iter().map(|pair| Ok([of(&pair.groups[0])?, of(&pair.groups[1])?])).collect()
}

impl<C: Carrier> AwsFleet<C> {
    /// The slot that a release runs in, given one if it has none. Its units start together.
    pub(super) async fn start_unit(
        &self,
        cx: &OpCtx,
        release: &Release,
        unit: &UnitId,
    ) -> Result<Slot<C::There>> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let place = site.place(&release.bundle, &unit.service)?;
        // Two units of a release are not to choose a slot each.
        let _alone = self.starting.lock().await;
        let slots = self.carrier.slots(&at, place).await?;
        if let Some(slot) = slots.iter().find(|slot| slot.runs() == Some(release.number)) {
            return Ok(slot.clone());
        }
        let slot = self.free(&at, &site, place, &slots).await?;
        self.emptied(&at, place, slot).await?;
        let run = how(&at, &site, place, (slot.colour, &slots), release).await?;
        self.carrier.start(&at, place, slot, release, run).await?;
        let slots = self.carrier.slots(&at, place).await?;
        slots.into_iter().find(|one| one.colour == slot.colour).ok_or_else(|| nothing_there(place))
    }

    /// A slot where nothing is to run; of two the one whose groups get less.
    async fn free<'a>(
        &self,
        at: &Calls<'_>,
        site: &Site<C::On>,
        place: &Place<C::On>,
        slots: &'a [Slot<C::There>],
    ) -> Result<&'a Slot<C::There>> {
        let weights = match site.pairs.first().filter(|_| place.is_front()) {
            Some(pair) => self.pair_weights(at, site, pair).await?,
            None => [0, 0],
        };
        let idle = slots.iter().filter(|slot| slot.wanted == 0);
        if let Some(slot) = idle.min_by_key(|slot| weights[slot.colour.min(1)]) {
            return Ok(slot);
        }
        if slots.is_empty() {
            return Err(nothing_there(place));
        }
        let releases: Vec<String> = slots
            .iter()
            .map(|slot| slot.runs().map_or_else(|| "another's".to_owned(), |release| release.to_string()))
            .collect();
        let words = format!("all slots of `{}` are in use ({})", place.key, releases.join(", "));
        Err(ProviderError::new(ErrorKind::Conflict, words)
            .with_help("two releases can run side by side, not three: end one first"))
    }

    /// Ends what runs of a release where a unit does; all of it there ends together.
    pub(super) async fn stop_unit(&self, cx: &OpCtx, release: ReleaseNumber, unit: &UnitId) -> Result<()> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        match site.place_of(&unit.service) {
            Some(place) => self.end(&at, place, release).await,
            None => Ok(()),
        }
    }

    /// Ends what runs of a release in a place.
    pub(super) async fn end(
        &self,
        at: &Calls<'_>,
        place: &Place<C::On>,
        release: ReleaseNumber,
    ) -> Result<()> {
        for slot in self.carrier.slots(at, place).await? {
            if slot.has() != Some(release) || (slot.empty && slot.wanted == 0) {
                continue;
            }
            self.carrier.end(at, place, &slot).await?;
            self.emptied(at, place, &slot).await?;
        }
        Ok(())
    }

    /// Waits until nothing is left in a slot where nothing is to be.
    async fn emptied(&self, at: &Calls<'_>, place: &Place<C::On>, slot: &Slot<C::There>) -> Result<()> {
        let look = || async {
            let slots = self.carrier.slots(at, place).await?;
            let there = slots.iter().find(|one| one.colour == slot.colour);
            Ok(there.is_none_or(|there| there.empty).then_some(()))
        };
        at.until(C::ENDED, look).await?.ok_or_else(|| {
            let words = format!("{} of `{}` are still ending", C::WHAT, slot.name);
            ProviderError::new(ErrorKind::Timeout, words)
        })
    }
}

/// How a release is started in a slot of a colour.
async fn how<P, T>(
    at: &Calls<'_>,
    site: &Site<P>,
    place: &Place<P>,
    (colour, slots): (usize, &[Slot<T>]),
    release: &Release,
) -> Result<Run> {
    let pairs = site.pairs(place, &release.bundle);
    let numbers = ports(&release.bundle);
    let group = |(pair, both): (&&Pair, [String; 2])| {
        let port = numbers.iter().find(|((service, _), _)| service.as_str() == pair.service);
        let [blue, green] = both;
        let arn = if colour == 0 { blue } else { green };
        Target { arn, service: pair.service.clone(), port: port.map(|(_, number)| *number) }
    };
    let groups: Vec<Target> = pairs.iter().zip(groups(at, &pairs).await?).map(group).collect();
    // The load balancer's word ends something only when the app had the time it asks for.
    let graces = place.services(&release.bundle).filter(|(_, config)| !config.routes.is_empty());
    let grace = graces.map(|(_, config)| HealthConfig::startup_grace_of(config.health.as_ref())).max();
    let grace = grace.filter(|_| !groups.is_empty());
    Ok(Run { count: count(place, release, slots), groups, grace })
}

/// As many as the release wants, which it says itself (one that is gone back to, too); where a scaler has the word, as
/// many as run of what serves.
fn count<P, T>(place: &Place<P>, release: &Release, slots: &[Slot<T>]) -> i32 {
    let own = release.bundle.capacity.get(&place.key).and_then(|capacity| capacity.count);
    let most = place.services(&release.bundle).map(|(name, config)| units(name, config).count()).max();
    let wanted = u32::try_from(most.unwrap_or(1)).unwrap_or(u32::MAX).max(own.unwrap_or(place.count));
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
    let running = slots.iter().map(|slot| slot.wanted).max().filter(|_| place.scaled);
    wanted.max(running.unwrap_or(0))
}
