//! Which release gets requests: weights of two target groups, in every listener and rule that names them.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, ForwardActionConfig, TargetGroupTuple};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{ErrorKind, OpCtx, ProviderError, Result, Routing};

use super::FargateFleet;
use super::site::Site;
use super::tasks::{groups, live, release_of, service};
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

impl FargateFleet {
    /// What passes requests on to any of these groups.
    async fn passing(
        &self,
        at: &Calls<'_>,
        site: &Site,
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
    pub(super) async fn reached(&self, at: &Calls<'_>, site: &Site) -> Result<Option<Reached>> {
        Ok(self.passing(at, site, &[]).await?.1)
    }

    /// Weights of groups, as the first that passes requests on to them says.
    pub(super) async fn weights(&self, at: &Calls<'_>, of: &[String]) -> Result<BTreeMap<String, i32>> {
        let site = self.site()?;
        let (passing, _) = self.passing(at, &site, of).await?;
        Ok(passing.first().map(|one| of_action(one.action()).into_iter().collect()).unwrap_or_default())
    }

    /// The release in each of the two groups, and what they get.
    async fn sides(&self, at: &Calls<'_>, site: &Site) -> Result<BTreeMap<String, ReleaseNumber>> {
        let mut all = BTreeMap::new();
        for place in &site.places {
            for set in service(at, place).await?.iter().flat_map(live) {
                let Some(release) = release_of(set) else { continue };
                let groups = set.load_balancers().iter().filter_map(|one| one.target_group_arn());
                all.extend(groups.map(|group| (group.to_owned(), release)));
            }
        }
        Ok(all)
    }

    pub(super) async fn routed(&self, cx: &OpCtx) -> Result<Routing> {
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let sides = self.sides(&at, &site).await?;
        let arns: Vec<String> = sides.keys().cloned().collect();
        let mut routing = Routing::default();
        if arns.is_empty() {
            // Nothing is routed to: what serves is what AWS calls primary.
            for place in &site.places {
                let there = service(&at, place).await?;
                let primary = there.iter().flat_map(live).find(|set| set.status() == Some("PRIMARY"));
                routing.weights.extend(primary.and_then(release_of).map(|release| (release, 100)));
            }
            return Ok(routing);
        }
        for (group, weight) in self.weights(&at, &arns).await? {
            if let (Some(release), Ok(weight @ 1..)) = (sides.get(&group), u32::try_from(weight)) {
                routing.weights.insert(*release, weight);
            }
        }
        Ok(routing)
    }

    pub(super) async fn switch(&self, cx: &OpCtx, routing: &Routing) -> Result<Routing> {
        if routing.resting.values().any(|units| !units.is_empty()) {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                "tasks of a release cannot rest one by one",
            ));
        }
        let before = self.routed(cx).await?;
        let site = self.site()?;
        let at = self.at(cx, &site).await;
        let sides = self.sides(&at, &site).await?;
        let weight = |release: &ReleaseNumber| routing.weights.get(release).copied().unwrap_or(0);
        for pair in &site.pairs {
            let both = groups(&at, pair).await?;
            let mut wanted: BTreeMap<String, i32> = both
                .iter()
                .map(|group| {
                    let weight = sides.get(group).map_or(0, weight);
                    (group.clone(), i32::try_from(weight).unwrap_or(i32::MAX))
                })
                .collect();
            // What nobody is to get goes to a group that nobody is in.
            if wanted.values().all(|weight| *weight == 0)
                && let Some(empty) = both.iter().find(|group| !sides.contains_key(*group))
            {
                wanted.insert(empty.clone(), 100);
            }
            self.weigh(&at, &site, &both, &wanted).await?;
        }
        self.set_primary(&at, &site, routing).await?;
        Ok(before)
    }

    async fn weigh(
        &self,
        at: &Calls<'_>,
        site: &Site,
        both: &[String; 2],
        wanted: &BTreeMap<String, i32>,
    ) -> Result<()> {
        let balancing = &at.region.balancing;
        for one in self.passing(at, site, both).await?.0 {
            if of_action(one.action()).into_iter().collect::<BTreeMap<_, _>>() == *wanted {
                continue;
            }
            let action = weighted(wanted);
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

    /// AWS shows of a service what its primary task set is: the one release that serves.
    async fn set_primary(&self, at: &Calls<'_>, site: &Site, routing: &Routing) -> Result<()> {
        let mut serving = routing.weights.iter().filter(|(_, weight)| **weight > 0);
        let (Some((release, _)), None) = (serving.next(), serving.next()) else { return Ok(()) };
        for place in &site.places {
            let Some(there) = service(at, place).await? else { continue };
            let set = live(&there).find(|set| release_of(set) == Some(*release));
            let Some(set) = set.filter(|set| set.status() != Some("PRIMARY")) else { continue };
            let arn = set.task_set_arn().unwrap_or_default();
            let put = || {
                let put = at.region.ecs.update_service_primary_task_set().cluster(&place.cluster);
                put.service(&place.name).primary_task_set(arn).send()
            };
            at.put("ecs:UpdateServicePrimaryTaskSet", put).await?;
        }
        Ok(())
    }
}
