//! What an ARN says of an object: its kind, where it is, and what its handler calls it.

use vrooli_deploy_core::names::ResourceKind;
use vrooli_deploy_core::provider::PhysicalId;

use crate::kinds::task_definition::native::family_arn;

/// Service, what the resource part begins with, and the kind, by AWS's Service Authorization Reference.
const KINDS: &[(&str, &str, &str)] = &[
    ("acm", "certificate/", "aws.certificate"),
    ("autoscaling", "autoScalingGroup:", "aws.auto-scaling-group"),
    ("budgets", "budget/", "aws.budget"),
    ("cloudfront", "distribution/", "aws.distribution"),
    ("cloudwatch", "alarm:", "aws.alarm"),
    ("cloudwatch", "dashboard/", "aws.dashboard"),
    ("dlm", "policy/", "aws.snapshot-policy"),
    ("ec2", "elastic-ip/", "aws.elastic-ip"),
    ("ec2", "instance/", "aws.instance"),
    ("ec2", "internet-gateway/", "aws.internet-gateway"),
    ("ec2", "launch-template/", "aws.launch-template"),
    ("ec2", "natgateway/", "aws.nat-gateway"),
    ("ec2", "route-table/", "aws.route-table"),
    ("ec2", "security-group/", "aws.security-group"),
    ("ec2", "subnet/", "aws.subnet"),
    ("ec2", "volume/", "aws.volume"),
    ("ec2", "vpc/", "aws.vpc"),
    ("ecr", "repository/", "aws.ecr-repository"),
    ("ecs", "cluster/", "aws.ecs-cluster"),
    ("ecs", "service/", "aws.ecs-service"),
    ("ecs", "task-definition/", "aws.task-definition"),
    ("elasticache", "replicationgroup:", "aws.cache"),
    ("elasticache", "subnetgroup:", "aws.cache-subnet-group"),
    ("elasticloadbalancing", "listener-rule/", "aws.listener-rule"),
    ("elasticloadbalancing", "listener/", "aws.listener"),
    ("elasticloadbalancing", "loadbalancer/", "aws.load-balancer"),
    ("elasticloadbalancing", "targetgroup/", "aws.target-group"),
    ("iam", "role/", "aws.iam-role"),
    ("kms", "key/", "aws.kms-key"),
    ("logs", "log-group:", "aws.log-group"),
    ("rds", "db:", "aws.db-instance"),
    ("rds", "pg:", "aws.db-parameter-group"),
    ("rds", "subgrp:", "aws.db-subnet-group"),
    ("route53", "hostedzone/", "aws.hosted-zone"),
    ("s3", "", "aws.bucket"),
    ("secretsmanager", "secret:", "aws.secret"),
];

/// The parts of an ARN: `arn:aws:<service>:<region>:<account>:<resource>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) service: &'a str,
    /// Empty for what is in none, and for buckets.
    pub(crate) region: &'a str,
    pub(crate) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// `None` for what is none.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("arn:")?.splitn(5, ':').skip(1);
        let (service, region) = (parts.next()?, parts.next()?);
        Some(Self { service, region, resource: parts.nth(1)? })
    }

    /// The kind that makes such things.
    pub(crate) fn kind(self) -> Option<ResourceKind> {
        let fits = |(service, start, _): &&(&str, &str, &str)| {
            *service == self.service && self.resource.starts_with(start)
        };
        ResourceKind::new(KINDS.iter().find(fits)?.2).ok()
    }

    /// Is it a database's snapshot that somebody asked for? Those that RDS makes by the clock are the
    /// server's, and go with it.
    pub(crate) fn is_snapshot(self) -> bool {
        let made = self.service == "rds" && self.resource.starts_with("snapshot:");
        made && !self.resource.starts_with("snapshot:rds:")
    }

    /// What the kind's handler calls it.
    pub(crate) fn id(self, whole: &str) -> PhysicalId {
        let last = self.resource.rsplit('/').next().unwrap_or_default();
        PhysicalId(match self.service {
            "ec2" => format!("{}/{last}", self.region),
            "s3" => self.resource.to_owned(),
            "route53" | "cloudfront" => last.to_owned(),
            "ecs" if self.resource.starts_with("task-definition/") => family_arn(whole).to_owned(),
            _ => whole.trim_end_matches(":*").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_kind_and_id() {
        let said = |text: &str| {
            let arn = Arn::read(text).unwrap();
            (arn.kind().map(|kind| kind.to_string()), arn.id(text).0)
        };
        let kind = |kind: &str| Some(kind.to_owned());
        let vpc = said("arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-0a1b");
        assert_eq!(vpc, (kind("aws.vpc"), "eu-west-1/vpc-0a1b".to_owned()));
        assert_eq!(said("arn:aws:s3:::shop-files"), (kind("aws.bucket"), "shop-files".to_owned()));
        assert_eq!(said("arn:aws:route53:::hostedzone/Z1"), (kind("aws.hosted-zone"), "Z1".to_owned()));
        let group = "arn:aws:logs:us-east-1:123456789012:log-group:/shop/default";
        assert_eq!(said(&format!("{group}:*")), (kind("aws.log-group"), group.to_owned()));
        let snapshot = "arn:aws:rds:us-east-1:123456789012:snapshot:shop-final-1";
        assert_eq!(said(snapshot), (None, snapshot.to_owned()), "no kind makes one");
        assert!(Arn::read(snapshot).is_some_and(Arn::is_snapshot));
        let by_the_clock = snapshot.replace("shop-final", "rds:shop");
        assert!(!Arn::read(&by_the_clock).is_some_and(Arn::is_snapshot));
        let idle = "arn:aws:ecs:us-east-1:1:task-definition/shop-idle";
        assert_eq!(said(&format!("{idle}:7")), (kind("aws.task-definition"), idle.to_owned()));
        let rule = "arn:aws:elasticloadbalancing:us-east-1:1:listener-rule/app/a/b/c/d";
        assert_eq!(said(rule).0, kind("aws.listener-rule"));
        let cache = "arn:aws:elasticache:us-east-1:1:replicationgroup:shop-default-cache";
        assert_eq!(said(cache), (kind("aws.cache"), cache.to_owned()));
        let node = "arn:aws:elasticache:us-east-1:1:cluster:shop-default-cache-001";
        assert_eq!(said(node).0, None, "a node bears the tags of its cache, and is no other");
        assert_eq!(Arn::read("shop-files"), None);
    }

    #[test]
    fn every_kind_that_bears_tags_is_told() {
        for known in crate::kinds::all() {
            let kind = known.kind();
            // Records and scaling bear none.
            let bears_none = ["aws.dns-record", "aws.service-scaling"].contains(&kind.as_str());
            let told = KINDS.iter().any(|(_, _, of)| *of == kind.as_str());
            assert_ne!(told, bears_none, "{kind}");
        }
    }
}
