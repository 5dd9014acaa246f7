//! A machine is made with a token; one that is gone is seen for an hour, and gives its token back. AWS
//! forgets which parameter named its image: a tag says it. Its size changes while it is stopped.

use std::time::Duration;

use aws_sdk_ec2::types::{
    Address, AttributeValue, BlockDeviceMapping, EbsBlockDevice, HttpTokensState,
    IamInstanceProfileSpecification, Instance as Machine, InstanceMetadataOptionsRequest,
    InstanceStateName as State, InstanceType, ResourceType, VolumeType,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, ProviderError, Result};

use super::{Instance, InstanceObserved, InstanceSpec};
use crate::catalogue::catalogue;
use crate::kinds::elastic_ip::native as addresses;
use crate::kinds::volume::native::{Attached, attached, grow};
use crate::native::ec2::{BY_PARAMETER, filter, id_of, marked, noted_marks_for, part_of_stack, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, completed, unexpected};

/// The tag that says which parameter named the image.
const IMAGE: &str = "vrooli:image";
/// So long one may take to start, to stop or to go: AWS says minutes.
const PATIENCE: Duration = Duration::from_secs(300);

fn state(machine: &Machine) -> Option<&State> {
    machine.state().and_then(|state| state.name())
}

fn is_gone(machine: &Machine) -> bool {
    matches!(state(machine), Some(State::ShuttingDown | State::Terminated))
}

/// What is asked beside machines: disks and addresses of the stack.
#[derive(Debug)]
struct Beside {
    disks: Vec<Attached>,
    addresses: Vec<Address>,
}

impl Beside {
    async fn ask(at: &Calls<'_>) -> Result<Self> {
        let (disks, addresses) = tokio::join!(attached(at), addresses::of_stack(at));
        Ok(Self { disks: disks?, addresses: addresses? })
    }

    /// The disk that a machine starts from.
    fn root(&self, machine: &Machine) -> Option<&Attached> {
        let (id, device) = (machine.instance_id()?, machine.root_device_name()?);
        self.disks.iter().find(|disk| disk.instance == id && disk.device == device)
    }

    fn address(&self, machine: &Machine) -> Option<&Address> {
        let id = machine.instance_id()?;
        self.addresses.iter().find(|address| address.instance_id() == Some(id))
    }
}

fn groups(machine: &Machine) -> Vec<String> {
    machine.security_groups().iter().filter_map(|group| group.group_id()).map(str::to_owned).collect()
}

/// The profile of a machine by its name, which its ARN ends with.
fn profile(machine: &Machine) -> Option<&str> {
    machine.iam_instance_profile()?.arn()?.rsplit('/').next()
}

fn seen(at: &Calls<'_>, machine: &Machine, beside: &Beside) -> Option<Seen<InstanceObserved>> {
    if is_gone(machine) {
        return None;
    }
    let marks = Marks::of(machine.tags())?;
    let address = beside.address(machine).and_then(|address| address.allocation_id());
    let observed = InstanceObserved {
        region: at.region.name.clone(),
        instance_type: text(machine.instance_type().map(InstanceType::as_str)),
        image: marks.notes.get(IMAGE).cloned().unwrap_or_else(|| text(machine.image_id())),
        subnet: text(machine.subnet_id()),
        security_groups: groups(machine),
        profile: profile(machine).map(str::to_owned),
        disk_gib: beside.root(machine).map_or(0, |disk| disk.gib),
        elastic_ip: address.map(str::to_owned),
        private_address: text(machine.private_ip_address()),
        stopped: matches!(state(machine), Some(State::Stopping | State::Stopped)),
    };
    Some(Seen { id: id_of(at, machine.instance_id()?), marks, observed })
}

async fn described(at: &Calls<'_>, id: &str) -> Result<Option<Machine>> {
    let ask = at.region.ec2.describe_instances().instance_ids(id).send();
    let answer = at.find("ec2:DescribeInstances", ask).await?;
    let mut all = answer.and_then(|answer| answer.reservations).unwrap_or_default().into_iter();
    Ok(all.find_map(|one| one.instances?.into_iter().next()))
}

/// One that is there.
async fn alive(at: &Calls<'_>, id: &str) -> Result<Machine> {
    described(at, id).await?.filter(|machine| !is_gone(machine)).ok_or_else(|| {
        ProviderError::new(ErrorKind::NotFound, format!("machine {id}: AWS has none, or none any more"))
    })
}

/// Those that bear the marks, gone ones included.
async fn all(at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Machine>> {
    let filters = marked(at, look);
    let ask = |next| {
        let ask = at.region.ec2.describe_instances().set_filters(Some(filters.clone()));
        ask.set_next_token(next).send()
    };
    let pages = at.pages("ec2:DescribeInstances", ask, |page| page.next_token.clone()).await?;
    let reservations = pages.into_iter().flat_map(|page| page.reservations.unwrap_or_default());
    Ok(reservations.flat_map(|one| one.instances.unwrap_or_default()).collect())
}

fn root_disk(want: &InstanceSpec<Known>) -> BlockDeviceMapping {
    let disk = EbsBlockDevice::builder()
        .volume_size(want.disk_gib.try_into().unwrap_or(i32::MAX))
        .volume_type(VolumeType::Gp3)
        .encrypted(true)
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(&catalogue().defaults.root_device).ebs(disk).build()
}

fn named_profile(name: &str) -> IamInstanceProfileSpecification {
    IamInstanceProfileSpecification::builder().name(name).build()
}

/// The one that was begun with our token, else one that is made with a token not used yet.
async fn begin(at: &Calls<'_>, key: &ResourceKey, want: &InstanceSpec<Known>) -> Result<String> {
    let token = at.cx.token.ok_or_else(|| unexpected("ec2:RunInstances", "token"))?;
    let mut ours = all(at, Look::Key(key)).await?;
    ours.retain(|one| {
        Marks::of(one.tags()).is_some_and(|marks| marks.are(at.cx, key) && marks.token == Some(token))
    });
    if let Some(there) = ours.iter().find(|one| !is_gone(one)).and_then(|one| one.instance_id()) {
        return Ok(there.to_owned());
    }
    let marks = noted_marks_for(at, key, ResourceType::Instance, (IMAGE, want.image.clone()))?;
    let asked = InstanceMetadataOptionsRequest::builder().http_tokens(HttpTokensState::Required).build();
    let groups = Some(want.security_groups.clone()).filter(|groups| !groups.is_empty());
    let make = || {
        let make = at.region.ec2.run_instances().client_token(format!("{}-{}", token.0, ours.len()));
        let make = make.image_id(format!("{BY_PARAMETER}{}", want.image)).min_count(1).max_count(1);
        let make = make.instance_type(InstanceType::from(want.instance_type.as_str()));
        let make = make.subnet_id(&want.subnet).set_security_group_ids(groups.clone());
        let make = make.set_iam_instance_profile(want.profile.as_deref().map(named_profile));
        let make = make.block_device_mappings(root_disk(want)).metadata_options(asked.clone());
        // With the marks themselves its disk would be seen as a resource.
        let disk = part_of_stack(at, ResourceType::Volume);
        make.tag_specifications(marks.clone()).tag_specifications(disk).send()
    };
    let made = at.known(|| at.change("ec2:RunInstances", make())).await?;
    let id = made.instances().first().and_then(|machine| machine.instance_id());
    Ok(id.ok_or_else(|| unexpected("ec2:RunInstances", "id"))?.to_owned())
}

/// Waits until it is in a state that lasts.
async fn at_rest(at: &Calls<'_>, id: &str) -> Result<Machine> {
    let look = || async move {
        let machine = described(at, id)
            .await?
            .ok_or_else(|| ProviderError::new(ErrorKind::NotFound, format!("machine {id}: AWS has none")))?;
        let moves = matches!(state(&machine), Some(State::Pending | State::Stopping));
        Ok((!moves).then_some(machine))
    };
    at.until(PATIENCE, look).await?.ok_or_else(|| {
        ProviderError::new(ErrorKind::Conflict, format!("machine {id} neither starts nor stops"))
            .with_help("it is there: the next run goes on with it")
    })
}

fn failed(machine: &Machine) -> ProviderError {
    let reason = machine.state_reason();
    let said = reason.and_then(|reason| reason.message()).filter(|said| !said.is_empty());
    let said = said.unwrap_or("AWS does not say why");
    let id = machine.instance_id().unwrap_or_default();
    let error = ProviderError::new(
        ErrorKind::Unexpected,
        format!("ec2:RunInstances: {id} was made, and ended: {said}"),
    );
    match reason.and_then(|reason| reason.code()).filter(|code| !code.is_empty()) {
        Some(code) => error.with_code(code),
        None => error,
    }
}

async fn stop(at: &Calls<'_>, id: &str) -> Result<()> {
    at.put("ec2:StopInstances", || at.region.ec2.stop_instances().instance_ids(id).send()).await?;
    at_rest(at, id).await.map(drop)
}

async fn start(at: &Calls<'_>, id: &str) -> Result<()> {
    at.put("ec2:StartInstances", || at.region.ec2.start_instances().instance_ids(id).send()).await?;
    let machine = at_rest(at, id).await?;
    if is_gone(&machine) || state(&machine) == Some(&State::Stopped) { Err(failed(&machine)) } else { Ok(()) }
}

/// Gives it the address that is wanted. An address comes from whatever had it; a machine keeps one only.
async fn set_address(at: &Calls<'_>, id: &str, want: Option<&str>) -> Result<()> {
    let ask = at.region.ec2.describe_addresses().filters(filter("instance-id", id)).send();
    let there = at.read("ec2:DescribeAddresses", ask).await?;
    let mut has = false;
    for address in there.addresses() {
        if address.allocation_id() == want {
            has = true;
            continue;
        }
        let Some(association) = address.association_id() else { continue };
        let take = || at.region.ec2.disassociate_address().association_id(association).send();
        at.take("ec2:DisassociateAddress", take).await?;
    }
    if let (Some(want), false) = (want, has) {
        let put = || {
            let put = at.region.ec2.associate_address().allocation_id(want).instance_id(id);
            put.allow_reassociation(true).send()
        };
        at.known(|| at.put("ec2:AssociateAddress", put)).await?;
    }
    Ok(())
}

/// Gives it the rights that are wanted. What it has stays with it until its credentials end.
async fn set_profile(at: &Calls<'_>, id: &str, want: Option<&str>) -> Result<()> {
    let ask = at.region.ec2.describe_iam_instance_profile_associations();
    let ask = ask.filters(filter("instance-id", id)).send();
    let there = at.read("ec2:DescribeIamInstanceProfileAssociations", ask).await?;
    for association in there.iam_instance_profile_associations() {
        let Some(association) = association.association_id() else { continue };
        let take = || at.region.ec2.disassociate_iam_instance_profile().association_id(association).send();
        at.take("ec2:DisassociateIamInstanceProfile", take).await?;
    }
    let Some(name) = want else { return Ok(()) };
    let put = || {
        let put = at.region.ec2.associate_iam_instance_profile().instance_id(id);
        put.iam_instance_profile(named_profile(name)).send()
    };
    // The one before it may still be going.
    at.freed(|| async { at.known(|| at.put("ec2:AssociateIamInstanceProfile", put)).await.map(drop) }).await
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// What may change while it runs.
async fn settle(at: &Calls<'_>, machine: &Machine, want: &InstanceSpec<Known>) -> Result<()> {
    let id = machine.instance_id().unwrap_or_default();
    if sorted(groups(machine)) != sorted(want.security_groups.clone()) {
        let put = || {
            let put = at.region.ec2.modify_instance_attribute().instance_id(id);
            put.set_groups(Some(want.security_groups.clone())).send()
        };
        at.known(|| at.put("ec2:ModifyInstanceAttribute", put)).await?;
    }
    if profile(machine) != want.profile.as_deref() {
        set_profile(at, id, want.profile.as_deref()).await?;
    }
    let disks = attached(at).await?;
    let root = Beside { disks, addresses: Vec::new() };
    if let Some(root) = root.root(machine)
        && root.gib < want.disk_gib
    {
        grow(at, &root.volume, want.disk_gib).await?;
    }
    set_address(at, id, want.elastic_ip.as_deref()).await
}

/// Its size, and that it runs. A run that ends in between leaves it stopped, which is seen.
async fn resize(at: &Calls<'_>, machine: &Machine, want: &str) -> Result<()> {
    let id = machine.instance_id().unwrap_or_default();
    let other = machine.instance_type().map(InstanceType::as_str) != Some(want);
    let stopped = state(machine) == Some(&State::Stopped);
    if other {
        if !stopped {
            stop(at, id).await?;
        }
        let value = AttributeValue::builder().value(want).build();
        let put = || {
            let put = at.region.ec2.modify_instance_attribute().instance_id(id);
            put.instance_type(value.clone()).send()
        };
        at.put("ec2:ModifyInstanceAttribute", put).await?;
    }
    if other || stopped { start(at, id).await } else { Ok(()) }
}

impl Native for Instance {
    const TOKEN: CreateToken = CreateToken::Native;
    const SELDOM: Option<&'static str> = Some("instance/");

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<InstanceObserved>>> {
        let Some(machine) = described(at, plain(id)).await? else { return Ok(None) };
        Ok(seen(at, &machine, &Beside::ask(at).await?))
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<InstanceObserved>>> {
        let (machines, beside) = tokio::join!(Box::pin(all(at, look)), Box::pin(Beside::ask(at)));
        let (machines, beside) = (machines?, beside?);
        Ok(machines.iter().filter_map(|machine| seen(at, machine, &beside)).collect())
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &InstanceSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let id = begin(&at, key, want).await?;
        let machine = completed(at.known(|| at_rest(&at, &id)).await)?;
        if is_gone(&machine) {
            // It is none: AWS takes it away by itself.
            return Err(failed(&machine));
        }
        completed(settle(&at, &machine, want).await)?;
        Ok(id_of(&at, &id))
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &InstanceObserved,
        want: &InstanceSpec<Known>,
    ) -> Result<()> {
        alive(at, plain(id)).await?;
        let machine = at_rest(at, plain(id)).await?;
        settle(at, &machine, want).await?;
        resize(at, &machine, &want.instance_type).await
    }

    /// Until it is gone its subnet, its groups and its disks cannot go.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.ec2.terminate_instances().instance_ids(plain(id)).send();
        at.remove("ec2:TerminateInstances", gone).await?;
        let look = || async move {
            let there = described(at, plain(id)).await?;
            let going = there.is_some_and(|machine| state(&machine) != Some(&State::Terminated));
            Ok((!going).then_some(()))
        };
        at.until(PATIENCE, look).await.map(drop)
    }
}
