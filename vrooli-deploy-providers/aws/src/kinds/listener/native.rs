//! A load balancer has one listener a port: one that is there is looked at first, whoever made it. The
//! weights of target groups are the fleet's: a change leaves those that stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, ForwardActionConfig, Listener as Port,
    ProtocolEnum, RedirectActionConfig, RedirectActionStatusCodeEnum, TargetGroupTuple,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{Listener, ListenerObserved, ListenerSpec, Protocol};
use crate::kinds::load_balancer::native::{marks_of, ours, own_marks};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, together, unexpected};

/// TLS 1.2 with forward secrecy, and 1.3: what AWS recommends.
const POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";
/// The whole weight: that of the first group until a release says otherwise.
const WHOLE: i32 = 100;

/// Target groups of an action, with their weights.
pub(crate) fn groups(action: &Action) -> Vec<(String, i32)> {
    let tuples = action.forward_config().map(|forward| forward.target_groups()).unwrap_or_default();
    let group =
        |one: &TargetGroupTuple| Some((one.target_group_arn()?.to_owned(), one.weight().unwrap_or(0)));
    let groups: Vec<_> = tuples.iter().filter_map(group).collect();
    match action.target_group_arn() {
        Some(arn) if groups.is_empty() => vec![(arn.to_owned(), WHOLE)],
        _ => groups,
    }
}

/// Requests go to target groups, with the weights that they had; 404 is the answer where there is none.
pub(in crate::kinds) fn forward(target_groups: &[String], weights: &BTreeMap<String, i32>) -> Action {
    let action = Action::builder();
    if target_groups.is_empty() {
        let none = FixedResponseActionConfig::builder().status_code("404").content_type("text/plain").build();
        return action.r#type(ActionTypeEnum::FixedResponse).fixed_response_config(none).build();
    }
    let weight = |arn: &String| weights.get(arn).copied().unwrap_or(0);
    let nobody = target_groups.iter().all(|arn| weight(arn) == 0);
    let mut forward = ForwardActionConfig::builder();
    for (place, arn) in target_groups.iter().enumerate() {
        let weight = if nobody && place == 0 { WHOLE } else { weight(arn) };
        forward =
            forward.target_groups(TargetGroupTuple::builder().target_group_arn(arn).weight(weight).build());
    }
    action.r#type(ActionTypeEnum::Forward).forward_config(forward.build()).build()
}

/// What gets all that no rule takes.
fn default_action(want: &ListenerSpec<Known>, weights: &BTreeMap<String, i32>) -> Result<Action> {
    if want.redirect_to_https && !want.target_groups.is_empty() {
        return Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("port {}: what is sent on to HTTPS goes to no target group", want.port),
        ));
    }
    if want.redirect_to_https {
        let code = RedirectActionStatusCodeEnum::Http301;
        let redirect = RedirectActionConfig::builder().protocol("HTTPS").port("443").status_code(code);
        let action = Action::builder();
        return Ok(action.r#type(ActionTypeEnum::Redirect).redirect_config(redirect.build()).build());
    }
    Ok(forward(&want.target_groups, weights))
}

fn protocol(want: &ListenerSpec<Known>) -> ProtocolEnum {
    match want.protocol {
        Protocol::Http => ProtocolEnum::Http,
        Protocol::Https => ProtocolEnum::Https,
    }
}

/// The policy of TLS and the certificate; neither without TLS.
fn tls(want: &ListenerSpec<Known>) -> (Option<String>, Option<Vec<Certificate>>) {
    if want.protocol == Protocol::Http {
        return (None, None);
    }
    let certificate = |arn| Certificate::builder().certificate_arn(arn).build();
    let certificates = want.certificate.iter().map(certificate).collect();
    (Some(POLICY.to_owned()), Some(certificates))
}

fn seen(at: &Calls<'_>, listener: &Port, marks: Marks) -> Option<Seen<ListenerObserved>> {
    let protocol = match listener.protocol()? {
        ProtocolEnum::Https => Protocol::Https,
        _ => Protocol::Http,
    };
    let certificate = listener.certificates().first().filter(|_| protocol == Protocol::Https);
    let action = listener.default_actions().first()?;
    Some(Seen {
        id: PhysicalId(listener.listener_arn()?.to_owned()),
        marks,
        observed: ListenerObserved {
            region: at.region.name.clone(),
            load_balancer: listener.load_balancer_arn()?.to_owned(),
            port: listener.port()?.try_into().ok()?,
            protocol,
            certificate: certificate.and_then(|one| one.certificate_arn().map(str::to_owned)),
            redirect_to_https: action.r#type() == Some(&ActionTypeEnum::Redirect),
            target_groups: groups(action).into_iter().map(|(arn, _)| arn).collect(),
        },
    })
}

/// The listeners of a load balancer; none without it.
async fn listeners(at: &Calls<'_>, balancer: &str) -> Result<Vec<Port>> {
    let ask = || async {
        let ask = |next| {
            let ask = at.region.balancing.describe_listeners().load_balancer_arn(balancer);
            ask.set_marker(next).send()
        };
        let pages = at.pages("elasticloadbalancing:DescribeListeners", ask, |page| page.next_marker.clone());
        let pages = accept(pages.await, ErrorKind::NotFound)?.unwrap_or_default();
        Ok(pages.into_iter().flat_map(|page| page.listeners.unwrap_or_default()).collect())
    };
    at.once("listeners", balancer, ask).await
}

/// The load balancer that a listener's ARN names: `…:listener/app/<name>/<id>/<listener>`.
fn balancer_of(arn: &str) -> Option<String> {
    let (balancer, _) = arn.rsplit_once('/')?;
    Some(balancer.replacen(":listener/", ":loadbalancer/", 1))
}

/// Those of a region's load balancers that are the stack's, one call each.
async fn all(at: &Calls<'_>) -> Result<Vec<Port>> {
    let ask = |balancer: String| async move { listeners(at, &balancer).await };
    Ok(together(ours(at).await?.into_iter().map(ask)).await?.concat())
}

/// Their ARNs, for what belongs to them.
pub(in crate::kinds) async fn arns(at: &Calls<'_>) -> Result<Vec<String>> {
    Ok(all(at).await?.into_iter().filter_map(|one| one.listener_arn).collect())
}

async fn described(at: &Calls<'_>, arn: &str) -> Result<Option<Port>> {
    let ask = at.region.balancing.describe_listeners().listener_arns(arn).send();
    let answer = at.find("elasticloadbalancing:DescribeListeners", ask).await?;
    Ok(answer.and_then(|answer| answer.listeners?.into_iter().next()))
}

/// Makes a listener what is wanted; says it again however often.
async fn settle(at: &Calls<'_>, there: &Port, want: &ListenerSpec<Known>) -> Result<()> {
    let weights = there.default_actions().first().map(groups).unwrap_or_default().into_iter().collect();
    let (action, (policy, certificates)) = (default_action(want, &weights)?, tls(want));
    let put = || {
        at.region
            .balancing
            .modify_listener()
            .set_listener_arn(there.listener_arn().map(str::to_owned))
            .port(i32::from(want.port))
            .protocol(protocol(want))
            .set_ssl_policy(policy.clone())
            .set_certificates(certificates.clone())
            .default_actions(action.clone())
            .send()
    };
    at.put("elasticloadbalancing:ModifyListener", put).await.map(drop)
}

impl Native for Listener {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<ListenerObserved>>> {
        let Some(listener) = described(at, &id.0).await? else { return Ok(None) };
        Ok(own_marks(at, &id.0).await?.and_then(|marks| seen(at, &listener, marks)))
    }

    async fn list(&self, at: &Calls<'_>, _: Look<'_>) -> Result<Vec<Seen<ListenerObserved>>> {
        let all = all(at).await?;
        let arns = all.iter().filter_map(|one| one.listener_arn().map(str::to_owned)).collect();
        let marks = marks_of(at, arns).await?;
        let marked = |one: &Port| seen(at, one, marks.get(one.listener_arn()?)?.clone());
        Ok(all.iter().filter_map(marked).collect())
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let balancers: BTreeSet<_> = ids.iter().filter_map(|id| balancer_of(&id.0)).collect();
        let of = balancers.iter().map(|balancer| listeners(at, balancer));
        let _ = tokio::join!(together(of), marks_of(at, ids.iter().map(|id| id.0.clone()).collect()));
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &ListenerSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let there = listeners(&at, &want.load_balancer).await?;
        if let Some(there) = there.iter().find(|one| one.port() == Some(i32::from(want.port))) {
            let marks = own_marks(&at, there.listener_arn().unwrap_or_default()).await?;
            let ours = marks.and_then(|marks| seen(&at, there, marks));
            let ours = at.own(ours, key, ("listener on port", &want.port.to_string()))?;
            settle(&at, there, want).await?;
            return Ok(ours.id);
        }
        let (policy, certificates) = tls(want);
        let make = at
            .region
            .balancing
            .create_listener()
            .load_balancer_arn(&want.load_balancer)
            .port(i32::from(want.port))
            .protocol(protocol(want))
            .set_ssl_policy(policy)
            .set_certificates(certificates)
            .default_actions(default_action(want, &BTreeMap::new())?)
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.change("elasticloadbalancing:CreateListener", make).await?;
        let arn = made.listeners().first().and_then(|one| one.listener_arn());
        let arn = arn.ok_or_else(|| unexpected("elasticloadbalancing:CreateListener", "ARN"))?;
        Ok(PhysicalId(arn.to_owned()))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &ListenerObserved,
        want: &ListenerSpec<Known>,
    ) -> Result<()> {
        match described(at, &id.0).await? {
            Some(there) => settle(at, &there, want).await,
            None => Err(unexpected("elasticloadbalancing:DescribeListeners", "listener")),
        }
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.balancing.delete_listener().listener_arn(&id.0).send();
        at.remove("elasticloadbalancing:DeleteListener", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(groups: &[&str], before: &[(&str, i32)]) -> Vec<(String, i32)> {
        let want = ListenerSpec::<Known> {
            region: "us-east-1".to_owned(),
            load_balancer: "lb".to_owned(),
            port: 80,
            protocol: Protocol::Http,
            certificate: None,
            redirect_to_https: false,
            target_groups: groups.iter().map(|&arn| arn.to_owned()).collect(),
        };
        let before = before.iter().map(|&(arn, weight)| (arn.to_owned(), weight)).collect();
        super::groups(&default_action(&want, &before).unwrap())
    }

    #[test]
    fn weights_are_the_fleets() {
        let is = |arn: &str, weight| (arn.to_owned(), weight);
        assert_eq!(weights(&["a", "b"], &[]), [is("a", 100), is("b", 0)]);
        assert_eq!(weights(&["a", "b"], &[("a", 0), ("b", 100)]), [is("a", 0), is("b", 100)]);
        assert_eq!(weights(&["a", "c"], &[("a", 0), ("b", 100)]), [is("a", 100), is("c", 0)]);
    }
}
