//! A repository is made with its tags and settings; how many images are kept is a policy beside it.

use aws_sdk_ecr::types::{ImageScanningConfiguration, ImageTagMutability, Repository};
use serde_json::{Value, json};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, PhysicalId, Result};

use super::{EcrRepository, EcrRepositoryObserved, EcrRepositorySpec};
use crate::native::{Asked, Calls, Look, Marks, Native, Regional, Seen, together};

fn name_of(arn: &str) -> &str {
    arn.split_once(":repository/").map(|(_, name)| name).unwrap_or_default()
}

fn mutability(want: &EcrRepositorySpec) -> ImageTagMutability {
    if want.immutable_tags { ImageTagMutability::Immutable } else { ImageTagMutability::Mutable }
}

fn scanning(want: &EcrRepositorySpec) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder().scan_on_push(want.scan).build()
}

fn policy(keep: u32) -> String {
    let selection = json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": keep });
    let rule = json!({
        "rulePriority": 1, "description": "the newest are kept", "selection": selection,
        "action": { "type": "expire" }
    });
    json!({ "rules": [rule] }).to_string()
}

fn kept(policy: &str) -> u32 {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let count = policy["rules"][0]["selection"]["countNumber"].as_u64();
    count.and_then(|count| count.try_into().ok()).unwrap_or(0)
}

fn observed(region: &Regional, repository: &Repository, keep: u32) -> EcrRepositoryObserved {
    EcrRepositoryObserved {
        region: region.name.clone(),
        name: repository.repository_name().unwrap_or_default().to_owned(),
        immutable_tags: repository.image_tag_mutability() == Some(&ImageTagMutability::Immutable),
        scan: repository.image_scanning_configuration().is_some_and(|scanning| scanning.scan_on_push()),
        keep,
        url: repository.repository_uri().unwrap_or_default().to_owned(),
    }
}

/// Those of some repositories that have marks. What has is asked for its policy, too: AWS lists neither.
async fn seen(
    at: &Calls<'_>,
    repositories: Vec<Repository>,
    asked: &Asked,
) -> Result<Vec<Seen<EcrRepositoryObserved>>> {
    let named = |one: &Repository| one.repository_arn.clone().zip(one.repository_name.clone());
    let marked =
        asked.marked(repositories, named, |arn: String| async move { own_marks(at, &arn).await }).await?;
    let ask = |(one, marks): (Repository, Marks)| async move {
        let keep = keep(at, one.repository_name().unwrap_or_default()).await?;
        let id = PhysicalId(one.repository_arn().unwrap_or_default().to_owned());
        Ok(Seen { id, marks, observed: observed(&at.region, &one, keep) })
    };
    together(marked.into_iter().map(ask)).await
}

/// How many images are kept; for ever where nothing is said.
async fn keep(at: &Calls<'_>, name: &str) -> Result<u32> {
    let ask = || async {
        let ask = at.region.ecr.get_lifecycle_policy().repository_name(name).send();
        let policy = at.find("ecr:GetLifecyclePolicy", ask).await?;
        Ok(policy.and_then(|one| one.lifecycle_policy_text).map_or(0, |text| kept(&text)))
    };
    at.once("the policy of a repository", name, ask).await
}

/// All of a region, whoever's.
async fn all(at: &Calls<'_>) -> Result<Vec<Repository>> {
    let ask = || async {
        let ask = |next| at.region.ecr.describe_repositories().set_next_token(next).send();
        let pages = at.pages("ecr:DescribeRepositories", ask, |page| page.next_token.clone()).await?;
        Ok(pages.into_iter().flat_map(|page| page.repositories.unwrap_or_default()).collect())
    };
    at.once("repositories", "", ask).await
}

async fn own_marks(at: &Calls<'_>, arn: &str) -> Result<Option<Marks>> {
    let ask = at.region.ecr.list_tags_for_resource().resource_arn(arn).send();
    let answer = at.find("ecr:ListTagsForResource", ask).await?;
    Ok(answer.and_then(|answer| Marks::of(answer.tags())))
}

/// The repository of that name, if it has marks.
async fn named(at: &Calls<'_>, name: &str) -> Result<Option<Seen<EcrRepositoryObserved>>> {
    let ask = at.region.ecr.describe_repositories().repository_names(name).send();
    let Some(found) = at.find("ecr:DescribeRepositories", ask).await? else { return Ok(None) };
    Ok(seen(at, found.repositories.unwrap_or_default(), &Asked::only(name)).await?.into_iter().next())
}

async fn settle(at: &Calls<'_>, have: &EcrRepositoryObserved, want: &EcrRepositorySpec) -> Result<()> {
    let (ecr, name) = (&at.region.ecr, want.name.as_str());
    if have.immutable_tags != want.immutable_tags {
        let put = || {
            let put = ecr.put_image_tag_mutability().repository_name(name);
            put.image_tag_mutability(mutability(want)).send()
        };
        at.put("ecr:PutImageTagMutability", put).await?;
    }
    if have.scan != want.scan {
        let put = || {
            let put = ecr.put_image_scanning_configuration().repository_name(name);
            put.image_scanning_configuration(scanning(want)).send()
        };
        at.put("ecr:PutImageScanningConfiguration", put).await?;
    }
    if have.keep != want.keep {
        let policy = policy(want.keep);
        let put = || {
            let put = ecr.put_lifecycle_policy().repository_name(name);
            put.lifecycle_policy_text(&policy).send()
        };
        at.put("ecr:PutLifecyclePolicy", put).await?;
    }
    Ok(())
}

impl Native for EcrRepository {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn see(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<Option<Seen<EcrRepositoryObserved>>> {
        named(at, name_of(&id.0)).await
    }

    async fn list(&self, at: &Calls<'_>, look: Look<'_>) -> Result<Vec<Seen<EcrRepositoryObserved>>> {
        let asked = at.asked(self, look, "name").await?;
        if asked.start("ecr", "repository/").is_none() {
            return Ok(Vec::new());
        }
        seen(at, all(at).await?, &asked).await
    }

    async fn ahead(&self, at: &Calls<'_>, ids: &[PhysicalId]) {
        let _ = tokio::join!(all(at), together(ids.iter().map(|id| keep(at, name_of(&id.0)))));
    }

    async fn make(&self, on: &Calls<'_>, key: &ResourceKey, want: &EcrRepositorySpec) -> Result<PhysicalId> {
        let at = on.at(&want.region).await;
        let make = at
            .region
            .ecr
            .create_repository()
            .repository_name(&want.name)
            .image_tag_mutability(mutability(want))
            .image_scanning_configuration(scanning(want))
            .set_tags(Some(Marks::as_tags(at.cx, key)?))
            .send();
        let made = at.create("ecr:CreateRepository", make).await?;
        let there = at.made(made, || named(&at, &want.name)).await?;
        let there = at.own(there, key, ("repository", &want.name))?;
        settle(&at, &there.observed, want).await?;
        Ok(there.id)
    }

    async fn change(
        &self,
        at: &Calls<'_>,
        _: &PhysicalId,
        have: &EcrRepositoryObserved,
        want: &EcrRepositorySpec,
    ) -> Result<()> {
        settle(at, have, want).await
    }

    /// With its images: they are the app's, made anew from its source.
    async fn remove(&self, at: &Calls<'_>, id: &PhysicalId) -> Result<()> {
        let gone = at.region.ecr.delete_repository().repository_name(name_of(&id.0)).force(true).send();
        at.remove("ecr:DeleteRepository", gone).await
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn how_many_are_kept_is_read_back() {
        assert_eq!(super::kept(&super::policy(20)), 20);
        assert_eq!(super::kept("nonsense"), 0);
    }
}
