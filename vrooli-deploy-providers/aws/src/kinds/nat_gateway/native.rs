//! A NAT gateway takes minutes to come and to go, and is seen for an hour after it failed or went: such
//! a one is none. It is made with a token; one that failed leaves its token used.

use std::time::Duration;

use aws_sdk_ec2::types::{NatGateway as Gateway, NatGatewayState as State, ResourceType};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{NatGateway, NatGatewayObserved, NatGatewaySpec};
use crate::native::ec2::{id_of, marked, marks_for, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, completed, unexpected};

/// So long one may take to come, or to go; AWS says a few minutes.
const PATIENCE: Duration = Duration::from_secs(300);

fn is_gone(gateway: &Gateway) -> bool {
    gateway.state().is_some_and(|is| [State::Deleting, State::Deleted, State::Failed].contains(is))
}

fn seen(at: &Calls<'_>, gateway: &Gateway) -> Option<Seen<NatGatewayObserved>> {
    if is_gone(gateway) {
        return None;
    }
    let address = gateway.nat_gateway_addresses().iter().find(|one| one.is_primary() != Some(false));
    Some(Seen {
        id: id_of(at, gateway.nat_gateway_id()?),
        marks: Marks::of(gateway.tags())?,
        observed: NatGatewayObserved {
            region: at.region.name.clone(),
            subnet: text(gateway.subnet_id()),
            elastic_ip: text(address.and_then(|one| one.allocation_id())),
        },
    })
}

async fn described(at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Gateway>> {
    let ask = at.region.ec2.describe_nat_gateways().nat_gateway_ids(plain(id)).send();
    let answer = at.find("ec2:DescribeNatGateways", ask).await?;
    Ok(answer.and_then(|answer| answer.nat_gateways?.into_iter().next()))
}

/// Those that bear the marks, gone ones included.
async fn all(at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Gateway>> {
    let filters = marked(at, look);
    let ask = |next| {
        let ask = at.region.ec2.describe_nat_gateways().set_filter(Some(filters.clone()));
        ask.set_next_token(next).send()
    };
    let pages = at.pages("ec2:DescribeNatGateways", ask, |page| page.next_token.clone()).await?;
    Ok(pages.into_iter().flat_map(|page| page.nat_gateways.unwrap_or_default()).collect())
}

/// The one that was begun with our token, else one that is made with a token not used yet.
async fn begin(at: &Calls<'_>, key: &ResourceKey, want: &NatGatewaySpec<Known>) -> Result<PhysicalId> {
    let token = at.cx.token.ok_or_else(|| unexpected("ec2:CreateNatGateway", "token"))?;
    let mut ours = all(at, Look::Key(key)).await?;
    ours.retain(|one| {
        Marks::of(one.tags()).is_some_and(|marks| marks.are(at.cx, key) && marks.token == Some(token))
    });
    if let Some(there) = ours.iter().find_map(|one| seen(at, one)) {
        return Ok(there.id);
    }
    let marks = marks_for(at, key, ResourceType::Natgateway)?;
    let make = || {
        let make = at.region.ec2.create_nat_gateway().client_token(format!("{}-{}", token.0, ours.len()));
        let make = make.subnet_id(&want.subnet).allocation_id(&want.elastic_ip);
        make.tag_specifications(marks.clone()).send()
    };
    let made = at.known(|| at.change("ec2:CreateNatGateway", make())).await?;
    let id = made.nat_gateway().and_then(|gateway| gateway.nat_gateway_id());
    Ok(id_of(at, id.ok_or_else(|| unexpected("ec2:CreateNatGateway", "id"))?))
}

/// Waits until it is there, or has failed. One that takes longer is a NAT gateway all the same.
async fn ready(at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Gateway>> {
    let look = || async move {
        let there = described(at, id).await?;
        Ok(there.filter(|gateway| gateway.state() != Some(&State::Pending)))
    };
    Ok(at.until(PATIENCE, look).await?.filter(is_gone))
}

fn failed(gateway: &Gateway) -> ProviderError {
    let said = gateway.failure_message().unwrap_or("AWS does not say why");
    let id = gateway.nat_gateway_id().unwrap_or_default();
    let error = ProviderError::new(
        ErrorKind::Unexpected,
        format!("ec2:CreateNatGateway: {id} was made, and failed: {said}"),
    );
    match gateway.failure_code() {
        Some(code) => error.with_code(code),
        None => error,
    }
}

impl Native for NatGateway {
    const TOKEN: CreateToken = CreateToken::Native;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<NatGatewayObserved>>> {
        Ok(described(at, id).await?.and_then(|gateway| seen(at, &gateway)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<NatGatewayObserved>>> {
        Ok(all(at, look).await?.iter().filter_map(|gateway| seen(at, gateway)).collect())
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &NatGatewaySpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let id = begin(&at, key, want).await?;
        match completed(ready(&at, &id).await)? {
            // It is none: AWS takes it away by itself.
            Some(gone) => Err(failed(&gone)),
            None => Ok(id),
        }
    }

    /// Until it is gone its address and its subnet cannot go.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.ec2.delete_nat_gateway().nat_gateway_id(plain(id)).send();
        at.remove("ec2:DeleteNatGateway", gone).await?;
        let look = || async move {
            let there = described(at, id).await?;
            let going = there.is_some_and(|one| !matches!(one.state(), Some(State::Deleted | State::Failed)));
            Ok((!going).then_some(()))
        };
        at.until(PATIENCE, look).await.map(drop)
    }
}
