//! EC2 takes no token for an address: only its marks tell it.

use aws_sdk_ec2::types::{Address, DomainType, ResourceType};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, PhysicalId, Result};

use super::{ElasticIp, ElasticIpObserved, ElasticIpSpec};
use crate::native::ec2::{SETTLE, id_of, marked, marks_for, once, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, unexpected};

fn seen(at: &Calls<'_>, address: &Address) -> Option<Seen<ElasticIpObserved>> {
    Some(Seen {
        id: id_of(at, address.allocation_id()?),
        marks: Marks::of(address.tags())?,
        observed: ElasticIpObserved { region: at.region.name.clone(), address: text(address.public_ip()) },
    })
}

/// Addresses of the stack. AWS gives them all at once: there are no pages.
pub(in crate::kinds) async fn of_stack(at: &Calls<'_>) -> Result<Vec<Address>> {
    let ask = || async {
        let ask = at.region.ec2.describe_addresses().set_filters(Some(marked(at, Look::Stack))).send();
        Ok(at.read("ec2:DescribeAddresses", ask).await?.addresses.unwrap_or_default())
    };
    at.once("addresses", "", ask).await
}

async fn create(at: &Calls<'_>, key: &ResourceKey) -> Result<(String, ElasticIpObserved)> {
    let marks = marks_for(at, key, ResourceType::ElasticIp)?;
    let make = at.region.ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(marks).send();
    let made = at.change("ec2:AllocateAddress", make).await?;
    let id = made.allocation_id().ok_or_else(|| unexpected("ec2:AllocateAddress", "id"))?;
    let address = text(made.public_ip());
    Ok((id.to_owned(), ElasticIpObserved { region: at.region.name.clone(), address }))
}

impl Native for ElasticIp {
    const TOKEN: CreateToken = CreateToken::Marks;
    const SETTLE: std::time::Duration = SETTLE;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<ElasticIpObserved>>> {
        let ask = at.region.ec2.describe_addresses().allocation_ids(plain(id)).send();
        let answer = at.find("ec2:DescribeAddresses", ask).await?;
        Ok(answer.and_then(|answer| seen(at, answer.addresses().first()?)))
    }

    async fn list(&self, at: &Calls<'_>, _: Look<'_>) -> Result<Vec<Seen<ElasticIpObserved>>> {
        Ok(of_stack(at).await?.iter().filter_map(|address| seen(at, address)).collect())
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &ElasticIpSpec) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        Ok(once(self, &at, key, create(&at, key)).await?.0)
    }

    /// A NAT gateway that is going away holds it for a minute.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = || at.region.ec2.release_address().allocation_id(plain(id)).send();
        at.freed(|| at.remove("ec2:ReleaseAddress", gone())).await
    }
}
