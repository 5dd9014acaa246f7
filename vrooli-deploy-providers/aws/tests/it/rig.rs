use std::net::SocketAddr;
use std::sync::OnceLock;

use vrooli_deploy_tests::moto::{self, asked, json};

/// What load balancers stand in: the network that every account has, as its ids.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) vpc: String,
    /// In three zones.
    pub(crate) subnets: Vec<String>,
    /// The addresses of the first of them.
    pub(crate) range: String,
    pub(crate) security_groups: [String; 2],
    /// An address that no stack allocated.
    pub(crate) address: String,
    /// Machines and profiles of machines that no stack made.
    pub(crate) machines: [String; 2],
    pub(crate) profiles: [&'static str; 2],
    /// What machines of a group may be made of, that no stack made.
    pub(crate) template: String,
    /// A target group and certificates that no stack made.
    pub(crate) target_group: String,
    pub(crate) certificates: [String; 2],
    /// Subnets and settings for databases, subnets for caches, a cluster and a task definition, all of this name, and a secret, that no stack made.
    pub(crate) elsewhere: &'static str,
    pub(crate) secret: String,
    /// A key that no stack made.
    pub(crate) key: String,
}

/// The emulator's.
pub(crate) fn network() -> &'static Network {
    NETWORK.get().unwrap()
}

/// Asks an emulator for its network, before anything is tried.
pub(crate) fn look_at_network(address: SocketAddr) {
    NETWORK.get_or_init(|| Network::ask(address));
}

static NETWORK: OnceLock<Network> = OnceLock::new();

impl Network {
    /// Calls as they are on the wire: what was there before is not made by what is tried.
    fn ask(address: SocketAddr) -> Self {
        let ec2 = |form: &str| ec2(address, form);
        let said = ec2("Action=DescribeSubnets");
        let (vpcs, mut subnets) = (ids(&said, "vpcId"), ids(&said, "subnetId"));
        subnets.truncate(3);
        let range = ids(&said, "cidrBlock").swap_remove(0);
        let vpc = vpcs.first().unwrap().clone();
        let security_groups = ["one", "another"].map(|name| {
            let make = format!("Action=CreateSecurityGroup&GroupName={name}&GroupDescription=x&VpcId={vpc}");
            ids(&ec2(&make), "groupId").pop().unwrap()
        });
        let allocated = ids(&ec2("Action=AllocateAddress&Domain=vpc"), "allocationId").pop().unwrap();
        let make = format!(
            "Action=CreateTargetGroup&Name=elsewhere&Protocol=HTTP&Port=80&TargetType=ip&VpcId={vpc}\
             &Version=2015-12-01"
        );
        let target_group = query(address, "elasticloadbalancing", &make);
        let target_group = ids(&target_group, "TargetGroupArn").pop().unwrap();
        let certificates = ["one", "another"].map(|name| {
            let make = format!(r#"{{"DomainName":"{name}.example.net","ValidationMethod":"DNS"}}"#);
            let said = json(address, "acm", "CertificateManager.RequestCertificate", &make).unwrap();
            said.split('"').find(|word| word.starts_with("arn:")).unwrap().to_owned()
        });
        let machines = ["", "&"].map(|_| {
            let make = format!(
                "Action=RunInstances&ImageId=ami-1&MinCount=1&MaxCount=1&InstanceType=t3.micro&SubnetId={}",
                subnets[0]
            );
            ids(&ec2(&make), "instanceId").pop().unwrap()
        });
        let make = "Action=CreateLaunchTemplate&LaunchTemplateName=elsewhere\
                    &LaunchTemplateData.ImageId=ami-1&LaunchTemplateData.InstanceType=t3.micro";
        let template = ids(&ec2(make), "launchTemplateId").pop().unwrap();
        let profiles = ["elsewhere-one", "elsewhere-another"];
        for name in profiles {
            let make = format!("Action=CreateInstanceProfile&InstanceProfileName={name}&Version=2010-05-08");
            let said = query(address, "iam", &make);
            assert!(said.contains(name), "{said}");
        }
        let elsewhere = "elsewhere";
        for make in [
            format!(
                "Action=CreateDBSubnetGroup&DBSubnetGroupName={elsewhere}&DBSubnetGroupDescription=x\
                 &SubnetIds.SubnetIdentifier.1={}",
                subnets[0]
            ),
            format!(
                "Action=CreateDBParameterGroup&DBParameterGroupName={elsewhere}\
                 &DBParameterGroupFamily=postgres16&Description=x"
            ),
        ] {
            let said = query(address, "rds", &format!("{make}&Version=2014-10-31"));
            assert!(said.contains(elsewhere), "{said}");
        }
        let make = format!(
            "Action=CreateCacheSubnetGroup&CacheSubnetGroupName={elsewhere}&CacheSubnetGroupDescription=x\
             &SubnetIds.SubnetIdentifier.1={}&Version=2015-02-02",
            subnets[0]
        );
        let said = query(address, "elasticache", &make);
        assert!(said.contains(elsewhere), "{said}");
        let make = format!(r#"{{"clusterName":"{elsewhere}"}}"#);
        let said = json(address, "ecs", "AmazonEC2ContainerServiceV20141113.CreateCluster", &make).unwrap();
        assert!(said.contains(elsewhere), "{said}");
        let make = format!(
            r#"{{"family":"{elsewhere}","containerDefinitions":[{{"name":"x","image":"x","memory":64}}]}}"#
        );
        let register = "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition";
        let said = json(address, "ecs", register, &make).unwrap();
        assert!(said.contains(elsewhere), "{said}");
        let make = r#"{"Name":"elsewhere","SecretString":"a1b2c3d4e5f6g7h8"}"#;
        let said = json(address, "secretsmanager", "secretsmanager.CreateSecret", make).unwrap();
        let secret = said.split('"').find(|word| word.starts_with("arn:")).unwrap().to_owned();
        let said = json(address, "kms", "TrentService.CreateKey", "{}").unwrap();
        let key = said.split('"').find(|word| word.starts_with("arn:")).unwrap().to_owned();
        Self {
            vpc,
            subnets,
            range,
            security_groups,
            address: allocated,
            machines,
            profiles,
            template,
            target_group,
            certificates,
            elsewhere,
            secret,
            key,
        }
    }
}

/// A call of EC2 by another hand.
pub(crate) fn ec2(address: SocketAddr, form: &str) -> String {
    moto::ec2(address, form).unwrap()
}

pub(crate) fn query(address: SocketAddr, service: &str, form: &str) -> String {
    moto::query(address, service, form).unwrap()
}

/// What stands in all elements of a name.
pub(crate) fn ids(said: &str, element: &str) -> Vec<String> {
    moto::elements(said, element)
}

/// Databases that are deleted leave snapshots with their tags, which other trials need not see.
pub(crate) fn forget_snapshots(address: SocketAddr) {
    let rds = |form: &str| query(address, "rds", &format!("{form}&Version=2014-10-31"));
    for name in ids(&rds("Action=DescribeDBSnapshots"), "DBSnapshotIdentifier") {
        rds(&format!("Action=DeleteDBSnapshot&DBSnapshotIdentifier={name}"));
    }
}

/// So many looks at a distribution find it on its way.
pub(crate) fn looks_until_deployed(address: SocketAddr, times: u32) {
    let order = format!(
        r#"{{"model_name":"cloudfront::distribution","transition":{{"progression":"manual","times":{times}}}}}"#
    );
    let (path, json) = ("/moto-api/state-manager/set-transition", "content-type: application/json\r\n");
    assert!(asked(address, "POST", path, json, &order).unwrap().contains(" 201 "), "moto takes no order");
}
