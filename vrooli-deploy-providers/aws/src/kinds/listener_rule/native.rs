//! A listener has one rule a priority: one that is there is looked at first, whoever made it. The
//! weights of target groups are the fleet's: a change leaves those that stay as they are.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    HostHeaderConditionConfig, PathPatternConditionConfig, Rule, RuleCondition, RulePriorityPair,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{ListenerRule, ListenerRuleObserved, ListenerRuleSpec};
use crate::kinds::listener::Listener;
use crate::kinds::listener::native::{arns, forward, groups};
use crate::kinds::load_balancer::native::{marks_of, own_marks};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, together, unexpected};

const PATH: &str = "path-pattern";
const HOST: &str = "host-header";

/// Which requests it takes: all kinds of condition have to hold, any value of one will do.
fn conditions(want: &ListenerRuleSpec<Known>) -> Result<Vec<RuleCondition>> {
    let mut all = Vec::new();
    if !want.paths.is_empty() {
        let paths = PathPatternConditionConfig::builder().set_values(Some(want.paths.clone())).build();
        all.push(RuleCondition::builder().field(PATH).path_pattern_config(paths).build());
    }
    if !want.hosts.is_empty() {
        let hosts = HostHeaderConditionConfig::builder().set_values(Some(want.hosts.clone())).build();
        all.push(RuleCondition::builder().field(HOST).host_header_config(hosts).build());
    }
    if all.is_empty() {
        let words = format!("rule {}: a rule needs a path or a host", want.priority);
        return Err(ProviderError::new(ErrorKind::Unsupported, words)
            .with_help("what takes all requests is the listener itself: give its target groups there"));
    }
    Ok(all)
}

/// The values of a condition, which are said in one of two ways.
fn values(rule: &Rule, field: &str) -> Vec<String> {
    let of = |one: &RuleCondition| {
        let config = match field {
            PATH => one.path_pattern_config().map(|config| config.values()),
            _ => one.host_header_config().map(|config| config.values()),
        };
        config.filter(|values| !values.is_empty()).unwrap_or_else(|| one.values()).to_vec()
    };
    rule.conditions().iter().filter(|one| one.field() == Some(field)).flat_map(of).collect()
}

fn weights(rule: &Rule) -> BTreeMap<String, i32> {
    rule.actions().first().map(groups).unwrap_or_default().into_iter().collect()
}

fn priority(rule: &Rule) -> Option<u32> {
    rule.priority()?.parse().ok()
}

fn number(priority: u32) -> i32 {
    i32::try_from(priority).unwrap_or(i32::MAX)
}

/// The listener that a rule's ARN names: `…:listener-rule/app/<name>/<id>/<listener>/<rule>`.
fn listener_of(arn: &str) -> Option<String> {
    let (listener, _) = arn.rsplit_once('/')?;
    Some(listener.replacen(":listener-rule/", ":listener/", 1))
}

fn seen(at: &Calls<'_>, rule: &Rule, marks: Marks) -> Option<Seen<ListenerRuleObserved>> {
    let arn = rule.rule_arn()?;
    let action = rule.actions().first()?;
    Some(Seen {
        id: PhysicalId(arn.to_owned()),
        marks,
        observed: ListenerRuleObserved {
            region: at.region.name.clone(),
            listener: listener_of(arn)?,
            priority: priority(rule)?,
            paths: values(rule, PATH),
            hosts: values(rule, HOST),
            target_groups: groups(action).into_iter().map(|(arn, _)| arn).collect(),
        },
    })
}

/// The rules of a listener, without what it does where none holds; none without it.
async fn rules(at: &Calls<'_>, listener: &str) -> Result<Vec<Rule>> {
    let ask = || async {
        let ask = |next| at.region.balancing.describe_rules().listener_arn(listener).set_marker(next).send();
        let pages = at.pages("elasticloadbalancing:DescribeRules", ask, |page| page.next_marker.clone());
        let pages = accept(pages.await, ErrorKind::NotFound)?.unwrap_or_default();
        let rules = pages.into_iter().flat_map(|page| page.rules.unwrap_or_default());
        Ok(rules.filter(|rule| rule.is_default() != Some(true)).collect())
    };
    at.once("rules", listener, ask).await
}

async fn described(at: &Calls<'_>, arn: &str) -> Result<Option<Rule>> {
    let ask = at.region.balancing.describe_rules().rule_arns(arn).send();
    let answer = at.find("elasticloadbalancing:DescribeRules", ask).await?;
    Ok(answer.and_then(|answer| answer.rules?.into_iter().next()))
}

/// A change that is made again finds its own priority in use.
async fn set_priority(at: &Calls<'_>, arn: &str, want: u32) -> Result<()> {
    let pair = RulePriorityPair::builder().rule_arn(arn).priority(number(want)).build();
    let put = || at.region.balancing.set_rule_priorities().rule_priorities(pair.clone()).send();
    let Err(error) = at.put("elasticloadbalancing:SetRulePriorities", put).await else { return Ok(()) };
    if error.kind() == ErrorKind::AlreadyExists
        && described(at, arn).await?.is_some_and(|rule| priority(&rule) == Some(want))
    {
        return Ok(());
    }
    Err(error)
}

/// Makes a rule what is wanted; says it again however often.
async fn settle(at: &Calls<'_>, there: &Rule, want: &ListenerRuleSpec<Known>) -> Result<()> {
    let (conditions, action) = (conditions(want)?, forward(&want.target_groups, &weights(there)));
    let arn = there.rule_arn().unwrap_or_default();
    if priority(there) != Some(want.priority) {
        set_priority(at, arn, want.priority).await?;
    }
    let put = || {
        let put = at.region.balancing.modify_rule().rule_arn(arn);
        put.set_conditions(Some(conditions.clone())).actions(action.clone()).send()
    };
    at.put("elasticloadbalancing:ModifyRule", put).await.map(drop)
}

impl Native for ListenerRule {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<ListenerRuleObserved>>> {
        let Some(rule) = described(at, &id.0).await? else { return Ok(None) };
        Ok(own_marks(at, &id.0).await?.and_then(|marks| seen(at, &rule, marks)))
    }

    /// Of the listeners of the stack's load balancers, one call each.
    async fn list(&self, at: &Calls<'_>, _: Look<'_>) -> Result<Vec<Seen<ListenerRuleObserved>>> {
        let ask = |listener: String| async move { rules(at, &listener).await };
        let all = together(arns(at).await?.into_iter().map(ask)).await?.concat();
        let arns = all.iter().filter_map(|one| one.rule_arn().map(str::to_owned)).collect();
        let marks = marks_of(at, arns).await?;
        let marked = |one: &Rule| seen(at, one, marks.get(one.rule_arn()?)?.clone());
        Ok(all.iter().filter_map(marked).collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let listeners = at.in_state(&Listener);
        let of = listeners.iter().map(|listener| rules(at, &listener.0));
        let _ = tokio::join!(together(of), marks_of(at, ids.iter().map(|id| id.0.clone()).collect()));
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &ListenerRuleSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let conditions = conditions(want)?;
        let there = rules(&at, &want.listener).await?;
        if let Some(there) = there.iter().find(|one| priority(one) == Some(want.priority)) {
            let marks = own_marks(&at, there.rule_arn().unwrap_or_default()).await?;
            let ours = marks.and_then(|marks| seen(&at, there, marks));
            let ours = at.own(ours, key, ("rule of priority", &want.priority.to_string()))?;
            settle(&at, there, want).await?;
            return Ok(ours.id);
        }
        let make = at
            .region
            .balancing
            .create_rule()
            .listener_arn(&want.listener)
            .priority(number(want.priority))
            .set_conditions(Some(conditions))
            .actions(forward(&want.target_groups, &BTreeMap::new()))
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.change("elasticloadbalancing:CreateRule", make).await?;
        let arn = made.rules().first().and_then(|one| one.rule_arn());
        let arn = arn.ok_or_else(|| unexpected("elasticloadbalancing:CreateRule", "ARN"))?;
        Ok(PhysicalId(arn.to_owned()))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &ListenerRuleObserved,
        want: &ListenerRuleSpec<Known>,
    ) -> Result<()> {
        match described(at, &id.0).await? {
            Some(there) => settle(at, &there, want).await,
            None => Err(unexpected("elasticloadbalancing:DescribeRules", "rule")),
        }
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.balancing.delete_rule().rule_arn(&id.0).send();
        at.remove("elasticloadbalancing:DeleteRule", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_its_listener() {
        let start = "arn:aws:elasticloadbalancing:us-east-1:1";
        assert_eq!(
            listener_of(&format!("{start}:listener-rule/app/shop/50dc/f2f7/9683")),
            Some(format!("{start}:listener/app/shop/50dc/f2f7"))
        );
    }

    #[test]
    fn values_are_read_as_they_are_said() {
        let new = PathPatternConditionConfig::builder().values("/a").build();
        let new = RuleCondition::builder().field(PATH).values("/a").path_pattern_config(new).build();
        let old = RuleCondition::builder().field(HOST).values("b.example.com").build();
        let rule = Rule::builder().conditions(new).conditions(old).build();
        assert_eq!(values(&rule, PATH), ["/a"]);
        assert_eq!(values(&rule, HOST), ["b.example.com"]);
    }
}
