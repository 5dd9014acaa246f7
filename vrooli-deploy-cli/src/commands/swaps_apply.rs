use vrooli_deploy_core::workspace::ProfileEdit;

use super::context::Context;
use super::done::Done;
use super::{change, profile};
use crate::arguments::SwapsApply;
use crate::errors::Failure;

pub(crate) async fn run(context: &Context, args: &SwapsApply) -> Result<Done, Failure> {
    let workspace = context.workspace().await?;
    let version = workspace.profile(&args.profile.profile).await?;
    let edit = ProfileEdit::new().expecting(args.edit.expect).because(args.edit.reason.clone());
    let swapped = workspace.swap_profile(version.id, &edit, &args.all()).await?;
    change::input(&context.console, &swapped.diagnostics);
    Ok(profile::said(context, &swapped.version, swapped.changed))
}
