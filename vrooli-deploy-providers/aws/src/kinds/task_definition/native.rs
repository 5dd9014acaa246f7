//! `RegisterTaskDefinition` makes a revision each time it is called: so what there is of the family is
//! looked at first, and the family as a whole is the object. Its id is a revision's ARN without the number.

use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, NetworkMode, Tag, TaskDefinition as Definition, TaskDefinitionField,
    TaskDefinitionStatus,
};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, PhysicalId, Result};

use super::{TaskDefinition, TaskDefinitionObserved, TaskDefinitionSpec};
use crate::native::{Calls, Look, MARKS, Marks, Native, Seen, of_releases, together, unexpected};

/// An image that there is not, by Docker's own word ("scratch is a reserved name"): a service that somebody
/// scales by hand before a release is in it runs nothing.
const NO_IMAGE: &str = "scratch";
/// The one container.
const CONTAINER: &str = "idle";

/// An ARN without the number of its revision.
pub(crate) fn family_arn(arn: &str) -> &str {
    match arn.rsplit_once(':') {
        Some((family, revision)) if revision.bytes().all(|byte| byte.is_ascii_digit()) => family,
        _ => arn,
    }
}

fn name_of(arn: &str) -> &str {
    family_arn(arn).rsplit('/').next().unwrap_or_default()
}

/// A definition by family (its last revision that is in use) or by ARN, with its tags.
pub(crate) async fn described(at: &Calls<'_>, name: &str) -> Result<Option<(Definition, Vec<Tag>)>> {
    let ask = at.region.ecs.describe_task_definition().task_definition(name);
    let ask = ask.include(TaskDefinitionField::Tags).send();
    let answer = match at.find("ecs:DescribeTaskDefinition", ask).await {
        // What AWS says of one that is not there (API reference of ECS, common answers).
        Err(error)
            if error.code() == Some("ClientException")
                && error.message().contains("Unable to describe task definition") =>
        {
            None
        }
        answer => answer?,
    };
    let Some(answer) = answer else { return Ok(None) };
    let tags = answer.tags.unwrap_or_default();
    Ok(answer.task_definition.map(|definition| (definition, tags)))
}

/// The revision of a family that is in use.
async fn in_use(at: &Calls<'_>, family: &str) -> Result<Option<(Definition, Vec<Tag>)>> {
    let there = described(at, family).await?;
    Ok(there.filter(|(definition, _)| definition.status() == Some(&TaskDefinitionStatus::Active)))
}

fn seen(at: &Calls<'_>, (definition, tags): &(Definition, Vec<Tag>)) -> Option<Seen<TaskDefinitionObserved>> {
    Some(Seen {
        id: PhysicalId(family_arn(definition.task_definition_arn()?).to_owned()),
        marks: Marks::of(tags).or_else(|| of_releases::marks(tags, definition.family()?))?,
        observed: TaskDefinitionObserved {
            region: at.region.name.clone(),
            name: definition.family()?.to_owned(),
        },
    })
}

/// The definition of a family, once in a look.
async fn of_family(at: &Calls<'_>, name: &str) -> Result<Option<Seen<TaskDefinitionObserved>>> {
    let found = at.once("task definitions", name, || in_use(at, name)).await?;
    Ok(found.and_then(|one| seen(at, &one)))
}

/// Revisions of a family, those included that were only taken out of use.
async fn revisions(at: &Calls<'_>, family: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for status in [TaskDefinitionStatus::Active, TaskDefinitionStatus::Inactive] {
        let ask = |next| {
            let ask = at.region.ecs.list_task_definitions().family_prefix(family).status(status.clone());
            ask.set_next_token(next).send()
        };
        let pages = at.pages("ecs:ListTaskDefinitions", ask, |page| page.next_token.clone()).await?;
        all.extend(pages.into_iter().flat_map(|page| page.task_definition_arns.unwrap_or_default()));
    }
    all.retain(|arn| name_of(arn) == family);
    Ok(all)
}

/// The ARN of what bears the tags: the revision that is in use.
pub(crate) async fn tagged(at: &Calls<'_>, id: &PhysicalId) -> Result<Option<String>> {
    let there = in_use(at, name_of(&id.0)).await?;
    Ok(there.and_then(|(definition, _)| definition.task_definition_arn))
}

impl Native for TaskDefinition {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<TaskDefinitionObserved>>> {
        of_family(at, name_of(&id.0)).await
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<TaskDefinitionObserved>>> {
        let tagged = at.tagged().await?;
        let mut names = at.account.named(self, look, "name");
        names.extend(tagged.named("ecs", "task-definition/").map(|part| name_of(part).to_owned()));
        let all = together(names.iter().map(|name| of_family(at, name))).await?;
        Ok(all.into_iter().flatten().collect())
    }

    async fn ahead(&self, at: &Calls<'_>, _: &[PhysicalId]) {
        let names = at.account.named(self, Look::Stack, "name");
        let _ = together(names.iter().map(|name| of_family(at, name))).await;
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &TaskDefinitionSpec) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        if let Some(there) = in_use(&at, &want.name).await? {
            return Ok(at.own(seen(&at, &there), key, ("task definition", &want.name))?.id);
        }
        let container = ContainerDefinition::builder().name(CONTAINER).image(NO_IMAGE).essential(true);
        let make = at.region.ecs.register_task_definition().family(&want.name);
        let make = make
            .network_mode(NetworkMode::Awsvpc)
            .requires_compatibilities(Compatibility::Fargate)
            .cpu(want.cpu_units.to_string())
            .memory(want.memory_mib.to_string())
            .container_definitions(container.build())
            .set_tags(Some(Marks::as_tags(at.cx, key)?));
        let made = at.change("ecs:RegisterTaskDefinition", make.send()).await?;
        let arn = made.task_definition.and_then(|one| one.task_definition_arn);
        let arn = arn.ok_or_else(|| unexpected("ecs:RegisterTaskDefinition", "ARN"))?;
        Ok(PhysicalId(family_arn(&arn).to_owned()))
    }

    /// AWS lists what was deregistered for ever and by its tags, too, so those go with it.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let ecs = &at.region.ecs;
        for arn in revisions(at, name_of(&id.0)).await? {
            let take = || ecs.deregister_task_definition().task_definition(&arn).send();
            at.take("ecs:DeregisterTaskDefinition", take).await?;
            let keys = || MARKS.iter().chain(of_releases::TAGS).map(|name| (*name).to_owned()).collect();
            let take = || ecs.untag_resource().resource_arn(&arn).set_tag_keys(Some(keys())).send();
            at.take("ecs:UntagResource", take).await?;
            let take = || ecs.delete_task_definitions().task_definitions(&arn).send();
            at.take("ecs:DeleteTaskDefinitions", take).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_the_object() {
        let arn = "arn:aws:ecs:us-east-1:1:task-definition/shop-default-idle:12";
        assert_eq!(family_arn(arn), "arn:aws:ecs:us-east-1:1:task-definition/shop-default-idle");
        assert_eq!(family_arn(family_arn(arn)), family_arn(arn));
        assert_eq!(
            (name_of(arn), name_of("shop-default-idle:12")),
            ("shop-default-idle", "shop-default-idle")
        );
    }
}
