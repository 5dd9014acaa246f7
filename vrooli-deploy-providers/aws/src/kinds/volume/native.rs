//! A disk is made with a token and takes a moment to come. It is attached after it, and given to another
//! machine when that is wanted; it grows in place.

use std::time::Duration;

use aws_sdk_ec2::types::{
    ResourceType, Volume as Disk, VolumeAttachment, VolumeAttachmentState as Attachment,
    VolumeState as State, VolumeType,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{Volume, VolumeObserved, VolumeSpec};
use crate::native::ec2::{id_of, marked, marks_for, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, begun, completed, unexpected};

/// What the machine calls it. On machines of Nitro it is an NVMe device, which tells this name.
const DEVICE: &str = "/dev/sdf";
/// So long one may take to come, to be attached or to be let go: AWS says seconds, and gives none where
/// something is mounted.
const PATIENCE: Duration = Duration::from_secs(180);

fn is_gone(disk: &Disk) -> bool {
    matches!(disk.state(), Some(State::Deleting | State::Deleted))
}

/// The machine that has it, as long as it is not being let go.
fn holder(disk: &Disk) -> Option<&VolumeAttachment> {
    let held =
        |one: &&VolumeAttachment| !matches!(one.state(), Some(Attachment::Detached | Attachment::Detaching));
    disk.attachments().iter().find(held)
}

fn gib(disk: &Disk) -> u32 {
    disk.size().and_then(|size| size.try_into().ok()).unwrap_or(0)
}

fn seen(at: &Calls<'_>, disk: &Disk) -> Option<Seen<VolumeObserved>> {
    if is_gone(disk) {
        return None;
    }
    Some(Seen {
        id: id_of(at, disk.volume_id()?),
        marks: Marks::of(disk.tags())?,
        observed: VolumeObserved {
            region: at.region.name.clone(),
            zone: text(disk.availability_zone()),
            size_gib: gib(disk),
            encrypted: disk.encrypted().unwrap_or(false),
            kms_key: disk.kms_key_id().map(str::to_owned),
            instance: holder(disk).and_then(|one| one.instance_id()).map(str::to_owned),
        },
    })
}

async fn described(at: &Calls<'_>, id: &str) -> Result<Option<Disk>> {
    let ask = at.region.ec2.describe_volumes().volume_ids(id).send();
    let answer = at.find("ec2:DescribeVolumes", ask).await?;
    Ok(answer.and_then(|answer| answer.volumes?.into_iter().find(|disk| !is_gone(disk))))
}

async fn all(at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Disk>> {
    let filters = marked(at, look);
    let ask = |next| {
        let ask = at.region.ec2.describe_volumes().set_filters(Some(filters.clone()));
        ask.set_next_token(next).send()
    };
    let pages = at.pages("ec2:DescribeVolumes", ask, |page| page.next_token.clone()).await?;
    Ok(pages.into_iter().flat_map(|page| page.volumes.unwrap_or_default()).collect())
}

/// Disks of the stack, those that its machines start from among them.
async fn of_stack(at: &Calls<'_>) -> Result<Vec<Disk>> {
    at.once("volumes", "", || all(at, Look::Stack)).await
}

/// A disk at a device of a machine.
#[derive(Debug, Clone)]
pub(in crate::kinds) struct Attached {
    pub(in crate::kinds) volume: String,
    pub(in crate::kinds) instance: String,
    pub(in crate::kinds) device: String,
    pub(in crate::kinds) gib: u32,
}

/// What disks of the stack are attached to.
pub(in crate::kinds) async fn attached(at: &Calls<'_>) -> Result<Vec<Attached>> {
    let of = |disk: &Disk| {
        let held = holder(disk)?;
        Some(Attached {
            volume: disk.volume_id()?.to_owned(),
            instance: held.instance_id()?.to_owned(),
            device: held.device()?.to_owned(),
            gib: gib(disk),
        })
    };
    Ok(of_stack(at).await?.iter().filter_map(of).collect())
}

/// Makes a disk so large. The file system on it grows when its machine starts again, or by hand. That an
/// answer was lost shows in AWS refusing a second change: then the first one is waited for.
pub(in crate::kinds) async fn grow(at: &Calls<'_>, id: &str, size: u32) -> Result<()> {
    let put = || at.region.ec2.modify_volume().volume_id(id).size(size.try_into().unwrap_or(i32::MAX)).send();
    let asked = at.put("ec2:ModifyVolume", put).await.map(drop);
    if asked.as_ref().is_err_and(|error| error.kind() != ErrorKind::Conflict) {
        return asked;
    }
    let look = || async move {
        let there = described(at, id).await?;
        Ok(there.is_some_and(|disk| gib(&disk) >= size).then_some(()))
    };
    match at.until(PATIENCE, look).await? {
        Some(()) => Ok(()),
        None => asked.and(Err(ProviderError::new(
            ErrorKind::Ambiguous,
            format!("ec2:ModifyVolume: {id} does not show its new size yet"),
        ))),
    }
}

/// The one that was begun with our token, else one that is made with it.
async fn begin(at: &Calls<'_>, key: &ResourceKey, want: &VolumeSpec<Known>) -> Result<String> {
    if let Some(there) = begun(&Volume, at, key).await? {
        return Ok(plain(&there.id).to_owned());
    }
    let make = at.region.ec2.create_volume().availability_zone(&want.zone).encrypted(want.encrypted);
    let make = make.size(want.size_gib.try_into().unwrap_or(i32::MAX)).volume_type(VolumeType::Gp3);
    let make = make.set_kms_key_id(want.kms_key.clone());
    let make = make.set_client_token(at.cx.token.map(|token| token.0.to_string()));
    let make = make.tag_specifications(marks_for(at, key, ResourceType::Volume)?).send();
    let made = at.change("ec2:CreateVolume", make).await?;
    made.volume_id.ok_or_else(|| unexpected("ec2:CreateVolume", "id"))
}

/// Waits until nothing is under way with it any more.
async fn at_rest(at: &Calls<'_>, id: &str) -> Result<Disk> {
    let look = || async move {
        let Some(disk) = described(at, id).await? else {
            return Err(ProviderError::new(ErrorKind::NotFound, format!("volume {id}: AWS has none")));
        };
        let moving = |one: &VolumeAttachment| {
            !matches!(one.state(), Some(Attachment::Attached | Attachment::Detached) | None)
        };
        let rests = disk.state() != Some(&State::Creating) && !disk.attachments().iter().any(moving);
        Ok(rests.then_some(disk))
    };
    let Some(disk) = at.until(PATIENCE, look).await? else {
        let words = format!("volume {id}: AWS is still at work with it, or a machine does not let it go");
        return Err(ProviderError::new(ErrorKind::Conflict, words)
            .with_help("what is mounted is not let go: unmount it there, then try again"));
    };
    if disk.state() == Some(&State::Error) {
        let words = format!("ec2:CreateVolume: {id} was made, and failed: AWS does not say why");
        return Err(ProviderError::new(ErrorKind::Unexpected, words));
    }
    Ok(disk)
}

/// Takes it from the machine that has it, and waits until that is done.
async fn free(at: &Calls<'_>, id: &str) -> Result<()> {
    let disk = at_rest(at, id).await?;
    let Some(held) = holder(&disk).and_then(|one| one.instance_id()) else { return Ok(()) };
    let take = || at.region.ec2.detach_volume().volume_id(id).instance_id(held).send();
    at.take("ec2:DetachVolume", take).await?;
    at_rest(at, id).await.map(drop)
}

/// Gives it to the machine that is wanted, and takes it from any other.
async fn settle(at: &Calls<'_>, id: &str, want: Option<&str>) -> Result<()> {
    let have = at_rest(at, id).await?;
    let have = holder(&have).and_then(|one| one.instance_id());
    if have == want {
        return Ok(());
    }
    if have.is_some() {
        free(at, id).await?;
    }
    if let Some(instance) = want {
        let make = || {
            let make = at.region.ec2.attach_volume().volume_id(id).instance_id(instance);
            make.device(DEVICE).send()
        };
        at.known(|| at.change("ec2:AttachVolume", make())).await?;
        at_rest(at, id).await?;
    }
    Ok(())
}

impl Native for Volume {
    const TOKEN: CreateToken = CreateToken::Native;
    const SELDOM: Option<&'static str> = Some("volume/");

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<VolumeObserved>>> {
        Ok(described(at, plain(id)).await?.and_then(|disk| seen(at, &disk)))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<VolumeObserved>>> {
        let disks = match look {
            Look::Stack => of_stack(at).await?,
            Look::Key(_) => all(at, look).await?,
        };
        Ok(disks.iter().filter_map(|disk| seen(at, disk)).collect())
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &VolumeSpec<Known>) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let id = begin(&at, key, want).await?;
        completed(at.known(|| settle(&at, &id, want.instance.as_deref())).await)?;
        Ok(id_of(&at, &id))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        have: &VolumeObserved,
        want: &VolumeSpec<Known>,
    ) -> Result<()> {
        if want.size_gib > have.size_gib {
            grow(at, plain(id), want.size_gib).await?;
        }
        at.whole(|| settle(at, plain(id), want.instance.as_deref())).await
    }

    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        if accept(free(at, plain(id)).await, ErrorKind::NotFound)?.is_none() {
            return Ok(());
        }
        let gone = || at.region.ec2.delete_volume().volume_id(plain(id)).send();
        at.freed(|| at.remove("ec2:DeleteVolume", gone())).await
    }
}
