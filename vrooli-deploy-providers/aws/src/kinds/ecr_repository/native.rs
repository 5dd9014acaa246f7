//! A repository is made with its tags and settings; how many images are kept is a policy beside it.

use aws_sdk_ecr::types::{ImageScanningConfiguration, ImageTagMutability, Repository, Tag};
use serde_json::{Value, json};
use vrooli_deploy_core::names::ResourceKey;
use vrooli_deploy_core::provider::{CreateToken, ErrorKind, OpCtx, PhysicalId, Result};

use super::{EcrRepository, EcrRepositoryObserved, EcrRepositorySpec};
use crate::native::{Account, Look, Marks, Native, Regional, Seen, Tagged, accept, name_taken, unexpected};

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

/// Repositories of a region. What is `asked` for is asked for its own tags; of one that has
/// marks its policy is read, too: AWS lists neither.
async fn repositories(
    account: &Account,
    cx: &OpCtx,
    (region, name): (&Regional, Option<&str>),
    tagged: &Tagged,
    asked: impl Fn(&str) -> bool + Send + Sync,
) -> Result<Vec<Seen<EcrRepositoryObserved>>> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let ask = region.ecr.describe_repositories().set_next_token(next.take());
        let ask = ask.set_repository_names(name.map(|name| vec![name.to_owned()])).send();
        let answer = account.read(cx, "ecr:DescribeRepositories", ask).await;
        let Some(page) = accept(answer, ErrorKind::NotFound)? else { return Ok(all) };
        for repository in page.repositories() {
            let (Some(name), Some(arn)) = (repository.repository_name(), repository.repository_arn()) else {
                continue;
            };
            let marks = match tagged.marks(arn) {
                Some(marks) => Some(marks.clone()),
                None if asked(name) => own_marks(account, cx, region, arn).await?,
                None => None,
            };
            let Some(marks) = marks else { continue };
            let ask = region.ecr.get_lifecycle_policy().repository_name(name).send();
            let policy = accept(account.read(cx, "ecr:GetLifecyclePolicy", ask).await, ErrorKind::NotFound)?;
            let keep = policy.and_then(|one| one.lifecycle_policy_text).map_or(0, |text| kept(&text));
            all.push(Seen {
                id: PhysicalId(arn.to_owned()),
                marks,
                observed: observed(region, repository, keep),
            });
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
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

async fn own_marks(account: &Account, cx: &OpCtx, region: &Regional, arn: &str) -> Result<Option<Marks>> {
    let ask = region.ecr.list_tags_for_resource().resource_arn(arn).send();
    let answer = account.read(cx, "ecr:ListTagsForResource", ask).await;
    let Some(answer) = accept(answer, ErrorKind::NotFound)? else { return Ok(None) };
    Ok(Marks::read(answer.tags().iter().map(|tag| (tag.key(), tag.value()))))
}

async fn named(
    account: &Account,
    cx: &OpCtx,
    region: &Regional,
    name: &str,
) -> Result<Option<Seen<EcrRepositoryObserved>>> {
    let place = (region, Some(name));
    let found = repositories(account, cx, place, &Tagged::default(), |other| other == name).await?;
    Ok(found.into_iter().next())
}

async fn settle(
    account: &Account,
    cx: &OpCtx,
    have: &EcrRepositoryObserved,
    want: &EcrRepositorySpec,
) -> Result<()> {
    let (region, name) = (account.region(&want.region).await, want.name.as_str());
    if have.immutable_tags != want.immutable_tags {
        let put = || {
            let put = region.ecr.put_image_tag_mutability().repository_name(name);
            put.image_tag_mutability(mutability(want)).send()
        };
        account.put(cx, "ecr:PutImageTagMutability", put).await?;
    }
    if have.scan != want.scan {
        let put = || {
            let put = region.ecr.put_image_scanning_configuration().repository_name(name);
            put.image_scanning_configuration(scanning(want)).send()
        };
        account.put(cx, "ecr:PutImageScanningConfiguration", put).await?;
    }
    if have.keep != want.keep {
        let policy = policy(want.keep);
        let put = || {
            let put = region.ecr.put_lifecycle_policy().repository_name(name);
            put.lifecycle_policy_text(&policy).send()
        };
        account.put(cx, "ecr:PutLifecyclePolicy", put).await?;
    }
    Ok(())
}

impl Native for EcrRepository {
    const TOKEN: CreateToken = CreateToken::Name;

    async fn look(
        &self,
        account: &Account,
        cx: &OpCtx,
        look: Look<'_>,
    ) -> Result<Vec<Seen<EcrRepositoryObserved>>> {
        if let Look::Id(id) = look {
            let region = account.of_arn(&id.0).await;
            return Ok(named(account, cx, &region, name_of(&id.0)).await?.into_iter().collect());
        }
        let mut all = Vec::new();
        let wanted = account.names(self, look);
        for region in account.regions().await {
            let tagged = account.tagged(cx, &region).await?;
            if wanted.is_empty() && tagged.named("ecr", "repository/").next().is_none() {
                continue;
            }
            let place = (&*region, None);
            all.extend(repositories(account, cx, place, &tagged, |name| wanted.contains(name)).await?);
        }
        Ok(all)
    }

    async fn make(
        &self,
        account: &Account,
        cx: &OpCtx,
        key: &ResourceKey,
        want: &EcrRepositorySpec,
    ) -> Result<PhysicalId> {
        let region = account.region(&want.region).await;
        let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(value).build();
        let tags: std::result::Result<_, _> = Marks::tags(cx, key).into_iter().map(tag).collect();
        let make = region
            .ecr
            .create_repository()
            .repository_name(&want.name)
            .image_tag_mutability(mutability(want))
            .image_scanning_configuration(scanning(want))
            .set_tags(Some(tags.map_err(|_| unexpected("ecr:CreateRepository", "tag"))?))
            .send();
        let made = accept(account.change(cx, "ecr:CreateRepository", make).await, ErrorKind::AlreadyExists)?;
        let there = account.made(cx, made.is_some(), || named(account, cx, &region, &want.name)).await?;
        let there = there.filter(|one| one.marks.are(cx, key));
        let there = there.ok_or_else(|| name_taken("repository", &want.name))?;
        settle(account, cx, &there.observed, want).await?;
        Ok(there.id)
    }

    async fn change(
        &self,
        account: &Account,
        cx: &OpCtx,
        _: &PhysicalId,
        have: &EcrRepositoryObserved,
        want: &EcrRepositorySpec,
    ) -> Result<()> {
        settle(account, cx, have, want).await
    }

    /// With its images: they are the app's, made anew from its source.
    async fn remove(&self, account: &Account, cx: &OpCtx, id: &PhysicalId) -> Result<()> {
        let region = account.of_arn(&id.0).await;
        let gone = region.ecr.delete_repository().repository_name(name_of(&id.0)).force(true).send();
        accept(account.change(cx, "ecr:DeleteRepository", gone).await, ErrorKind::NotFound).map(drop)
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
