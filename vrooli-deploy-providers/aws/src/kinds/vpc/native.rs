//! EC2 takes no token for a network: only its marks tell it. Whether machines get names is an attribute
//! that is set after it, and told of one network at a time.

use aws_sdk_ec2::types::{ResourceType, Vpc as Network, VpcAttributeName};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, PhysicalId, Result};

use super::{Vpc, VpcObserved, VpcSpec};
use crate::native::ec2::{SETTLE, flag, id_of, marked, marks_for, once, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, completed, together, unexpected};

async fn seen(at: &Calls<'_>, network: &Network) -> Result<Option<Seen<VpcObserved>>> {
    let (Some(marks), Some(id)) = (Marks::of(network.tags()), network.vpc_id()) else { return Ok(None) };
    let names = names(at, id).await?;
    Ok(names.map(|names| Seen { id: id_of(at, id), marks, observed: observed(at, network, names) }))
}

/// Do machines get names? `None` without the network.
async fn names(at: &Calls<'_>, id: &str) -> Result<Option<bool>> {
    let ask = || async {
        let ask = at.region.ec2.describe_vpc_attribute().vpc_id(id);
        let ask = ask.attribute(VpcAttributeName::EnableDnsHostnames).send();
        let answer = at.find("ec2:DescribeVpcAttribute", ask).await?;
        Ok(answer.map(|answer| answer.enable_dns_hostnames.and_then(|names| names.value).unwrap_or(false)))
    };
    at.once("names in a network", id, ask).await
}

fn observed(at: &Calls<'_>, network: &Network, dns_names: bool) -> VpcObserved {
    VpcObserved { region: at.region.name.clone(), cidr: text(network.cidr_block()), dns_names }
}

/// Names are only given where names are resolved, too.
async fn name_machines(at: &Calls<'_>, id: &str, want: &VpcSpec) -> Result<()> {
    let ec2 = &at.region.ec2;
    if want.dns_names {
        let put = || ec2.modify_vpc_attribute().vpc_id(id).enable_dns_support(flag(true)).send();
        at.known(|| at.put("ec2:ModifyVpcAttribute", put)).await?;
    }
    let put = || ec2.modify_vpc_attribute().vpc_id(id).enable_dns_hostnames(flag(want.dns_names)).send();
    at.known(|| at.put("ec2:ModifyVpcAttribute", put)).await.map(drop)
}

async fn create(at: &Calls<'_>, key: &ResourceKey, want: &VpcSpec) -> Result<(String, VpcObserved)> {
    let make = at.region.ec2.create_vpc().cidr_block(&want.cidr);
    let make = make.tag_specifications(marks_for(at, key, ResourceType::Vpc)?).send();
    let made = at.change("ec2:CreateVpc", make).await?;
    let network = made.vpc().ok_or_else(|| unexpected("ec2:CreateVpc", "network"))?;
    let id = network.vpc_id().ok_or_else(|| unexpected("ec2:CreateVpc", "id"))?;
    Ok((id.to_owned(), observed(at, network, false)))
}

impl Native for Vpc {
    const TOKEN: CreateToken = CreateToken::Marks;
    const SETTLE: std::time::Duration = SETTLE;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<VpcObserved>>> {
        let ask = at.region.ec2.describe_vpcs().vpc_ids(plain(id)).send();
        match at.find("ec2:DescribeVpcs", ask).await?.as_ref().and_then(|answer| answer.vpcs().first()) {
            Some(network) => seen(at, network).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<VpcObserved>>> {
        let filters = marked(at, look);
        let ask = |next| {
            let ask = at.region.ec2.describe_vpcs().set_filters(Some(filters.clone()));
            ask.set_next_token(next).send()
        };
        let pages = at.pages("ec2:DescribeVpcs", ask, |page| page.next_token.clone()).await?;
        let mut all = Vec::new();
        for network in pages.iter().flat_map(|page| page.vpcs()) {
            all.extend(seen(at, network).await?);
        }
        Ok(all)
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let _ = together(ids.iter().map(|id| names(at, plain(id)))).await;
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &VpcSpec) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let (id, have) = once(self, &at, key, create(&at, key, want)).await?;
        completed(self.change(&at, &id, &have, want).await)?;
        Ok(id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &VpcObserved,
        want: &VpcSpec,
    ) -> Result<()> {
        if have.dns_names == want.dns_names {
            return Ok(());
        }
        name_machines(at, plain(id), want).await
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = || at.region.ec2.delete_vpc().vpc_id(plain(id)).send();
        at.freed(|| at.remove("ec2:DeleteVpc", gone())).await
    }
}
