//! What AWS would say of services, tasks and targets, in the place of what the emulator says.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::traffic::{behind, group_asked, health, target, target_health};
use super::{Deployment, Inner, LIVED, Life, id};
use crate::fault_proxy::Passing;
use crate::moto::wire::action;

impl Inner {
    pub(super) fn said(&self, request: &Passing, body: &Bytes) -> Option<String> {
        match action(request).as_str() {
            "ListTasks" => Some(self.list(&serde_json::from_slice(&request.body).ok()?).to_string()),
            "DescribeTasks" => Some(self.tasks(&serde_json::from_slice(&request.body).ok()?).to_string()),
            "DescribeServices" => Some(self.counted(serde_json::from_slice(body).ok()?).to_string()),
            "DescribeTargetHealth" => Some(self.targets(&String::from_utf8_lossy(&request.body))),
            "DescribeLoadBalancers" => Some(behind(self.address, body)),
            _ => None,
        }
    }

    fn list(&self, form: &Value) -> Value {
        let service = form["serviceName"].as_str().unwrap_or_default();
        let ended = form["desiredStatus"] == "STOPPED";
        let world = self.world();
        let deployments =
            world.deployments.values().filter(|one| one.service == service && (one.gone.is_none() || ended));
        let tasks = deployments.flat_map(|one| &one.tasks);
        let arns: Vec<&String> =
            tasks.filter(|task| matches!(task.life, Life::Ended(_)) == ended).map(|task| &task.arn).collect();
        json!({ "taskArns": arns })
    }

    fn tasks(&self, form: &Value) -> Value {
        let asked: Vec<&str> =
            form["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let world = self.world();
        let mut all = Vec::new();
        for (id, deployment) in &world.deployments {
            for task in deployment.tasks.iter().filter(|task| asked.contains(&task.arn.as_str())) {
                let containers: Vec<Value> =
                    deployment.containers.keys().map(|name| json!({ "name": name })).collect();
                let mut said = json!({
                    "taskArn": task.arn, "startedBy": id, "createdAt": task.created, "containers": containers,
                });
                let (last, desired) = match task.life {
                    Life::Placed => ("PROVISIONING", "RUNNING"),
                    Life::Running => ("RUNNING", "RUNNING"),
                    Life::Ended(code) => {
                        said["stopCode"] = "EssentialContainerExited".into();
                        said["stoppedReason"] = "Essential container in task exited".into();
                        said["containers"][0]["exitCode"] = code.into();
                        ("STOPPED", "STOPPED")
                    }
                };
                said["lastStatus"] = last.into();
                said["desiredStatus"] = desired.into();
                all.push(said);
            }
        }
        json!({ "tasks": all, "failures": [] })
    }

    /// A service's last deployment, and how many tasks run, those that still end included.
    fn counted(&self, mut said: Value) -> Value {
        let world = self.world();
        for service in said["services"].as_array_mut().into_iter().flatten() {
            let last = id(service);
            let count = |deployment: &Deployment, life: Life| {
                deployment.tasks.iter().filter(|task| task.life == life).count()
            };
            let of_service = world.deployments.values().filter(|one| service["serviceName"] == *one.service);
            let (mut running, mut pending) = (0, 0);
            for deployment in of_service {
                running += count(deployment, Life::Running);
                pending += if deployment.gone.is_none() { count(deployment, Life::Placed) } else { 0 };
            }
            let ours = world.deployments.get(&last);
            let primary = &mut service["deployments"][0];
            primary["id"] = last.into();
            primary["runningCount"] = ours.map_or(0, |one| count(one, Life::Running)).into();
            primary["pendingCount"] = ours.map_or(0, |one| count(one, Life::Placed)).into();
            let (revision, desired) = (service["taskDefinition"].clone(), service["desiredCount"].clone());
            service["deployments"][0]["taskDefinition"] = revision;
            service["deployments"][0]["desiredCount"] = desired;
            service["runningCount"] = running.into();
            service["pendingCount"] = pending.into();
        }
        said
    }

    fn targets(&self, form: &str) -> String {
        let group = group_asked(form);
        let world = self.world();
        let mut members = String::new();
        for deployment in world.deployments.values() {
            for (task, address) in deployment.targets(&group) {
                let is_new = task.since.elapsed() < LIVED;
                let health = health(&deployment.image, is_new, deployment.gone.is_some());
                members.push_str(&target(address.port(), &health));
            }
        }
        target_health(&members)
    }
}
