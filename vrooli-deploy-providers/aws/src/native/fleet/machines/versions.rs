//! Versions of launch templates: a release is one for each place, found again by what machines of it are told.
//! A version never changes, and holds no value of a secret: it names secrets by ARN and version.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_ec2::types::{LaunchTemplateTagSpecificationRequest, LaunchTemplateVersion, ResourceType, Tag};
use uuid::Uuid;
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{ErrorKind, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretRef;

use super::super::site::{Place, Site};
use super::super::slots::nothing_there;
use super::super::tags;
use super::user_data::{encoded, release, script};
use super::{Machines, OnMachines};
use crate::catalogue::catalogue;
use crate::kinds::launch_template::native as templates;
use crate::native::{Calls, Marks, STACK, accept, unexpected};

/// As many as one call gives, or takes away.
const BATCH: i32 = 200;

/// A version that a release has.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) number: i64,
    pub(super) release: Release,
}

/// Releases of versions that were read, by template and number: what one says never changes.
pub(super) type Read = Mutex<BTreeMap<(String, String), Option<Release>>>;

fn of(version: &LaunchTemplateVersion) -> Option<Version> {
    let release = release(version.launch_template_data()?.user_data()?)?;
    Some(Version { number: version.version_number()?, release })
}

impl Machines {
    /// The release of a version of a template, by number; `None` of one that no release has.
    pub(super) async fn release_of(
        &self,
        at: &Calls<'_>,
        template: &str,
        number: &str,
    ) -> Result<Option<Release>> {
        if number.parse::<u64>().is_err() {
            return Ok(None);
        }
        let key = (template.to_owned(), number.to_owned());
        let read_before = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(release) = read_before().get(&key).cloned() {
            return Ok(release);
        }
        let ask = at.region.ec2.describe_launch_template_versions().launch_template_id(template);
        let answer = at.find("ec2:DescribeLaunchTemplateVersions", ask.versions(number).send()).await?;
        let Some(version) = answer.and_then(|answer| answer.launch_template_versions?.into_iter().next())
        else {
            return Ok(None);
        };
        let release = of(&version).map(|version| version.release);
        read_before().insert(key, release.clone());
        Ok(release)
    }

    /// The template of a place by id, if it is there and the stack's.
    async fn template(&self, at: &Calls<'_>, place: &Place<OnMachines>) -> Result<Option<String>> {
        let there = templates::named(at, &place.on.template).await?;
        let ours = there.filter(|one| Marks::of(one.tags()).is_some_and(|marks| marks.are_of(at.cx)));
        Ok(ours.and_then(|one| one.launch_template_id))
    }

    /// Versions of a place that releases have, with the template's id.
    pub(super) async fn versions(
        &self,
        at: &Calls<'_>,
        place: &Place<OnMachines>,
    ) -> Result<Option<(String, Vec<Version>)>> {
        let Some(template) = self.template(at, place).await? else { return Ok(None) };
        let ask = |next| {
            let ask = at.region.ec2.describe_launch_template_versions().launch_template_id(&template);
            ask.max_results(BATCH).set_next_token(next).send()
        };
        let action = "ec2:DescribeLaunchTemplateVersions";
        let pages = at.pages(action, ask, |page| page.next_token.clone()).await;
        let pages = accept(pages, ErrorKind::NotFound)?.unwrap_or_default();
        let all = pages.iter().flat_map(|page| page.launch_template_versions()).filter_map(of).collect();
        Ok(Some((template, all)))
    }

    /// Makes the version of a release, if there is none that is the same.
    pub(super) async fn make_version(
        &self,
        at: &Calls<'_>,
        site: &Site<OnMachines>,
        place: &Place<OnMachines>,
        release: &Release,
        values: &BTreeMap<SecretRef, String>,
    ) -> Result<()> {
        let script = script(place, &site.logs, release, values)?;
        let told = encoded(&script, catalogue().defaults.limits.user_data_bytes)?;
        let there = self.versions(at, place).await?;
        let (template, versions) = there.ok_or_else(|| nothing_there(place))?;
        if versions.iter().any(|one| one.release == *release) {
            return Ok(());
        }
        let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
        let name = ("Name", format!("{} {}", at.cx.stack, release.number));
        let own: Vec<Tag> = tags::of_release(at, release).into_iter().chain([name]).map(tag).collect();
        // By it AWS tells what a stack costs. Machines have it from their group, disks from nobody else.
        let stack = tag((STACK, at.cx.stack.to_string()));
        let of_disks = own.iter().cloned().chain([stack]).collect();
        let tagged = [(ResourceType::Instance, own), (ResourceType::Volume, of_disks)].map(|(kind, tags)| {
            let spec = LaunchTemplateTagSpecificationRequest::builder().resource_type(kind);
            spec.set_tags(Some(tags)).build()
        });
        let base = templates::as_wanted(at, &template).await?.ok_or_else(|| nothing_there(place))?;
        let data = base.user_data(told).set_tag_specifications(Some(tagged.to_vec())).build();
        let said = format!("{}\n{}\n{}", template, release.number, release.digest);
        let token = Uuid::new_v5(&Uuid::NAMESPACE_OID, said.as_bytes()).to_string();
        let make = || {
            let make = at.region.ec2.create_launch_template_version().launch_template_id(&template);
            let make = make.version_description(format!("{} of {}", release.number, at.cx.stack));
            make.launch_template_data(data.clone()).client_token(&token).send()
        };
        let made = at.put("ec2:CreateLaunchTemplateVersion", make).await?;
        let version = made.launch_template_version.ok_or_else(|| wrong("version"))?;
        version.version_number().map(drop).ok_or_else(|| wrong("number"))
    }

    /// Deletes the versions of a release in a place, or of all.
    pub(super) async fn delete_versions(
        &self,
        at: &Calls<'_>,
        place: &Place<OnMachines>,
        gone: Option<ReleaseNumber>,
    ) -> Result<()> {
        const ACTION: &str = "ec2:DeleteLaunchTemplateVersions";
        let Some((template, versions)) = self.versions(at, place).await? else { return Ok(()) };
        let gone = versions.iter().filter(|one| gone.is_none_or(|gone| gone == one.release.number));
        let numbers: Vec<String> = gone.map(|one| one.number.to_string()).collect();
        for batch in numbers.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let ask = || {
                let ask = at.region.ec2.delete_launch_template_versions().launch_template_id(&template);
                ask.set_versions(Some(batch.to_vec())).send()
            };
            let Some(answer) = accept(at.put(ACTION, ask).await, ErrorKind::NotFound)? else { return Ok(()) };
            let kept = answer.unsuccessfully_deleted_launch_template_versions().iter();
            let why = kept.filter_map(|one| one.response_error());
            let is_there = |code: &str| !code.contains("NotExist") && !code.contains("NotFound");
            for error in why {
                let code = error.code().map_or("", |code| code.as_str());
                if is_there(code) {
                    let words = format!("{ACTION}: {}", error.message().unwrap_or(code));
                    return Err(vrooli_deploy_core::provider::ProviderError::new(ErrorKind::Conflict, words)
                        .with_code(code));
                }
            }
        }
        Ok(())
    }
}

fn wrong(what: &str) -> vrooli_deploy_core::provider::ProviderError {
    unexpected("ec2:CreateLaunchTemplateVersion", what)
}
