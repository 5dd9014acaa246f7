//! Who has the word on how many tasks run: the scaler of a slot, as long as all requests are its own.

use aws_sdk_applicationautoscaling::types::SuspendedState;
use vrooli_deploy_core::provider::Result;

use super::super::site::Place;
use super::OnFargate;
use crate::kinds::service_scaling::native::{COUNT, ECS, resource, targets};
use crate::native::Calls;

/// What a slot's scaler may do. It is in no spec: a release changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// All: the slot serves alone.
    All,
    /// No task less. What gets a part of the requests, or none yet, must be able to get all of them.
    MoreOnly,
    /// Nothing: the slot is to be empty. An alarm that was on while it served would fill it again.
    Nobodys,
}

/// Tells the scaler of a slot, if there is one: a change of the stack may have taken it away.
pub(super) async fn say(at: &Calls<'_>, place: &Place<OnFargate>, slot: &str, word: Word) -> Result<()> {
    let resource = resource(&place.on.cluster, slot);
    let there = targets(at, std::slice::from_ref(&resource)).await?;
    let Some(there) = there.first() else { return Ok(()) };
    let suspended = SuspendedState::builder()
        .dynamic_scaling_in_suspended(word != Word::All)
        .dynamic_scaling_out_suspended(word == Word::Nobodys)
        .scheduled_scaling_suspended(word == Word::Nobodys)
        .build();
    if there.suspended_state() == Some(&suspended) {
        return Ok(());
    }
    let put = || {
        let put = at.region.scaling.register_scalable_target().service_namespace(ECS);
        let put = put.resource_id(&resource).scalable_dimension(COUNT);
        put.suspended_state(suspended.clone()).send()
    };
    at.put("application-autoscaling:RegisterScalableTarget", put).await.map(drop)
}
