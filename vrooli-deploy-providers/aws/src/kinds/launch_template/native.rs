//! The name of a template is unique in its region. What is in it are its versions, which never change: a
//! change is another version, and that machines are made of it is the template's default. Releases have versions
//! of their own, told by what machines of them are told: those are the fleet's.

use aws_sdk_ec2::types::builders::RequestLaunchTemplateDataBuilder;
use aws_sdk_ec2::types::{
    InstanceType, LaunchTemplate as Template, LaunchTemplateBlockDeviceMappingRequest,
    LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMetadataOptionsRequest,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, LaunchTemplateVersion as Version,
    RequestLaunchTemplateData, ResourceType, ResponseLaunchTemplateData, VolumeType,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, Known, PhysicalId, Result};

use super::{LaunchTemplate, LaunchTemplateObserved, LaunchTemplateSpec};
use crate::catalogue::catalogue;
use crate::native::ec2::{BY_PARAMETER, SETTLE, id_of, marked, marks_for, plain, text};
use crate::native::{Calls, Look, Marks, Native, Seen, accept, completed, together, unexpected};

/// The version that machines are made of, and the one that was made last.
const DEFAULT: &str = "$Default";
const LATEST: &str = "$Latest";

fn observed(at: &Calls<'_>, name: &str, data: &ResponseLaunchTemplateData) -> LaunchTemplateObserved {
    let port = data.network_interfaces().first();
    // With a network interface they stand in it, without one beside it.
    let groups = port.map_or(data.security_group_ids(), |port| port.groups());
    let root = data.block_device_mappings().iter().find_map(|one| one.ebs());
    LaunchTemplateObserved {
        region: at.region.name.clone(),
        name: name.to_owned(),
        instance_type: text(data.instance_type().map(InstanceType::as_str)),
        image: text(data.image_id().map(|image| image.strip_prefix(BY_PARAMETER).unwrap_or(image))),
        security_groups: groups.to_vec(),
        profile: data.iam_instance_profile().and_then(|profile| profile.name()).map(str::to_owned),
        disk_gib: root.and_then(|disk| disk.volume_size()?.try_into().ok()).unwrap_or(0),
        public_address: port.and_then(|port| port.associate_public_ip_address()).unwrap_or(false),
    }
}

/// What is wanted as AWS takes it. Machines tell about themselves only to who asks with a token (IMDSv2),
/// and their disks are encrypted.
fn data(want: &LaunchTemplateObserved) -> RequestLaunchTemplateDataBuilder {
    let profile = want
        .profile
        .as_ref()
        .map(|name| LaunchTemplateIamInstanceProfileSpecificationRequest::builder().name(name).build());
    let disk = LaunchTemplateEbsBlockDeviceRequest::builder()
        .volume_size(want.disk_gib.try_into().unwrap_or(i32::MAX))
        .volume_type(VolumeType::Gp3)
        .encrypted(true)
        .delete_on_termination(true)
        .build();
    let root = &catalogue().defaults.root_device;
    let disk = LaunchTemplateBlockDeviceMappingRequest::builder().device_name(root).ebs(disk).build();
    let port = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .device_index(0)
        .associate_public_ip_address(want.public_address)
        .set_groups(Some(want.security_groups.clone()).filter(|groups| !groups.is_empty()))
        .delete_on_termination(true)
        .build();
    let tokens = LaunchTemplateHttpTokensState::Required;
    let asked = LaunchTemplateInstanceMetadataOptionsRequest::builder().http_tokens(tokens).build();
    RequestLaunchTemplateData::builder()
        .image_id(format!("{BY_PARAMETER}{}", want.image))
        .instance_type(InstanceType::from(want.instance_type.as_str()))
        .set_iam_instance_profile(profile)
        .block_device_mappings(disk)
        .network_interfaces(port)
        .metadata_options(asked)
}

/// A spec as it will be seen.
fn as_seen(want: &LaunchTemplateSpec<Known>) -> LaunchTemplateObserved {
    LaunchTemplateObserved {
        region: want.region.clone(),
        name: want.name.clone(),
        instance_type: want.instance_type.clone(),
        image: want.image.clone(),
        security_groups: want.security_groups.clone(),
        profile: want.profile.clone(),
        disk_gib: want.disk_gib,
        public_address: want.public_address,
    }
}

/// Is that what is wanted?
fn is_wanted(have: &LaunchTemplateObserved, want: &LaunchTemplateSpec<Known>) -> bool {
    let sorted = |groups: &[String]| {
        let mut groups = groups.to_vec();
        groups.sort();
        groups
    };
    have.instance_type == want.instance_type
        && have.image == want.image
        && sorted(&have.security_groups) == sorted(&want.security_groups)
        && have.profile == want.profile
        && have.disk_gib == want.disk_gib
        && have.public_address == want.public_address
}

/// One of a template's versions.
async fn version(at: &Calls<'_>, id: &str, which: &str) -> Result<Option<Version>> {
    let ask = || async {
        let ask = at.region.ec2.describe_launch_template_versions().launch_template_id(id).versions(which);
        let answer = at.find("ec2:DescribeLaunchTemplateVersions", ask.send()).await?;
        Ok(answer.and_then(|answer| answer.launch_template_versions?.into_iter().next()))
    };
    at.once("launch template version", &format!("{id} {which}"), ask).await
}

async fn seen(at: &Calls<'_>, template: &Template) -> Result<Option<Seen<LaunchTemplateObserved>>> {
    let (Some(id), Some(name)) = (template.launch_template_id(), template.launch_template_name()) else {
        return Ok(None);
    };
    let Some(marks) = Marks::of(template.tags()) else { return Ok(None) };
    let version = version(at, id, DEFAULT).await?;
    let data = version.as_ref().and_then(|version| version.launch_template_data());
    Ok(data.map(|data| Seen { id: id_of(at, id), marks, observed: observed(at, name, data) }))
}

async fn described(at: &Calls<'_>, id: &str) -> Result<Option<Template>> {
    let ask = at.region.ec2.describe_launch_templates().launch_template_ids(id).send();
    let answer = at.find("ec2:DescribeLaunchTemplates", ask).await?;
    Ok(answer.and_then(|answer| answer.launch_templates?.into_iter().next()))
}

/// The template of a name.
pub(crate) async fn named(at: &Calls<'_>, name: &str) -> Result<Option<Template>> {
    let ask = at.region.ec2.describe_launch_templates().launch_template_names(name).send();
    let answer = at.find("ec2:DescribeLaunchTemplates", ask).await?;
    Ok(answer.and_then(|answer| answer.launch_templates?.into_iter().next()))
}

/// What a version for a release begins with: what the default version of the template says.
pub(crate) async fn as_wanted(at: &Calls<'_>, id: &str) -> Result<Option<RequestLaunchTemplateDataBuilder>> {
    let ask = at.region.ec2.describe_launch_template_versions().launch_template_id(id).versions(DEFAULT);
    let answer = at.find("ec2:DescribeLaunchTemplateVersions", ask.send()).await?;
    let version = answer.and_then(|answer| answer.launch_template_versions?.into_iter().next());
    let seen = version.as_ref().and_then(|version| version.launch_template_data());
    Ok(seen.map(|seen| data(&observed(at, "", seen))))
}

/// Makes one; `None` if AWS has the name already.
async fn create(
    at: &Calls<'_>,
    key: &ResourceKey,
    want: &LaunchTemplateSpec<Known>,
) -> Result<Option<PhysicalId>> {
    let make = at.region.ec2.create_launch_template().launch_template_name(&want.name);
    let make = make.launch_template_data(data(&as_seen(want)).build());
    let make = make.set_client_token(at.cx.token.map(|token| token.0.to_string()));
    let make = make.tag_specifications(marks_for(at, key, ResourceType::LaunchTemplate)?).send();
    let made = at.change("ec2:CreateLaunchTemplate", make).await;
    let Some(made) = accept(made, ErrorKind::AlreadyExists)? else { return Ok(None) };
    let id = made.launch_template().and_then(|template| template.launch_template_id());
    Ok(Some(id_of(at, id.ok_or_else(|| unexpected("ec2:CreateLaunchTemplate", "id"))?)))
}

/// Is it a version of the template itself, and not of a release?
fn is_its_own(version: &Version) -> bool {
    version.launch_template_data().is_some_and(|data| data.user_data().is_none_or(str::is_empty))
}

/// Makes the default version what is wanted. A version that a killed run left is used, not made again: its
/// token is made from the number of the one before it.
async fn settle(at: &Calls<'_>, id: &str, want: &LaunchTemplateSpec<Known>) -> Result<()> {
    let as_wanted = |version: &Version| {
        let data = version.launch_template_data().filter(|_| is_its_own(version));
        data.is_some_and(|data| is_wanted(&observed(at, &want.name, data), want))
    };
    if version(at, id, DEFAULT).await?.is_some_and(|version| as_wanted(&version)) {
        return Ok(());
    }
    let latest = version(at, id, LATEST).await?;
    let latest = latest.ok_or_else(|| unexpected("ec2:DescribeLaunchTemplateVersions", "version"))?;
    let number = latest.version_number().unwrap_or_default();
    let number = if as_wanted(&latest) {
        number
    } else {
        let make = || {
            let make = at.region.ec2.create_launch_template_version().launch_template_id(id);
            make.launch_template_data(data(&as_seen(want)).build())
                .client_token(format!("{id}-{number}"))
                .send()
        };
        let made = at.put("ec2:CreateLaunchTemplateVersion", make).await?;
        let number = made.launch_template_version().and_then(|version| version.version_number());
        number.ok_or_else(|| unexpected("ec2:CreateLaunchTemplateVersion", "number"))?
    };
    let put = || {
        let put = at.region.ec2.modify_launch_template().launch_template_id(id);
        put.default_version(number.to_string()).send()
    };
    at.put("ec2:ModifyLaunchTemplate", put).await.map(drop)
}

impl Native for LaunchTemplate {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<LaunchTemplateObserved>>> {
        match described(at, plain(id)).await? {
            Some(template) => seen(at, &template).await,
            None => Ok(None),
        }
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<LaunchTemplateObserved>>> {
        let filters = marked(at, look);
        let ask = |next| {
            let ask = at.region.ec2.describe_launch_templates().set_filters(Some(filters.clone()));
            ask.set_next_token(next).send()
        };
        let pages = at.pages("ec2:DescribeLaunchTemplates", ask, |page| page.next_token.clone()).await?;
        let all = pages.iter().flat_map(|page| page.launch_templates());
        Ok(together(all.map(|template| seen(at, template))).await?.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, known: &[PhysicalId]) {
        let _ = together(known.iter().map(|id| version(at, plain(id), DEFAULT))).await;
    }

    async fn make(
        &self,
        on: &Calls<'_>,
        key: &ResourceKey,
        want: &LaunchTemplateSpec<Known>,
    ) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let mut there = named(&at, &want.name).await?;
        if there.is_none() {
            if let Some(id) = create(&at, key, want).await? {
                return Ok(id);
            }
            // Made by a create whose answer was lost, it may not have shown until now.
            there = at.until(SETTLE, || named(&at, &want.name)).await?;
        }
        let ours = match &there {
            Some(template) => seen(&at, template).await?,
            None => None,
        };
        let ours = at.own(ours, key, ("launch template", &want.name))?;
        completed(settle(&at, plain(&ours.id), want).await)?;
        Ok(ours.id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        id: &PhysicalId,
        _: &LaunchTemplateObserved,
        want: &LaunchTemplateSpec<Known>,
    ) -> Result<()> {
        settle(at, plain(id), want).await
    }

    /// Its versions go with it.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.ec2.delete_launch_template().launch_template_id(plain(id)).send();
        at.remove("ec2:DeleteLaunchTemplate", gone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_it_keep_their_rights_to_themselves_and_their_disks_are_encrypted() {
        let want: LaunchTemplateSpec<Known> = serde_json::from_value(serde_json::json!({
            "region": "us-east-1", "name": "shop-default-app", "instance_type": "t3.small",
            "image": "/aws/service/debian/release/13/latest/amd64", "security_groups": ["sg-1"],
            "profile": "shop-default-app", "disk_gib": 20, "public_address": true
        }))
        .unwrap();
        let data = data(&as_seen(&want)).build();
        assert_eq!(data.image_id(), Some("resolve:ssm:/aws/service/debian/release/13/latest/amd64"));
        let tokens = data.metadata_options().and_then(|options| options.http_tokens());
        assert_eq!(tokens, Some(&LaunchTemplateHttpTokensState::Required));
        let disk = data.block_device_mappings()[0].ebs().unwrap();
        assert_eq!((disk.encrypted(), disk.delete_on_termination()), (Some(true), Some(true)));
        assert_eq!(data.network_interfaces()[0].groups(), ["sg-1"], "with a port they stand in it");
        assert!(data.tag_specifications().is_empty(), "machines of a group are none of the stack's own");
    }
}
