//! `aws.cache`: a managed cache of ElastiCache, reached with TLS and a password.

#[cfg(feature = "native")]
pub(crate) mod native;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vrooli_deploy_core::cost::{BillItem, Line};
use vrooli_deploy_core::names::{OutputName, ResourceKey, ResourceKind};
use vrooli_deploy_core::provider::{
    Change, Diff, Form, Op, Ownership, Permission, PhysicalId, ResourceKindDef, Wanted,
};
use vrooli_deploy_core::stack::Input;

use super::Actions;
use super::kms_key::{other_key, used_by};
use crate::bill::{item, running, with};

/// The kind `aws.cache`.
#[derive(Debug, Clone, Copy)]
pub struct Cache;

/// What is wanted of a cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "", deny_unknown_fields)]
pub struct CacheSpec<F: Form = Wanted> {
    /// Region.
    pub region: String,
    /// Its identifier, unique in the region, at most 40 characters.
    pub name: String,
    /// `redis` or `valkey`. From Redis to Valkey it is changed in place, never back.
    pub engine: String,
    /// Engine version.
    pub version: String,
    /// Size of a node, `cache.t4g.micro`.
    pub node_type: String,
    /// Nodes, of which one is written to.
    pub nodes: u32,
    /// Where it may stand.
    pub subnet_group: F::In<String>,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<F::In<String>>,
    /// The key that encrypts it, by ARN; without, it is AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<F::In<String>>,
    /// The secret that holds its password, by ARN.
    pub password: F::In<String>,
}

/// What is seen of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheObserved {
    /// Region.
    pub region: String,
    /// Its identifier, unique in the region, at most 40 characters.
    pub name: String,
    /// `redis` or `valkey`. From Redis to Valkey it is changed in place, never back.
    pub engine: String,
    /// Engine version.
    pub version: String,
    /// Size of a node, `cache.t4g.micro`.
    pub node_type: String,
    /// Nodes, of which one is written to.
    pub nodes: u32,
    /// Does a replica in another zone take over by itself? So wherever there is one.
    pub failover: bool,
    /// Where it may stand.
    pub subnet_group: String,
    /// Who may reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// The key that encrypts it, by ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The name it is reached at.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `available` once it can be used.
    pub status: String,
}

impl ResourceKindDef for Cache {
    type Spec<F: Form> = CacheSpec<F>;
    type Observed = CacheObserved;

    fn kind(&self) -> ResourceKind {
        super::kind_name("aws.cache")
    }
    fn output_names(&self) -> &'static [&'static str] {
        &["id", "host", "port", "password", "url"]
    }
    fn diff(&self, want: &CacheSpec<Wanted>, have: &CacheObserved) -> Change {
        // The password is a secret's matter: nothing seen of a cache tells it.
        let (newer, older) = super::version_change(&want.version, &have.version);
        let CacheSpec {
            region,
            name,
            engine,
            version: _,
            node_type,
            nodes,
            subnet_group,
            security_groups,
            kms_key,
            password: _,
        } = want;
        Diff::new()
            .replace("region", *region != have.region)
            .replace("name", *name != have.name)
            .update("engine", *engine != have.engine && have.engine == "redis")
            .replace("engine", *engine != have.engine && have.engine != "redis")
            .update("version", newer)
            .replace("version", older)
            .update("node_type", *node_type != have.node_type)
            .update("nodes", *nodes != have.nodes)
            // A run may have ended between the replicas and what makes them take over.
            .update("failover", *nodes == have.nodes && have.failover != (*nodes > 1))
            .replace("kms_key", other_key(kms_key.as_ref(), have.kms_key.as_ref()))
            .replace("subnet_group", subnet_group.differs(&have.subnet_group))
            .update("security_groups", super::ids_differ(security_groups, &have.security_groups))
            .done()
    }
    fn bill(&self, want: &CacheSpec<Wanted>) -> Vec<BillItem> {
        let what = format!("{} × {} {}", want.nodes, want.engine, want.node_type);
        let nodes =
            item(Line::Cache, what, ("elasticache", &want.node_type, &want.region), running(want.nodes));
        vec![with(nodes, [("engine", want.engine.as_str())])]
    }
    fn permissions(&self, op: Op, want: &CacheSpec<Wanted>) -> Vec<Permission> {
        let mut all = Actions {
            find: &[
                "tag:GetResources",
                "elasticache:DescribeReplicationGroups",
                "elasticache:DescribeCacheClusters",
                "elasticache:ListTagsForResource",
            ],
            create: &[
                "elasticache:CreateReplicationGroup",
                "elasticache:AddTagsToResource",
                // One that a run left half made is completed.
                "elasticache:ModifyReplicationGroup",
                "elasticache:IncreaseReplicaCount",
                "elasticache:DecreaseReplicaCount",
            ],
            update: &[
                "elasticache:ModifyReplicationGroup",
                "elasticache:IncreaseReplicaCount",
                "elasticache:DecreaseReplicaCount",
            ],
            delete: &["elasticache:DeleteReplicationGroup"],
        }
        .of(op, format!("arn:aws:elasticache:{}:*:replicationgroup:{}", want.region, want.name));
        if op == Op::Create {
            let mut also = |action: &str, resource: String| {
                all.push(Permission { action: action.to_owned(), resource });
            };
            // Its password is read, and made where the secret holds none.
            let secret = match &want.password {
                Input::Value(arn) => arn.clone(),
                Input::Ref(_) => format!("arn:aws:secretsmanager:{}:*:secret:*", want.region),
            };
            also("secretsmanager:GetSecretValue", secret.clone());
            also("secretsmanager:PutSecretValue", secret);
            let subnets = match &want.subnet_group {
                Input::Value(name) => name,
                Input::Ref(_) => "*",
            };
            // What it is made with counts, too; its parameters are AWS's default group.
            for part in [format!("subnetgroup:{subnets}"), "parametergroup:default.*".to_owned()] {
                let resource = format!("arn:aws:elasticache:{}:*:{part}", want.region);
                also("elasticache:CreateReplicationGroup", resource);
            }
            all.extend(used_by(want.kms_key.as_ref(), &want.region, &["kms:CreateGrant", "kms:DescribeKey"]));
        }
        all
    }
    fn ownership(&self, _: &ResourceKey, want: &CacheSpec<Wanted>) -> Ownership {
        Ownership::DerivedName(want.name.clone())
    }
    fn outputs(&self, id: &PhysicalId, have: &CacheObserved) -> BTreeMap<OutputName, Value> {
        let mut outputs = super::outputs([("id", id.0.clone().into())]);
        // One that is being made has no address yet.
        if !have.host.is_empty() {
            outputs.extend(super::outputs([("host", have.host.clone().into()), ("port", have.port.into())]));
        }
        outputs
    }
    /// Its password is seen nowhere and costs nothing.
    fn wanted_as(&self, have: &CacheObserved) -> Option<CacheSpec<Wanted>> {
        let have = have.clone();
        Some(CacheSpec {
            region: have.region,
            name: have.name,
            engine: have.engine,
            version: have.version,
            node_type: have.node_type,
            nodes: have.nodes,
            subnet_group: Input::Value(have.subnet_group),
            security_groups: have.security_groups.into_iter().map(Input::Value).collect(),
            kms_key: have.kms_key.map(Input::Value),
            password: Input::Value(String::new()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use vrooli_deploy_core::provider::pure::{Answer, check_kind};

    #[test]
    fn differences_are_answered() {
        let want = json!({"region": "us-east-1", "name": "app-default", "engine": "redis", "version": "7.1", "node_type": "cache.t4g.micro", "nodes": 1, "subnet_group": "id-1", "security_groups": ["id-1", "id-2"], "kms_key": "arn:1", "password": "arn:aws:secretsmanager:us-east-1:1:secret:a"});
        let have = json!({"region": "us-east-1", "name": "app-default", "engine": "redis", "version": "7.1", "node_type": "cache.t4g.micro", "nodes": 1, "failover": false, "subnet_group": "id-1", "security_groups": ["id-1", "id-2"], "kms_key": "arn:1", "host": "a.cache.amazonaws.com", "port": 6379, "status": "available"});
        let answers = [
            ("region", json!("eu-west-1"), Answer::Replace),
            ("name", json!("other"), Answer::Replace),
            ("engine", json!("valkey"), Answer::Replace),
            ("version", json!("7.0"), Answer::Update),
            ("version", json!("7.2"), Answer::Replace),
            ("node_type", json!("cache.t4g.small"), Answer::Update),
            ("nodes", json!(2), Answer::Update),
            ("failover", json!(true), Answer::Update),
            ("subnet_group", json!("id-2"), Answer::Replace),
            ("security_groups", json!(["id-3"]), Answer::Update),
            ("kms_key", json!("arn:2"), Answer::Replace),
            ("host", json!("b.cache.amazonaws.com"), Answer::Nothing),
            ("port", json!(6380), Answer::Nothing),
            ("status", json!("modifying"), Answer::Nothing),
        ];
        check_kind(&super::Cache, &want, &have, &answers).unwrap();
    }
}
