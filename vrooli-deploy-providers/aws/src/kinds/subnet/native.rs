//! A network has a range of addresses in one subnet only, which keeps it from being made twice. Whether
//! its machines get public addresses is set after it.

use aws_sdk_ec2::types::{ResourceType, Subnet as Range};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, Result};

use super::{Subnet, SubnetObserved, SubnetSpec};
use crate::native::ec2::{SETTLE, flag, id_of, marked, marks_for, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, begun, completed, unexpected};

fn seen(at: &Calls<'_>, range: &Range) -> Option<Seen<SubnetObserved>> {
    Some(Seen {
        id: id_of(at, range.subnet_id()?),
        marks: Marks::of(range.tags())?,
        observed: SubnetObserved {
            region: at.region.name.clone(),
            vpc: text(range.vpc_id()),
            zone: text(range.availability_zone()),
            cidr: text(range.cidr_block()),
            public: range.map_public_ip_on_launch().unwrap_or(false),
        },
    })
}

async fn set_public(at: &Calls<'_>, id: &str, public: bool) -> Result<()> {
    let put = || {
        let put = at.region.ec2.modify_subnet_attribute().subnet_id(id);
        put.map_public_ip_on_launch(flag(public)).send()
    };
    at.known(|| at.put("ec2:ModifySubnetAttribute", put)).await.map(drop)
}

/// Makes one, and gives its id; that of the one which has the range already, if it is the resource.
async fn create(at: &Calls<'_>, key: &ResourceKey, want: &SubnetSpec<Known>) -> Result<(PhysicalId, bool)> {
    let marks = marks_for(at, key, ResourceType::Subnet)?;
    let make = || {
        let make = at.region.ec2.create_subnet().vpc_id(&want.vpc).availability_zone(&want.zone);
        make.cidr_block(&want.cidr).tag_specifications(marks.clone()).send()
    };
    match at.known(|| at.change("ec2:CreateSubnet", make())).await {
        Ok(made) => {
            let id = made.subnet().and_then(|range| range.subnet_id());
            Ok((id_of(at, id.ok_or_else(|| unexpected("ec2:CreateSubnet", "id"))?), false))
        }
        // Made by a create whose answer was lost, it may not have shown until now.
        Err(error) if error.kind() == ErrorKind::Conflict => {
            match at.until(SETTLE, || begun(&Subnet, at, key)).await {
                Ok(Some(there)) => Ok((there.id, there.observed.public)),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

impl Native for Subnet {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<SubnetObserved>>> {
        let ask = at.region.ec2.describe_subnets().subnet_ids(plain(id)).send();
        let answer = at.find("ec2:DescribeSubnets", ask).await?;
        Ok(answer.and_then(|answer| seen(at, answer.subnets().first()?)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<SubnetObserved>>> {
        let filters = marked(at, look);
        let ask = |next| {
            let ask = at.region.ec2.describe_subnets().set_filters(Some(filters.clone()));
            ask.set_next_token(next).send()
        };
        let pages = at.pages("ec2:DescribeSubnets", ask, |page| page.next_token.clone()).await?;
        Ok(pages.iter().flat_map(|page| page.subnets()).filter_map(|range| seen(at, range)).collect())
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &SubnetSpec<Known>) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let (id, public) = match begun(self, &at, key).await? {
            Some(there) => (there.id, there.observed.public),
            None => create(&at, key, want).await?,
        };
        if public != want.public {
            completed(set_public(&at, plain(&id), want.public).await)?;
        }
        Ok(id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &SubnetObserved,
        want: &SubnetSpec<Known>,
    ) -> Result<()> {
        set_public(at, plain(id), want.public).await
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = || at.region.ec2.delete_subnet().subnet_id(plain(id)).send();
        at.freed(|| at.remove("ec2:DeleteSubnet", gone())).await
    }
}
