//! Everything that is in an emulator, asked of itself and past any SDK: also what bears no tag, so
//! that nothing can be left there unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use serde_json::Value;

use super::{ec2, elements, get, json, query};

/// The tag that says of an object which resource of a stack it is.
const KEY_TAG: &str = "vrooli:resource";

/// The emulator's account.
const ACCOUNT: &str = "123456789012";

/// What is there: ids by kind of object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    objects: BTreeMap<&'static str, BTreeSet<String>>,
    /// Of tagged objects, which resource each is.
    keys: BTreeMap<String, String>,
}

/// How one census differs from what there should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Objects that bear the key of a resource that another object is already.
    pub twice: Vec<String>,
    /// How many objects there are beyond those wanted, by kind; those that are there twice included.
    pub too_many: BTreeMap<&'static str, usize>,
    /// How many are missing, by kind.
    pub too_few: BTreeMap<&'static str, usize>,
}

impl Difference {
    /// Is everything as it should be?
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Objects of which nobody knows any more: too many, and no resource's.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.too_many.values().sum::<usize>().saturating_sub(self.twice.len())
    }

    /// Objects that there are not.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.too_few.values().sum()
    }
}

/// Kinds of EC2: what lists them, and the element that holds an id.
const EC2: &[(&str, &str, &str)] = &[
    ("network", "DescribeVpcs", "vpcId"),
    ("subnet", "DescribeSubnets", "subnetId"),
    ("internet gateway", "DescribeInternetGateways", "internetGatewayId"),
    ("address", "DescribeAddresses", "allocationId"),
    (
        "NAT gateway",
        "DescribeNatGateways&Filter.1.Name=state&Filter.1.Value.1=available&Filter.1.Value.2=pending",
        "natGatewayId",
    ),
    ("route table", "DescribeRouteTables", "routeTableId"),
    ("security group", "DescribeSecurityGroups", "groupId"),
    ("launch template", "DescribeLaunchTemplates", "launchTemplateId"),
    (
        "instance",
        "DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=running&Filter.1.Value.2=stopped",
        "instanceId",
    ),
    ("volume", "DescribeVolumes", "volumeId"),
];

/// Kinds of services that take forms: service and version, what lists them, the element.
const FORMS: &[(&str, (&str, &str), &str, &str)] = &[
    ("database", ("rds", "2014-10-31"), "DescribeDBInstances", "DBInstanceArn"),
    ("group of subnets", ("rds", "2014-10-31"), "DescribeDBSubnetGroups", "DBSubnetGroupArn"),
    ("group of parameters", ("rds", "2014-10-31"), "DescribeDBParameterGroups", "DBParameterGroupArn"),
    ("cache", ("elasticache", "2015-02-02"), "DescribeReplicationGroups", "ARN"),
    ("group of subnets of caches", ("elasticache", "2015-02-02"), "DescribeCacheSubnetGroups", "ARN"),
    ("load balancer", ("elasticloadbalancing", "2015-12-01"), "DescribeLoadBalancers", "LoadBalancerArn"),
    ("target group", ("elasticloadbalancing", "2015-12-01"), "DescribeTargetGroups", "TargetGroupArn"),
    ("Auto Scaling group", ("autoscaling", "2011-01-01"), "DescribeAutoScalingGroups", "AutoScalingGroupARN"),
    ("role", ("iam", "2010-05-08"), "ListRoles", "Arn"),
    ("dashboard", ("monitoring", "2010-08-01"), "ListDashboards", "DashboardArn"),
    ("alarm", ("monitoring", "2010-08-01"), "DescribeAlarms", "AlarmArn"),
];

/// Kinds of services that take JSON: service, what lists them, list and field.
const JSON: &[(&str, &str, &str, &str, &str)] = &[
    ("secret", "secretsmanager", "secretsmanager.ListSecrets", "SecretList", "ARN"),
    ("log group", "logs", "Logs_20140328.DescribeLogGroups", "logGroups", "arn"),
    (
        "repository",
        "ecr",
        "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories",
        "repositories",
        "repositoryArn",
    ),
    ("certificate", "acm", "CertificateManager.ListCertificates", "CertificateSummaryList", "CertificateArn"),
];

fn body(said: &str) -> io::Result<&str> {
    let (head, body) = said.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no answer"))?;
    // An empty census of a service that broke would hide what it holds.
    if head.starts_with("HTTP/1.1 200") {
        return Ok(body);
    }
    Err(io::Error::other(format!("the emulator says: {said}")))
}

impl Census {
    /// Asks an emulator for all it holds in `us-east-1`.
    ///
    /// # Errors
    /// When a service does not answer as it should.
    pub fn take(address: SocketAddr) -> io::Result<Self> {
        let mut census = Self::default();
        for (kind, list, element) in EC2 {
            let said = ec2(address, &format!("Action={list}"))?;
            census.add(kind, elements(body(&said)?, element));
        }
        for (kind, (service, version), list, element) in FORMS {
            let said = query(address, service, &format!("Action={list}&Version={version}"))?;
            census.add(kind, elements(body(&said)?, element));
        }
        census.listeners(address)?;
        for (kind, service, target, list, field) in JSON {
            let said = json(address, service, target, "{}")?;
            let said: Value = serde_json::from_str(body(&said)?)?;
            let id = |one: &Value| one[*field].as_str().map(str::to_owned);
            census.add(kind, said[*list].as_array().into_iter().flatten().filter_map(id).collect());
        }
        census.clusters(address)?;
        let buckets = get(address, "s3", "/")?;
        census.add("bucket", elements(body(&buckets)?, "Name"));
        let said = get(address, "cloudfront", "/2020-05-31/distribution")?;
        census.add("distribution", elements(body(&said)?, "ARN"));
        census.zones(address)?;
        census.keys(address)?;
        census.budgets(address)?;
        census.tags(address)?;
        Ok(census)
    }

    fn add(&mut self, kind: &'static str, ids: Vec<String>) {
        self.objects.entry(kind).or_default().extend(ids);
    }

    /// A cluster, a service or a task definition that is deleted stays and is inactive, in AWS as here.
    fn clusters(&mut self, address: SocketAddr) -> io::Result<()> {
        let ask = |what: &str, form: Value| -> io::Result<Value> {
            let target = format!("AmazonEC2ContainerServiceV20141113.{what}");
            Ok(serde_json::from_str(body(&json(address, "ecs", &target, &form.to_string())?)?)?)
        };
        let all = ask("ListClusters", serde_json::json!({}))?;
        let said = ask("DescribeClusters", serde_json::json!({ "clusters": all["clusterArns"] }))?;
        let active =
            said["clusters"].as_array().into_iter().flatten().filter(|one| one["status"] == "ACTIVE");
        let arns: Vec<String> =
            active.filter_map(|one| one["clusterArn"].as_str().map(str::to_owned)).collect();
        for cluster in &arns {
            let all = ask("ListServices", serde_json::json!({ "cluster": cluster }))?;
            let form = serde_json::json!({ "cluster": cluster, "services": all["serviceArns"], "include": ["TAGS"] });
            let said = ask("DescribeServices", form)?;
            let active =
                said["services"].as_array().into_iter().flatten().filter(|one| one["status"] == "ACTIVE");
            self.add(
                "service",
                active.filter_map(|one| one["serviceArn"].as_str().map(str::to_owned)).collect(),
            );
        }
        self.add("cluster", arns);
        let all = ask("ListTaskDefinitions", serde_json::json!({}))?;
        let definitions = all["taskDefinitionArns"].as_array().into_iter().flatten();
        self.add("task definition", definitions.filter_map(|one| one.as_str().map(str::to_owned)).collect());
        let target = "AnyScaleFrontendService.DescribeScalableTargets";
        let said = json(address, "application-autoscaling", target, r#"{"ServiceNamespace":"ecs"}"#)?;
        let said: Value = serde_json::from_str(body(&said)?)?;
        let targets = said["ScalableTargets"].as_array().into_iter().flatten();
        self.add(
            "scaling target",
            targets.filter_map(|one| one["ScalableTargetARN"].as_str().map(str::to_owned)).collect(),
        );
        Ok(())
    }

    fn listeners(&mut self, address: SocketAddr) -> io::Result<()> {
        let ask =
            |form: String| query(address, "elasticloadbalancing", &format!("{form}&Version=2015-12-01"));
        for balancer in self.objects.get("load balancer").cloned().unwrap_or_default() {
            let said = ask(format!("Action=DescribeListeners&LoadBalancerArn={balancer}"))?;
            let listeners = elements(body(&said)?, "ListenerArn");
            for listener in &listeners {
                let said = ask(format!("Action=DescribeRules&ListenerArn={listener}"))?;
                self.add("rule", elements(body(&said)?, "RuleArn"));
            }
            self.add("listener", listeners);
        }
        Ok(())
    }

    /// A key that is to be deleted is there for days, in AWS as here, and those of AWS itself are nobody's: the
    /// emulator makes one for disks when it first needs it, and calls it a customer's.
    fn keys(&mut self, address: SocketAddr) -> io::Result<()> {
        let ask = |what: &str, form: &str| -> io::Result<Value> {
            Ok(serde_json::from_str(body(&json(address, "kms", &format!("TrentService.{what}"), form)?)?)?)
        };
        let said = ask("ListAliases", "{}")?;
        let aliases: Vec<(&str, &str)> = said["Aliases"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some((one["AliasName"].as_str()?, one["TargetKeyId"].as_str()?)))
            .collect();
        let is_of_aws = |name: &str| name.starts_with("alias/aws/");
        let mut keys = Vec::new();
        for key in ask("ListKeys", "{}")?["Keys"].as_array().into_iter().flatten() {
            let said = ask("DescribeKey", &serde_json::json!({ "KeyId": key["KeyId"] }).to_string())?;
            let (key, id) = (&said["KeyMetadata"], key["KeyId"].as_str().unwrap_or_default());
            let theirs = aliases.iter().any(|(name, of)| is_of_aws(name) && *of == id);
            if key["KeyState"] != "PendingDeletion" && !theirs {
                keys.extend(key["Arn"].as_str().map(str::to_owned));
            }
        }
        self.add("key", keys);
        let names = aliases.iter().map(|(name, _)| *name).filter(|name| !is_of_aws(name));
        self.add("alias", names.map(str::to_owned).collect());
        Ok(())
    }

    /// With their alerts and whom those tell.
    fn budgets(&mut self, address: SocketAddr) -> io::Result<()> {
        let ask = |what: &str, form: Value| -> io::Result<Value> {
            let target = format!("AWSBudgetServiceGateway.{what}");
            Ok(serde_json::from_str(body(&json(address, "budgets", &target, &form.to_string())?)?)?)
        };
        let account = serde_json::json!({ "AccountId": ACCOUNT });
        let said = ask("DescribeBudgets", account.clone())?;
        for budget in said["Budgets"].as_array().into_iter().flatten() {
            let Some(name) = budget["BudgetName"].as_str() else { continue };
            let arn = format!("arn:aws:budgets::{ACCOUNT}:budget/{name}");
            let said = ask("ListTagsForResource", serde_json::json!({ "ResourceARN": arn }))?;
            let mut tags = said["ResourceTags"].as_array().into_iter().flatten();
            if let Some(key) = tags.find(|tag| tag["Key"] == KEY_TAG).and_then(|tag| tag["Value"].as_str()) {
                self.keys.insert(arn.clone(), key.to_owned());
            }
            let mut form = account.clone();
            form["BudgetName"] = name.into();
            let said = ask("DescribeNotificationsForBudget", form.clone())?;
            for alert in said["Notifications"].as_array().into_iter().flatten() {
                form["Notification"] = alert.clone();
                let said = ask("DescribeSubscribersForNotification", form.clone())?;
                let told = said["Subscribers"].as_array().into_iter().flatten();
                let told = told.map(|one| format!("{arn} {} {}", alert, one["Address"]));
                self.add("address of a budget", told.collect());
            }
            self.add("budget", vec![arn]);
        }
        Ok(())
    }

    fn zones(&mut self, address: SocketAddr) -> io::Result<()> {
        let said = get(address, "route53", "/2013-04-01/hostedzone")?;
        let zones = elements(body(&said)?, "Id");
        for zone in &zones {
            let said = get(address, "route53", &format!("/2013-04-01{zone}/rrset"))?;
            let said = body(&said)?;
            let (names, types) = (elements(said, "Name"), elements(said, "Type"));
            let all = names.iter().zip(types).map(|(name, kind)| format!("{zone} {name} {kind}"));
            self.add("record", all.collect());
        }
        self.add("zone", zones);
        Ok(())
    }

    fn tags(&mut self, address: SocketAddr) -> io::Result<()> {
        let said =
            ec2(address, &format!("Action=DescribeTags&Filter.1.Name=key&Filter.1.Value.1={KEY_TAG}"))?;
        let said = body(&said)?;
        self.keys.extend(elements(said, "resourceId").into_iter().zip(elements(said, "value")));
        let mut page = String::new();
        loop {
            let ask = serde_json::json!({ "TagFilters": [{ "Key": KEY_TAG }], "PaginationToken": page });
            let target = "ResourceGroupsTaggingAPI_20170126.GetResources";
            let said = json(address, "tagging", target, &ask.to_string())?;
            let said: Value = serde_json::from_str(body(&said)?)?;
            for one in said["ResourceTagMappingList"].as_array().into_iter().flatten() {
                let tags = one["Tags"].as_array().into_iter().flatten();
                let key = tags.filter(|tag| tag["Key"] == KEY_TAG).find_map(|tag| tag["Value"].as_str());
                if let (Some(arn), Some(key)) = (one["ResourceARN"].as_str(), key) {
                    // Buckets are listed by their names, which are all that is in their ARN.
                    let id = arn.strip_prefix("arn:aws:s3:::").unwrap_or(arn);
                    self.keys.insert(id.to_owned(), key.to_owned());
                }
            }
            page = said["PaginationToken"].as_str().unwrap_or_default().to_owned();
            if page.is_empty() {
                return Ok(());
            }
        }
    }

    /// How many objects there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.objects.values().map(BTreeSet::len).sum()
    }

    /// How this differs in number from what there should be, and what is there twice.
    #[must_use]
    pub fn against(&self, wanted: &Self) -> Difference {
        let mut difference = Difference::default();
        let of = |census: &Self, kind| census.objects.get(kind).map_or(0, BTreeSet::len);
        for kind in self.objects.keys().chain(wanted.objects.keys()).copied() {
            let (have, want) = (of(self, kind), of(wanted, kind));
            if have > want {
                difference.too_many.insert(kind, have - want);
            }
            if have < want {
                difference.too_few.insert(kind, want - have);
            }
        }
        let mut seen = BTreeSet::new();
        // Tags of what is gone may still be told.
        for id in self.objects.values().flatten() {
            let Some(key) = self.keys.get(id) else { continue };
            if !seen.insert(key) {
                difference.twice.push(format!("{key}: {id}"));
            }
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(ids: &[(&'static str, &str, &str)]) -> Census {
        let mut census = Census::default();
        for (kind, id, key) in ids {
            census.add(kind, vec![(*id).to_owned()]);
            if !key.is_empty() {
                census.keys.insert((*id).to_owned(), (*key).to_owned());
            }
        }
        census
    }

    #[test]
    fn what_is_left_missing_or_twice_is_told_apart() {
        let wanted = census(&[("network", "vpc-1", "network/vpc"), ("bucket", "a", "store/files")]);
        let same = census(&[("network", "vpc-2", "network/vpc"), ("bucket", "b", "store/files")]);
        assert!(same.against(&wanted).is_none(), "ids are nobody's business");
        let twice = census(&[
            ("network", "vpc-1", "network/vpc"),
            ("network", "vpc-2", "network/vpc"),
            ("network", "vpc-3", ""),
        ]);
        let difference = twice.against(&wanted);
        assert_eq!((difference.twice.len(), difference.orphans(), difference.missing()), (1, 1, 1));
    }
}
