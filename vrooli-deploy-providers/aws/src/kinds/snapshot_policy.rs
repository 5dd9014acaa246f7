//! `aws.snapshot-policy`: snapshots of disks by the clock.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line, Metric};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};

use super::Actions;
use crate::bill::{item, usage};

/// The kind `aws.snapshot-policy`.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotPolicy;

/// What is wanted of a snapshot policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct SnapshotPolicySpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Disks with this value of the tag `vrooli:snapshots` are copied.
    pub target_tag: String,
    /// Hours between copies.
    pub interval_hours: u32,
    /// How many copies are kept.
    pub keep: u32,
    /// The role that makes them.
    pub role: F::In<String>,
}

/// What is seen of a snapshot policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotPolicyObserved {
    /// Region.
    pub region: String,
    /// Disks with this value of the tag `vrooli:snapshots` are copied.
    pub target_tag: String,
    /// Hours between copies.
    pub interval_hours: u32,
    /// How many copies are kept.
    pub keep: u32,
    /// The role that makes them.
    pub role: String,
}

impl ResourceKindDef for SnapshotPolicy {
    type Spec<F: Form> = SnapshotPolicySpec<F>;
    type Observed = SnapshotPolicyObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.snapshot-policy")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id"]
    }
    fn diff(&self, want: &SnapshotPolicySpec<Wanted>, have: &SnapshotPolicyObserved) -> Change {
        let SnapshotPolicySpec { region, target_tag, interval_hours, keep, role } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .update("target_tag", *target_tag != have.target_tag)
            .update("interval_hours", *interval_hours != have.interval_hours)
            .update("keep", *keep != have.keep)
            .update("role", role.differs(&have.role))
            .done()
    }
    fn bill(&self, want: &SnapshotPolicySpec<Wanted>) -> Vec<BillItem> {
        let place = ("ebs", "snapshot", want.region.as_str());
        vec![item(Line::Backups, format!("{} snapshots kept", want.keep), place, usage(Metric::BackupGb))]
    }
    fn permissions(&self, op: Op, _: &SnapshotPolicySpec<Wanted>) -> Vec<Permission> {
        Actions {
            find: &["dlm:GetLifecyclePolicies", "dlm:GetLifecyclePolicy"],
            create: &["dlm:CreateLifecyclePolicy", "dlm:TagResource", "iam:PassRole"],
            update: &["dlm:UpdateLifecyclePolicy", "iam:PassRole"],
            delete: &["dlm:DeleteLifecyclePolicy"],
        }
        .of(op, "*")
    }
    fn ownership(&self, _: &ResourceKey, _: &SnapshotPolicySpec<Wanted>) -> Ownership {
        Ownership::Tags
    }
    fn outputs(&self, id: &PhysicalId, _: &SnapshotPolicyObserved) -> BTreeMap<OutputName, Value> {
        super::outputs([("id", id.0.clone().into())])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "target_tag": "app-default", "interval_hours": 24, "keep": 7, "role": "arn:aws:iam::1:role/a"});
        let have = json!({"region": "us-east-1", "target_tag": "app-default", "interval_hours": 24, "keep": 7, "role": "arn:aws:iam::1:role/a"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("target_tag", json!("other"), Answer::Update),
            ("interval_hours", json!(12), Answer::Update),
            ("keep", json!(14), Answer::Update),
            ("role", json!("arn:aws:iam::1:role/b"), Answer::Update),
        ];
        check_kind(&super::SnapshotPolicy, &want, &have, &answers).unwrap();
    }
}
