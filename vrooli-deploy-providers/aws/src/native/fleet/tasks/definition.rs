//! Task definitions: a release is one revision for each place, found again by what it says of the release. No value of a secret is in one: it names secrets by ARN and version.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_ecs::types::{
    Compatibility, ContainerCondition, ContainerDefinition, ContainerDependency, KeyValuePair,
    LogConfiguration, LogDriver, NetworkMode, PortMapping, Secret, Tag, TaskDefinition, TransportProtocol,
};
use vrooli_deploy_core::manifest::Command;
use vrooli_deploy_core::names::ReleaseNumber;
use vrooli_deploy_core::provider::{ProviderError, Result};
use vrooli_deploy_core::release::Release;
use vrooli_deploy_core::secrets::SecretRef;

use super::super::environment::{Given, variables};
use super::super::site::{Place, Site, ports};
use super::super::tags;
use super::{OnFargate, Tasks};
use crate::kinds::task_definition::native::described;
use crate::native::{Calls, together, unexpected};

/// The label that the whole record of a release stands in, without a secret.
const RECORD: &str = "vrooli.release";
/// So long a task may take to end, in seconds (developer guide of ECS, Fargate).
const STOP_SECONDS: u64 = 120;

fn wrong(what: &str) -> ProviderError {
    unexpected("ecs:RegisterTaskDefinition", what)
}

/// The containers of a release in one place. `values` are ARNs with versions.
fn containers(
    site: &Site<OnFargate>,
    place: &Place<OnFargate>,
    release: &Release,
    values: &BTreeMap<SecretRef, String>,
) -> Result<Vec<ContainerDefinition>> {
    let bundle = &release.bundle;
    let ports = ports(bundle);
    let mut record = Some(serde_json::to_string(release).map_err(|_| wrong("record"))?);
    let mut all = Vec::new();
    for (name, config) in place.services(bundle) {
        let mut container = ContainerDefinition::builder()
            .name(name.as_str())
            .image(&bundle.artefact.location)
            .essential(true)
            .set_entry_point(Some(match &config.run {
                Command::Shell(text) => vec!["sh".to_owned(), "-c".to_owned(), text.clone()],
                Command::Exec(words) => words.clone(),
            }))
            .set_working_directory(super::super::image::folder(&bundle.artefact.root, config.dir.as_deref()));
        for (_, number) in ports.iter().filter(|((service, _), _)| service == name) {
            let port = PortMapping::builder().container_port(i32::from(*number));
            container = container.port_mappings(port.protocol(TransportProtocol::Tcp).build());
        }
        for (variable, given) in variables(release, name, &ports)? {
            container = match given {
                Given::Plain(text) => {
                    container.environment(KeyValuePair::builder().name(variable).value(text).build())
                }
                Given::Secret(reference) => {
                    let value = values.get(reference).ok_or_else(|| wrong("secret"))?;
                    let secret = Secret::builder().name(variable).value_from(value).build();
                    container.secrets(secret.map_err(|_| wrong("secret"))?)
                }
            };
        }
        for first in config.needs.iter().filter(|need| place.services(bundle).any(|(name, _)| name == *need))
        {
            let needs = ContainerDependency::builder().container_name(first.as_str());
            let needs = needs.condition(ContainerCondition::Start).build();
            container = container.depends_on(needs.map_err(|_| wrong("dependency"))?);
        }
        if let Some(grace) = config.stop_grace {
            let seconds = i32::try_from(grace.as_secs().min(STOP_SECONDS)).unwrap_or(i32::MAX);
            container = container.stop_timeout(seconds);
        }
        let lines = LogConfiguration::builder()
            .log_driver(LogDriver::Awslogs)
            .options("awslogs-group", &site.logs)
            .options("awslogs-region", &place.region)
            .options("awslogs-stream-prefix", release.number.to_string())
            .build();
        container = container.log_configuration(lines.map_err(|_| wrong("log"))?);
        if let Some(record) = record.take() {
            container = container.docker_labels(RECORD, record);
        }
        all.push(container.build());
    }
    Ok(all)
}

/// A revision that a release has.
#[derive(Debug, Clone)]
pub(super) struct Revision {
    pub(super) arn: String,
    pub(super) release: Release,
}

/// What a revision says of its release; `None` of one that is not ours.
fn read(definition: &TaskDefinition) -> Option<Revision> {
    let labels = definition.container_definitions().iter().filter_map(ContainerDefinition::docker_labels);
    let record = labels.filter_map(|labels| labels.get(RECORD)).next()?;
    let release = serde_json::from_str(record).ok()?;
    Some(Revision { arn: definition.task_definition_arn()?.to_owned(), release })
}

/// Revisions that were read: what one says never changes.
pub(super) type Read = Mutex<BTreeMap<String, Revision>>;

impl Tasks {
    /// A revision of a place by ARN, used or not; `None` of one that is not this stack's by this state.
    pub(super) async fn revision(
        &self,
        at: &Calls<'_>,
        place: &Place<OnFargate>,
        arn: &str,
    ) -> Result<Option<Revision>> {
        if family(arn) != Some(place.on.family.as_str()) {
            return Ok(None);
        }
        let read_before = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(revision) = read_before().get(arn).cloned() {
            return Ok(Some(revision));
        }
        let Some((definition, given)) = described(at, arn).await? else { return Ok(None) };
        let ours = tags::are_ours(at, |name| given.iter().find(|tag| tag.key() == Some(name))?.value());
        let revision = Some(definition).filter(|_| ours).as_ref().and_then(read);
        if let Some(revision) = &revision {
            read_before().insert(arn.to_owned(), revision.clone());
        }
        Ok(revision)
    }

    /// The revisions of a place that are in use.
    pub(super) async fn revisions(&self, at: &Calls<'_>, place: &Place<OnFargate>) -> Result<Vec<Revision>> {
        let arns = used(at, place).await?;
        let all = together(arns.iter().map(|arn| self.revision(at, place, arn))).await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// The revision of a release, registered if there is none that is the same.
    pub(super) async fn register(
        &self,
        at: &Calls<'_>,
        site: &Site<OnFargate>,
        place: &Place<OnFargate>,
        release: &Release,
        (values, role): (&BTreeMap<SecretRef, String>, &str),
    ) -> Result<()> {
        let containers = containers(site, place, release, values)?;
        if containers.is_empty() || self.revisions(at, place).await?.iter().any(|one| one.release == *release)
        {
            return Ok(());
        }
        register(at, place, release, containers, role).await
    }

    /// Takes revisions out of use.
    pub(super) async fn deregister(
        &self,
        at: &Calls<'_>,
        place: &Place<OnFargate>,
        gone: impl Fn(ReleaseNumber) -> bool,
    ) -> Result<()> {
        for revision in self.revisions(at, place).await?.iter().filter(|one| gone(one.release.number)) {
            let ecs = &at.region.ecs;
            let take = || ecs.deregister_task_definition().task_definition(&revision.arn).send();
            at.take("ecs:DeregisterTaskDefinition", take).await?;
            let take = || ecs.delete_task_definitions().task_definitions(&revision.arn).send();
            at.take("ecs:DeleteTaskDefinitions", take).await?;
            self.read.lock().unwrap_or_else(PoisonError::into_inner).remove(&revision.arn);
        }
        Ok(())
    }
}

/// ARNs of a place's definitions that are in use, whoever made them.
async fn used(at: &Calls<'_>, place: &Place<OnFargate>) -> Result<Vec<String>> {
    let ask = |next| {
        at.region.ecs.list_task_definitions().family_prefix(&place.on.family).set_next_token(next).send()
    };
    let pages = at.pages("ecs:ListTaskDefinitions", ask, |page| page.next_token.clone()).await?;
    let arns = pages.into_iter().flat_map(|page| page.task_definition_arns.unwrap_or_default());
    // A prefix is also that of longer names.
    Ok(arns.filter(|arn| family(arn) == Some(place.on.family.as_str())).collect())
}

/// The family that an ARN names: `…:task-definition/<family>:<revision>`.
fn family(arn: &str) -> Option<&str> {
    arn.rsplit('/').next()?.split(':').next()
}

fn tag((name, value): (&str, String)) -> Tag {
    Tag::builder().key(name).value(value).build()
}

async fn register(
    at: &Calls<'_>,
    place: &Place<OnFargate>,
    release: &Release,
    containers: Vec<ContainerDefinition>,
    role: &str,
) -> Result<()> {
    let make = at
        .region
        .ecs
        .register_task_definition()
        .family(&place.on.family)
        .network_mode(NetworkMode::Awsvpc)
        .requires_compatibilities(Compatibility::Fargate)
        .cpu(place.on.cpu_units.to_string())
        .memory(place.on.memory_mib.to_string())
        .task_role_arn(role)
        .execution_role_arn(role)
        .set_container_definitions(Some(containers))
        .set_tags(Some(tags::of_release(at, release).into_iter().map(tag).collect()));
    at.change("ecs:RegisterTaskDefinition", make.send()).await.map(drop)
}
