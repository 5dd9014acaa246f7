//! What AWS would say of groups and targets, in the place of what the emulator says.

use bytes::Bytes;

use super::super::traffic::{Image, behind, group_asked, health, target, target_health};
use super::{Group, Inner, LIVED, PROVISIONED, World, groups};
use crate::fault_proxy::Passing;
use crate::moto::wire::action;

impl Inner {
    pub(super) fn said(&self, request: &Passing, body: &Bytes) -> Option<String> {
        let form = String::from_utf8_lossy(&request.body);
        match action(request).as_str() {
            "DescribeAutoScalingGroups" => Some(self.with_lives(&String::from_utf8_lossy(body))),
            "DescribeScalingActivities" => self.activities(&form),
            "DescribeTargetHealth" => Some(self.health(&group_asked(&form))),
            "DescribeLoadBalancers" => Some(behind(self.address, body)),
            _ => None,
        }
    }

    /// Groups with what became of their machines, those that still end included.
    fn with_lives(&self, said: &str) -> String {
        let world = self.world();
        let start = "<AutoScalingGroupName>";
        let mut parts = said.split(start);
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for (part, group) in parts.zip(groups(said)) {
            let lives = instances(&world, &group);
            let told = match (part.split_once("<Instances>"), part.split_once("<Instances/>")) {
                (Some((before, rest)), _) => {
                    let after = rest.split_once("</Instances>").map_or("", |(_, after)| after);
                    format!("{before}{lives}{after}")
                }
                (None, Some((before, after))) => format!("{before}{lives}{after}"),
                (None, None) => format!("{}{lives}", part),
            };
            whole = whole + start + &told;
        }
        whole
    }

    /// The last launch for a group, if that failed.
    fn activities(&self, form: &str) -> Option<String> {
        let name = form.split('&').find_map(|field| field.strip_prefix("AutoScalingGroupName="))?;
        let (number, why) = self.world().failed.get(name).cloned()?;
        Some(format!(
            "<DescribeScalingActivitiesResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
             <DescribeScalingActivitiesResult><Activities><member><ActivityId>{number}</ActivityId>\
             <AutoScalingGroupName>x</AutoScalingGroupName><Cause>x</Cause>\
             <StartTime>2026-01-01T00:00:00Z</StartTime><StatusCode>Failed</StatusCode>\
             <StatusMessage>{why}</StatusMessage></member></Activities></DescribeScalingActivitiesResult>\
             </DescribeScalingActivitiesResponse>"
        ))
    }

    fn health(&self, group: &str) -> String {
        let world = self.world();
        let mut members = String::new();
        for (machine, container, address) in Self::targets(&world, group) {
            let is_new = container.since.elapsed() < LIVED;
            let image = machine.image.clone().unwrap_or(Image::Ends(0, Vec::new()));
            let health = health(&image, is_new, machine.gone.is_some());
            members.push_str(&target(address.port(), &health));
        }
        target_health(&members)
    }
}

/// The machines of a group, and how each is.
fn instances(world: &World, group: &Group) -> String {
    let member = |id: &str, state: &str, version: &str| {
        format!(
            "<member><InstanceId>{id}</InstanceId><AvailabilityZone>us-east-1a</AvailabilityZone>\
             <LifecycleState>{state}</LifecycleState><HealthStatus>Healthy</HealthStatus>\
             <LaunchTemplate><LaunchTemplateId>{}</LaunchTemplateId><Version>{version}</Version></LaunchTemplate>\
             <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>",
            group.template
        )
    };
    let mut members = String::new();
    for id in &group.machines {
        match world.machines.get(id) {
            Some(machine) => {
                let runs = machine.since.elapsed() >= PROVISIONED;
                members.push_str(&member(id, if runs { "InService" } else { "Pending" }, &machine.version));
            }
            None if world.refused.is_none() => members.push_str(&member(id, "Pending", &group.version)),
            // The emulator has made one that AWS would not have.
            None => {}
        }
    }
    let ends =
        world.machines.iter().filter(|(id, one)| one.group == group.name && !group.machines.contains(id));
    for (id, machine) in ends {
        members.push_str(&member(id, "Terminating:Wait", &machine.version));
    }
    format!("<Instances>{members}</Instances>")
}
