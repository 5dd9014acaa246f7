//! Which release gets requests: weights of the two target groups of each service that is routed to, in every
//! listener and rule that names them.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, ForwardActionConfig, TargetGroupTuple};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result, Routing};

use super::AwsFleet;
use super::carrier::{Carrier, Slot};
use super::site::{Pair, Site};
use super::slots::groups;
use crate::kinds::listener::native::groups as of_action;
use crate::native::Calls;

/// Something that passes requests on: a listener, or a rule of one.
#[derive(Debug)]
enum Passes {
    Listener(String, Action),
    Rule(String, Action),
}

impl Passes {
    fn action(&self) -> &Action {
        match self {
            Self::Listener(_, action) | Self::Rule(_, action) => action,
        }
    }
}

/// Passes on with exactly these weights.
fn weighted(weights: &BTreeMap<String, i32>) -> Action {
    let group = |(arn, weight): (&String, &i32)| {
        TargetGroupTuple::builder().target_group_arn(arn).weight(*weight).build()
    };
    let groups = weights.iter().map(group).collect();
    let forward = ForwardActionConfig::builder().set_target_groups(Some(groups)).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(forward).build()
}

/// What the load balancer is reached at.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) name: String,
    pub(super) secure: bool,
}

impl<C: Carrier> AwsFleet<C> {
    /// What passes requests on to any of these groups.
    async fn passing(
        &self,
        at: &Calls<'_>,
        site: &Site<C::On>,
        to: &[String],
    ) -> Result<(Vec<Passes>, Option<Reached>)> {
        let Some(name) = &site.balancer else { return Ok((Vec::new(), None)) };
        let balancing = &at.region.balancing;
        let ask = balancing.describe_load_balancers().names(name).send();
        let answer = at.find("elasticloadbalancing:DescribeLoadBalancers", ask).await?;
        let balancer = answer.and_then(|answer| answer.load_balancers?.into_iter().next());
        let Some(arn) = balancer.as_ref().and_then(|one| one.load_balancer_arn()) else {
            return Ok((Vec::new(), None));
        };
        let ask = |next| balancing.describe_listeners().load_balancer_arn(arn).set_marker(next).send();
        let pages =
            at.pages("elasticloadbalancing:DescribeListeners", ask, |page| page.next_marker.clone()).await?;
        let (mut all, mut secure) = (Vec::new(), false);
        let ours = |action: &Action| of_action(action).iter().any(|(group, _)| to.contains(group));
        for listener in pages.into_iter().flat_map(|page| page.listeners.unwrap_or_default()) {
            let Some(arn) = listener.listener_arn() else { continue };
            secure |= listener.port() == Some(443);
            let ask = |next| balancing.describe_rules().listener_arn(arn).set_marker(next).send();
            let pages =
                at.pages("elasticloadbalancing:DescribeRules", ask, |page| page.next_marker.clone()).await?;
            let rules = pages.into_iter().flat_map(|page| page.rules.unwrap_or_default());
            for rule in rules.filter(|rule| rule.is_default() != Some(true)) {
                if let (Some(arn), Some(action)) =
                    (rule.rule_arn(), rule.actions().first().filter(|one| ours(one)))
                {
                    all.push(Passes::Rule(arn.to_owned(), action.clone()));
                }
            }
            if let Some(action) = listener.default_actions().first().filter(|one| ours(one)) {
                all.push(Passes::Listener(arn.to_owned(), action.clone()));
            }
        }
        let name = balancer.and_then(|one| one.dns_name);
        Ok((all, name.map(|name| Reached { name, secure })))
    }

    /// Where the app is reached.
    pub(super) async fn reached(&self, at: &Calls<'_>, site: &Site<C::On>) -> Result<Option<Reached>> {
        Ok(self.passing(at, site, &[]).await?.1)
    }

    /// What the two groups of a pair get, as the first that passes requests on to them says.
    pub(super) async fn pair_weights(
        &self,
        at: &Calls<'_>,
        site: &Site<C::On>,
        pair: &Pair,
    ) -> Result<[i32; 2]> {
        let both = groups(at, &[pair]).await?.concat();
        let (passing, _) = self.passing(at, site, &both).await?;
        let of = |arn: &String| passing.first().and_then(|one| weight(one.action(), arn)).unwrap_or(0);
        Ok([of(&both[0]), of(&both[1])])
    }

    /// The release in each slot of what listens, blue first.
    async fn sides(&self, at: &Calls<'_>, site: &Site<C::On>) -> Result<[Option<ReleaseNumber>; 2]> {
        let mut sides = [None, None];
        if let Some(place) = site.places.iter().find(|place| place.is_front()) {
            for slot in self.carrier.slots(at, place).await? {
                sides[slot.colour.min(1)] = slot.runs();
            }
        }
        Ok(sides)
    }

    pub(super) async fn routed(&self, cx: &OpCtx) -> Result<Routing> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let mut routing = Routing::default();
        let sides = self.sides(&at, &site).await?;
        if site.pairs.is_empty() || sides == [None, None] {
            // Nothing is routed to: what runs serves.
            for place in &site.places {
                let slots = self.carrier.slots(&at, place).await?;
                routing.weights.extend(slots.iter().filter_map(Slot::runs).map(|release| (release, 100)));
            }
            return Ok(routing);
        }
        let pairs = groups(&at, &site.pairs.iter().collect::<Vec<_>>()).await?;
        let (passing, _) = self.passing(&at, &site, pairs.as_flattened()).await?;
        routing.weights = shares(&sides, &splits(&pairs, &passing));
        Ok(routing)
    }

    pub(super) async fn switch(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        if routing.resting.values().any(|units| !units.is_empty()) {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!("{} of a release cannot rest one by one", C::WHAT),
            ));
        }
        let before = self.routed(cx).await?;
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        if let Some(alone) = alone(routing) {
            for place in &site.places {
                self.carrier.taking_over(&at, place, alone).await?;
            }
        }
        if !site.pairs.is_empty() {
            let wanted = split(routing, self.sides(&at, &site).await?);
            self.weigh(&at, &site, wanted).await?;
        }
        for place in &site.places {
            self.carrier.routed(&at, place, alone(routing)).await?;
        }
        Ok(before)
    }

    /// Every listener and rule gives its pair of groups so much, blue first.
    async fn weigh(&self, at: &Calls<'_>, site: &Site<C::On>, wanted: [i32; 2]) -> Result<()> {
        let balancing = &at.region.balancing;
        let pairs = groups(at, &site.pairs.iter().collect::<Vec<_>>()).await?;
        for one in self.passing(at, site, pairs.as_flattened()).await?.0 {
            let has = |pair: &&[String; 2]| pair.iter().any(|arn| weight(one.action(), arn).is_some());
            let Some(pair) = pairs.iter().find(has) else { continue };
            let wanted: BTreeMap<String, i32> = pair.iter().cloned().zip(wanted).collect();
            if of_action(one.action()).into_iter().collect::<BTreeMap<_, _>>() == wanted {
                continue;
            }
            let action = weighted(&wanted);
            match &one {
                Passes::Listener(arn, _) => {
                    let put = || {
                        balancing.modify_listener().listener_arn(arn).default_actions(action.clone()).send()
                    };
                    at.put("elasticloadbalancing:ModifyListener", put).await.map(drop)?;
                }
                Passes::Rule(arn, _) => {
                    let put = || balancing.modify_rule().rule_arn(arn).actions(action.clone()).send();
                    at.put("elasticloadbalancing:ModifyRule", put).await.map(drop)?;
                }
            }
        }
        Ok(())
    }
}

/// What an action gives a group, if it names it.
fn weight(action: &Action, arn: &str) -> Option<i32> {
    of_action(action).into_iter().find(|(group, _)| group == arn).map(|(_, weight)| weight)
}

/// The one release that gets everything.
fn alone(routing: &Routing) -> Option<ReleaseNumber> {
    let mut serving = routing.weights.iter().filter(|(_, weight)| **weight > 0).map(|(release, _)| *release);
    serving.next().filter(|_| serving.next().is_none())
}

/// What each of the two groups of a pair is to get, by what is in its slot.
fn split(routing: &Routing, sides: [Option<ReleaseNumber>; 2]) -> [i32; 2] {
    let weight = |release: &ReleaseNumber| routing.weights.get(release).copied().unwrap_or(0);
    let mut wanted = sides.map(|side| {
        let weight = side.as_ref().map_or(0, weight);
        i32::try_from(weight).unwrap_or(i32::MAX)
    });
    // What nobody is to get goes to a group that nobody is in.
    if wanted == [0, 0]
        && let Some(empty) = sides.iter().position(Option::is_none)
    {
        wanted[empty] = 100;
    }
    wanted
}

/// What each listener and rule gives to the groups of its pair, blue first.
fn splits(pairs: &[[String; 2]], passing: &[Passes]) -> Vec<[i32; 2]> {
    let of = |one: &Passes| {
        let [blue, green] = pairs
            .iter()
            .map(|pair| [0, 1].map(|at: usize| weight(one.action(), &pair[at])))
            .find(|pair| pair.iter().any(Option::is_some))?;
        Some([blue.unwrap_or(0), green.unwrap_or(0)])
    };
    passing.iter().filter_map(of).collect()
}

/// What each release gets. Where a run ended among several listeners and rules they do not say the same:
/// then it is their mean, which is no release's alone.
fn shares(sides: &[Option<ReleaseNumber>; 2], splits: &[[i32; 2]]) -> BTreeMap<ReleaseNumber, u32> {
    let same = splits.windows(2).all(|two| two[0] == two[1]);
    let count = if same { 1 } else { u32::try_from(splits.len()).unwrap_or(u32::MAX) };
    let splits = &splits[..splits.len().min(count as usize)];
    let mut all = BTreeMap::new();
    for (at, side) in sides.iter().enumerate() {
        let sum: u32 = splits.iter().map(|split| u32::try_from(split[at]).unwrap_or(0)).sum();
        if let (Some(release), 1..) = (side, sum) {
            all.insert(*release, sum.div_ceil(count));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [Option<ReleaseNumber>; 2] = [Some(ReleaseNumber(3)), Some(ReleaseNumber(4))];

    #[test]
    fn a_pair_gets_what_the_releases_in_its_slots_are_to_get() {
        let routing = Routing {
            weights: [(ReleaseNumber(3), 90), (ReleaseNumber(4), 10)].into(),
            ..Routing::default()
        };
        assert_eq!(split(&routing, SIDES), [90, 10]);
        assert_eq!(split(&Routing::all_to(ReleaseNumber(4)), SIDES), [0, 100]);
        assert_eq!(split(&Routing::default(), [SIDES[0], None]), [0, 100], "nobody is there");
        assert_eq!((alone(&routing), alone(&Routing::all_to(ReleaseNumber(4)))), (None, SIDES[1]));
    }

    #[test]
    fn rules_that_do_not_say_the_same_give_all_to_none() {
        let said = |splits: &[[i32; 2]]| shares(&SIDES, splits);
        assert_eq!(said(&[[0, 100], [0, 100], [0, 100]]), Routing::all_to(ReleaseNumber(4)).weights);
        let between = said(&[[0, 100], [100, 0], [0, 100]]);
        assert_eq!(between, [(ReleaseNumber(3), 34), (ReleaseNumber(4), 67)].into());
        assert!(said(&[]).is_empty());
    }
}
