//! Task definitions: a release is one revision for each place, found again by what it says of the release. No value of a secret is in one: it names secrets by ARN and version.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_ecs::types::{
    Compatibility, ContainerCondition, ContainerDefinition, ContainerDependency, KeyValuePair,
    LogConfiguration, LogDriver, NetworkMode, PortMapping, Secret, Tag, TaskDefinition, TransportProtocol,
};
use vrooli_deploy_core::manifest::Command;
use vrooli_deploy_core::names::{ReleaseNumber, ServiceName};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::release::{EnvValue, Release};
use vrooli_deploy_core::secrets::SecretRef;

use super::FargateFleet;
use super::site::{Place, Site, ports};
use crate::kinds::task_definition::native::described;
use crate::native::{Calls, together, unexpected};

/// The label that the whole record of a release stands in, without a secret.
const RECORD: &str = "vrooli.release";
/// Whose it is: `<app>/<environment>` and the state. Not the marks of resources: those are the stack's.
pub(super) const FLEET: &str = "vrooli:fleet";
pub(super) const OWNER: &str = "vrooli:fleet-owner";
pub(super) const RELEASE: &str = "vrooli:release";
const DIGEST: &str = "vrooli:digest";
/// So long a task may take to end, in seconds (developer guide of ECS, Fargate).
const STOP_SECONDS: u64 = 120;

/// Tags of what a release has.
pub(super) fn tags(at: &Calls<'_>, release: &Release) -> Vec<Tag> {
    let tag = |name: &str, value: String| Tag::builder().key(name).value(value).build();
    vec![
        tag(FLEET, at.cx.stack.to_string()),
        tag(OWNER, at.cx.owner.to_string()),
        tag(RELEASE, release.number.0.to_string()),
        tag(DIGEST, release.digest.to_string()),
    ]
}

fn wrong(what: &str) -> ProviderError {
    unexpected("ecs:RegisterTaskDefinition", what)
}

/// The containers of a release in one place. `values` are ARNs with versions.
pub(super) fn containers(
    site: &Site,
    place: &Place,
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
            .set_working_directory(super::image::folder(&bundle.artefact.root, config.dir.as_deref()));
        for (_, number) in ports.iter().filter(|((service, _), _)| service == name) {
            let port = PortMapping::builder().container_port(i32::from(*number));
            container = container.port_mappings(port.protocol(TransportProtocol::Tcp).build());
        }
        for (variable, value) in bundle.env.get(name).into_iter().flatten() {
            let plain = match value {
                EnvValue::Value(text) => text.clone(),
                EnvValue::Port { service, port } => {
                    let number = ports.get(&(service.clone(), port.clone()));
                    number.map(ToString::to_string).ok_or_else(|| wrong("port"))?
                }
                EnvValue::Secret(reference) => {
                    let value = values.get(reference).ok_or_else(|| wrong("secret"))?;
                    let secret = Secret::builder().name(variable.as_str()).value_from(value).build();
                    container = container.secrets(secret.map_err(|_| wrong("secret"))?);
                    continue;
                }
                EnvValue::DataDir => {
                    let words = format!(
                        "`{variable}` of `{name}` is a folder that is kept, and tasks on Fargate keep none"
                    );
                    return Err(ProviderError::new(ErrorKind::Unsupported, words)
                        .with_help("keep files in object storage or in the database"));
                }
                EnvValue::Output(_) => return Err(wrong("value")),
            };
            container =
                container.environment(KeyValuePair::builder().name(variable.as_str()).value(plain).build());
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

impl FargateFleet {
    /// A revision of a place by ARN, used or not; `None` of one that is not this stack's by this state.
    pub(super) async fn revision(
        &self,
        at: &Calls<'_>,
        place: &Place,
        arn: &str,
    ) -> Result<Option<Revision>> {
        let family = arn.rsplit('/').next().and_then(|last| last.split(':').next());
        if family != Some(place.family.as_str()) {
            return Ok(None);
        }
        let read_before = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(revision) = read_before().get(arn).cloned() {
            return Ok(Some(revision));
        }
        let Some((definition, tags)) = described(at, arn).await? else { return Ok(None) };
        let tag = |name| tags.iter().find(|tag| tag.key() == Some(name))?.value();
        let ours =
            tag(FLEET) == Some(&at.cx.stack.to_string()) && tag(OWNER) == Some(&at.cx.owner.to_string());
        let revision = Some(definition).filter(|_| ours).as_ref().and_then(read);
        if let Some(revision) = &revision {
            read_before().insert(arn.to_owned(), revision.clone());
        }
        Ok(revision)
    }

    /// The revisions of a place that are in use.
    pub(super) async fn revisions(&self, at: &Calls<'_>, place: &Place) -> Result<Vec<Revision>> {
        let ask = |next| {
            at.region.ecs.list_task_definitions().family_prefix(&place.family).set_next_token(next).send()
        };
        let pages = at.pages("ecs:ListTaskDefinitions", ask, |page| page.next_token.clone()).await?;
        let arns = pages.iter().flat_map(|page| page.task_definition_arns());
        let all = together(arns.map(|arn| self.revision(at, place, arn))).await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// The revision of a release, registered if there is none that is the same.
    pub(super) async fn register(
        &self,
        at: &Calls<'_>,
        site: &Site,
        place: &Place,
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
        place: &Place,
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

async fn register(
    at: &Calls<'_>,
    place: &Place,
    release: &Release,
    containers: Vec<ContainerDefinition>,
    role: &str,
) -> Result<()> {
    let make = at
        .region
        .ecs
        .register_task_definition()
        .family(&place.family)
        .network_mode(NetworkMode::Awsvpc)
        .requires_compatibilities(Compatibility::Fargate)
        .cpu(place.cpu_units.to_string())
        .memory(place.memory_mib.to_string())
        .task_role_arn(role)
        .execution_role_arn(role)
        .set_container_definitions(Some(containers))
        .set_tags(Some(tags(at, release)));
    at.change("ecs:RegisterTaskDefinition", make.send()).await.map(drop)
}

/// Values that services of a place need.
pub(super) fn secrets<'a>(
    release: &'a Release,
    of: &'a [ServiceName],
) -> impl Iterator<Item = &'a SecretRef> {
    let env = of.iter().filter_map(|name| release.bundle.env.get(name)).flat_map(BTreeMap::values);
    env.filter_map(|value| match value {
        EnvValue::Secret(reference) => Some(reference),
        _ => None,
    })
}
