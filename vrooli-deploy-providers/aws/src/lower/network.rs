//! The network of a stack: zones, ways out, and who may reach whom.

use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::Wanted;
use vrooli_deploy_core::provider::lowering::{Lowering, object_name, output, resource_key};
use vrooli_deploy_core::stack::Input;

use super::Site;
use super::compute::Compute;
use super::data::WantedData;
use super::front::FrontChoice;
use crate::kinds::elastic_ip::{ElasticIp, ElasticIpSpec};
use crate::kinds::internet_gateway::{InternetGateway, InternetGatewaySpec};
use crate::kinds::nat_gateway::{NatGateway, NatGatewaySpec};
use crate::kinds::route_table::{RouteTable, RouteTableSpec};
use crate::kinds::security_group::{Ingress, SecurityGroup, SecurityGroupSpec};
use crate::kinds::subnet::{Subnet, SubnetSpec};
use crate::kinds::vpc::{Vpc, VpcSpec};

/// Keys of the parts of a network that others refer to.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) vpc: ResourceKey,
    /// The internet gateway.
    pub(super) gateway: ResourceKey,
    pub(super) public: Vec<ResourceKey>,
    /// Where the app stands: private subnets in production, else the public ones.
    pub(super) app: Vec<ResourceKey>,
    /// Has the app public addresses? It has unless it stands behind NAT gateways.
    pub(super) public_addresses: bool,
    pub(super) data: Vec<ResourceKey>,
    pub(super) balancer_group: Option<ResourceKey>,
    pub(super) app_group: ResourceKey,
    pub(super) data_group: Option<ResourceKey>,
}

/// References to the ids of resources.
pub(super) fn ids(keys: &[ResourceKey]) -> Vec<Input<String>> {
    keys.iter().map(|key| output(key, "id")).collect()
}

fn open_to(cidr: &str, port: u16) -> Ingress<Wanted> {
    Ingress {
        protocol: "tcp".to_owned(),
        from_port: port,
        to_port: port,
        cidr: Some(cidr.to_owned()),
        group: None,
    }
}

fn open_to_group(group: &ResourceKey, from_port: u16, to_port: u16) -> Ingress<Wanted> {
    Ingress { protocol: "tcp".to_owned(), from_port, to_port, cidr: None, group: Some(output(group, "id")) }
}

/// The network, unless the app has nothing that needs one.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    compute: Option<&Compute>,
    front: &FrontChoice,
    data: &WantedData<'_>,
) -> Option<Network> {
    if compute.is_none() && !data.needs_network() {
        return None;
    }
    let addresses = &site.known.defaults.network;
    let region = &site.region.name;
    let vpc = resource_key("network/vpc");
    let cidr = format!("{}.0.0/16", addresses.vpc_prefix);
    lowering.add(&vpc, &Vpc, &VpcSpec { region: region.clone(), cidr, dns_names: true }, false);
    let gateway = resource_key("network/internet-gateway");
    let spec = InternetGatewaySpec { region: region.clone(), vpc: output(&vpc, "id") };
    lowering.add(&gateway, &InternetGateway, &spec, false);

    let subnets = |lowering: &mut Lowering<'_>, group: &str, first: u32, public: bool| -> Vec<ResourceKey> {
        let one = |(index, zone): (u32, &String)| {
            let key = resource_key(&format!("network/{group}-{}", index + 1));
            let spec = SubnetSpec {
                region: region.clone(),
                vpc: output(&vpc, "id"),
                zone: zone.clone(),
                cidr: format!("{}.{}.0/20", addresses.vpc_prefix, first + 16 * index),
                public,
            };
            lowering.add(&key, &Subnet, &spec, false);
            key
        };
        (0..).zip(site.zones).map(one).collect()
    };
    let public = subnets(lowering, "public", addresses.public, true);
    // A machine with an address of its own stands where it can be reached.
    let private = site.scale.private && compute.is_some_and(|_| front.balancer);
    let app = if private { subnets(lowering, "app", addresses.app, false) } else { public.clone() };
    let data_subnets =
        if data.needs_network() { subnets(lowering, "data", addresses.data, false) } else { Vec::new() };

    let table = RouteTableSpec {
        region: region.clone(),
        vpc: output(&vpc, "id"),
        internet_gateway: Some(output(&gateway, "id")),
        nat_gateway: None,
        subnets: ids(&public),
    };
    lowering.add(&resource_key("network/routes-public"), &RouteTable, &table, false);
    if private {
        for (index, subnet) in app.iter().enumerate() {
            nat(lowering, site, (&vpc, &gateway), index, (&public[index], subnet));
        }
    }
    let groups = groups(lowering, site, &vpc, compute, front, data);
    Some(Network {
        vpc,
        gateway,
        public,
        app,
        public_addresses: !private,
        data: data_subnets,
        balancer_group: groups.0,
        app_group: groups.1,
        data_group: groups.2,
    })
}

/// One zone's way out of its private subnet.
fn nat(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    (vpc, internet): (&ResourceKey, &ResourceKey),
    index: usize,
    (public, private): (&ResourceKey, &ResourceKey),
) {
    let region = &site.region.name;
    let number = index + 1;
    let address = resource_key(&format!("network/nat-address-{number}"));
    lowering.add(&address, &ElasticIp, &ElasticIpSpec { region: region.clone() }, false);
    let gateway = resource_key(&format!("network/nat-{number}"));
    let spec = NatGatewaySpec {
        region: region.clone(),
        subnet: output(public, "id"),
        elastic_ip: output(&address, "id"),
        of: u32::try_from(site.zones.len()).unwrap_or(1),
    };
    lowering.add(&gateway, &NatGateway, &spec, false);
    // One in a network without a way to the internet fails.
    lowering.after(&gateway, internet);
    let table = RouteTableSpec {
        region: region.clone(),
        vpc: output(vpc, "id"),
        internet_gateway: None,
        nat_gateway: Some(output(&gateway, "id")),
        subnets: vec![output(private, "id")],
    };
    lowering.add(&resource_key(&format!("network/routes-app-{number}")), &RouteTable, &table, false);
}

/// The chain: everybody → load balancer → app → data.
fn groups(
    lowering: &mut Lowering<'_>,
    site: Site<'_>,
    vpc: &ResourceKey,
    compute: Option<&Compute>,
    front: &FrontChoice,
    data: &WantedData<'_>,
) -> (Option<ResourceKey>, ResourceKey, Option<ResourceKey>) {
    let stack = lowering.stack();
    let group =
        |lowering: &mut Lowering<'_>, part: &str, description: &str, ingress: Vec<Ingress<Wanted>>| {
            let key = resource_key(&format!("network/{part}-group"));
            let spec = SecurityGroupSpec {
                region: site.region.name.clone(),
                name: object_name(stack, part, 255),
                description: description.to_owned(),
                vpc: output(vpc, "id"),
                ingress,
            };
            lowering.add(&key, &SecurityGroup, &spec, false);
            key
        };
    let web = || [80, 443].map(|port| open_to("0.0.0.0/0", port)).to_vec();
    let balancer =
        front.balancer.then(|| group(lowering, "balancer", "who reaches the load balancer", web()));
    let ingress = match (&balancer, compute.and_then(|compute| compute.reached)) {
        (Some(balancer), Some((first, last))) => vec![open_to_group(balancer, first, last)],
        (None, Some(_)) => web(),
        (_, None) => Vec::new(),
    };
    let app = group(lowering, "app", "who reaches the app", ingress);
    let data = data.needs_network().then(|| {
        let ingress = data.ports().into_iter().map(|port| open_to_group(&app, port, port)).collect();
        group(lowering, "data", "who reaches databases and caches", ingress)
    });
    (balancer, app, data)
}
