//! Tasks of a slot, and why those ended that did.

use aws_sdk_ecs::types::{Service, Task, TaskStopCode};
use vrooli_deploy_core::provider::Result;

use super::super::carrier::Slot;
use super::super::site::Place;
use super::{OnFargate, deployment};
use crate::native::Calls;

/// As many tasks as one call describes.
const BATCH: usize = 100;
/// Tasks of what a slot was asked for last, those that ended too.
pub(super) async fn tasks(
    at: &Calls<'_>,
    place: &Place<OnFargate>,
    slot: &Slot<Service>,
) -> Result<Vec<Task>> {
    let mut all = Vec::new();
    for status in ["RUNNING", "STOPPED"] {
        let ask = |next| {
            let ask = at.region.ecs.list_tasks().cluster(&place.on.cluster).service_name(&slot.name);
            ask.desired_status(status.into()).set_next_token(next).send()
        };
        let pages = at.pages("ecs:ListTasks", ask, |page| page.next_token.clone()).await?;
        let arns: Vec<String> =
            pages.into_iter().flat_map(|page| page.task_arns.unwrap_or_default()).collect();
        for batch in arns.chunks(BATCH) {
            let ask = at.region.ecs.describe_tasks().cluster(&place.on.cluster);
            let answer = at.read("ecs:DescribeTasks", ask.set_tasks(Some(batch.to_vec())).send()).await?;
            all.extend(answer.tasks.unwrap_or_default());
        }
    }
    let deployment = deployment(&slot.there).and_then(|one| one.id());
    all.retain(|task| deployment.is_some() && task.started_by() == deployment);
    all.sort_by_key(|task| task.created_at().map(aws_smithy_types::DateTime::as_nanos));
    Ok(all)
}

/// Why a task ended; `None` of one that was told to.
pub(super) fn ended(task: &Task) -> Option<String> {
    if task.last_status() != Some("STOPPED") && task.desired_status() != Some("STOPPED") {
        return None;
    }
    let failed = task
        .containers()
        .iter()
        .filter(|one| one.reason().is_some() || one.exit_code().is_some_and(|code| code != 0));
    let mut words: Vec<String> = failed
        .map(|one| {
            let code =
                one.exit_code().map(|code| format!(" ended with exit code {code}")).unwrap_or_default();
            let reason = one.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("container `{}`{code}{reason}", one.name().unwrap_or_default())
        })
        .collect();
    if matches!(task.stop_code(), Some(TaskStopCode::ServiceSchedulerInitiated | TaskStopCode::UserInitiated))
        && words.is_empty()
        && !task.stopped_reason().is_some_and(|reason| reason.contains("failed"))
    {
        return None;
    }
    words.splice(0..0, task.stopped_reason().map(str::to_owned));
    Some(words.join("; "))
}
