//! How machines of a slot are: what they say of their start in the log group, and what AWS says where there
//! are none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aws_sdk_autoscaling::types::{Activity, AutoScalingGroup, ScalingActivityStatusCode};
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{ErrorKind, Result};

use super::super::carrier::{Sight, Slot};
use super::Machines;
use crate::native::{Calls, accept};

/// Units are probed at once, and AWS answers few of these questions a second: so long one answer serves all.
const FRESH: Duration = Duration::from_secs(1);
/// AWS tries again by itself, in another zone too: a launch that failed has failed when nothing has come of it
/// for so long.
const FAILING: Duration = Duration::from_secs(10);
/// The last line of a start that went well.
const READY: &str = "ready";
/// What the last line of another begins with.
const FAILED: &str = "failed: ";

/// What machines have said of their start, by id: nothing of a machine that said nothing yet.
type Starts = BTreeMap<String, Vec<String>>;

/// What is known of a slot between two looks.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By what streams begin with.
    starts: BTreeMap<String, (Instant, Starts)>,
    /// Since when nothing comes of a launch, by slot.
    failing: BTreeMap<String, Instant>,
    /// The last thing that AWS had tried with a slot before this start of it, by id: AWS tells of it for weeks.
    before: BTreeMap<String, Option<String>>,
}

/// The machines of the version that a group has, by id.
pub(super) fn machines(group: &AutoScalingGroup) -> BTreeSet<&str> {
    let version = group.launch_template().and_then(|template| template.version());
    let of_it = group.instances().iter().filter(|one| {
        let leaves = one.lifecycle_state().is_some_and(|state| state.as_str().starts_with("Terminat"));
        !leaves && one.launch_template().and_then(|template| template.version()) == version
    });
    of_it.filter_map(|one| one.instance_id()).collect()
}

impl Machines {
    /// What machines have said of their start.
    async fn starts(
        &self,
        at: &Calls<'_>,
        logs: &str,
        release: ReleaseNumber,
        of: &BTreeSet<&str>,
    ) -> Result<Starts> {
        // A name that no service can have.
        let prefix = format!("{release}/_machine/");
        let mut known = self.known.lock().await;
        if let Some((when, starts)) = known.starts.get(&prefix)
            && (when.elapsed() < FRESH || of.iter().all(|one| starts.contains_key(*one)))
        {
            return Ok(starts.clone());
        }
        let ask = |next| {
            let ask = at.region.logs.filter_log_events().log_group_name(logs);
            ask.log_stream_name_prefix(&prefix).set_next_token(next).send()
        };
        let pages = at.pages("logs:FilterLogEvents", ask, |page| page.next_token.clone()).await;
        let pages = accept(pages, ErrorKind::NotFound)?.unwrap_or_default();
        let mut starts = Starts::new();
        for event in pages.iter().flat_map(|page| page.events()) {
            let machine = event.log_stream_name().and_then(|name| name.strip_prefix(&prefix));
            if let (Some(machine), Some(line)) = (machine, event.message()) {
                starts.entry(machine.to_owned()).or_default().push(line.to_owned());
            }
        }
        let over = |lines: &Vec<String>| lines.iter().any(|line| line == READY || line.starts_with(FAILED));
        starts.retain(|_, lines| over(lines));
        known.starts.insert(prefix, (Instant::now(), starts.clone()));
        Ok(starts)
    }

    /// How what was started in a slot is.
    pub(super) async fn sight(
        &self,
        at: &Calls<'_>,
        logs: &str,
        slot: &Slot<AutoScalingGroup>,
    ) -> Result<Sight> {
        let machines = machines(&slot.there);
        let starts = match slot.has() {
            Some(release) if !machines.is_empty() => self.starts(at, logs, release, &machines).await?,
            _ => Starts::new(),
        };
        for (machine, lines) in starts.iter().filter(|(machine, _)| machines.contains(machine.as_str())) {
            if let Some(why) = lines.iter().find_map(|line| line.strip_prefix(FAILED)) {
                return Ok(Sight::Failed(format!("machine {machine}: {why}"), lines.clone()));
            }
        }
        let ready = machines.iter().filter(|machine| starts.contains_key(**machine)).count();
        let wanted = usize::try_from(slot.wanted).unwrap_or(0);
        if machines.len() >= wanted {
            self.known.lock().await.failing.remove(&slot.name);
            return Ok(Sight::Running(ready, "its machine has not started its containers yet".to_owned()));
        }
        let Some(why) = self.not_launched(at, &slot.name).await? else {
            self.known.lock().await.failing.remove(&slot.name);
            return Ok(Sight::Running(ready, "its machine is not there yet".to_owned()));
        };
        let mut known = self.known.lock().await;
        let since = known.failing.entry(slot.name.clone()).or_insert_with(Instant::now);
        if since.elapsed() >= FAILING {
            return Ok(Sight::Failed(format!("no machine can be had: {why}"), Vec::new()));
        }
        Ok(Sight::Running(ready, format!("its machine is not there yet: {why}")))
    }

    /// Why the last thing that AWS has tried with a group since it was started failed, in its words; `None`
    /// if it did not.
    async fn not_launched(&self, at: &Calls<'_>, group: &str) -> Result<Option<String>> {
        let last = last_tried(at, group).await?;
        let id = last.as_ref().and_then(|one| one.activity_id()).map(str::to_owned);
        // Started by a run that has ended: what is told now may be of a start before. AWS tries again.
        let before = self.known.lock().await.before.entry(group.to_owned()).or_insert(id.clone()).clone();
        let failed = last.filter(|one| {
            use ScalingActivityStatusCode::{Cancelled, Failed};
            before != id && matches!(one.status_code(), Some(Failed | Cancelled))
        });
        Ok(failed.map(|one| {
            let words = one.status_message().or(one.cause()).or(one.description());
            words.unwrap_or("AWS does not say why").to_owned()
        }))
    }

    /// A slot is about to be started.
    pub(super) async fn starting(&self, at: &Calls<'_>, group: &str) -> Result<()> {
        let last = last_tried(at, group).await?.and_then(|one| one.activity_id);
        let mut known = self.known.lock().await;
        known.failing.remove(group);
        known.before.insert(group.to_owned(), last);
        Ok(())
    }
}

/// The last thing that AWS has tried with a group.
async fn last_tried(at: &Calls<'_>, group: &str) -> Result<Option<Activity>> {
    let ask = at.region.groups.describe_scaling_activities().auto_scaling_group_name(group);
    let answer = at.find("autoscaling:DescribeScalingActivities", ask.max_records(1).send()).await?;
    Ok(answer.and_then(|answer| answer.activities?.into_iter().next()))
}
