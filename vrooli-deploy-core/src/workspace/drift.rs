//! How what is there differs from what was applied.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::error::never_deployed;
use super::{OperationError, Workspace};
use crate::engine::{StackState, Survey, survey};
use crate::names::{ReleaseNumber, StackId, UnitId};
use crate::plan::{self, StepAction};
use crate::provider::{
    Cancellation, CertificateSeen, FleetDifference, Provider, Routing, UnitObserved, UnitState,
};
use crate::release::Release;
use crate::release::strategy::units;
use crate::stack::{Resource, Stack};

/// What `drift` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftReport {
    /// The stack.
    pub stack: StackId,
    /// How many resources were looked at.
    pub resources: usize,
    /// What differs. Empty: nothing.
    pub differences: Vec<Drift>,
    /// What could not be seen, and what else a person should know.
    pub notes: Vec<String>,
}

/// Something that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The resource's key; of a release what of it, and on which host.
    pub what: String,
    /// Its kind; of a release none.
    pub kind: Option<String>,
    /// How it differs.
    pub change: DriftKind,
    /// The fields that differ, as the kind calls them.
    pub fields: Vec<String>,
    /// For people.
    pub reason: String,
}

/// How something differs from what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// It is not there any more.
    Gone,
    /// It is there, and other than it was made.
    Changed,
    /// It bears our marks, and no state knows of it.
    Unknown,
}

impl Workspace {
    /// Holds what is there against what was last applied, whatever the manifest says by now.
    /// Takes no lease and changes nothing.
    ///
    /// # Errors
    /// When the stack was never deployed, or the world cannot be looked at.
    pub async fn drift(&self, stack: &StackId) -> Result<DriftReport, OperationError> {
        let source = self.source(stack).await?.ok_or_else(|| never_deployed(stack))?;
        let provider = self.provider(stack, &source.provider, None).await?;
        let state = self.0.store.load(stack).await?;
        let cx = self.observe_context(stack, 0, Cancellation::new());
        let seen = survey(&*provider, &cx, &state).await?;
        let (mut differences, mut notes) = resources(stack, &*provider, &state, &seen)?;
        let current = state.current.and_then(|number| state.releases.get(&number));
        if let Some(record) = current.filter(|_| !source.stopped) {
            differences.extend(release(&record.release, &seen.units, &seen.routing));
        }
        if let Some(fleet) = provider.fleet().filter(|_| !source.stopped) {
            if let Some(record) = current {
                let kept = fleet.differences(&cx, &record.release).await?;
                differences.extend(kept.into_iter().map(|one| by_another_hand(record.release.number, one)));
            }
            differences.extend(fleet.certificates(&cx).await?.iter().filter_map(certificate));
        }
        if let Some(open) = &state.open {
            notes.push(format!(
                "`{}` was interrupted; the next command on it resolves that",
                open.plan.command
            ));
        }
        Ok(DriftReport { stack: stack.clone(), resources: state.resources.len(), differences, notes })
    }
}

/// Is there one, and will it go on being good?
fn certificate(seen: &CertificateSeen) -> Option<Drift> {
    Some(Drift {
        what: format!("certificate of {} on {}", seen.names.join(", "), seen.host),
        kind: Some("certificate".to_owned()),
        change: if seen.not_after.is_some() { DriftKind::Changed } else { DriftKind::Gone },
        fields: Vec::new(),
        reason: seen.problem.clone()?,
    })
}

/// What a plan for what was last applied would do.
fn resources(
    stack: &StackId,
    provider: &dyn Provider,
    state: &StackState,
    seen: &Survey,
) -> Result<(Vec<Drift>, Vec<String>), OperationError> {
    let applied = Stack {
        id: stack.clone(),
        resources: state
            .resources
            .iter()
            .map(|(key, known)| {
                let resource = Resource {
                    kind: known.kind.clone(),
                    spec: known.spec.clone(),
                    after: known.needs.clone(),
                    holds_data: known.holds_data,
                };
                (key.clone(), resource)
            })
            .collect(),
    };
    // Nothing is done with it: what could only be made anew is told, too.
    let options =
        plan::ResourceOptions { delete_data: true, allow_downtime: true, ..plan::ResourceOptions::default() };
    let planned = plan::resources(&plan::ResourceInput {
        stack: &applied,
        state,
        inventory: &seen.inventory,
        incarnation: state.incarnation,
        provider,
        options: &options,
    })?;
    let mut differences: Vec<Drift> = Vec::new();
    for step in planned.steps {
        let (key, kind, change, fields) = match step.action {
            StepAction::Create { key, kind, .. } if seen.inventory.objects(&key).is_empty() => {
                (key, kind, DriftKind::Gone, Vec::new())
            }
            StepAction::Create { key, kind, .. } => (key, kind, DriftKind::Changed, Vec::new()),
            StepAction::Update { key, kind, fields, .. } => (key, kind, DriftKind::Changed, fields),
            StepAction::Adopt { key, kind, .. } => (key, kind, DriftKind::Unknown, Vec::new()),
            StepAction::Delete { key, kind, .. } if !state.resources.contains_key(&key) => {
                (key, kind, DriftKind::Unknown, Vec::new())
            }
            StepAction::Delete { .. } | StepAction::Release { .. } => continue,
        };
        differences.push(Drift {
            what: key.to_string(),
            kind: Some(kind.to_string()),
            change,
            fields,
            reason: step.reason,
        });
    }
    Ok((differences, planned.notes))
}

/// How the current release is not served as it was left: an entry for each unit of it that does not run, for
/// what runs of others, and for where traffic goes.
fn release(current: &Release, seen: &[UnitObserved], routing: &Routing) -> Vec<Drift> {
    let number = current.number;
    let mut differences = Vec::new();
    let services = &current.bundle.services;
    let wanted: BTreeSet<UnitId> = services.iter().flat_map(|(name, config)| units(name, config)).collect();
    for unit in &wanted {
        let mut there = seen.iter().filter(|one| one.release == number && one.unit == *unit).peekable();
        if there.peek().is_none() {
            differences.push(of_release(unit_on(number, unit, ""), DriftKind::Gone, "it is not there"));
        }
        for one in there.filter(|one| one.state != UnitState::Running) {
            let change = if one.state == UnitState::Stopped { DriftKind::Gone } else { DriftKind::Changed };
            let is = match one.state {
                UnitState::Running => "it runs",
                UnitState::Restarting => "it ended by itself, and is started again",
                UnitState::Failed => "it ended by itself, and is not started again",
                UnitState::Stopped => "it does not run",
            };
            let why = one.last_exit.as_ref().map(|exit| format!(" ({exit})")).unwrap_or_default();
            differences.push(of_release(unit_on(number, unit, &one.host), change, &format!("{is}{why}")));
        }
    }
    let is_wanted = |one: &UnitObserved| one.release == number && wanted.contains(&one.unit);
    for other in seen.iter().filter(|one| one.state != UnitState::Stopped && !is_wanted(one)) {
        let what = unit_on(other.release, &other.unit, &other.host);
        let reason = if other.release == number {
            format!("it runs, and {number} has no such instance")
        } else {
            format!("it runs, and only {number} should")
        };
        differences.push(of_release(what, DriftKind::Unknown, &reason));
    }
    if routing.weights != Routing::all_to(number).weights {
        let of = |(release, weight): (&ReleaseNumber, &u32)| format!("{release} {weight} %");
        let goes: Vec<String> = routing.weights.iter().map(of).collect();
        let reason = match &goes[..] {
            [] => format!("traffic goes to none, and should go to {number}"),
            goes => format!("traffic goes to {}, and should go to {number} alone", goes.join(", ")),
        };
        differences.push(of_release(format!("{number} traffic"), DriftKind::Changed, &reason));
    }
    differences
}

fn by_another_hand(release: ReleaseNumber, one: FleetDifference) -> Drift {
    let on = if one.host.is_empty() { String::new() } else { format!(" on {}", one.host) };
    let of = if one.part.is_of_release() { format!("{release} ") } else { String::new() };
    of_release(format!("{of}{}{on}", one.part.as_str()), DriftKind::Changed, &one.reason)
}

fn unit_on(release: ReleaseNumber, unit: &UnitId, host: &str) -> String {
    if host.is_empty() { format!("{release} {unit}") } else { format!("{release} {unit} on {host}") }
}

fn of_release(what: String, change: DriftKind, reason: &str) -> Drift {
    Drift { what, kind: None, change, fields: Vec::new(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Digest;
    use crate::provider::FleetPart;

    fn shop() -> Release {
        let bundle = serde_json::json!({
            "app": "shop", "environment": "default", "version": "2",
            "artefact": {"digest": Digest::of(b"a"), "source": Digest::of(b"s"), "location": "x", "root": "."},
            "services": {"web": {"run": "./web", "ports": {"http": {}}, "scaling": {"min": 2, "max": 2}}},
            "env": {}, "smoke": [], "strategy": {"type": "blue-green"}, "resources": [], "migrations": [],
        });
        Release::new(ReleaseNumber(2), serde_json::from_value(bundle).unwrap()).unwrap()
    }

    fn seen(release: u32, unit: &str, host: &str, state: UnitState) -> UnitObserved {
        UnitObserved {
            release: ReleaseNumber(release),
            unit: unit.parse().unwrap(),
            host: host.to_owned(),
            state,
            pid: None,
            ports: std::collections::BTreeMap::new(),
            restarts: 0,
            last_exit: (state != UnitState::Running).then(|| "exit code 1".to_owned()),
            log: None,
        }
    }

    fn said(seen: &[UnitObserved], weights: &[(u32, u32)]) -> Vec<String> {
        let weights = weights.iter().map(|(number, weight)| (ReleaseNumber(*number), *weight)).collect();
        let found = release(&shop(), seen, &Routing { weights, ..Routing::default() });
        found.into_iter().map(|one| format!("{}, {:?}: {}", one.what, one.change, one.reason)).collect()
    }

    #[test]
    fn what_does_not_serve_is_named_with_its_host() {
        use UnitState::{Failed, Restarting, Running, Stopped};
        let all = |host: &str| [seen(2, "web.0", host, Running), seen(2, "web.1", host, Running)];
        let well: Vec<UnitObserved> = [all("a"), all("b")].concat();
        assert_eq!(said(&well, &[(2, 100)]), [""; 0]);
        assert_eq!(
            said(&well, &[(1, 90), (2, 10)]),
            ["r2 traffic, Changed: traffic goes to r1 90 %, r2 10 %, and should go to r2 alone"]
        );
        assert_eq!(said(&well, &[]), ["r2 traffic, Changed: traffic goes to none, and should go to r2"]);
        let other = seen(1, "web.0", "b", Restarting);
        assert_eq!(
            said(&[&well[..], &[other, seen(1, "web.1", "b", Stopped)]].concat(), &[(2, 100)]),
            ["r1 web.0 on b, Unknown: it runs, and only r2 should"]
        );
        let more = seen(2, "web.2", "a", Running);
        assert_eq!(
            said(&[&well[..], &[more]].concat(), &[(2, 100)]),
            ["r2 web.2 on a, Unknown: it runs, and r2 has no such instance"]
        );
        let ill =
            [seen(2, "web.0", "a", Running), seen(2, "web.0", "b", Failed), seen(2, "web.0", "c", Stopped)];
        assert_eq!(
            said(&ill, &[(2, 100)]),
            [
                "r2 web.0 on b, Changed: it ended by itself, and is not started again (exit code 1)",
                "r2 web.0 on c, Gone: it does not run (exit code 1)",
                "r2 web.1, Gone: it is not there",
            ]
        );
    }

    #[test]
    fn a_record_that_another_hand_changed_is_told_and_one_that_is_not_there_is_not() {
        let (brought, mut there) = (shop(), shop());
        let found = |there: &[Release]| FleetDifference::of_record("web1", there, &brought);
        assert_eq!(found(&[]), None);
        assert_eq!(found(std::slice::from_ref(&there)), None);
        there.bundle.version = "3".parse().unwrap();
        let one = found(&[there]).unwrap();
        assert_eq!(one.part, FleetPart::Record);
        assert_eq!(by_another_hand(brought.number, one).what, "r2 record on web1");
        let unit = FleetDifference { host: "web1".into(), part: FleetPart::Supervisor, reason: "x".into() };
        assert_eq!(by_another_hand(brought.number, unit).what, "supervisor on web1");
    }
}
