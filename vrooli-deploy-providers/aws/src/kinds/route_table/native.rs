//! A route table is made with a token. Its way out and the subnets that follow it are calls of their own,
//! each made only where it is missing.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{ResourceType, RouteTable as Table, RouteTableAssociationStateCode as State};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{RouteTable, RouteTableObserved, RouteTableSpec};
use crate::native::ec2::{id_of, marked, marks_for, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, begun, completed, unexpected};

/// All that is not the network's own.
const EVERYWHERE: &str = "0.0.0.0/0";
/// What AWS says of a subnet that follows another table.
const TAKEN: &str = "Resource.AlreadyAssociated";

/// Where packets leave a network.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// An internet gateway, or something else that no spec says.
    Gateway(String),
    Nat(String),
}

impl Way {
    fn of(want: &RouteTableSpec<Known>) -> Result<Option<Self>> {
        match (&want.internet_gateway, &want.nat_gateway) {
            (Some(_), Some(_)) => Err(ProviderError::new(
                ErrorKind::Unsupported,
                "a route table has one way out: an internet gateway or a NAT gateway",
            )),
            (Some(gateway), None) => Ok(Some(Self::Gateway(gateway.clone()))),
            (None, Some(gateway)) => Ok(Some(Self::Nat(gateway.clone()))),
            (None, None) => Ok(None),
        }
    }

    fn of_table(table: &Table) -> Option<Self> {
        let out = table.routes().iter().find(|one| one.destination_cidr_block() == Some(EVERYWHERE))?;
        if let Some(gateway) = out.nat_gateway_id() {
            return Some(Self::Nat(gateway.to_owned()));
        }
        let others = [
            out.gateway_id(),
            out.transit_gateway_id(),
            out.vpc_peering_connection_id(),
            out.network_interface_id(),
        ];
        Some(Self::Gateway(text(others.into_iter().flatten().next())))
    }

    /// As calls take it: gateway and NAT gateway.
    fn parts(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Gateway(gateway) => (Some(gateway.clone()), None),
            Self::Nat(gateway) => (None, Some(gateway.clone())),
        }
    }
}

/// The subnets that follow a table, with what ties them to it.
fn follow(table: &Table) -> BTreeMap<String, String> {
    let held = table.associations().iter().filter(|one| {
        let state = one.association_state().and_then(|state| state.state());
        !state.is_some_and(|is| [State::Disassociated, State::Disassociating, State::Failed].contains(is))
    });
    held.filter_map(|one| Some((one.subnet_id()?.to_owned(), one.route_table_association_id()?.to_owned())))
        .collect()
}

fn seen(at: &Calls<'_>, table: &Table) -> Option<Seen<RouteTableObserved>> {
    let (internet_gateway, nat_gateway) = Way::of_table(table).map(|way| way.parts()).unwrap_or_default();
    Some(Seen {
        id: id_of(at, table.route_table_id()?),
        marks: Marks::of(table.tags())?,
        observed: RouteTableObserved {
            region: at.region.name.clone(),
            vpc: text(table.vpc_id()),
            internet_gateway,
            nat_gateway,
            subnets: follow(table).into_keys().collect(),
        },
    })
}

async fn described(at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Table>> {
    let ask = at.region.ec2.describe_route_tables().route_table_ids(plain(id)).send();
    let answer = at.find("ec2:DescribeRouteTables", ask).await?;
    Ok(answer.and_then(|answer| answer.route_tables?.into_iter().next()))
}

async fn set_way(at: &Calls<'_>, id: &str, have: Option<Way>, want: Option<Way>) -> Result<()> {
    if have == want {
        return Ok(());
    }
    let ec2 = &at.region.ec2;
    let Some(want) = want else {
        let put = || ec2.delete_route().route_table_id(id).destination_cidr_block(EVERYWHERE).send();
        return at.take("ec2:DeleteRoute", put).await;
    };
    let (gateway, nat) = want.parts();
    if have.is_none() {
        let put = || {
            let put = ec2.create_route().route_table_id(id).destination_cidr_block(EVERYWHERE);
            put.set_gateway_id(gateway.clone()).set_nat_gateway_id(nat.clone()).send()
        };
        let made = at.known(|| at.put("ec2:CreateRoute", put)).await;
        if accept(made, ErrorKind::AlreadyExists)?.is_some() {
            return Ok(());
        }
        // An earlier try had made it, or another hand another: the same call puts both right.
    }
    let put = || {
        let put = ec2.replace_route().route_table_id(id).destination_cidr_block(EVERYWHERE);
        put.set_gateway_id(gateway.clone()).set_nat_gateway_id(nat.clone()).send()
    };
    at.known(|| at.put("ec2:ReplaceRoute", put)).await.map(drop)
}

/// What ties subnets to the tables that they follow now, whichever those are.
async fn ties(at: &Calls<'_>, subnets: &[String]) -> Result<BTreeMap<String, (String, String)>> {
    let name = "association.subnet-id";
    let filter = aws_sdk_ec2::types::Filter::builder().name(name).set_values(Some(subnets.to_vec())).build();
    let ask =
        |next| at.region.ec2.describe_route_tables().filters(filter.clone()).set_next_token(next).send();
    let pages = at.pages("ec2:DescribeRouteTables", ask, |page| page.next_token.clone()).await?;
    let mut all = BTreeMap::new();
    for table in pages.iter().flat_map(|page| page.route_tables()) {
        let id = text(table.route_table_id());
        all.extend(follow(table).into_iter().map(|(subnet, tie)| (subnet, (tie, id.clone()))));
    }
    Ok(all)
}

/// Lets subnets follow the table. One that follows another is taken from there without a moment in between.
async fn tie(at: &Calls<'_>, id: &str, subnets: &[String]) -> Result<()> {
    let (ec2, there) = (&at.region.ec2, ties(at, subnets).await?);
    for subnet in subnets {
        match there.get(subnet) {
            Some((_, table)) if table == id => {}
            Some((tie, _)) => {
                let put =
                    || ec2.replace_route_table_association().association_id(tie).route_table_id(id).send();
                at.known(|| at.put("ec2:ReplaceRouteTableAssociation", put)).await?;
            }
            None => {
                let put = || ec2.associate_route_table().route_table_id(id).subnet_id(subnet).send();
                at.known(|| at.put("ec2:AssociateRouteTable", put)).await?;
            }
        }
    }
    Ok(())
}

async fn untie(at: &Calls<'_>, ties: impl Iterator<Item = String> + Send) -> Result<()> {
    for tie in ties {
        let put = || at.region.ec2.disassociate_route_table().association_id(&tie).send();
        at.take("ec2:DisassociateRouteTable", put).await?;
    }
    Ok(())
}

/// Makes a table what is wanted.
async fn settle(at: &Calls<'_>, table: &Table, want: &RouteTableSpec<Known>) -> Result<()> {
    let id = text(table.route_table_id());
    set_way(at, &id, Way::of_table(table), Way::of(want)?).await?;
    let have = follow(table);
    let missing: Vec<String> = want.subnets.iter().filter(|one| !have.contains_key(*one)).cloned().collect();
    if !missing.is_empty() {
        match tie(at, &id, &missing).await {
            // Since it was looked at, or by an earlier try: so it is looked at once more.
            Err(error) if error.code() == Some(TAKEN) => tie(at, &id, &missing).await?,
            done => done?,
        }
    }
    let wanted: BTreeSet<&String> = want.subnets.iter().collect();
    untie(at, have.into_iter().filter(|(subnet, _)| !wanted.contains(subnet)).map(|(_, tie)| tie)).await
}

/// Makes one, as AWS gives it back.
async fn create(at: &Calls<'_>, key: &ResourceKey, want: &RouteTableSpec<Known>) -> Result<Table> {
    let token = at.cx.token.ok_or_else(|| unexpected("ec2:CreateRouteTable", "token"))?;
    let marks = marks_for(at, key, ResourceType::RouteTable)?;
    let make = || {
        let make = at.region.ec2.create_route_table().vpc_id(&want.vpc).client_token(token.0.to_string());
        make.tag_specifications(marks.clone()).send()
    };
    let made = at.known(|| at.change("ec2:CreateRouteTable", make())).await?;
    let table = made.route_table.filter(|table| table.route_table_id().is_some());
    table.ok_or_else(|| unexpected("ec2:CreateRouteTable", "id"))
}

impl Native for RouteTable {
    const TOKEN: CreateToken = CreateToken::Native;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<RouteTableObserved>>> {
        Ok(described(at, id).await?.and_then(|table| seen(at, &table)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<RouteTableObserved>>> {
        let filters = marked(at, look);
        let ask = |next| {
            let ask = at.region.ec2.describe_route_tables().set_filters(Some(filters.clone()));
            ask.set_next_token(next).send()
        };
        let pages = at.pages("ec2:DescribeRouteTables", ask, |page| page.next_token.clone()).await?;
        Ok(pages.iter().flat_map(|page| page.route_tables()).filter_map(|table| seen(at, table)).collect())
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &RouteTableSpec<Known>,
    ) -> Result<PhysicalId> {
        Way::of(want)?;
        let at = on.at(&want.region).await;
        let there = match begun(self, &at, key).await? {
            Some(there) => described(&at, &there.id).await?,
            None => None,
        };
        let table = match there {
            Some(table) => table,
            None => create(&at, key, want).await?,
        };
        completed(settle(&at, &table, want).await)?;
        Ok(id_of(&at, table.route_table_id().unwrap_or_default()))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &RouteTableObserved,
        want: &RouteTableSpec<Known>,
    ) -> Result<()> {
        match described(at, id).await? {
            Some(table) => settle(at, &table, want).await,
            None => Err(unexpected("ec2:DescribeRouteTables", "route table")),
        }
    }

    /// AWS refuses to delete what subnets follow.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let Some(table) = described(at, id).await? else { return Ok(()) };
        untie(at, follow(&table).into_values()).await?;
        let gone = || at.region.ec2.delete_route_table().route_table_id(plain(id)).send();
        at.freed(|| at.remove("ec2:DeleteRouteTable", gone())).await
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Route;

    use super::*;

    fn table(route: aws_sdk_ec2::types::builders::RouteBuilder) -> Table {
        let local = Route::builder().destination_cidr_block("10.0.0.0/16").gateway_id("local").build();
        let out = route.destination_cidr_block(EVERYWHERE).build();
        Table::builder().routes(local).routes(out).build()
    }

    #[test]
    fn the_way_out_is_told_from_the_networks_own() {
        let igw = table(Route::builder().gateway_id("igw-1"));
        assert_eq!(Way::of_table(&igw), Some(Way::Gateway("igw-1".to_owned())));
        let nat = table(Route::builder().nat_gateway_id("nat-1"));
        assert_eq!(Way::of_table(&nat), Some(Way::Nat("nat-1".to_owned())));
        let other = table(Route::builder().transit_gateway_id("tgw-1"));
        assert_eq!(Way::of_table(&other), Some(Way::Gateway("tgw-1".to_owned())), "it is seen, too");
        assert_eq!(Way::of_table(&Table::builder().build()), None);
    }
}
