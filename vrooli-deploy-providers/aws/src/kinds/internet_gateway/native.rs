//! EC2 takes no token for a gateway: only its marks tell it. It is attached to its network by a second call.

use aws_sdk_ec2::types::{AttachmentStatus, InternetGateway as Gateway, ResourceType};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, Known, PhysicalId, Result};

use super::{InternetGateway, InternetGatewayObserved, InternetGatewaySpec};
use crate::native::ec2::{SETTLE, id_of, marked, marks_for, once, plain};
use crate::native::{Calls, Look, Marks, Native, Seen, completed, unexpected};

/// What AWS says of one that is attached already.
const ATTACHED: &str = "Resource.AlreadyAssociated";

/// The network that it is attached to.
fn network(gateway: &Gateway) -> Option<String> {
    let going = [AttachmentStatus::Detached, AttachmentStatus::Detaching];
    let held = gateway.attachments().iter().find(|one| !one.state().is_some_and(|is| going.contains(is)));
    held.and_then(|one| one.vpc_id().map(str::to_owned))
}

fn seen(at: &Calls<'_>, gateway: &Gateway) -> Option<Seen<InternetGatewayObserved>> {
    Some(Seen {
        id: id_of(at, gateway.internet_gateway_id()?),
        marks: Marks::of(gateway.tags())?,
        observed: InternetGatewayObserved { region: at.region.name.clone(), vpc: network(gateway) },
    })
}

async fn described(at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Gateway>> {
    let ask = at.region.ec2.describe_internet_gateways().internet_gateway_ids(plain(id)).send();
    let answer = at.find("ec2:DescribeInternetGateways", ask).await?;
    Ok(answer.and_then(|answer| answer.internet_gateways?.into_iter().next()))
}

async fn create(at: &Calls<'_>, key: &ResourceKey) -> Result<(String, InternetGatewayObserved)> {
    let marks = marks_for(at, key, ResourceType::InternetGateway)?;
    let make = at.region.ec2.create_internet_gateway().tag_specifications(marks).send();
    let made = at.change("ec2:CreateInternetGateway", make).await?;
    let id = made.internet_gateway().and_then(|gateway| gateway.internet_gateway_id());
    let id = id.ok_or_else(|| unexpected("ec2:CreateInternetGateway", "id"))?;
    Ok((id.to_owned(), InternetGatewayObserved { region: at.region.name.clone(), vpc: None }))
}

async fn attach(at: &Calls<'_>, id: &PhysicalId, vpc: &str) -> Result<()> {
    let put = || at.region.ec2.attach_internet_gateway().internet_gateway_id(plain(id)).vpc_id(vpc).send();
    match at.known(|| at.put("ec2:AttachInternetGateway", put)).await {
        Err(error) if error.code() == Some(ATTACHED) => match described(at, id).await? {
            Some(gateway) if network(&gateway).as_deref() == Some(vpc) => Ok(()),
            _ => Err(error),
        },
        done => done.map(drop),
    }
}

impl Native for InternetGateway {
    const TOKEN: CreateToken = CreateToken::Marks;
    const SETTLE: std::time::Duration = SETTLE;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<InternetGatewayObserved>>> {
        Ok(described(at, id).await?.and_then(|gateway| seen(at, &gateway)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<InternetGatewayObserved>>> {
        let filters = marked(at, look);
        let ask = |next| {
            let ask = at.region.ec2.describe_internet_gateways().set_filters(Some(filters.clone()));
            ask.set_next_token(next).send()
        };
        let pages = at.pages("ec2:DescribeInternetGateways", ask, |page| page.next_token.clone()).await?;
        let all = pages.iter().flat_map(|page| page.internet_gateways());
        Ok(all.filter_map(|gateway| seen(at, gateway)).collect())
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &InternetGatewaySpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let (id, have) = once(self, &at, key, create(&at, key)).await?;
        completed(self.change(&at, &id, &have, want).await)?;
        Ok(id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &InternetGatewayObserved,
        want: &InternetGatewaySpec<Known>,
    ) -> Result<()> {
        match have.vpc {
            Some(_) => Ok(()),
            None => attach(at, id, &want.vpc).await,
        }
    }

    /// AWS detaches it when nothing in the network has a public address any more.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some(gateway) = described(at, id).await? else { return Ok(()) };
        let (ec2, id) = (&at.region.ec2, plain(id));
        if let Some(vpc) = network(&gateway) {
            let put = || ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(&vpc).send();
            at.freed(|| at.take("ec2:DetachInternetGateway", put)).await?;
        }
        let gone = || ec2.delete_internet_gateway().internet_gateway_id(id).send();
        at.freed(|| at.remove("ec2:DeleteInternetGateway", gone())).await
    }
}
