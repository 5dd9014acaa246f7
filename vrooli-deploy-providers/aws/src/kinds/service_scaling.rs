//! `aws.service-scaling`: how many tasks of a service run, by its load.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::BillItem;
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;

/// The kind `aws.service-scaling`.
#[derive(Debug, Clone, Copy)]
pub struct ServiceScaling;

/// What is wanted of a scaling target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct ServiceScalingSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// The cluster, by name.
    pub cluster: F::In<String>,
    /// The service, by name.
    pub service: F::In<String>,
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// Use of CPU that is aimed at, in percent.
    pub target_cpu_percent: u32,
}

/// What is seen of a scaling target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceScalingObserved {
    /// Region.
    pub region: String,
    /// The cluster, by name.
    pub cluster: String,
    /// The service, by name.
    pub service: String,
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// Use of CPU that is aimed at, in percent.
    pub target_cpu_percent: u32,
}

impl ResourceKindDef for ServiceScaling {
    type Spec<F: Form> = ServiceScalingSpec<F>;
    type Observed = ServiceScalingObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.service-scaling")
    }
    fn runs_app(&self) -> bool {
        true
    }
    fn may_hold_data(&self) -> bool {
        false
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &ServiceScalingSpec<Wanted>, have: &ServiceScalingObserved) -> Change {
        let ServiceScalingSpec { region, cluster, service, min, max, target_cpu_percent } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("cluster", cluster.differs(&have.cluster))
            .replace("service", service.differs(&have.service))
            .update("min", *min != have.min)
            .update("max", *max != have.max)
            .update("target_cpu_percent", *target_cpu_percent != have.target_cpu_percent)
            .done()
    }
    fn bill(&self, _: &ServiceScalingSpec<Wanted>) -> Vec<BillItem> {
        Vec::new()
    }
    fn permissions(&self, op: Op, _: &ServiceScalingSpec<Wanted>) -> Vec<Permission> {
        // The calls act on the service and make alarms: AWS asks for the rights to that, too.
        const WRITE: &[&str] = &[
            "application-autoscaling:RegisterScalableTarget",
            "application-autoscaling:PutScalingPolicy",
            "ecs:UpdateService",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:PutMetricAlarm",
        ];
        Actions {
            find: &[
                "tag:GetResources",
                "ecs:DescribeServices",
                "application-autoscaling:DescribeScalableTargets",
                "application-autoscaling:DescribeScalingPolicies",
            ],
            create: WRITE,
            update: WRITE,
            delete: &[
                "application-autoscaling:DeleteScalingPolicy",
                "application-autoscaling:DeregisterScalableTarget",
                "cloudwatch:DeleteAlarms",
            ],
        }
        .of(op, "*")
    }
    fn ownership(&self, key: &ResourceKey, _: &ServiceScalingSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(format!("{key}"))
    }
    fn outputs(&self, id: &PhysicalId, _: &ServiceScalingObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "cluster": "app-default", "service": "app-default", "min": 1, "max": 4, "target_cpu_percent": 70});
        let have = json!({"region": "us-east-1", "cluster": "app-default", "service": "app-default", "min": 1, "max": 4, "target_cpu_percent": 70});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("cluster", json!("other"), Answer::Replace),
            ("service", json!("other"), Answer::Replace),
            ("min", json!(2), Answer::Update),
            ("max", json!(8), Answer::Update),
            ("target_cpu_percent", json!(50), Answer::Update),
        ];
        check_kind(&super::ServiceScaling, &want, &have, &answers).unwrap();
    }
}
