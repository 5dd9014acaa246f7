//! ElastiCache, of which the emulator has hardly more than names: its caches have no nodes, stay in `deleting`
//! for ever, and change neither version nor network. `fixtures/moto/caches.py` plays it in the emulator's own
//! process instead, where its accounts, regions, rights and listings of tags are.
//!
//! What is played is what AWS's API reference (2015-02-02) and the ElastiCache user guide say of replication groups
//! of one shard and of groups of subnets. It has never been held against AWS itself. Played are
//!
//! - `CreateReplicationGroup`, `DescribeReplicationGroups`, `ModifyReplicationGroup`, `IncreaseReplicaCount`,
//!   `DecreaseReplicaCount`, `DeleteReplicationGroup`, `DescribeCacheClusters`;
//! - `CreateCacheSubnetGroup`, `DescribeCacheSubnetGroups`, `ModifyCacheSubnetGroup`, `DeleteCacheSubnetGroup`;
//! - `ListTagsForResource`, `AddTagsToResource`, and what `tag:GetResources` lists of all of them.
//!
//! A replication group is `creating`, `available`, `modifying`, `deleting` and gone. What is changed is told when it
//! is done, not before. While it is not `available` it takes no other change and does not tell its tags. Its nodes
//! bear its tags, too. A subnet that a node stands in, and a group that a cache stands in, are not taken away.
//! A call, or a parameter, that is not played is an error.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::asked;

/// How long each state lasts that a cache only passes through. At first 0.1 s.
///
/// # Errors
/// When the emulator cannot be asked, or does not take it.
pub fn pace(address: SocketAddr, each: Duration) -> io::Result<()> {
    let seconds = each.as_secs_f64();
    let order = format!(
        r#"{{"model_name":"elasticache::replicationgroup","transition":{{"progression":"time","seconds":{seconds}}}}}"#
    );
    let (path, json) = ("/moto-api/state-manager/set-transition", "content-type: application/json\r\n");
    let said = asked(address, "POST", path, json, &order)?;
    if said.contains(" 201 ") { Ok(()) } else { Err(io::Error::other(said)) }
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "what is skipped is said")]
mod tests {
    use super::super::{Emulator, ec2, elements, json, query};
    use super::*;

    /// Longer than what is asked meanwhile takes.
    const LONG: Duration = Duration::from_secs(600);

    struct Caches(Emulator);

    impl Caches {
        fn ask(&self, form: &str) -> String {
            query(self.0.address(), "elasticache", &format!("{form}&Version=2015-02-02")).unwrap()
        }

        fn one(&self, form: &str, element: &str) -> String {
            let said = self.ask(form);
            assert!(said.starts_with("HTTP/1.1 200"), "{form}: {said}");
            elements(&said, element).into_iter().next().unwrap_or_default()
        }

        fn refused(&self, form: &str, code: &str) {
            let said = self.ask(form);
            assert!(said.starts_with("HTTP/1.1 4"), "{form}: {said}");
            assert_eq!(elements(&said, "Code"), [code], "{form}");
        }

        /// Waits for what is under way.
        fn passed(&self) {
            for _ in 0..200 {
                let status = self.ask("Action=DescribeReplicationGroups&ReplicationGroupId=a");
                if status.contains("<Status>available<") || status.contains("NotFound") {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            panic!("it does not become available");
        }

        fn pace(&self, each: Duration) {
            pace(self.0.address(), each).unwrap();
        }
    }

    #[test]
    fn states_refusals_nodes_and_tags_are_as_documented() {
        let caches = match Emulator::start() {
            Ok(emulator) => Caches(emulator),
            Err(why) => return println!("skipped: {why}"),
        };
        let address = caches.0.address();
        let subnets = elements(&ec2(address, "Action=DescribeSubnets").unwrap(), "subnetId");
        let group =
            elements(&ec2(address, "Action=DescribeSecurityGroups").unwrap(), "groupId").swap_remove(0);
        let subnet = |numbers: &[usize]| -> String {
            let all = numbers.iter().zip(1..);
            all.map(|(at, n)| format!("&SubnetIds.SubnetIdentifier.{n}={}", subnets[*at])).collect()
        };
        let tags = "&Tags.Tag.1.Key=vrooli:stack&Tags.Tag.1.Value=a/b";
        let make = format!(
            "Action=CreateCacheSubnetGroup&CacheSubnetGroupName=a&CacheSubnetGroupDescription=x{}{tags}",
            subnet(&[0, 1])
        );
        caches.one(&make, "ARN");
        caches.refused(&make, "CacheSubnetGroupAlreadyExists");
        let modify = |name: &str, numbers: &[usize]| {
            format!("Action=ModifyCacheSubnetGroup&CacheSubnetGroupName={name}{}", subnet(numbers))
        };
        caches.refused(&modify("b", &[0]), "CacheSubnetGroupNotFoundFault");
        caches.refused(
            "Action=ModifyCacheSubnetGroup&CacheSubnetGroupName=a&SubnetIds.SubnetIdentifier.1=subnet-0",
            "InvalidSubnet",
        );

        caches.pace(LONG);
        let start = "Action=CreateReplicationGroup&ReplicationGroupId=a&ReplicationGroupDescription=x\
                     &CacheNodeType=cache.t4g.micro&EngineVersion=7.1&CacheSubnetGroupName=a";
        let make = format!(
            "{start}&AuthToken=abcdefgh12345678&TransitEncryptionEnabled=true\
             &SecurityGroupIds.SecurityGroupId.1={group}{tags}"
        );
        caches.refused(&format!("{start}&AuthToken=abcdefgh12345678"), "InvalidParameterCombination");
        caches.refused(&format!("{make}&AutomaticFailoverEnabled=true"), "InvalidParameterCombination");
        caches.refused(&format!("{make}&SnapshotRetentionLimit=1"), "InvalidParameterCombination");
        caches.refused(
            &make.replace("SubnetGroupName=a", "SubnetGroupName=b"),
            "CacheSubnetGroupNotFoundFault",
        );
        assert_eq!(caches.one(&make, "Status"), "creating");
        caches.refused(&make, "ReplicationGroupAlreadyExists");
        let arn = caches.one("Action=DescribeReplicationGroups", "ARN");
        let told = format!("Action=ListTagsForResource&ResourceName={arn}");
        let one = "&ReplicationGroupId=a&ApplyImmediately=true";
        let more = format!("Action=IncreaseReplicaCount{one}&NewReplicaCount=1");
        let fewer = format!("Action=DecreaseReplicaCount{one}&NewReplicaCount=0");
        let delete = "Action=DeleteReplicationGroup&ReplicationGroupId=a";
        for form in [&told, &more, delete] {
            caches.refused(form, "InvalidReplicationGroupState");
        }
        assert!(!caches.ask("Action=DescribeReplicationGroups").contains("PrimaryEndpoint"));
        caches.refused("Action=DeleteCacheSubnetGroup&CacheSubnetGroupName=a", "CacheSubnetGroupInUse");
        caches.refused(
            "Action=DescribeReplicationGroups&ReplicationGroupId=b",
            "ReplicationGroupNotFoundFault",
        );

        caches.pace(Duration::from_millis(20));
        caches.passed();
        assert_eq!(caches.one(&told, "Value"), "a/b");
        let nodes = "Action=DescribeCacheClusters";
        assert_eq!(caches.one(nodes, "EngineVersion"), "7.1.0");
        assert_eq!(caches.one(nodes, "SecurityGroupId"), group);
        caches.refused(&fewer, "NoOperationFault");
        caches.refused(&modify("a", &[1]), "SubnetInUse");
        caches.one(&modify("a", &[0, 2]), "ARN");
        assert_eq!(caches.one(&more, "Status"), "modifying");
        caches.passed();
        let change = format!("Action=ModifyReplicationGroup{one}");
        let failover = |on: bool| format!("{change}&AutomaticFailoverEnabled={on}&MultiAZEnabled={on}");
        caches.one(&failover(true), "Status");
        caches.passed();
        caches.refused(&fewer, "InvalidParameterValue");
        caches.one(&failover(false), "Status");
        caches.passed();
        caches.one(&fewer, "Status");
        caches.passed();
        assert_eq!(elements(&caches.ask(nodes), "CacheClusterId").len(), 1);
        caches.one(&format!("{change}&Engine=valkey&EngineVersion=8.0"), "Status");
        caches.passed();
        assert_eq!(caches.one(nodes, "EngineVersion"), "8.0.1");
        caches.refused(&format!("{change}&EngineVersion=7.2"), "InvalidParameterCombination");
        caches.refused(&format!("{change}&Engine=redis"), "InvalidParameterCombination");
        caches.refused(&format!("{change}&SnapshotWindow=05:00-09:00"), "InvalidParameterCombination");
        let listed =
            json(address, "tagging", "ResourceGroupsTaggingAPI_20170126.GetResources", "{}").unwrap();
        for sort in ["subnetgroup:a", "replicationgroup:a", "cluster:a-001"] {
            assert!(listed.contains(sort), "{listed}");
        }
        assert_eq!(caches.one(delete, "Status"), "deleting");
        caches.passed();
        caches.refused(delete, "ReplicationGroupNotFoundFault");
        caches.one("Action=DeleteCacheSubnetGroup&CacheSubnetGroupName=a", "x");
        caches
            .refused("Action=DeleteCacheSubnetGroup&CacheSubnetGroupName=a", "CacheSubnetGroupNotFoundFault");
        assert!(!caches.ask("Action=DescribeSnapshots").starts_with("HTTP/1.1 2"), "it is not played");
    }
}
