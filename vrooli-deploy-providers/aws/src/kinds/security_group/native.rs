//! The name of a group is unique in its network. Rules come one source at a time; what is missing is let
//! in before what is too much is shut out.

use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, SecurityGroup as Group, UserIdGroupPair,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{Ingress, SecurityGroup, SecurityGroupObserved, SecurityGroupSpec};
use crate::native::ec2::{SETTLE, filter, id_of, marked, marks_for, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, completed, unexpected};

/// What ids of lists of addresses begin with: one may stand where addresses do.
const LIST: &str = "pl-";

/// A rule of one source, and as AWS writes it.
type Rule = (Ingress<Known>, IpPermission);

fn rule(from: &IpPermission, cidr: Option<&str>, group: Option<&str>, one: IpPermission) -> Rule {
    let port = |port: Option<i32>, all| port.and_then(|port| port.try_into().ok()).unwrap_or(all);
    let rule = Ingress {
        protocol: text(from.ip_protocol()),
        from_port: port(from.from_port(), 0),
        to_port: port(from.to_port(), u16::MAX),
        cidr: cidr.map(str::to_owned),
        group: group.map(str::to_owned),
    };
    (rule, one)
}

/// AWS writes all sources of the same ports together.
fn rules(permissions: &[IpPermission]) -> Vec<Rule> {
    let mut all = Vec::new();
    for from in permissions {
        let one = || {
            let one = IpPermission::builder().set_ip_protocol(from.ip_protocol().map(str::to_owned));
            one.set_from_port(from.from_port()).set_to_port(from.to_port())
        };
        for range in from.ip_ranges() {
            all.push(rule(from, range.cidr_ip(), None, one().ip_ranges(range.clone()).build()));
        }
        for range in from.ipv6_ranges() {
            all.push(rule(from, range.cidr_ipv6(), None, one().ipv6_ranges(range.clone()).build()));
        }
        for list in from.prefix_list_ids() {
            all.push(rule(from, list.prefix_list_id(), None, one().prefix_list_ids(list.clone()).build()));
        }
        for group in from.user_id_group_pairs() {
            // Taken away it is named by its id alone: in its place AWS also writes whose it is.
            let pair = UserIdGroupPair::builder().set_group_id(group.group_id().map(str::to_owned)).build();
            all.push(rule(from, None, group.group_id(), one().user_id_group_pairs(pair).build()));
        }
    }
    all
}

/// A rule as AWS takes it.
fn permission(rule: &Ingress<Known>) -> Result<IpPermission> {
    let one = IpPermission::builder().ip_protocol(&rule.protocol);
    let one = one.from_port(rule.from_port.into()).to_port(rule.to_port.into());
    Ok(match (&rule.cidr, &rule.group) {
        (Some(list), None) if list.starts_with(LIST) => {
            one.prefix_list_ids(PrefixListId::builder().prefix_list_id(list).build())
        }
        (Some(cidr), None) if cidr.contains(':') => {
            one.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).build())
        }
        (Some(cidr), None) => one.ip_ranges(IpRange::builder().cidr_ip(cidr).build()),
        (None, Some(group)) => one.user_id_group_pairs(UserIdGroupPair::builder().group_id(group).build()),
        _ => {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!(
                    "the rule for ports {} to {} names addresses or a group, one of them",
                    rule.from_port, rule.to_port
                ),
            ));
        }
    }
    .build())
}

fn permissions(rules: &[Ingress<Known>]) -> Result<Vec<Rule>> {
    rules.iter().map(|rule| Ok((rule.clone(), permission(rule)?))).collect()
}

fn seen(at: &Calls<'_>, group: &Group) -> Option<Seen<SecurityGroupObserved>> {
    Some(Seen {
        id: id_of(at, group.group_id()?),
        marks: Marks::of(group.tags())?,
        observed: SecurityGroupObserved {
            region: at.region.name.clone(),
            name: text(group.group_name()),
            description: text(group.description()),
            vpc: text(group.vpc_id()),
            ingress: rules(group.ip_permissions()).into_iter().map(|(rule, _)| rule).collect(),
        },
    })
}

async fn described(at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Group>> {
    let ask = at.region.ec2.describe_security_groups().group_ids(plain(id)).send();
    let answer = at.find("ec2:DescribeSecurityGroups", ask).await?;
    Ok(answer.and_then(|answer| answer.security_groups?.into_iter().next()))
}

/// The group of that name in its network.
async fn named(at: &Calls<'_>, want: &SecurityGroupSpec<Known>) -> Result<Option<Group>> {
    let ask = at.region.ec2.describe_security_groups().filters(filter("group-name", &want.name));
    let ask = ask.filters(filter("vpc-id", &want.vpc)).send();
    let answer = at.read("ec2:DescribeSecurityGroups", ask).await?;
    Ok(answer.security_groups.and_then(|groups| groups.into_iter().next()))
}

async fn let_in(at: &Calls<'_>, id: &str, permissions: &[IpPermission]) -> Result<bool> {
    let put = || {
        let put = at.region.ec2.authorize_security_group_ingress().group_id(id);
        put.set_ip_permissions(Some(permissions.to_vec())).send()
    };
    let done = at.known(|| at.put("ec2:AuthorizeSecurityGroupIngress", put)).await;
    Ok(accept(done, ErrorKind::AlreadyExists)?.is_some())
}

/// Makes a group's rules those that are wanted.
async fn settle(at: &Calls<'_>, id: &str, have: &[Rule], want: &[Rule]) -> Result<()> {
    let without = |these: &[Rule], those: &[Rule]| -> Vec<IpPermission> {
        let lacks = these.iter().filter(|(rule, _)| !those.iter().any(|(other, _)| rule == other));
        lacks.map(|(_, permission)| permission.clone()).collect()
    };
    let missing = without(want, have);
    // Of several AWS takes none if it has one already.
    if !missing.is_empty() && !let_in(at, id, &missing).await? && missing.len() > 1 {
        for one in missing {
            let_in(at, id, &[one]).await?;
        }
    }
    let too_much = without(have, want);
    if !too_much.is_empty() {
        let put = || {
            let put = at.region.ec2.revoke_security_group_ingress().group_id(id);
            put.set_ip_permissions(Some(too_much.clone())).send()
        };
        at.take("ec2:RevokeSecurityGroupIngress", put).await?;
    }
    Ok(())
}

/// Makes one; `None` if AWS has the name already.
async fn create(
    at: &Calls<'_>,
    key: &ResourceKey,
    want: &SecurityGroupSpec<Known>,
) -> Result<Option<PhysicalId>> {
    let marks = marks_for(at, key, ResourceType::SecurityGroup)?;
    let make = || {
        let make = at.region.ec2.create_security_group().vpc_id(&want.vpc).group_name(&want.name);
        make.description(&want.description).tag_specifications(marks.clone()).send()
    };
    let made = at.known(|| at.change("ec2:CreateSecurityGroup", make())).await;
    match accept(made, ErrorKind::AlreadyExists)? {
        Some(made) => {
            let id = made.group_id().ok_or_else(|| unexpected("ec2:CreateSecurityGroup", "id"))?;
            Ok(Some(id_of(at, id)))
        }
        None => Ok(None),
    }
}

impl Native for SecurityGroup {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<SecurityGroupObserved>>> {
        Ok(described(at, id).await?.and_then(|group| seen(at, &group)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<SecurityGroupObserved>>> {
        let filters = marked(at, look);
        let ask = |next| {
            let ask = at.region.ec2.describe_security_groups().set_filters(Some(filters.clone()));
            ask.set_next_token(next).send()
        };
        let pages = at.pages("ec2:DescribeSecurityGroups", ask, |page| page.next_token.clone()).await?;
        Ok(pages.iter().flat_map(|page| page.security_groups()).filter_map(|group| seen(at, group)).collect())
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &SecurityGroupSpec<Known>,
    ) -> Result<PhysicalId> {
        let (at, wanted) = (on.at(&want.region).await, permissions(&want.ingress)?);
        let mut there = named(&at, want).await?;
        if there.is_none() {
            if let Some(id) = create(&at, key, want).await? {
                completed(settle(&at, plain(&id), &[], &wanted).await)?;
                return Ok(id);
            }
            // Made by a create whose answer was lost, it may not have shown until now.
            there = at.until(SETTLE, || named(&at, want)).await?;
        }
        let ours = there.as_ref().and_then(|group| seen(&at, group));
        let ours = at.own(ours, key, ("security group", &want.name))?;
        let have = there.map(|group| rules(group.ip_permissions())).unwrap_or_default();
        completed(settle(&at, plain(&ours.id), &have, &wanted).await)?;
        Ok(ours.id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &SecurityGroupObserved,
        want: &SecurityGroupSpec<Known>,
    ) -> Result<()> {
        let wanted = permissions(&want.ingress)?;
        match described(at, id).await? {
            Some(group) => settle(at, plain(id), &rules(group.ip_permissions()), &wanted).await,
            None => Err(unexpected("ec2:DescribeSecurityGroups", "security group")),
        }
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = || at.region.ec2.delete_security_group().group_id(plain(id)).send();
        at.freed(|| at.remove("ec2:DeleteSecurityGroup", gone())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingress(cidr: Option<&str>, group: Option<&str>) -> Ingress<Known> {
        Ingress {
            protocol: "tcp".to_owned(),
            from_port: 80,
            to_port: 81,
            cidr: cidr.map(str::to_owned),
            group: group.map(str::to_owned),
        }
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        let sources = [
            ingress(Some("10.0.0.0/8"), None),
            ingress(Some("::/0"), None),
            ingress(Some("pl-1"), None),
            ingress(None, Some("sg-1")),
        ];
        for source in &sources {
            let read = rules(&[permission(source).unwrap()]);
            assert!(matches!(&read[..], [(rule, _)] if rule == source), "{read:?}");
        }
        assert!(permission(&ingress(None, None)).is_err());
        assert!(permission(&ingress(Some("10.0.0.0/8"), Some("sg-1"))).is_err());
    }

    #[test]
    fn what_has_no_ports_has_all() {
        let all = IpPermission::builder().ip_protocol("-1");
        let all = all.ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build()).build();
        let read = rules(&[all]);
        assert_eq!((read[0].0.from_port, read[0].0.to_port), (0, u16::MAX));
        assert_eq!(read[0].1.from_port(), None, "it is taken away as it stands");
    }
}
