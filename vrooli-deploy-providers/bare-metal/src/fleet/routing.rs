//! One routing for all servers, although each has its own edge.

use std::collections::BTreeSet;

use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{Fleet as _, OpCtx, ProviderError, Result, Routing};

use super::BareMetalFleet;
use super::app_host::AppHost;
use super::together::{each, failed};
use crate::host::HostName;

/// Do both send the same requests to the same releases, now and when they go back?
fn same(one: &Routing, other: &Routing) -> bool {
    one.weights == other.weights && one.resting == other.resting && one.revert_to == other.revert_to
}

/// What all of them say; of those that differ all that any of them serves, so that it is seen.
pub(super) fn of_all(routings: impl Iterator<Item = Routing>) -> Routing {
    let mut routings = routings;
    let Some(mut all) = routings.next() else { return Routing::default() };
    for other in routings {
        if same(&all, &other) {
            // Who is the first to go back.
            all.revert_at = all.revert_at.into_iter().chain(other.revert_at).min();
            continue;
        }
        for (release, weight) in other.weights {
            let sum = all.weights.entry(release).or_default();
            *sum = weight.max(*sum);
        }
        for (release, units) in other.resting {
            all.resting.entry(release).or_default().extend(units);
        }
        all.revert_at = all.revert_at.or(other.revert_at);
        if all.revert_to.is_empty() {
            all.revert_to = other.revert_to;
        }
    }
    all
}

/// The same for a server that has only some of the releases.
fn fitting(routing: &Routing, staged: &BTreeSet<ReleaseNumber>) -> Routing {
    let mut own = routing.clone();
    own.weights.retain(|release, _| staged.contains(release));
    own.resting.retain(|release, _| staged.contains(release));
    own.revert_to.retain(|release, _| staged.contains(release));
    if own.weights.values().all(|weight| *weight == 0) {
        own.weights.clear();
    }
    if own.revert_to.is_empty() {
        own.revert_at = None;
    }
    own
}

impl BareMetalFleet {
    /// Sets it on all servers: on the first one, then on the others. Where it cannot be set on one,
    /// those that were switched go back before it is said, unless it is itself a way back: then the
    /// others go there all the same.
    pub(in crate::fleet) async fn switch(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        let mut routed = self.routed.lock().await;
        // That we are still at it is told to all at once, and moves nothing.
        let renewal = routed.as_ref().is_some_and(|last| same(last, routing));
        let forward = !routing.revert_to.is_empty() && !renewal;
        *routed = None;
        if forward {
            self.hold(cx).await?;
        }
        let waves = if forward && self.hosts.len() > 1 {
            self.hosts.split_at(1)
        } else {
            (&self.hosts[..], &self.hosts[..0])
        };
        let mut switched: Vec<(&AppHost, Routing)> = Vec::new();
        let mut bad: Vec<(HostName, ProviderError)> = Vec::new();
        for wave in [waves.0, waves.1] {
            let set = async |host: &AppHost| {
                let talk = host.talk(cx).await?;
                let staged = talk.fleet.staged(cx).await?.into_iter().map(|release| release.number).collect();
                talk.fleet.route(cx, &fitting(routing, &staged)).await
            };
            for (host, set) in each(wave, set).await {
                match set {
                    Ok(before) => switched.push((host, before)),
                    Err(error) => bad.push((host.name().clone(), error)),
                }
            }
            if forward && !bad.is_empty() {
                break;
            }
        }
        if bad.is_empty() {
            *routed = Some(routing.clone());
            return Ok(of_all(switched.into_iter().map(|(_, before)| before)));
        }
        if forward {
            let back = async |(host, before): &(&AppHost, Routing)| {
                let mut before = before.clone();
                // Theirs is by their own clock.
                before.revert_at = before.revert_at.and(routing.revert_at);
                host.talk(cx).await?.fleet.route(cx, &before).await.map(drop)
            };
            for ((host, _), back) in each(&switched, back).await {
                if let Err(error) = back {
                    // It goes back by itself when its time is over.
                    bad.push((host.name().clone(), error));
                }
            }
        }
        Err(failed(bad))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn weights(all: &[(u32, u32)]) -> BTreeMap<ReleaseNumber, u32> {
        all.iter().map(|(release, weight)| (ReleaseNumber(*release), *weight)).collect()
    }

    fn routing(all: &[(u32, u32)]) -> Routing {
        Routing { weights: weights(all), ..Routing::default() }
    }

    #[test]
    fn a_mixed_fleet_is_seen_as_one() {
        let all = |routings: &[&[(u32, u32)]]| of_all(routings.iter().map(|one| routing(one))).weights;
        assert_eq!(all(&[]), weights(&[]));
        assert_eq!(all(&[&[(2, 100)], &[(2, 100)]]), weights(&[(2, 100)]));
        assert_eq!(all(&[&[(2, 100)], &[(1, 100)], &[(2, 100)]]), weights(&[(1, 100), (2, 100)]));
        assert_eq!(all(&[&[(2, 100)], &[]]), weights(&[(2, 100)]));
    }

    #[test]
    fn a_server_that_is_new_is_not_sent_to_what_it_never_had() {
        let staged = BTreeSet::from([ReleaseNumber(2)]);
        let mut to = routing(&[(1, 90), (2, 10)]);
        to.revert_to = weights(&[(1, 100)]);
        to.revert_at = Some(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(fitting(&to, &staged), routing(&[(2, 10)]));
        assert_eq!(fitting(&routing(&[(1, 100), (2, 0)]), &staged), Routing::default());
    }
}
